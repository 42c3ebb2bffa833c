"""Recorded sessions of Gemini Live, replayed both ways: what we send where their client sent it, and what comes of the answers."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import orjson
import pytest

from gateway.contract.audio import Audio
from gateway.contract.events import (
    Answered,
    AudioDelta,
    ProviderEvent,
    Ready,
    SpeechEnded,
    SpeechStarted,
    TextDelta,
    ToolCallDelta,
    Transcript,
    Usage,
)
from gateway.contract.messages import Message, Tool
from gateway.contract.requests import ConverseRequest, Input, Respond, ToolResult
from providers import gemini
from tests.conformance.replaying import Json, Line, Replay, holds, recorded, replayed

pytestmark = pytest.mark.wire
MODEL = "gemini-2.5-flash-native-audio-preview-09-2025"


def _kind(frame: Json) -> str:
    return next(iter(frame))


def _content(lines: list[Line], field: str) -> list[Json]:
    said = [line.data.get("serverContent", {}) for line in lines if not line.sent]
    return [each[field] for each in said if field in each]


def _sound(lines: list[Line]) -> bytes:
    parts = [part for turn in _content(lines, "modelTurn") for part in turn["parts"] if "inlineData" in part]
    data = [part["inlineData"]["data"].replace("-", "+").replace("_", "/") for part in parts]
    sound = b"".join(base64.b64decode(each) for each in data)
    return sound[: len(sound) // 2 * 2]


def _said(lines: list[Line], field: str) -> str:
    return "".join(each["text"] for each in _content(lines, field))


async def test_a_spoken_turn() -> None:
    lines = recorded("gemini_audio_in_vad")
    pieces: list[Input] = []
    for line in lines:
        if "realtime_input" in line.data:
            data = line.data["realtime_input"]["audio"]["data"]
            pcm = base64.urlsafe_b64decode(data)
            pieces.append(Audio(pcm[: len(pcm) // 2 * 2], 16_000))
    replay = Replay(lines, _kind, binary=True)
    request = ConverseRequest("Reply in a few words.")
    got = await replayed(gemini.Provider, replay, MODEL, request, pieces, 1)
    setup = next(line.data["setup"] for line in lines if line.sent)
    ours = replay.of("setup")[0]["setup"]
    assert (ours["model"], ours["generationConfig"]) == (setup["model"], setup["generationConfig"])
    assert ours["systemInstruction"]["parts"] == setup["systemInstruction"]["parts"]
    assert ours["inputAudioTranscription"] == ours["outputAudioTranscription"] == {}
    sent = [each["realtime_input"]["audio"] for each in replay.of("realtime_input")]
    assert [base64.b64decode(each["data"]) for each in sent] == [each.pcm for each in pieces if isinstance(each, Audio)]
    assert {each["mimeType"] for each in sent} == {"audio/pcm;rate=16000"}
    assert isinstance(got.events[0], Ready)
    [started], [ended] = got.all(SpeechStarted), got.all(SpeechEnded)
    assert 0 < started.at < ended.at < 5
    assert [event.text for event in got.all(Transcript) if event.final] == [_said(lines, "inputTranscription").strip()]
    assert "".join(event.text for event in got.all(TextDelta)) == _said(lines, "outputTranscription")
    assert "Acknowledge" not in repr(got.all(TextDelta))  # it thinks, and not aloud
    assert b"".join(event.audio.pcm for event in got.all(AudioDelta)) == _sound(lines)
    assert {event.audio.rate for event in got.all(AudioDelta)} == {24_000}
    used = got.all(Usage)[-1]
    assert (used.input_tokens, used.output_tokens, used.reasoning_tokens) == (1197, 65, 28)
    assert (used.audio_input_tokens, used.audio_output_tokens) == (1, 37)
    assert got.all(Answered) == [Answered("stop")]


async def test_a_tool_is_called_and_what_it_says_is_told() -> None:
    lines = recorded("gemini_tool_call_round")
    setup = next(line.data["setup"] for line in lines if line.sent)
    declared = setup["tools"][0]["functionDeclarations"][0]
    tool = Tool(declared["name"], declared["description"], orjson.dumps(declared["parameters"]).decode())
    asked = next(line.data["client_content"] for line in lines if "client_content" in line.data)
    words = asked["turns"][0]["parts"][0]["text"]

    def then(event: ProviderEvent) -> Iterator[Input]:
        if isinstance(event, ToolCallDelta):
            calls.append(event)
        if event == Answered("tool_calls"):
            yield ToolResult(calls[0].id or "", "Recorded 5 (steady).")
            yield Respond()

    calls: list[ToolCallDelta] = []
    replay = Replay(lines, _kind, binary=True)
    request = ConverseRequest(setup["systemInstruction"]["parts"][0]["text"], tools=(tool,))
    inputs: list[Input] = [Message.of("user", words), Respond()]
    got = await replayed(gemini.Provider, replay, MODEL, request, inputs, 2, then=then)
    assert holds(replay.of("client_content")[0], {"client_content": asked})
    result = next(line.data for line in lines if "tool_response" in line.data)
    assert replay.of("tool_response") == [result]
    ours = replay.of("setup")[0]["setup"]["tools"][0]["functionDeclarations"][0]
    assert (ours["name"], ours["parametersJsonSchema"]) == (declared["name"], declared["parameters"])
    assert calls[0].name == "record_reading"
    assert orjson.loads(calls[0].arguments) == {"zqx_measurement": 5, "qbf_note": "steady"}
    assert [event.reason for event in got.all(Answered)] == ["tool_calls", "stop"]
    assert "".join(event.text for event in got.all(TextDelta)) == _said(lines, "outputTranscription")
    assert b"".join(event.audio.pcm for event in got.all(AudioDelta)) == _sound(lines)
