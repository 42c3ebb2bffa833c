"""A call of the real program with the embedded models, interrupted: the answer stops at once, and the history knows where."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.caller import RATE, Caller, Samples
from tests.gateway_process import gateway_process

pytestmark = [pytest.mark.models, pytest.mark.wire]

STOPPED_WITHIN = 0.4
"""Seconds from the interruption's first voiced sample to the last of the answer's: what issue 2 asks for."""
INTO_THE_ANSWER = 0.7


async def test_speech_over_the_answer_stops_it_and_the_history_ends_with_what_was_heard(speech: Path) -> None:
    async with gateway_process() as gateway, Caller(gateway.url) as caller:
        said = caller.say(speech / "k01_kokoro_af_heart.wav")
        heard = caller.heard
        began = await heard.until(lambda: heard.voice_after(said.voice_ended), within=20)

        over = caller.say(speech / "k02_kokoro_am_michael.wav", at=began + INTO_THE_ANSWER)
        cleared = await caller.until("output_audio_buffer.cleared", within=10)
        caller.send("gateway", {"type": "history"})
        items = (await caller.until("history", "gateway")).body["items"]

        # Nothing of the old answer comes later: what is voiced next is the new one.
        again = await caller.until("output_audio_buffer.started", within=30, where=_not(cleared.body["response_id"]))
        stopped = heard.voice_before(again.at - 0.1)
        assert stopped - over.voice_began <= STOPPED_WITHIN

        assert [item["role"] for item in items] == ["user", "assistant"]
        assert items[-1]["interrupted"]
        whole = _written(caller, cleared.body["response_id"])
        assert whole.startswith(items[-1]["text"])
        assert len(items[-1]["text"]) < len(whole)
        transcript = await _transcribed(gateway.url, heard.between(began - 0.2, stopped + 0.2))
        assert abs(len(items[-1]["text"].split()) - len(transcript.split())) <= 2, (items[-1]["text"], transcript)


def _not(response_id: str) -> Callable[[dict[str, Any]], bool]:
    return lambda body: body["response_id"] != response_id


def _written(caller: Caller, response_id: str) -> str:
    """All that the model wrote of an answer."""
    deltas = caller.of("oai-events", "response.output_audio_transcript.delta")
    return "".join(each.body["delta"] for each in deltas if each.body["response_id"] == response_id)


async def _transcribed(url: str, samples: Samples) -> str:
    """By the project's own STT."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(RATE)
        written.writeframes(samples.tobytes())
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        parts = {"file": ("heard.wav", file.getvalue(), "audio/wav")}
        answer = await client.post("/v1/audio/transcriptions", data={"model": "listen"}, files=parts)
        answer.raise_for_status()
        return str(answer.json()["text"])
