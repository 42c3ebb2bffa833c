"""ElevenLabs against its fake. Shapes: from the vendor's SDK and documentation, nothing of it was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from gateway.contract.channel import Channel
from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Refused, Unauthorized, Unavailable
from gateway.contract.events import AudioDelta, Finished, Flushed, ProviderEvent, Ready, Usage
from gateway.contract.provider import Settings
from gateway.contract.requests import Cancel, Clear, Commit, Input, SpeakRequest, TranscribeRequest
from providers import _elevenlabs_stt
from providers._elevenlabs_errors import Faults
from providers.elevenlabs import Provider
from tests.evidence import rests_on
from tests.fakes import speaking
from tests.fakes.base import Behaviour
from tests.fakes.elevenlabs import ElevenLabs
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
from tests.upstreams import Exchange, Upstream

pytestmark = [pytest.mark.wire, rests_on("elevenlabs")]
K01, K02 = UTTERANCES[:2]
LIVE, FLASH = "scribe_v2_realtime", "eleven_flash_v2_5"
SERVER = TranscribeRequest(RATE, turns="server")


@asynccontextmanager
async def elevenlabs(
    behaviour: Behaviour | None = None, **options: object
) -> AsyncIterator[tuple[Provider, ElevenLabs]]:
    fake = ElevenLabs(behaviour)
    async with fake.running() as url, closing(Provider(settings(url, **options))) as provider:
        yield provider, fake


def turn(name: str) -> list[Input]:
    return [*pieces(name), Commit()]


def tones(text: str, rate: int = 24_000) -> bytes:
    """What the fake says of it."""
    return b"".join(pcm for _, pcm in speaking.spoken(text, rate))


# speech to text, live


async def test_every_word_is_heard_once_with_its_times_and_a_commit_ends_the_turn() -> None:
    async with elevenlabs() as (provider, _):
        events = await heard(provider, LIVE, *pieces(K01), Commit(), *pieces(K02), Commit())
    assert turns(events) == [said(K01), said(K02)]
    words = [word for final in finals(events) for word in final.words]
    assert " ".join(word.text for word in words) == text_of(events)
    assert [word.start for word in words] == sorted(word.start for word in words)
    used, last = events[-2:]
    assert isinstance(used, Usage)
    assert used.seconds == pytest.approx(sum(piece.seconds for name in (K01, K02) for piece in pieces(name)))
    assert (events[0], last) == (Ready(), Finished())


async def test_what_is_asked_for_is_in_the_address_and_the_key_is_not() -> None:
    request = TranscribeRequest(8_000, "hi-IN", prompt="About trains.", turns="server")
    async with elevenlabs(listening={"vad_threshold": "0.3"}) as (provider, fake):
        await heard(provider, LIVE, *pieces(K01)[:1], request=request)
    session = fake.sessions[0]
    assert session.query == {
        "model_id": LIVE,
        "audio_format": "pcm_8000",
        "commit_strategy": "vad",
        "include_timestamps": "true",
        "language_code": "hi",
        "vad_threshold": "0.3",
    }
    assert session.headers["xi-api-key"] == KEY.reveal()
    assert [message.get("previous_text") for message in session.said] == ["About trains.", None]


async def test_a_commit_of_nothing_is_answered_and_what_is_cleared_is_not_heard() -> None:
    async with elevenlabs() as (provider, _):
        events = await heard(provider, LIVE, Commit(), *pieces(K01), Clear(), *pieces(K02), Commit(), Commit())
    assert turns(events) == ["", said(K02), ""]


async def test_a_commit_of_too_little_is_answered_all_the_same() -> None:
    async with elevenlabs() as (provider, _):
        events = await heard(provider, LIVE, *pieces(K01)[:1], Commit(), *pieces(K01)[1:], Commit())
    assert turns(events) == ["", said(K01)]


@pytest.mark.parametrize("quiet", [0.0, 0.6])
async def test_elevenlabs_may_decide_that_a_turn_is_over(quiet: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_elevenlabs_stt, "ENDED", 0.2)
    inputs = [*pieces(K01, quiet=0.6), *pieces(K02, quiet=quiet)]
    async with elevenlabs() as (provider, _):
        events = await heard(provider, LIVE, *inputs, request=SERVER)
    assert turns(events) == [said(K01), said(K02)]


def test_what_is_committed_unasked_is_final_and_ends_no_turn() -> None:
    codec = _elevenlabs_stt.Hearing(Faults("acme", KEY), TranscribeRequest(RATE))
    (final,) = finals(list(codec.hear('{"message_type": "committed_transcript_with_timestamps", "text": "Long ago"}')))
    assert (final.text, final.ends_turn) == ("Long ago", False)


def test_silence_that_keeps_a_session_alive_does_not_move_its_times() -> None:
    codec = _elevenlabs_stt.Hearing(Faults("acme", KEY), TranscribeRequest(RATE))
    assert list(codec.idle())
    late = _elevenlabs_stt.SILENCE
    word = f'{{"text": "Hi", "type": "word", "start": {late + 1.0}, "end": {late + 1.5}}}'
    message = f'{{"message_type": "committed_transcript_with_timestamps", "text": "Hi", "words": [{word}]}}'
    (final,) = finals(list(codec.hear(message)))
    assert [final.words[0].start, final.words[0].end] == pytest.approx([1.0, 1.5])


@pytest.mark.parametrize("after", [0.5, 2.0, 3.5])
async def test_a_socket_that_dies_in_mid_utterance_costs_a_call_no_word(after: float) -> None:
    async with elevenlabs(Behaviour(drop_after=after, times=1)) as (dies, _), elevenlabs() as (well, _):
        texts = await transcribed(route("stt", LIVE, dies, well), [K01, K02])
    assert texts == [said(K01), said(K02)]


async def test_a_session_that_is_lost_after_a_turn_is_followed_by_another() -> None:
    first = sum(piece.seconds for piece in pieces(K01))
    inputs: Channel[Input] = Channel()
    async with elevenlabs(Behaviour(drop_after=first + 1.0, times=1)) as (provider, fake):
        told: list[ProviderEvent] = []
        async with aclosing(provider.transcribe(LIVE, TranscribeRequest(RATE), inputs.reader())) as events:
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


# speech to text, by file


ANSWER: dict[str, Any] = {
    "language_code": "eng",
    "text": "Good morning. Morning!",
    "words": [
        {"text": "Good", "start": 0.1, "end": 0.3, "type": "word", "speaker_id": "speaker_0"},
        {"text": " ", "start": 0.3, "end": 0.4, "type": "spacing", "speaker_id": "speaker_0"},
        {"text": "morning.", "start": 0.4, "end": 0.8, "type": "word", "speaker_id": "speaker_0"},
        {"text": " ", "start": 0.8, "end": 0.9, "type": "spacing", "speaker_id": "speaker_0"},
        {"text": "Morning!", "start": 0.9, "end": 1.2, "type": "word", "speaker_id": "speaker_1"},
    ],
}


async def test_a_file_is_sent_whole_and_told_speaker_by_speaker() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, ANSWER)

    async with Upstream(script) as upstream:
        async with closing(Provider(settings(upstream.url.removesuffix("/v1")))) as provider:
            request = TranscribeRequest(RATE, "en-IN", partials=False, diarize=True)
            events = await heard(provider, "scribe_v2", *pieces(K01), Commit(), *pieces(K02), Commit(), request=request)
    first, second = upstream.received
    assert (first.path, first.headers["xi-api-key"]) == ("/v1/speech-to-text", KEY.reveal())
    for part in (b'name="model_id"\r\n\r\nscribe_v2', b'name="language_code"\r\n\r\nen\r', b"RIFF"):
        assert part in first.body
    assert b"".join(piece.pcm for piece in pieces(K02)) in second.body
    told = [(final.text, final.speaker, final.ends_turn, final.language) for final in finals(events)]
    assert told[:2] == [("Good morning.", "speaker_0", False, "en"), ("Morning!", "speaker_1", True, "en")]
    before = sum(piece.seconds for piece in pieces(K01))
    assert finals(events)[2].words[0].start == pytest.approx(before + 0.1)
    assert events[0] == Ready()
    assert isinstance(events[-1], Finished)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "invalid_api_key", Unauthorized),
        (401, "quota_exceeded", OutOfQuota),
        (429, "too_many_concurrent_requests", RateLimited),
        (429, "system_busy", Unavailable),
        (400, "invalid_audio", Refused),
        (422, "", Unavailable),
    ],
)
async def test_a_file_that_is_not_taken_is_the_right_error(status: int, code: str, kind: type[ProviderError]) -> None:
    async def script(exchange: Exchange) -> None:
        detail: object = {"status": code, "message": f"It is so, {KEY.reveal()}"} if code else [{"loc": ["body"]}]
        await exchange.answer(status, {"detail": detail})

    async with Upstream(script) as upstream:
        async with closing(Provider(settings(upstream.url.removesuffix("/v1")))) as provider:
            with pytest.raises(kind) as error:
                await heard(provider, "scribe_v2", *pieces(K01), Commit())
    assert type(error.value) is kind
    assert KEY.reveal() not in f"{error.value!r} {vars(error.value)}"


# text to speech


async def test_a_clause_is_spoken_at_its_commit_and_its_words_are_told_with_it() -> None:
    async with elevenlabs() as (provider, fake):
        events = await spoken(provider, FLASH, "Hello ", "there. ", Commit(), "And more. ", Commit(), "Yes.", Commit())
    assert audio_of(events) == tones("Hello there. And more. Yes.")
    ends = [index for index, event in enumerate(events) if isinstance(event, Flushed)]
    assert len(ends) == 3
    assert audio_of(events[: ends[0]]) == tones("Hello there.")
    words = [word for event in events if isinstance(event, AudioDelta) for word in event.words]
    expected = [word for word, _ in speaking.spoken("Hello there. And more. Yes.", 24_000)]
    assert [word.text for word in words] == [word.text for word in expected]
    assert [word.end for word in words] == pytest.approx([word.end for word in expected], abs=0.002)
    used, last = events[-2:]
    assert isinstance(used, Usage)
    assert used.characters == 27
    assert last == Finished()
    contexts = [message["context_id"] for message in fake.sessions[0].said if message.get("close_context")]
    assert len(set(contexts)) == 3


async def test_a_text_of_nothing_but_punctuation_is_flushed_in_its_turn_and_not_sent() -> None:
    async with elevenlabs() as (provider, fake):
        events = await spoken(provider, FLASH, Commit(), "Well. ", Commit(), "... ", Commit(), "!")
    kinds = [type(event) for event in events if not isinstance(event, AudioDelta)]
    assert kinds == [Flushed, Flushed, Flushed, Usage, Finished]
    assert [message.get("text") for message in fake.sessions[0].said] == [" ", "Well. ", None]


async def test_what_is_cancelled_is_not_heard_and_what_follows_is() -> None:
    inputs: Channel[Input] = Channel()
    async with elevenlabs() as (provider, _):
        first: tuple[Input, ...] = ("This is long, and longer. ", Commit(), "And more of it. ", Commit())
        for item in first:
            inputs.put(item)
        told: list[ProviderEvent] = []
        async with aclosing(provider.speak(FLASH, SpeakRequest(), inputs.reader())) as events:
            told.append(await anext(events))
            then: tuple[Input, ...] = (Cancel(), "Yes? ", Commit())
            for item in then:
                inputs.put(item)
            inputs.close()
            async with asyncio.timeout(5.0):
                told += [event async for event in events]
    assert sum(isinstance(event, Flushed) for event in told) == 3
    second = [index for index, event in enumerate(told) if isinstance(event, Flushed)][1]
    assert audio_of(told[second:]) == tones("Yes?")


async def test_what_a_voice_is_asked_for_is_what_elevenlabs_is_told() -> None:
    request = SpeakRequest(16_000, "anna/id", 1.2, "ta-IN")
    async with elevenlabs(voice_settings={"stability": 0.5}) as (provider, fake):
        events = await spoken(provider, FLASH, "Hello. ", Commit(), request=request)
    session = fake.sessions[0]
    assert session.path == "/v1/text-to-speech/anna%2Fid/multi-stream-input"
    assert (session.query["model_id"], session.query["output_format"]) == (FLASH, "pcm_16000")
    assert session.query["language_code"] == "ta"
    assert session.said[0]["voice_settings"] == {"stability": 0.5, "speed": 1.2}
    assert audio_of(events) == tones("Hello.", 16_000)


async def test_a_connection_stands_ready_for_the_next_answer_of_a_voice() -> None:
    async with elevenlabs() as (provider, fake):
        await spoken(provider, FLASH, "Hello. ", Commit())
        await fake.until(lambda: fake.open > 0)
        asked = fake.asked
        await spoken(provider, FLASH, "Hello. ", Commit())
        assert fake.asked <= asked + 1


# what goes wrong


@pytest.mark.parametrize(
    ("trouble", "kind", "kinds"),
    [
        ("unauthorized", Unauthorized, "both"),
        ("no-quota", OutOfQuota, "both"),
        ("rate-limited", RateLimited, "both"),
        ("broken", Unavailable, "both"),
        ("bad-model", Unavailable, "both"),
        ("auth_error", Unauthorized, "stt"),
        ("quota_exceeded", OutOfQuota, "later"),
        ("rate_limited", RateLimited, "later-stt"),
        ("session_time_limit_exceeded", Unavailable, "later-stt"),
        ("bad-audio", Refused, "later-stt"),
        ("concurrency", Unavailable, "tts"),
        ("voice_id_does_not_exist", Unavailable, "tts"),
    ],
)
async def test_what_elevenlabs_refuses_is_the_right_error_and_no_concern_of_who_asked(
    trouble: str, kind: type[ProviderError], kinds: str
) -> None:
    async with elevenlabs(Behaviour(trouble=trouble)) as (sick, _), elevenlabs() as (well, _):
        if kinds != "tts":
            with pytest.raises(kind) as error:
                await heard(sick, LIVE, *pieces(K01), Commit())
            assert type(error.value) is kind
            assert KEY.reveal() not in f"{error.value!r} {vars(error.value)}"
        if kinds in ("both", "stt"):  # those that it tells later are asked again by a call's ear
            events = await answered(route("stt", LIVE, sick, well), TranscribeRequest(RATE), *pieces(K01), Commit())
            assert text_of(events) == said(K01)
        if kinds in ("both", "tts", "later"):
            with pytest.raises(kind):
                await spoken(sick, FLASH, "Hello. ", Commit())
            told = await answered(route("tts", FLASH, sick, well), SpeakRequest(), "Hello. ", Commit())
            assert audio_of(told) == tones("Hello.")


def test_what_elevenlabs_cannot_do_is_told_before_it_is_asked() -> None:
    provider = Provider(Settings("acme", None, KEY))
    assert provider.cannot(LIVE, TranscribeRequest(RATE, "ta-IN")) is None
    assert provider.cannot("scribe_v2", TranscribeRequest(RATE, "yue", diarize=True)) is None
    assert provider.cannot(FLASH, SpeakRequest(language="vi", speed=1.2)) is None
    cannots = [
        provider.cannot(LIVE, TranscribeRequest(RATE, "sat-IN")),
        provider.cannot(LIVE, TranscribeRequest(RATE, diarize=True)),
        provider.cannot(LIVE, TranscribeRequest(RATE, translate=True)),
        provider.cannot(LIVE, TranscribeRequest(11_025)),
        provider.cannot("scribe_v2", SERVER),
        provider.cannot("eleven_multilingual_v2", SpeakRequest(language="vi")),
        provider.cannot("eleven_flash_v2", SpeakRequest(language="hi")),
        provider.cannot(FLASH, SpeakRequest(speed=1.5)),
    ]
    assert all(cannots)
    assert provider.asleep("eleven_v3") == "eleven_v3 has no WebSocket"
    assert Provider(Settings("acme")).asleep(LIVE) == "its row has no key"
