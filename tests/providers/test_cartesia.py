"""Cartesia against its fake. Shapes: from the vendor's SDK and documentation, nothing of it was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from itertools import count

import pytest

from gateway.contract.channel import Channel
from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Refused, Unauthorized, Unavailable
from gateway.contract.events import (
    AudioDelta,
    EagerTurnEnd,
    Finished,
    Flushed,
    ProviderEvent,
    Ready,
    SpeechStarted,
    Transcript,
    TurnResumed,
    Usage,
)
from gateway.contract.provider import Settings
from gateway.contract.requests import Cancel, Clear, Commit, Input, SpeakRequest, TranscribeRequest
from providers import _cartesia_stt, _cartesia_tts, _cartesia_turns
from providers._cartesia_errors import Faults
from providers.cartesia import Provider
from tests.evidence import rests_on
from tests.fakes import cartesia as fakes_cartesia
from tests.fakes import speaking
from tests.fakes.base import Behaviour
from tests.fakes.cartesia import Cartesia
from tests.fakes.routes import (
    KEY,
    RATE,
    UTTERANCES,
    answered,
    audio_of,
    closing,
    finals,
    heard,
    pieces,
    route,
    said,
    settings,
    spoken,
    text_of,
    transcribed,
    turns,
)

pytestmark = [pytest.mark.wire, rests_on("cartesia")]
K01, K02 = UTTERANCES[:2]
SERVER = TranscribeRequest(RATE, turns="server")


@asynccontextmanager
async def cartesia(behaviour: Behaviour | None = None, **options: object) -> AsyncIterator[tuple[Provider, Cartesia]]:
    fake = Cartesia(behaviour)
    async with fake.running() as url, closing(Provider(settings(url, **options))) as provider:
        yield provider, fake


def turn(name: str) -> list[Input]:
    return [*pieces(name), Commit()]


def tones(text: str, rate: int = 24_000) -> bytes:
    """What the fake says of it."""
    return b"".join(pcm for _, pcm in speaking.spoken(text, rate))


# speech to text


async def test_every_word_is_heard_once_with_its_times_and_a_commit_ends_the_turn() -> None:
    async with cartesia() as (provider, _):
        events = await heard(provider, "ink-2", *pieces(K01), Commit(), *pieces(K02), Commit())
    assert turns(events) == [said(K01), said(K02)]
    words = [word for final in finals(events) for word in final.words]
    assert " ".join(word.text for word in words) == text_of(events)
    assert [word.start for word in words] == sorted(word.start for word in words)
    seconds = sum(piece.seconds for name in (K01, K02) for piece in pieces(name))
    used, last = events[-2:]
    assert isinstance(used, Usage)
    assert used.seconds == pytest.approx(seconds)
    assert (events[0], last) == (Ready(), Finished())


async def test_what_is_asked_for_is_in_the_address_and_the_key_is_not() -> None:
    async with cartesia(listening={"min_volume": "0.2"}) as (provider, fake):
        await heard(provider, "ink-whisper", request=TranscribeRequest(8_000, "hi-IN", keywords=("Trunkline", "Aura")))
        await heard(provider, "ink-2", request=TranscribeRequest(RATE, "fr", turns="server"))
    first, second = fake.sessions
    assert (first.path, second.path) == ("/stt/websocket", "/stt/turns/websocket")
    assert first.query == {
        "model": "ink-whisper",
        "encoding": "pcm_s16le",
        "sample_rate": "8000",
        "keyterm": "Aura",
        "language": "hi",
        "min_volume": "0.2",
    }
    assert "language" not in second.query  # it hears five and refuses to be told which
    assert (first.headers["authorization"], first.headers["cartesia-version"]) == (
        f"Bearer {KEY.reveal()}",
        "2026-08-14",
    )


async def test_a_commit_of_nothing_is_answered_and_what_is_cleared_is_not_heard() -> None:
    async with cartesia() as (provider, fake):
        events = await heard(provider, "ink-2", Commit(), *pieces(K01), Clear(), *pieces(K02), Commit(), Commit())
    assert turns(events) == ["", said(K02), ""]
    assert [frame for frame in fake.sessions[0].frames if isinstance(frame, str)] == ["finalize", "finalize", "close"]


async def test_cartesia_may_decide_that_a_turn_is_over_and_change_its_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes_cartesia, "QUIET", 2.0)
    inputs = [*pieces(K01), *pieces(K02, quiet=2.5)]
    async with cartesia() as (provider, _):
        events = await heard(provider, "ink-2", *inputs, request=SERVER)
    kinds = [type(event) for event in events if not isinstance(event, Transcript)]
    assert kinds[:2] == [Ready, SpeechStarted]
    assert kinds[-5:] == [EagerTurnEnd, TurnResumed, EagerTurnEnd, Usage, Finished]
    assert turns(events) == [f"{said(K01)} {said(K02)}"]


async def test_a_commit_in_mid_turn_is_answered_and_no_word_of_the_turn_is_said_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_cartesia_turns, "PATIENCE", 0.05)
    inputs: Channel[Input] = Channel()
    parts = pieces(K01)
    async with cartesia() as (provider, _), aclosing(provider.transcribe("ink-2", SERVER, inputs.reader())) as events:
        for piece in parts[: len(parts) // 2]:
            inputs.put(piece)
        inputs.put(Commit())
        told = [await anext(events)]
        while not getattr(told[-1], "ends_turn", False):
            told.append(await asyncio.wait_for(anext(events), 5.0))
        for piece in parts[len(parts) // 2 :]:
            inputs.put(piece)
        inputs.close()
        told += [event async for event in events]
    assert len(turns(told)) == 2
    assert all(turns(told))
    assert text_of(told) == said(K01)


def test_silence_that_keeps_a_session_alive_does_not_move_its_times() -> None:
    codec = _cartesia_stt.Hearing(Faults("acme", KEY), TranscribeRequest(RATE))
    (silence,) = codec.idle()
    late = len(silence) / 2 / RATE
    word = f'{{"word": "Hi", "start": {late + 1.0}, "end": {late + 1.5}}}'
    assert not list(codec.hear(f'{{"type": "transcript", "is_final": true, "text": "Hi", "words": [{word}]}}'))
    _, final, *_ = ["finalize", *codec.hear('{"type": "done"}')]
    assert isinstance(final, Transcript)
    assert [final.words[0].start, final.words[0].end] == pytest.approx([1.0, 1.5])


def test_pieces_are_joined_as_they_come() -> None:
    codec = _cartesia_stt.Hearing(Faults("acme", KEY), TranscribeRequest(RATE, partials=False))
    told: list[ProviderEvent] = []
    for piece in ("The tele", "phone rings", ", twice.", " And", "  again"):
        told += codec.hear(f'{{"type": "transcript", "is_final": true, "text": "{piece}"}}')
    told += codec.hear('{"type": "done"}')
    assert [final.text for final in finals(told)] == ["The telephone rings, twice.", "And", "again"]


@pytest.mark.parametrize("after", [0.5, 2.0, 3.5])
async def test_a_socket_that_dies_in_mid_utterance_costs_a_call_no_word(after: float) -> None:
    async with cartesia(Behaviour(drop_after=after, times=1)) as (dies, _), cartesia() as (well, _):
        texts = await transcribed(route("stt", "ink-2", dies, well), [K01, K02])
    assert texts == [said(K01), said(K02)]


async def test_a_session_that_is_lost_after_a_turn_is_followed_by_another() -> None:
    first = sum(piece.seconds for piece in pieces(K01))
    inputs: Channel[Input] = Channel()
    async with cartesia(Behaviour(drop_after=first + 1.0, times=1)) as (provider, fake):
        told: list[ProviderEvent] = []
        async with aclosing(provider.transcribe("ink-2", TranscribeRequest(RATE), inputs.reader())) as events:
            for item in turn(K01):
                inputs.put(item)
            async for event in events:
                told.append(event)
                if len(turns(told)) == 1 and not inputs.closed:
                    for item in turn(K02):
                        inputs.put(item)
                    inputs.close()
    assert turns(told) == [said(K01), said(K02)]
    assert len(fake.sessions) == 2
    assert [final for final in finals(told) if final.words][-1].words[0].start > first
    (used,) = [event for event in told if isinstance(event, Usage)]
    assert used.seconds == pytest.approx(first + sum(piece.seconds for piece in pieces(K02)), abs=0.2)


# text to speech


async def test_a_clause_is_spoken_at_its_commit_and_its_words_are_told_with_it() -> None:
    async with cartesia() as (provider, fake):
        events = await spoken(provider, "sonic-3.5", "Hello ", "there. ", Commit(), "And more. ", Commit())
    assert audio_of(events) == tones("Hello there. And more.")
    ends = [index for index, event in enumerate(events) if isinstance(event, Flushed)]
    assert len(ends) == 2
    assert audio_of(events[: ends[0]]) == tones("Hello there.")
    words = [word for event in events if isinstance(event, AudioDelta) for word in event.words]
    expected = [word for word, _ in speaking.spoken("Hello there. And more.", 24_000)]
    assert [word.text for word in words] == [word.text for word in expected]
    assert [word.end for word in words] == pytest.approx([word.end for word in expected])
    used, last = events[-2:]
    assert isinstance(used, Usage)
    assert used.characters == 23
    assert used.seconds == pytest.approx(len(audio_of(events)) / 48_000)
    assert last == Finished()
    assert len({message["context_id"] for message in fake.sessions[0].said}) == 1


async def test_a_text_of_nothing_but_punctuation_is_flushed_in_its_turn_and_not_sent() -> None:
    async with cartesia() as (provider, fake):
        events = await spoken(provider, "sonic-3.5", Commit(), "Well. ", Commit(), "... ", Commit(), "!")
    assert [type(event) for event in events if not isinstance(event, AudioDelta)] == [
        Flushed, Flushed, Flushed, Usage, Finished,
    ]  # fmt: skip
    assert [message["transcript"] for message in fake.sessions[0].said] == ["Well. ", "", ""]


async def test_what_is_cancelled_is_not_heard_and_what_follows_is() -> None:
    inputs: Channel[Input] = Channel()
    async with cartesia() as (provider, fake):
        inputs.put("endless " * 500)
        inputs.put(Commit())
        told: list[ProviderEvent] = []
        async with aclosing(provider.speak("sonic-3.5", SpeakRequest(), inputs.reader())) as events:
            told.append(await anext(events))
            for item in (Cancel(), "Yes? ", Commit()):
                inputs.put(item)
            inputs.close()
            async with asyncio.timeout(5.0):
                told += [event async for event in events]
    first = next(index for index, event in enumerate(told) if isinstance(event, Flushed))
    assert audio_of(told[first:]) == tones("Yes?")
    assert sum(isinstance(event, Flushed) for event in told) == 2
    assert [message["context_id"] for message in fake.sessions[0].said if message.get("cancel")] == ["c1"]
    assert isinstance(told[-1], Finished)


def test_a_context_that_may_be_dead_is_not_gone_on_with() -> None:
    now = 10.0
    codec = _cartesia_tts.Speaking("acme", Faults("acme", KEY), {}, 24_000, (f"c{n}" for n in count(1)), lambda: now)
    used = []
    for pause in (0.0, 0.2, 0.6):
        now += pause
        list(codec.put("Hello. "))
        used += [frame for frame in codec.put(Commit()) if "Hello" in str(frame)]
        context = f"c{1 + (pause > 0.5)}"
        list(codec.hear(f'{{"type": "chunk", "context_id": "{context}", "data": "{"AAAA" * 400}"}}'))
        list(codec.hear(f'{{"type": "flush_done", "context_id": "{context}"}}'))
    assert ["c1" in str(frame) for frame in used] == [True, True, False]


async def test_a_connection_stands_ready_for_the_next_answer() -> None:
    async with cartesia() as (provider, fake):
        await spoken(provider, "sonic-3.5", "Hello. ", Commit())
        await fake.until(lambda: fake.open > 0)
        asked = fake.asked
        events = provider.speak("sonic-3.5", SpeakRequest(), Channel[Input]().reader())
        reading = asyncio.create_task(anext(events))
        await spoken(provider, "sonic-3.5", "Hello. ", Commit())
        assert fake.asked <= asked + 1
        reading.cancel()
        await asyncio.wait([reading])


async def test_what_a_voice_is_asked_for_is_what_cartesia_is_told() -> None:
    request = SpeakRequest(16_000, "anna-id", 1.2, "ta-IN")
    async with cartesia() as (provider, fake):
        events = await spoken(provider, "sonic-3.5", "Hello. ", Commit(), request=request)
    message = fake.sessions[0].said[0]
    assert message["voice"] == {"mode": "id", "id": "anna-id"}
    assert message["output_format"] == {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 16_000}
    assert (message["language"], message["generation_config"]) == ("ta", {"speed": 1.2})
    assert {event.audio.rate for event in events if isinstance(event, AudioDelta)} == {16_000}


# what goes wrong


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        ("unauthorized", Unauthorized),
        ("no-quota", OutOfQuota),
        ("rate-limited", RateLimited),
        ("concurrency", RateLimited),
        ("bad-model", Unavailable),
        ("broken", Unavailable),
        ("bad-audio", Refused),
    ],
)
async def test_what_cartesia_refuses_is_the_right_error_and_no_concern_of_who_asked(
    trouble: str, kind: type[ProviderError]
) -> None:
    async with cartesia(Behaviour(trouble=trouble)) as (sick, _), cartesia() as (well, _):
        with pytest.raises(kind) as error:
            await heard(sick, "ink-2", *pieces(K01), Commit())
        assert type(error.value) is kind
        if kind is Refused:
            return
        with pytest.raises(kind):
            await spoken(sick, "sonic-3.5", "Hello. ", Commit())
        events = await answered(route("tts", "sonic-3.5", sick, well), SpeakRequest(), "Hello. ", Commit())
        assert audio_of(events) == tones("Hello.")
        if trouble != "concurrency":  # which it says after it was ready: a call's ear asks again (above)
            events = await answered(route("stt", "ink-2", sick, well), TranscribeRequest(RATE), *pieces(K01), Commit())
            assert text_of(events) == said(K01)


def test_what_cartesia_cannot_do_is_told_before_it_is_asked() -> None:
    provider = Provider(Settings("acme", None, KEY))
    assert provider.cannot("ink-whisper", TranscribeRequest(RATE, "ta-IN")) is None
    assert provider.cannot("sonic-3.5", SpeakRequest(language="ta-IN", speed=1.5)) is None
    cannots = [
        provider.cannot("ink-2", TranscribeRequest(RATE, "ta-IN")),
        provider.cannot("ink-2", TranscribeRequest(RATE, diarize=True)),
        provider.cannot("ink-2", TranscribeRequest(RATE, translate=True)),
        provider.cannot("ink-whisper", SERVER),
        provider.cannot("sonic-3.5", SpeakRequest(language="sat")),
        provider.cannot("sonic-3.5", SpeakRequest(speed=2.0)),
    ]
    assert all(cannots)
    assert provider.asleep("ink-2") is None
    assert Provider(Settings("acme")).asleep("ink-2") == "its row has no key"
