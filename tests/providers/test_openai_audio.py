"""Speech of OpenAI's shape, both ways: against its fake (whose first lines say on what each part of it stands), and recordings."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai as client
import orjson
import pytest

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.errors import ProviderError, Refused, Unauthorized, Unavailable
from gateway.contract.events import AudioDelta, Finished, Flushed, Ready, SpeechEnded, SpeechStarted, Transcript, Usage
from gateway.contract.provider import Secret, Settings
from gateway.contract.requests import Clear, Commit, SpeakRequest, TranscribeRequest
from gateway.contract.wav import wav_header
from providers import openai, openai_compatible
from providers._openai_languages import code
from providers._openai_listening import listen
from providers._openai_speech import Samples
from providers._openai_speech import pieces as cut_text
from providers._openai_uploads import LONGEST, cut
from providers._openai_upstream import Upstream as Own
from tests.fakes import openai_audio
from tests.fakes.base import Behaviour
from tests.fakes.openai_audio import OpenAIRealtime, read_form
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
    spoken,
    text_of,
    transcribed,
    turns,
)
from tests.fakes.speaking import spoken as tones
from tests.sounds import tone
from tests.upstream_scripts import bytes_as_they_are
from tests.upstreams import Upstream

pytestmark = pytest.mark.wire
K01, K02, K03 = UTTERANCES[:3]
UPLOAD = TranscribeRequest(RATE, partials=False)
HELLO = ("Hello there, old friend.", Commit())


@asynccontextmanager
async def upstream(
    behaviour: Behaviour | None = None, key: Secret = KEY, **options: object
) -> AsyncIterator[tuple[openai_compatible.Provider, Upstream]]:
    async with openai_audio.running(behaviour) as there:
        async with closing(openai_compatible.Provider(Settings("acme", there.url, key, options))) as provider:
            yield provider, there


@asynccontextmanager
async def live(behaviour: Behaviour | None = None) -> AsyncIterator[tuple[openai.Provider, OpenAIRealtime]]:
    fake = OpenAIRealtime(behaviour)
    async with fake.running() as url:
        async with closing(openai.Provider(Settings("acme", url.replace("ws", "http") + "/v1", KEY))) as provider:
            yield provider, fake


def form(there: Upstream, number: int = 0) -> dict[str, str]:
    received = there.received[number]
    return read_form(received.headers["content-type"], received.body)[0]


# uploads


@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-transcribe", "gpt-4o-transcribe-diarize", "parakeet"])
@pytest.mark.parametrize(
    "request_", [TranscribeRequest(RATE), UPLOAD, TranscribeRequest(RATE, partials=False, stream=True)]
)
async def test_every_turn_is_heard_whole_and_ended_once(model: str, request_: TranscribeRequest) -> None:
    async with upstream() as (provider, _):
        events = await heard(provider, model, *pieces(K01), Commit(), *pieces(K02), Commit(), request=request_)
    assert turns(events) == [said(K01), said(K02)]
    assert (events[0], events[-1]) == (Ready(), Finished())
    assert isinstance(events[-2], Usage)
    assert events[-2].seconds > 4.0


async def test_times_of_words_are_of_the_stream_and_not_of_the_upload() -> None:
    request = TranscribeRequest(RATE, "en-IN", partials=False, words=True)
    async with upstream() as (provider, there):
        events = await heard(provider, "whisper-1", *pieces(K01), Commit(), *pieces(K02), Commit(), request=request)
    first = sum(piece.seconds for piece in pieces(K01))
    words = [word for final in finals(events) for word in final.words]
    assert " ".join(word.text for word in words) == f"{said(K01)} {said(K02)}"
    assert [word.start for word in words] == sorted(word.start for word in words)
    assert words[len(said(K01).split())].start > first
    assert form(there)["timestamp_granularities[]"] == "word,segment"
    assert (form(there)["language"], form(there)["response_format"]) == ("en", "verbose_json")


async def test_speakers_are_told_apart_where_that_was_asked_for() -> None:
    model, request = "gpt-4o-transcribe-diarize", TranscribeRequest(RATE, diarize=True, partials=False)
    async with upstream() as (provider, there):
        events = await heard(provider, model, *pieces(K01), Commit(), request=request)
        streamed = await heard(
            provider,
            model,
            *pieces(K01),
            Commit(),
            request=TranscribeRequest(RATE, diarize=True, partials=False, stream=True),
        )
        assert provider.cannot("gpt-4o-transcribe", request) == "it does not tell speakers apart"
    assert [final.speaker for final in finals(events)][:2] == ["A", "B"]
    assert [final.speaker for final in finals(streamed)][:2] == ["A", "B"]
    assert turns(events) == turns(streamed) == [said(K01)]
    assert [type(event) for event in events[1:4]] == [SpeechStarted, SpeechEnded, Transcript]
    assert (form(there)["response_format"], form(there)["chunking_strategy"]) == ("diarized_json", "auto")


async def test_a_stream_of_words_is_told_as_it_grows() -> None:
    async with upstream() as (provider, there):
        events = await heard(provider, "gpt-4o-transcribe", *pieces(K01), Commit())
    partials = [event.text for event in events if isinstance(event, Transcript) and not event.final]
    assert partials[0] == said(K01).split()[0]
    assert partials[-1] == said(K01)
    assert form(there)["stream"] == "true"


async def test_a_commit_of_nothing_asks_nobody() -> None:
    async with upstream() as (provider, there):
        events = await heard(provider, "whisper-1", Commit(), *pieces(K01), Clear(), Commit())
    assert [(final.text, final.ends_turn) for final in finals(events)] == [("", True), ("", True)]
    assert not there.received


def test_a_long_turn_is_cut_where_it_is_quiet_and_nothing_is_lost() -> None:
    loud, quiet = tone(300, 1.0, RATE).astype("<i2").tobytes(), bytes(RATE * 2 // 2)
    pcm = (loud * 9 + quiet) * 140
    parts = list(cut(5.0, pcm, RATE))
    assert b"".join(each for _, each in parts) == pcm
    assert [piece.last for piece, _ in parts] == [False, False, True]
    assert max(piece.seconds for piece, _ in parts) <= LONGEST
    for (piece, _), (following, _) in itertools.pairwise(parts):
        at = piece.start + piece.seconds - 5.0
        assert following.start == pytest.approx(piece.start + piece.seconds)
        assert 9.0 < at % 9.5 < 9.5


async def test_translations_go_where_they_are_made() -> None:
    request = TranscribeRequest(RATE, "hi", partials=False, translate=True)
    async with upstream() as (provider, there):
        await heard(provider, "whisper-1", *pieces(K01), Commit(), request=request)
        for model in ("gpt-4o-transcribe", "whisper-large-v3-turbo"):
            assert provider.cannot(model, request) == "it does not translate speech"
    assert there.received[0].path == "/v1/audio/translations"
    assert "language" not in form(there)


# what goes wrong


@pytest.mark.parametrize(
    "trouble", ["unauthorized", "no-quota", "rate-limited", "bad-audio", "server-error", "garbage"]
)
@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-transcribe"])
async def test_a_route_with_another_target_shows_nothing_of_it(trouble: str, model: str) -> None:
    async with upstream(Behaviour(trouble=trouble)) as (bad, _), upstream() as (good, _):
        if trouble == "bad-audio":
            with pytest.raises(Refused):
                await answered(route("stt", model, bad, good), UPLOAD, *pieces(K01), Commit())
            return
        events = await answered(route("stt", model, bad, good), UPLOAD, *pieces(K01), Commit())
        assert text_of(events) == said(K01)
        if trouble in ("unauthorized", "no-quota", "rate-limited"):
            assert await transcribed(route("stt", model, bad, good), [K01, K02]) == [said(K01), said(K02)]


async def test_a_language_or_a_voice_that_a_target_lacks_is_the_targets_fault() -> None:
    async with upstream() as (provider, _):
        with pytest.raises(Unavailable):
            await heard(provider, "parakeet", *pieces(K01), Commit(), request=TranscribeRequest(RATE, "xx"))
        with pytest.raises(Unavailable):
            await spoken(provider, "tts-1", *HELLO, request=SpeakRequest(voice="nobody"))
        why = provider.cannot("whisper-1", TranscribeRequest(RATE, "xx-YY"))
        assert why is not None
        assert why.startswith("it does not know the language 'xx-YY'; it knows af, am, ar, ")
        assert provider.cannot("parakeet", TranscribeRequest(RATE, "xx-YY")) is None


async def test_a_wrong_key_is_told_as_one() -> None:
    async with upstream(key=Secret("wrong")) as (provider, _):
        with pytest.raises(Unauthorized):
            await heard(provider, "whisper-1", *pieces(K01), Commit())
        with pytest.raises(Unauthorized):
            await spoken(provider, "tts-1", *HELLO)


# speech


@pytest.mark.parametrize("format", ["pcm", "wav"])
async def test_what_is_spoken_is_samples_and_nothing_else(format: str) -> None:
    async with upstream(speech_format=format) as (provider, there):
        events = await spoken(provider, "gpt-4o-mini-tts", *HELLO, "And goodbye.", Commit())
    expected = b"".join(
        pcm for clause in ("Hello there, old friend.", "And goodbye.") for _, pcm in tones(clause, 24_000)
    )
    assert audio_of(events) == expected
    assert {event.audio.rate for event in events if isinstance(event, AudioDelta)} == {24_000}
    assert sum(isinstance(event, Flushed) for event in events) == 2
    assert [received.json["input"] for received in there.received] == ["Hello there, old friend.", "And goodbye."]
    assert there.opened == 1
    used = events[-2]
    assert isinstance(used, Usage)
    assert used.characters == 36
    assert used.seconds == pytest.approx(len(expected) / 48_000)


async def test_what_was_wished_for_is_sent() -> None:
    request = SpeakRequest(voice="nova", speed=1.5, instructions="Whisper.")
    async with upstream(voice="ash") as (provider, there):
        await spoken(provider, "gpt-4o-mini-tts", *HELLO, request=request)
        await spoken(provider, "tts-1", *HELLO, request=SpeakRequest(instructions="Whisper."))
        await spoken(provider, "tts-1", *HELLO, request=SpeakRequest(voice="voice_123"))
    first, second, third = (received.json for received in there.received)
    assert first == {
        "model": "gpt-4o-mini-tts",
        "input": "Hello there, old friend.",
        "voice": "nova",
        "response_format": "pcm",
        "speed": 1.5,
        "instructions": "Whisper.",
    }
    assert second == {"model": "tts-1", "input": HELLO[0], "voice": "ash", "response_format": "pcm"}
    assert third["voice"] == {"id": "voice_123"}


async def test_a_text_without_a_word_is_flushed_and_not_asked_for() -> None:
    async with upstream() as (provider, there):
        events = await spoken(provider, "tts-1", "...", Commit(), "  ", Commit(), "— !", Commit())
    assert [type(event) for event in events] == [Flushed, Flushed, Flushed, Usage, Finished]
    assert not there.received


def test_a_long_text_is_cut_at_sentences_and_nothing_is_lost() -> None:
    text = "One sentence of several words. " * 300 + "word " * 2000 + "x" * 5000
    parts = cut_text(text, 4096)
    assert max(map(len, parts)) <= 4096
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert parts[0].endswith("words.")


@pytest.mark.parametrize("trouble", ["unauthorized", "no-quota", "rate-limited", "server-error", "garbage", "silence"])
async def test_who_cannot_speak_is_replaced_by_who_can(trouble: str) -> None:
    async with upstream(Behaviour(trouble=trouble)) as (bad, _), upstream() as (good, _):
        # Long enough that silence is no pause.
        long = ("Hello there, old friend, how are you doing today?", Commit())
        events = await answered(route("tts", "tts-1", bad, good), SpeakRequest(), *long)
    assert any(audio_of(events))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"ID3\x04" + bytes(100),
        b"OggS" + bytes(100),
        openai_audio.promised(bytes(1000), 2.0),
        wav_header(24_000)[:20],
    ],
)
async def test_what_is_no_speech_or_half_of_it_is_a_failure(answer: bytes) -> None:
    async with Upstream(bytes_as_they_are(answer, content_type="audio/wav")) as there:
        async with closing(openai_compatible.Provider(Settings("acme", there.url, KEY))) as provider:
            with pytest.raises(Unavailable):
                await spoken(provider, "tts-1", *HELLO)


def test_other_chunks_after_the_samples_are_left_out() -> None:
    samples = Samples("acme")
    data = openai_audio.promised(b"\1\0" * 1200, 0.05) + b"LIST\4\0\0\0abcd"
    audio = [samples.take(data[at : at + 7]) for at in range(0, len(data), 7)]
    samples.end()
    assert b"".join(each.pcm for each in audio if each) == b"\1\0" * 1200


# the realtime socket


async def test_a_live_stream_goes_over_the_socket_and_a_file_does_not() -> None:
    async with live() as (provider, fake):
        events = await heard(provider, "gpt-4o-transcribe", *pieces(K01), Commit(), *pieces(K02), Commit())
        with pytest.raises(ProviderError):  # there is no HTTP there
            await heard(provider, "gpt-4o-transcribe", *pieces(K01), Commit(), request=UPLOAD)
    assert len(turns(events)) == 2
    assert all(turns(events))
    assert any(isinstance(event, Transcript) and not event.final for event in events)
    session, *_ = fake.sessions
    assert (session.path, session.query) == ("/v1/realtime", {"intent": "transcription"})
    assert session.said[0]["session"] == {
        "type": "transcription",
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "transcription": {"model": "gpt-4o-transcribe"},
                "turn_detection": None,
            }
        },
    }


async def test_commits_of_nothing_keep_their_place() -> None:
    sound = Audio(tone(300, 1.0, RATE).tobytes(), RATE)
    async with live() as (provider, _):
        events = await heard(
            provider, "gpt-4o-transcribe", Commit(), sound, Commit(), Commit(), sound, Clear(), Commit()
        )
    assert turns(events) == ["", "one two", "", ""]
    assert isinstance(events[-1], Finished)


async def test_where_the_provider_decides_turns_it_says_when_they_begin_and_end() -> None:
    request = TranscribeRequest(RATE, turns="server")
    async with live() as (provider, fake):
        events = await heard(
            provider, "gpt-4o-transcribe", *pieces(K01, quiet=0.6), *pieces(K02, quiet=0.6), request=request
        )
        assert provider.cannot("gpt-4o-transcribe", request) is None
    assert fake.sessions[0].said[0]["session"]["audio"]["input"]["turn_detection"] == {"type": "server_vad"}
    started = [event.at for event in events if isinstance(event, SpeechStarted)]
    ended = [event.at for event in events if isinstance(event, SpeechEnded)]
    assert len(started) == len(ended) > 1
    assert len([turn for turn in turns(events) if turn]) == len(ended)
    assert isinstance(events[-1], Finished)


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [("unauthorized", Unauthorized), ("unknown-model", Unavailable), ("fails", Unavailable), ("garbage", Unavailable)],
)
async def test_what_fails_after_the_upgrade_is_told(trouble: str, kind: type[ProviderError]) -> None:
    async with live(Behaviour(trouble=trouble)) as (provider, _):
        with pytest.raises(kind):
            await heard(provider, "gpt-4o-transcribe", *pieces(K01), Commit())


async def test_a_socket_that_dies_in_mid_utterance_costs_no_word() -> None:
    async with live(Behaviour(drop_after=1.0, times=2)) as (dies, first), live() as (lives, _):
        targets: list[str] = []
        texts = await transcribed(route("stt", "gpt-4o-transcribe", dies, lives), [K01, K02], targets)
    async with live() as (lives, _):
        assert texts == await transcribed(route("stt", "gpt-4o-transcribe", lives), [K01, K02])
    assert first.sessions
    assert len(targets) > 1


async def test_a_session_that_lasted_long_enough_is_followed_by_another_at_the_end_of_a_turn() -> None:
    fake = OpenAIRealtime()
    sound = Audio(tone(300, 1.0, RATE).tobytes(), RATE)
    async with fake.running() as url:
        own = Own(Settings("acme", None, KEY), url.replace("ws", "http") + "/v1")
        inputs = Channel[Audio | Commit]()
        for item in (sound, Commit(), sound, sound, Commit()):
            inputs.put(item)
        inputs.close()
        events = [
            event
            async for event in listen(own, "gpt-4o-transcribe", TranscribeRequest(RATE), inputs.reader(), longest=0.0)
        ]
        await own.aclose()
    assert len(fake.sessions) >= 2
    assert turns(events) == ["one two", "one two three four"]
    assert sum(isinstance(event, Ready) for event in events) == 1
    assert sum(isinstance(event, Finished) for event in events) == 1


# evidence


@pytest.mark.needs("shared")
async def test_a_recorded_transcript_and_recorded_speech(shared: Path) -> None:
    folder = shared / "recordings" / "audio"
    _, _, answer = (folder / "openai_voice_pipeline.1.http").read_bytes().partition(b"### RESPONSE")
    body = answer.partition(b"\n\n")[2]
    pcm = (folder / "openai_voice_pipeline.3.body.bin").read_bytes()
    asked = (folder / "openai_voice_pipeline.3.http").read_bytes().partition(b"\n\n")[2].partition(b"### RESPONSE")[0]
    recorded = orjson.loads(asked)
    async with Upstream(bytes_as_they_are(body, content_type="application/json")) as there:
        async with closing(openai.Provider(Settings("acme", there.url, KEY))) as provider:
            events = await heard(provider, "gpt-4o-transcribe", *pieces(K01), Commit(), request=UPLOAD)
            there.play(bytes_as_they_are(pcm, 200, 4097, content_type="audio/pcm"))
            request = SpeakRequest(voice=recorded["voice"], instructions=recorded["instructions"])
            speech = await spoken(provider, recorded["model"], recorded["input"], Commit(), request=request)
    assert turns(events) == ["あたし"]
    used = next(event for event in events if isinstance(event, Usage))
    assert (used.input_tokens, used.output_tokens, used.audio_input_tokens) == (1, 5, 1)
    assert audio_of(speech) == pcm
    assert there.received[1].json == recorded


async def test_the_official_client_takes_the_fake_for_openai(speech: Path) -> None:
    """The fake's shapes, by the types of the client; its socket by the client's realtime connection."""
    async with openai_audio.running() as there, OpenAIRealtime().running() as url:
        official = client.AsyncOpenAI(api_key="key", base_url=there.url, websocket_base_url=f"{url}/v1", max_retries=0)
        async with official:
            file = speech / f"{K01}.wav"
            create: Any = official.audio.transcriptions.create
            verbose = await create(
                model="whisper-1", file=file, response_format="verbose_json", timestamp_granularities=["word"]
            )
            assert verbose.words
            assert " ".join(word.word for word in verbose.words) == verbose.text == said(K01)
            diarized = await create(
                model="gpt-4o-transcribe-diarize", file=file, response_format="diarized_json", chunking_strategy="auto"
            )
            assert diarized.segments[0].speaker == "A"
            stream = await create(model="gpt-4o-transcribe", file=file, stream=True)
            told = [event async for event in stream]
            assert (told[-1].type, getattr(told[-1], "text", "")) == ("transcript.text.done", said(K01))
            answer = await official.audio.speech.create(
                model="tts-1", voice="alloy", input="Hello.", response_format="pcm"
            )
            assert len(answer.read()) > 1000
            with pytest.raises(client.BadRequestError):
                await official.audio.speech.create(model="tts-1", voice="nobody", input="Hello.")
            async with official.realtime.connect(extra_query={"intent": "transcription"}) as connection:
                assert (await connection.recv()).type == "session.created"


def test_codes_of_languages() -> None:
    assert [code(tag) for tag in ("en-IN", "hi", "fil-PH", "nb_NO", "zh-Hant-TW")] == ["en", "hi", "tl", "no", "zh"]
