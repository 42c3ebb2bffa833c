"""Transcription through the official client: every container in, every form of text out."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.contract.audio import Audio
from gateway.contract.errors import Unavailable
from gateway.contract.events import Finished, SpeechEnded, SpeechStarted, Transcript, Usage, Word
from tests.api.stage import Hears, stage
from tests.contract.test_encoding import CONTAINERS, contained

pytestmark = pytest.mark.wire

TWICE = (
    Transcript("Hel"),
    Transcript("Hello there.", final=True, words=(Word("Hello", 0.5, 0.9), Word("there.", 1.0, 1.4))),
    Transcript("General", final=False),
    Transcript(
        "General Kenobi.", final=True, ends_turn=True, words=(Word("General", 2.0, 2.5), Word("Kenobi.", 2.5, 3.1))
    ),
    Usage(seconds=4.7),
    Finished(),
)


@pytest.fixture
def path(speech: Path) -> Path:
    return speech / "k01_kokoro_af_heart.wav"


@pytest.fixture
def utterance(path: Path) -> Audio:
    with wave.open(str(path)) as file:
        return Audio(file.readframes(file.getnframes()), file.getframerate())


@pytest.mark.parametrize("container", CONTAINERS)
async def test_every_container_reaches_the_provider_as_speech(utterance: Audio, container: str) -> None:
    hears = Hears()
    async with stage(listen=hears) as gateway:
        answer = await gateway.openai.audio.transcriptions.create(
            model="listen", file=(f"speech.{container}", contained(utterance, container))
        )
    assert answer.text == "hello"
    assert hears.seconds == pytest.approx(utterance.seconds, abs=0.15)
    assert {audio.rate for audio in hears.heard} == {16_000}


async def test_json_has_the_text_and_what_it_cost(path: Path) -> None:
    async with stage(listen=Hears(*TWICE)) as gateway:
        raw = await gateway.openai.audio.transcriptions.with_raw_response.create(model="listen", file=path)
        answer: Any = raw.parse()
    assert answer.text == "Hello there. General Kenobi."
    assert (answer.usage.type, answer.usage.seconds) == ("duration", 4.7)
    assert raw.headers["x-trunkline-target"] == "listen-hears/m"


async def test_text_is_text(path: Path) -> None:
    async with stage(listen=Hears(*TWICE)) as gateway:
        answer = await gateway.openai.audio.transcriptions.create(model="listen", file=path, response_format="text")
    assert str(answer) == "Hello there. General Kenobi.\n"


async def test_verbose_json_has_segments_and_words(path: Path) -> None:
    async with stage(listen=Hears(*TWICE)) as gateway:
        answer = await gateway.openai.audio.transcriptions.create(
            model="listen",
            file=path,
            response_format="verbose_json",
            language="en",
            timestamp_granularities=["word", "segment"],
        )
    assert (answer.language, answer.duration) == ("en", 4.7)
    assert answer.segments is not None
    assert [(each.start, each.end, each.text) for each in answer.segments] == [
        (0.5, 1.4, "Hello there."),
        (2.0, 3.1, "General Kenobi."),
    ]
    assert answer.words is not None
    assert [each.word for each in answer.words] == ["Hello", "there.", "General", "Kenobi."]


async def test_subtitles(path: Path) -> None:
    async with stage(listen=Hears(*TWICE)) as gateway:
        srt = await gateway.openai.audio.transcriptions.create(model="listen", file=path, response_format="srt")
        vtt = await gateway.openai.audio.transcriptions.create(model="listen", file=path, response_format="vtt")
    assert str(srt).startswith("1\n00:00:00,500 --> 00:00:01,400\nHello there.\n\n2\n00:00:02,000 -->")
    assert str(vtt).startswith("WEBVTT\n\n00:00:00.500 --> 00:00:01.400\nHello there.\n\n")


async def test_streaming_gives_what_is_settled(path: Path) -> None:
    async with stage(listen=Hears(*TWICE)) as gateway:
        stream = await gateway.openai.audio.transcriptions.create(model="listen", file=path, stream=True)
        events: list[Any] = [event async for event in stream]
    assert [event.type for event in events] == [
        "transcript.text.delta",
        "transcript.text.delta",
        "transcript.text.done",
    ]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == "Hello there. General Kenobi."


async def test_the_wishes_reach_the_provider(path: Path) -> None:
    hears = Hears()
    async with stage(listen=hears) as gateway:
        await gateway.openai.audio.transcriptions.create(
            model="listen", file=path, language="de", prompt="Names: Kenobi", temperature=0.2
        )
    asked = hears.asked[0]
    assert (asked.rate, asked.language, asked.prompt, asked.partials) == (16_000, "de", "Names: Kenobi", False)


async def test_silence_is_an_empty_text() -> None:
    hears = Hears(Transcript("", final=True, ends_turn=True), Finished())
    async with stage(listen=hears) as gateway:
        answer = await gateway.openai.audio.transcriptions.create(
            model="listen",
            file=("a.flac", contained(Audio.silence(2.0, 16_000), "flac")),
            response_format="verbose_json",
        )
    assert (answer.text, answer.segments) == ("", [])


async def test_a_failure_is_an_error(path: Path) -> None:
    async with stage(listen=Hears(Unavailable("hung up", "hears"))) as gateway:
        with pytest.raises(openai.InternalServerError, match="hung up") as caught:
            await gateway.openai.audio.transcriptions.create(model="listen", file=path)
        with pytest.raises(openai.InternalServerError, match="hung up"):
            await gateway.openai.audio.transcriptions.create(model="listen", file=path, stream=True)
    assert caught.value.status_code == 503


async def test_without_word_times_segments_share_the_time(path: Path) -> None:
    finals = Hears(
        SpeechStarted(0.5),
        SpeechEnded(1.5),
        Transcript("One.", final=True),
        Transcript("Two two.", final=True),
        Transcript("Three three three.", final=True, ends_turn=True),
        Finished(),
    )
    async with stage(listen=finals) as gateway:
        answer = await gateway.openai.audio.transcriptions.create(
            model="listen", file=path, response_format="verbose_json"
        )
    assert answer.segments is not None
    starts = [each.start for each in answer.segments]
    assert starts[:2] == [0.5, 1.5]
    assert 1.5 < starts[2] < 3.0
    assert answer.segments[-1].end == 4.7
