"""`/v1/realtime?intent=transcription`: a session that only hears, as LiveKit's and pipecat's clients use it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import openai
import pytest

from gateway.contract.errors import Unavailable
from tests.api.call_gateway import CallGateway, call_gateway
from tests.api.realtime_caller import RATE, RealtimeCaller, realtime
from tests.sounds import tone

pytestmark = pytest.mark.wire

VOICE = tone(300, 0.8, RATE)
QUIET = np.zeros(round(0.7 * RATE), np.int16)
COMPLETED = "conversation.item.input_audio_transcription.completed"
LIVEKIT = {
    "type": "transcription",
    "audio": {
        "input": {
            "format": {"rate": 24000, "type": "audio/pcm"},
            "transcription": {"language": "en", "model": "gpt-4o-mini-transcribe"},
            "turn_detection": {
                "type": "server_vad",
                "prefix_padding_ms": 600,
                "silence_duration_ms": 350,
                "threshold": 0.5,
            },
        }
    },
}
"""What LiveKit's plugin was recorded to send."""
KINDS = {
    "session.created",
    "session.updated",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "conversation.item.input_audio_transcription.delta",
    COMPLETED,
}


def hearing(gateway: CallGateway, model: str | None = "gpt-4o-mini-transcribe") -> Any:
    query = {"intent": "transcription"}
    return realtime(gateway.url, extra_query=query, **({"model": model} if model else {"model": openai.omit}))


async def test_turns_by_voice_activity() -> None:
    async with call_gateway(["hello there you", "and again"]) as gateway, hearing(gateway) as caller:
        created = await caller.next()
        assert created["session"]["object"] == "realtime.transcription_session"
        assert "instructions" not in created["session"]
        await caller.send(type="session.update", session=LIVEKIT)
        updated = (await caller.until("session.updated"))["session"]["audio"]["input"]
        assert updated["transcription"]["model"] == "gpt-4o-mini-transcribe"
        assert "create_response" not in updated["turn_detection"]
        for text in ("hello there you", "and again"):
            await caller.append(np.concatenate([VOICE, QUIET]), pause=0.03)
            told = await caller.until(COMPLETED)
            assert told["transcript"] == text
            assert told["usage"]["type"] == "duration"
            assert told["usage"]["seconds"] > 0.7
            assert told["item_id"] == caller.of("input_audio_buffer.committed")[-1]["item_id"]
        deltas = [event["delta"] for event in caller.of("conversation.item.input_audio_transcription.delta")]
        assert "".join(deltas) == "hello there youand again"
        assert set(caller.types) <= KINDS  # answers, rate limits and the like are of other sessions


async def test_turns_that_the_client_commits() -> None:
    async with call_gateway(["one", "two"]) as gateway, hearing(gateway, "listen") as caller:
        session = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
        await caller.send(type="session.update", session=session)
        for number, text in enumerate(("one", "two")):
            await caller.append(VOICE)
            await caller.send(type="input_audio_buffer.commit")
            assert (await caller.until(COMPLETED))["transcript"] == text
            assert abs(gateway.ear.heard[number] - 0.8) < 0.021
        assert not caller.of("input_audio_buffer.speech_started")


async def test_what_was_cleared_is_not_transcribed() -> None:
    async with call_gateway(["the rest"]) as gateway, hearing(gateway) as caller:
        session = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
        await caller.send(type="session.update", session=session)
        await caller.append(np.tile(VOICE, 3))
        await caller.send(type="input_audio_buffer.clear")
        await caller.until("input_audio_buffer.cleared")
        await caller.append(VOICE)
        await caller.send(type="input_audio_buffer.commit")
        assert (await caller.until(COMPLETED))["transcript"] == "the rest"
        assert abs(gateway.ear.heard[0] - 0.8) < 0.021


async def test_the_language_and_the_words_to_expect_reach_the_model() -> None:
    async with call_gateway(["namaste"]) as gateway, hearing(gateway, None) as caller:
        wanted = {"model": "agent", "language": "hi", "prompt": "A greeting.", "keywords": ["Ravi"]}
        heard = {"transcription": wanted, "turn_detection": None}
        await caller.send(type="session.update", session={"type": "transcription", "audio": {"input": heard}})
        await caller.append(VOICE)
        await caller.send(type="input_audio_buffer.commit")
        await caller.until(COMPLETED)
        asked = gateway.ear.asked[-1]
        assert (asked.language, asked.prompt, asked.keywords) == ("hi", "A greeting.", ("Ravi",))
        assert gateway.ear.open == 1


async def test_a_turn_that_nobody_could_transcribe_is_told_as_failed() -> None:
    failing: list[Any] = [Unavailable("down", "ear")] * 8
    async with call_gateway(failing) as gateway, hearing(gateway) as caller:
        await manual(caller)
        await caller.append(VOICE)
        await caller.send(type="input_audio_buffer.commit")
        failed = await caller.until("conversation.item.input_audio_transcription.failed", within=10)
        assert failed["error"]["code"] == "transcription_failed"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"type": "response.create"}, "invalid_value"),
        ({"type": "session.update", "session": {"type": "realtime"}}, "invalid_value"),
        ({"type": "session.update", "session": {"type": "transcription", "instructions": "x"}}, "unknown_parameter"),
        ({"type": "transcription_session.update", "session": {}}, "invalid_value"),
    ],
)
async def test_what_such_a_session_has_not_is_refused(sent: dict[str, Any], code: str) -> None:
    async with call_gateway() as gateway, hearing(gateway) as caller:
        await caller.connection.send_raw(json.dumps(sent))
        assert (await caller.until("error"))["error"]["code"] == code


async def manual(caller: RealtimeCaller) -> None:
    session = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
    await caller.send(type="session.update", session=session)
