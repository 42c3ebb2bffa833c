"""The vendor's SDK against our fake: what the fake says is what the SDK reads. Shapes from the SDK and others' probes."""

from __future__ import annotations

import base64

import pytest
from sarvamai import AsyncSarvamAI
from sarvamai.core.api_error import ApiError
from sarvamai.environment import SarvamAIEnvironment
from sarvamai.types import (
    AudioOutput,
    EventResponse,
    RealtimeAudioInput,
    RealtimeEnd,
    RealtimePing,
    RealtimeSpeechEnd,
    RealtimeSpeechStart,
)

from gateway.contract.wav import wav_header
from tests.conformance.speech import recorded, words
from tests.evidence import rests_on
from tests.fakes.base import Behaviour
from tests.fakes.sarvam import Sarvam

# The SDK connects by websockets' old client.
pytestmark = [pytest.mark.wire, rests_on("sarvam"), pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning")]
PIECE = 6400


def client(url: str) -> AsyncSarvamAI:
    http = url.replace("ws:", "http:")
    return AsyncSarvamAI(
        api_subscription_key="any", environment=SarvamAIEnvironment(base=http, creative=http, production=url)
    )


def encoded() -> list[str]:
    pcm = recorded().pcm
    return [base64.b64encode(pcm[at : at + PIECE]).decode() for at in range(0, len(pcm), PIECE)]


async def test_it_transcribes_in_real_time_with_the_vendors_client() -> None:
    async with Sarvam().running() as url:
        connecting = client(url).speech_to_text_realtime_streaming.connect(
            language_code="auto", model="saaras:v3-realtime", endpointing="manual", return_timestamps="true"
        )
        async with connecting as socket:
            await socket.send_realtime_ping(RealtimePing())
            await socket.send_realtime_speech_start(RealtimeSpeechStart())
            for piece in encoded():
                await socket.send_realtime_audio_input(RealtimeAudioInput(audio=piece))
            await socket.send_realtime_speech_end(RealtimeSpeechEnd())
            await socket.send_realtime_end(RealtimeEnd())
            events = [event async for event in socket]
    kinds = [event.event for event in events]
    assert kinds[0] == "session.begin"
    assert kinds[-2:] == ["transcript.final", "session.end"]
    assert {"pong", "error", "transcript.partial"} <= set(kinds)
    final = events[-2]
    assert (final.text.split(), final.language, final.utterance_idx) == (words(), "en-IN", 0)
    assert final.end_s == pytest.approx(recorded().seconds, abs=0.1)


async def test_it_transcribes_by_the_older_endpoint_with_the_vendors_client() -> None:
    async with Sarvam().running() as url:
        connecting = client(url).speech_to_text_streaming.connect(
            language_code="unknown", model="saaras:v3", vad_signals="true", input_audio_codec="pcm_s16le"
        )
        async with connecting as socket:
            for piece in encoded():
                await socket.transcribe(audio=piece)
            await socket.flush()
            events = []
            async for event in socket:
                events.append(event)
                if event.type == "data":
                    break
    assert events[0].type == "events"
    assert events[-1].data.transcript.split() == words()


async def test_it_transcribes_a_file_with_the_vendors_client() -> None:
    audio = recorded()
    async with Sarvam().running() as url:
        answer = await client(url).speech_to_text.transcribe(
            file=("a.wav", wav_header(audio.rate, audio.samples) + audio.pcm, "audio/wav"),
            model="saaras:v3",
            with_timestamps=True,
        )
    assert answer.transcript.split() == words()
    assert answer.timestamps is not None
    assert len(answer.timestamps.words) == len(answer.timestamps.start_time_seconds) == 2


async def test_it_speaks_with_the_vendors_client() -> None:
    async with Sarvam().running() as url:
        connecting = client(url).text_to_speech_streaming.connect(model="bulbul:v3", send_completion_event="true")
        async with connecting as socket:
            await socket.configure(
                target_language_code="hi-IN", speaker="shubh", speech_sample_rate=16_000, output_audio_codec="linear16"
            )
            await socket.ping()
            await socket.convert("Hello there.")
            await socket.flush()
            heard = []
            async for event in socket:
                heard.append(event)
                if isinstance(event, EventResponse):
                    break
    assert [type(event) for event in heard] == [AudioOutput, AudioOutput, EventResponse]
    assert all(base64.b64decode(event.data.audio) for event in heard if isinstance(event, AudioOutput))


@pytest.mark.parametrize("trouble", ["unauthorized", "no-quota"])
async def test_its_refusals_are_the_vendors(trouble: str) -> None:
    status = {"unauthorized": 403, "no-quota": 429}[trouble]
    async with Sarvam(Behaviour(trouble=trouble)).running() as url:
        with pytest.raises(ApiError) as error:
            await client(url).speech_to_text.transcribe(
                file=("a.wav", b"RIFF", "audio/wav"), request_options={"max_retries": 0}
            )
    assert error.value.status_code == status
    assert "code" in error.value.body["error"]
