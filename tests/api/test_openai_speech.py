"""The official client on everything of speech, with an upstream of OpenAI's shape behind the routes (a fake of it on a socket)."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from gateway.contract.encoding import decode
from gateway.contract.events import Events
from gateway.contract.provider import Settings
from gateway.contract.requests import Input, Request, SpeakRequest, TranscribeRequest
from providers.openai_compatible import Provider
from tests.api.stage import Gateway, Hears, stage
from tests.fakes import openai_audio
from tests.fakes.base import Behaviour
from tests.fakes.routes import KEY, UTTERANCES, said
from tests.fakes.speaking import spoken
from tests.upstreams import Upstream

pytestmark = pytest.mark.wire
K01 = UTTERANCES[0]
SAID = said(K01)


class Told:
    """Hears as the provider does; the target `m` of the stage is this model upstream."""

    model = "whisper-1"

    def __init__(self, settings: Settings) -> None:
        self._provider = Provider(settings)

    def cannot(self, model: str, request: Request) -> str | None:
        return self._provider.cannot(self.model, request)

    def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        return self._provider.transcribe(self.model, request, inputs)

    async def aclose(self) -> None:
        await self._provider.aclose()


class TellsApart(Told):
    model = "gpt-4o-transcribe-diarize"


class Streams(Told):
    model = "gpt-4o-transcribe"


class Speaking:
    def __init__(self, settings: Settings) -> None:
        self._provider = Provider(settings)

    def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        return self._provider.speak("gpt-4o-mini-tts", request, inputs)

    async def aclose(self) -> None:
        await self._provider.aclose()


@pytest.fixture
def path(speech: Path) -> Path:
    return speech / f"{K01}.wav"


@asynccontextmanager
async def listening(
    kind: type[Told] = Told, behaviour: Behaviour | None = None
) -> AsyncIterator[tuple[Gateway, Upstream]]:
    async with openai_audio.running(behaviour) as there:
        async with stage(listen=kind(Settings("up", there.url, KEY))) as gateway:
            yield gateway, there


@pytest.mark.parametrize("kind", [Told, TellsApart, Streams])
async def test_json_and_text(path: Path, kind: type[Told]) -> None:
    async with listening(kind) as (gateway, _):
        create: Any = gateway.openai.audio.transcriptions.create
        raw = await gateway.openai.audio.transcriptions.with_raw_response.create(model="listen", file=path)
        assert raw.parse().text == SAID
        assert raw.headers["x-trunkline-cost-usd"] == "unknown"
        assert await create(model="listen", file=path, response_format="text", include=["logprobs"]) == f"{SAID}\n"


async def test_words_and_segments_as_asked_for(path: Path) -> None:
    async with listening() as (gateway, there):
        create: Any = gateway.openai.audio.transcriptions.create
        both, words, segments = [
            await create(model="listen", file=path, response_format="verbose_json", timestamp_granularities=parts)
            for parts in (["word", "segment"], ["word"], ["segment"])
        ]
        srt = await create(model="listen", file=path, response_format="srt")
        vtt = await create(model="listen", file=path, response_format="vtt")
    assert " ".join(word.word for word in both.words) == " ".join(word.word for word in words.words) == SAID
    assert (words.segments, segments.words) == (None, None)
    assert " ".join(each.text for each in segments.segments) == SAID
    assert [(a.start, a.end) for a in both.segments] == [(a.start, a.end) for a in segments.segments]
    assert both.segments[0].end <= both.segments[1].start + 0.001
    assert srt.count(" --> ") == vtt.count(" --> ") == len(both.segments)
    assert b'"word"' not in there.received[2].body


async def test_speakers(path: Path) -> None:
    async with listening(TellsApart) as (gateway, _):
        create: Any = gateway.openai.audio.transcriptions.create
        answer = await create(model="listen", file=path, response_format="diarized_json", chunking_strategy="auto")
        stream = await create(model="listen", file=path, response_format="diarized_json", stream=True)
        events = [event async for event in stream]
    assert answer.text == SAID
    assert [each.speaker for each in answer.segments][:3] == ["A", "B", "A"]
    assert answer.segments[1].start > answer.segments[0].start
    told = [event for event in events if event.type == "transcript.text.segment"]
    assert [each.speaker for each in told][:3] == ["A", "B", "A"]
    assert " ".join(each.text for each in told) == events[-1].text == SAID


async def test_speakers_and_translations_where_nobody_can_are_a_clear_error(path: Path) -> None:
    async with stage(listen=Hears()) as gateway:
        create: Any = gateway.openai.audio.transcriptions.create
        with pytest.raises(openai.BadRequestError, match="it does not tell speakers apart"):
            await create(model="listen", file=path, response_format="diarized_json")
        with pytest.raises(openai.BadRequestError, match="it does not translate speech"):
            await gateway.openai.audio.translations.create(model="listen", file=path)


async def test_a_language_that_nobody_speaks_is_a_clear_error_with_those_that_are(path: Path) -> None:
    async with listening() as (gateway, there):
        with pytest.raises(
            openai.BadRequestError, match="does not know the language 'xx'; it knows af, am, ar"
        ) as caught:
            await gateway.openai.audio.transcriptions.create(model="listen", file=path, language="xx")
    assert caught.value.param == "language"
    assert not there.received


async def test_a_stream_of_what_is_settled(path: Path) -> None:
    async with listening(Streams) as (gateway, there):
        stream = await gateway.openai.audio.transcriptions.create(model="listen", file=path, stream=True)
        events: list[Any] = [event async for event in stream]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == SAID
    assert events[-1].usage.total_tokens == 21
    assert b"stream" in there.received[0].body


async def test_translations_in_every_form(path: Path) -> None:
    async with listening() as (gateway, there):
        create: Any = gateway.openai.audio.translations.create
        assert (await create(model="listen", file=path)).text == SAID
        assert await create(model="listen", file=path, response_format="text") == f"{SAID}\n"
        verbose = await create(model="listen", file=path, response_format="verbose_json")
        assert (verbose.language, verbose.text) == ("english", SAID)
        assert verbose.segments
        assert (await create(model="listen", file=path, response_format="vtt")).startswith("WEBVTT")
        with pytest.raises(openai.BadRequestError):
            await create(model="listen", file=path, response_format="diarized_json")
    assert {received.path for received in there.received} == {"/v1/audio/translations"}


@pytest.mark.parametrize("field", ["timestamp_granularities", "include"])
async def test_what_is_not_known_is_named(path: Path, field: str) -> None:
    async with listening() as (gateway, _):
        create: Any = gateway.openai.audio.transcriptions.create
        with pytest.raises(openai.BadRequestError, match=field):
            await create(model="listen", file=path, **{field: ["nonsense"]})


async def test_a_text_longer_than_any_request_is_spoken_by_one_voice() -> None:
    text = "A sentence of several words to be said. " * 130
    async with openai_audio.running() as there:
        async with stage(say=Speaking(Settings("up", there.url, KEY))) as gateway:
            answer = await gateway.openai.audio.speech.create(
                model="say", voice="nova", input=text, response_format="pcm", speed=1.25, instructions="Calmly."
            )
            data = answer.read()
    assert len(data) == sum(len(pcm) for _, pcm in spoken(text, 24_000))
    assert {received.json["voice"] for received in there.received} == {"nova"}
    assert {(received.json["speed"], received.json["instructions"]) for received in there.received} == {
        (1.25, "Calmly.")
    }
    assert " ".join(received.json["input"] for received in there.received) == text.strip()
    assert there.opened == 1


@pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
async def test_speech_in_every_format_bare_and_in_events(format: Any) -> None:
    async with openai_audio.running() as there:
        async with stage(say=Speaking(Settings("up", there.url, KEY))) as gateway:
            create = gateway.openai.audio.speech.create
            bare = (await create(model="say", voice="nova", input="Hello there.", response_format=format)).read()
            told = await create(
                model="say", voice="nova", input="Hello there.", response_format=format, stream_format="sse"
            )
            events = [line.removeprefix("data: ") for line in told.read().decode().split("\n\n") if line]
    data = [orjson.loads(event) for event in events]
    assert data[-1]["type"] == "speech.audio.done"
    inside = b"".join(base64.b64decode(event["audio"]) for event in data[:-1])
    length = sum(len(pcm) for _, pcm in spoken("Hello there.", 24_000)) / 48_000
    for each in (bare, inside):
        seconds = len(each) / 48_000 if format == "pcm" else decode(each, 16_000, 60.0).seconds
        assert seconds == pytest.approx(length, abs=0.15)
