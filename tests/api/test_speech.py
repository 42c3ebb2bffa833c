"""Speech through the official client: every format, streamed as it is made, never half of it as if it were whole."""

from __future__ import annotations

import asyncio
import base64
import wave
from pathlib import Path
from typing import Literal

import httpx
import openai
import orjson
import pytest

from gateway.api.speech import sentences
from gateway.contract.audio import Audio
from gateway.contract.encoding import decode
from gateway.contract.errors import Unavailable
from gateway.contract.events import AudioDelta, Finished, Flushed, Usage
from tests.api.stage import Speaks, stage

pytestmark = pytest.mark.wire

ResponseFormat = Literal["wav", "pcm", "mp3", "opus", "flac", "aac"]
TYPES: dict[ResponseFormat, str] = {
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
}


@pytest.fixture
def spoken(speech: Path) -> list[AudioDelta]:
    """An utterance in pieces of 0.2 s, at a rate that is nobody's favourite."""
    with wave.open(str(speech / "k01_kokoro_af_heart.wav")) as file:
        pcm = file.readframes(file.getnframes())[8820:]  # it begins with silence, which commits nobody
    return [AudioDelta(Audio(pcm[at : at + 8820], 22_050)) for at in range(0, len(pcm), 8820)]


def seconds(pieces: list[AudioDelta]) -> float:
    return sum(piece.audio.seconds for piece in pieces)


@pytest.mark.parametrize("format", TYPES)
async def test_every_format_decodes_to_what_was_said(spoken: list[AudioDelta], format: ResponseFormat) -> None:
    async with stage(say=Speaks(*spoken)) as gateway:
        answer = await gateway.openai.audio.speech.create(
            model="say", voice="anna", input="Hello there.", response_format=format
        )
        data = answer.read()
    assert answer.response.headers["content-type"] == TYPES[format]
    assert answer.response.headers["x-trunkline-target"] == "say-speaks/m"
    length = len(data) / 48_000 if format == "pcm" else decode(data, 16_000, 60.0).seconds
    assert length == pytest.approx(seconds(spoken), abs=0.15)


async def test_mp3_is_what_one_gets_without_asking(spoken: list[AudioDelta]) -> None:
    async with stage(say=Speaks(*spoken)) as gateway:
        answer = await gateway.openai.audio.speech.create(model="say", voice="anna", input="Hello.")
        assert answer.response.headers["content-type"] == "audio/mpeg"


async def test_it_comes_while_it_is_made(spoken: list[AudioDelta]) -> None:
    speaks = Speaks(spoken[0], 30.0)
    async with stage(say=speaks) as gateway:
        request = {"model": "say", "input": "Hello.", "response_format": "wav"}
        async with gateway.http.stream("POST", "/v1/audio/speech", json=request) as response:
            first = await anext(response.aiter_bytes())
            assert first.startswith(b"RIFF")
            assert not speaks.closed.is_set()
        await asyncio.wait_for(speaks.closed.wait(), 1.0)


async def test_the_provider_gets_the_text_sentence_by_sentence_and_the_wishes_with_it(spoken: list[AudioDelta]) -> None:
    speaks = Speaks(*spoken)
    async with stage(say=speaks) as gateway:
        await gateway.openai.audio.speech.create(
            model="say",
            voice={"id": "anna"},
            input="The first sentence says something. The second one says something else.",
            instructions="Whisper.",
            speed=1.5,
        )
    asked = speaks.asked[0]
    assert (asked.voice, asked.speed, asked.instructions, asked.rate) == ("anna", 1.5, "Whisper.", 24_000)
    assert speaks.said == ["The first sentence says something. ", "The second one says something else."]


def test_no_text_is_lost_when_it_is_cut() -> None:
    text = "Dr. Smith paid 3.50. " * 200 + "word " * 400 + "End"
    pieces = sentences(text)
    assert "".join(pieces) == text
    assert max(map(len, pieces)) < 500


async def test_as_server_sent_events(spoken: list[AudioDelta]) -> None:
    says = Speaks(*spoken, Usage(input_tokens=3, output_tokens=40))
    async with stage(say=says) as gateway:
        response = await gateway.http.post(
            "/v1/audio/speech",
            json={"model": "say", "input": "Hello.", "response_format": "pcm", "stream_format": "sse"},
        )
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [orjson.loads(line[6:]) for line in response.text.split("\n\n") if line]
    deltas, done = events[:-1], events[-1]
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    data = b"".join(base64.b64decode(event["audio"]) for event in deltas)
    assert len(data) / 48_000 == pytest.approx(seconds(spoken), abs=0.01)
    assert done == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 3, "output_tokens": 40, "total_tokens": 43},
    }


async def test_before_the_first_audio_a_failure_is_an_error() -> None:
    async with stage(say=Speaks(Unavailable("502", "speaks", 502))) as gateway:
        with pytest.raises(openai.InternalServerError, match="say-speaks/m: 502"):
            await gateway.openai.audio.speech.create(model="say", voice="anna", input="Hello.")


async def test_before_the_first_audio_another_target_speaks(spoken: list[AudioDelta]) -> None:
    async with stage(say=(Speaks(Unavailable("502", "speaks", 502)), Speaks(*spoken))) as gateway:
        answer = await gateway.openai.audio.speech.create(
            model="say", voice="anna", input="Hello.", response_format="wav"
        )
        assert decode(answer.read(), 16_000, 60.0).seconds == pytest.approx(seconds(spoken), abs=0.1)
    assert answer.response.headers["x-trunkline-attempts"] == "2"


async def test_after_the_first_audio_a_failure_cuts_the_connection(spoken: list[AudioDelta]) -> None:
    async with stage(say=Speaks(spoken[0], Unavailable("gone", "speaks"))) as gateway:
        with pytest.raises(httpx.RemoteProtocolError):
            await gateway.http.post(
                "/v1/audio/speech", json={"model": "say", "input": "Hello.", "response_format": "wav"}
            )


async def test_after_the_first_audio_a_failure_is_an_event_where_there_are_events(spoken: list[AudioDelta]) -> None:
    async with stage(say=Speaks(spoken[0], Unavailable("gone", "speaks"))) as gateway:
        response = await gateway.http.post(
            "/v1/audio/speech", json={"model": "say", "input": "Hello.", "stream_format": "sse"}
        )
    assert '"code":"upstream_failed"' in response.text
    assert "speech.audio.done" not in response.text


async def test_a_long_piece_does_not_hold_up_the_loop() -> None:
    long = AudioDelta(Audio(b"\x00\x10" * 720_000, 24_000))
    async with stage(say=Speaks(long, Flushed(), Finished())) as gateway:
        answer = await gateway.openai.audio.speech.create(
            model="say", voice="anna", input="Hello.", response_format="aac"
        )
    assert decode(answer.read(), 16_000, 60.0).seconds == pytest.approx(30.0, abs=0.1)
