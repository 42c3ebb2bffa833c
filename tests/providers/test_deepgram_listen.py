"""Deepgram's listen: against its fake (shapes: recordings for Results, else the vendor's SDK and documentation) and recordings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise

import orjson
import pytest

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Refused, Unauthorized, Unavailable
from gateway.contract.events import Events, Finished, Ready, SpeechStarted, Transcript, Usage
from gateway.contract.provider import Settings
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from providers import _deepgram_listen
from providers._deepgram_api import Api
from providers.deepgram import Provider
from tests.evidence import rests_on
from tests.fakes.base import Behaviour
from tests.fakes.deepgram import Deepgram
from tests.fakes.routes import (
    KEY,
    RATE,
    UTTERANCES,
    answered,
    closing,
    finals,
    heard,
    pieces,
    route,
    said,
    settings,
    text_of,
    transcribed,
    turns,
)
from tests.needs import SHARED

pytestmark = [pytest.mark.wire, rests_on("deepgram")]
K01, K02 = UTTERANCES[:2]
SERVER = TranscribeRequest(RATE, turns="server")


@asynccontextmanager
async def deepgram(behaviour: Behaviour | None = None) -> AsyncIterator[tuple[Provider, Deepgram]]:
    fake = Deepgram(behaviour)
    async with fake.running() as url, closing(Provider(settings(url))) as provider:
        yield provider, fake


async def test_every_word_is_heard_once_with_its_times_and_a_commit_ends_the_turn() -> None:
    async with deepgram() as (provider, _):
        events = await heard(provider, "nova-3", *pieces(K01), Commit(), *pieces(K02), Commit())
    assert text_of(events) == f"{said(K01)} {said(K02)}"
    assert turns(events) == [said(K01), said(K02)]
    words = [word for final in finals(events) for word in final.words]
    assert all(a.end <= b.start + 0.05 for a, b in pairwise(words))
    seconds = sum(piece.seconds for name in (K01, K02) for piece in pieces(name))
    assert events[0] == Ready()
    used, last = events[-2:]
    assert isinstance(used, Usage)
    assert used.seconds == pytest.approx(seconds, abs=0.02)
    assert last == Finished()
    assert {type(event) for event in events} == {Ready, SpeechStarted, Transcript, Usage, Finished}


async def test_what_is_asked_for_is_in_the_address_and_the_key_is_not() -> None:
    request = TranscribeRequest(8000, "hi-IN", diarize=True, keywords=("Trunkline", "Aura"))
    async with deepgram() as (provider, fake):
        await heard(provider, "nova-3", Commit(), request=request)
        await heard(provider, "nova-2-phonecall", Commit(), request=SERVER)
    first, second = (session.query for session in fake.sessions)
    assert (first["language"], first["sample_rate"], first["diarize"], first["endpointing"]) == (
        "hi",
        "8000",
        "true",
        "false",
    )
    assert (second["language"], second["model"], second["endpointing"]) == ("multi", "nova-2-phonecall", "300")
    assert (first["keyterm"], "keyterm" in second) == ("Aura", False)
    assert fake.sessions[0].headers["authorization"] == f"Token {KEY.reveal()}"
    assert KEY.reveal() not in f"{first}"


async def test_deepgram_may_decide_that_a_turn_is_over() -> None:
    async with deepgram() as (provider, _):
        events = await heard(provider, "nova-3", *pieces(K01, quiet=0.6), *pieces(K02, quiet=0.6), request=SERVER)
    assert turns(events) == [said(K01), said(K02)]


async def test_a_commit_of_nothing_is_answered_at_once_and_in_order() -> None:
    async with deepgram() as (provider, fake):
        events = await heard(provider, "nova-3", Commit(), *pieces(K01), Commit(), Commit())
    assert turns(events) == ["", said(K01), ""]
    assert fake.sessions[0].frames.count('{"type":"Finalize"}') == 1


async def test_a_commit_that_deepgram_does_not_answer_is_over_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_deepgram_listen, "PATIENCE", 0.05)
    inputs: Channel[Input] = Channel()
    async with deepgram(Behaviour(trouble="no-answer")) as (provider, _):
        async with aclosing(provider.transcribe("nova-3", TranscribeRequest(RATE), inputs.reader())) as events:
            for piece in pieces(K01):
                inputs.put(piece)
            inputs.put(Commit())
            async with asyncio.timeout(5.0):
                ends = [event async for event in _until_end_of_turn(events)]
            inputs.close()
            rest = [event async for event in events]
    assert ends[-1] == Transcript("", final=True, ends_turn=True)
    assert text_of(ends + rest) == said(K01)  # what it still had to say is not lost
    assert not any(final.ends_turn for final in finals(rest))


async def _until_end_of_turn(events: Events) -> Events:
    async for event in events:
        yield event
        if isinstance(event, Transcript) and event.ends_turn:
            return


async def test_what_is_cleared_is_not_heard() -> None:
    async with deepgram() as (provider, _):
        events = await heard(provider, "nova-3", *pieces(K01), Clear(), *pieces(K02), Commit())
    assert turns(events) == [said(K02)]
    assert finals(events)[0].words[0].start > sum(piece.seconds for piece in pieces(K01))


def test_silence_that_keeps_a_session_alive_does_not_move_its_times() -> None:
    codec = _deepgram_listen.Listening(Api(Settings("acme", None, KEY)), TranscribeRequest(RATE))
    silence, keep = codec.idle()
    assert isinstance(silence, bytes)
    seconds = len(silence) / 2 / RATE
    assert keep == _deepgram_listen.KEEP
    list(codec.put(Audio.silence(1.0, RATE)))
    assert list(codec.idle()) == [keep]
    word = {"word": "hello", "start": seconds + 0.5, "end": seconds + 0.75}
    message = {
        "type": "Results",
        "start": 0.0,
        "duration": 1.0,
        "is_final": True,
        "channel": {"alternatives": [{"transcript": "hello", "words": [word]}]},
    }
    (final,) = codec.hear(orjson.dumps(message).decode())
    assert isinstance(final, Transcript)
    assert [final.words[0].start, final.words[0].end] == pytest.approx([0.5, 0.75])


def test_who_speaks_is_told_speaker_by_speaker() -> None:
    codec = _deepgram_listen.Listening(Api(Settings("acme", None, KEY)), TranscribeRequest(RATE, diarize=True))
    words = [("Hello.", 0, "en"), ("Hola,", 1, "es"), ("sí.", 1, "es"), ("Yes.", 0, "en")]
    message = {
        "type": "Results",
        "start": 0.0,
        "duration": 2.0,
        "is_final": True,
        "channel": {
            "alternatives": [
                {
                    "transcript": "Hello. Hola, sí. Yes.",
                    "words": [
                        {"word": text, "start": n / 2, "end": n / 2 + 0.4, "speaker": who, "language": language}
                        for n, (text, who, language) in enumerate(words)
                    ],
                }
            ]
        },
    }
    told = [(t.text, t.speaker, t.language) for t in finals(list(codec.hear(orjson.dumps(message).decode())))]
    assert told == [("Hello.", "0", "en"), ("Hola, sí.", "1", "es"), ("Yes.", "0", "en")]


@pytest.mark.needs("shared")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_recorded_results_are_read(number: int) -> None:
    recorded = orjson.loads((SHARED / f"recordings/audio/deepgram_listen_final_{number}.response.json").read_bytes())
    codec = _deepgram_listen.Listening(Api(Settings("acme", None, KEY)), SERVER)
    (final,) = codec.hear(orjson.dumps(recorded).decode())
    alternative = recorded["channel"]["alternatives"][0]
    assert isinstance(final, Transcript)
    assert (final.text, final.final, final.ends_turn) == (alternative["transcript"], True, True)
    assert " ".join(word.text for word in final.words) == alternative["transcript"]
    assert final.words[0].start == alternative["words"][0]["start"]


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        ("unauthorized", Unauthorized),
        ("forbidden", Unauthorized),
        ("no-quota", OutOfQuota),
        ("rate-limited", RateLimited),
        ("bad-model", Unavailable),
        ("broken", Unavailable),
        ("bad-audio", Refused),
    ],
)
async def test_what_deepgram_refuses_is_the_right_error_and_no_concern_of_who_asked(
    trouble: str, kind: type[ProviderError]
) -> None:
    async with deepgram(Behaviour(trouble=trouble)) as (sick, _), deepgram() as (well, _):
        with pytest.raises(kind) as error:
            await heard(sick, "nova-3", *pieces(K01), Commit())
        assert type(error.value) is kind
        assert KEY.reveal() not in repr(error.value)
        if kind is not Refused:
            events = await answered(route("stt", "nova-3", sick, well), TranscribeRequest(RATE), *pieces(K01), Commit())
            assert text_of(events) == said(K01)


def test_a_language_that_is_not_spoken_is_told_before_anybody_is_asked() -> None:
    provider = Provider(Settings("acme", None, KEY))
    assert provider.cannot("nova-3", TranscribeRequest(RATE, "ta-IN")) is None
    assert "does not know the language 'sat-IN'" in str(provider.cannot("nova-3", TranscribeRequest(RATE, "sat-IN")))
    assert "does not know the language 'ta-IN'" in str(provider.cannot("nova-2", TranscribeRequest(RATE, "ta-IN")))
    assert provider.cannot("nova-3", TranscribeRequest(RATE, translate=True)) == "it does not translate"
    assert provider.asleep("nova-3") is None
    assert Provider(Settings("acme")).asleep("nova-3") == "it has no key"


@pytest.mark.parametrize("after", [0.5, 2.0, 3.5])
async def test_a_socket_that_dies_in_mid_utterance_costs_a_call_no_word(after: float) -> None:
    targets: list[str] = []
    async with deepgram(Behaviour(drop_after=after, times=1)) as (dies, _), deepgram() as (well, _):
        texts = await transcribed(route("stt", "nova-3", dies, well), [K01, K02], targets)
    assert texts == [said(K01), said(K02)]
    assert "p1/nova-3" in targets
