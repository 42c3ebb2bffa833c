"""Recorded sessions of OpenAI's, Azure's and xAI's realtime, replayed both ways: what we send where their client sent it, and
what comes of what they said."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from functools import partial
from typing import Any

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
from gateway.contract.provider import Settings
from gateway.contract.requests import ConverseRequest, Input, Respond, ToolResult
from providers import openai, openai_compatible
from tests.conformance.replaying import Json, Line, Replay, Replayed, holds, recorded, replayed

pytestmark = pytest.mark.wire

HEARD = ["openai_audio_in_server_vad", "azure_transcription_deployment_missing", "xai_audio_in_vad"]
TOOLS = ["openai_tool_call_round", "openai_realtime2_tool_round", "xai_tool_call_round"]


def _kind(frame: Json) -> str:
    return str(frame["type"])


def _build(name: str, settings: Settings) -> object:
    if name.startswith("xai"):
        row = Settings(settings.name, settings.base_url, settings.key, {"session": "xai"})
        return openai_compatible.Provider(row)
    listener = {"listener": "gpt-realtime-whisper"}
    return openai.Provider(Settings(settings.name, settings.base_url, settings.key, listener))


def _request(lines: list[Line]) -> ConverseRequest:
    """What their client asked for."""
    asked = next(line.data["session"] for line in lines if line.sent and line.data["type"] == "session.update")
    tools = tuple(
        Tool(each["name"], each["description"], orjson.dumps(each["parameters"]).decode())
        for each in asked.get("tools", ())
    )
    speaks = asked.get("output_modalities", ["audio"]) == ["audio"]
    return ConverseRequest(asked["instructions"], tools=tools, speaks=speaks)


def _whole(data: str) -> bytes:
    """The recordings hold the beginning of each piece of sound, which may end within a sample."""
    pcm = base64.b64decode(data)
    return pcm[: len(pcm) // 2 * 2]


def _inputs(lines: list[Line]) -> list[Input]:
    """What their client put in, up to its first answer."""
    inputs: list[Input] = []
    for line in lines:
        said = line.data
        match said["type"]:
            case "input_audio_buffer.append" if line.sent:
                inputs.append(Audio(_whole(said["audio"]), 24_000))
            case "conversation.item.create" if line.sent:
                part = said["item"]["content"][0]
                inputs.append(Message.of(said["item"]["role"], part["text"]))
            case "response.create" if line.sent:
                return [*inputs, Respond()]
    return inputs


def _said(lines: list[Line], *kinds: str) -> str:
    return "".join(line.data["delta"] for line in lines if not line.sent and line.data["type"] in kinds)


def _sound(lines: list[Line]) -> bytes:
    kind = "response.output_audio.delta"
    sound = b"".join(base64.b64decode(line.data["delta"]) for line in lines if line.data["type"] == kind)
    return sound[: len(sound) // 2 * 2]


async def _replay(name: str, answers: int, finals: int = 0, then: Any = None) -> tuple[Replayed, list[Line]]:
    lines = recorded(name)
    replay = Replay(lines, _kind)
    build = partial(_build, name)
    got = await replayed(build, replay, "model-1", _request(lines), _inputs(lines), answers, finals, then)
    return got, lines


def _sent_alike(got: Replayed, lines: list[Line], kind: str) -> None:
    theirs = [line.data for line in lines if line.sent and line.data["type"] == kind]
    assert theirs
    assert len(got.replay.of(kind)) == len(theirs)
    for ours, wanted in zip(got.replay.of(kind), theirs):
        assert holds(ours, wanted), (ours, wanted)


@pytest.mark.parametrize("name", HEARD)
async def test_a_spoken_turn(name: str) -> None:
    got, lines = await _replay(name, 1, finals=1)
    _sent_alike(got, lines, "session.update")
    ours = [_whole(each["audio"]) for each in got.replay.of("input_audio_buffer.append")]
    assert ours == [item.pcm for item in _inputs(lines) if isinstance(item, Audio)]
    started = [line.data["audio_start_ms"] / 1000 for line in lines if line.data["type"].endswith("speech_started")]
    ended = [line.data["audio_end_ms"] / 1000 for line in lines if line.data["type"].endswith("speech_stopped")]
    assert isinstance(got.events[0], Ready)
    assert [event.at for event in got.all(SpeechStarted)] == started
    assert [event.at for event in got.all(SpeechEnded)] == ended
    heard = [line.data["transcript"] for line in lines if line.data["type"].endswith("transcription.completed")]
    finals = [event.text for event in got.all(Transcript) if event.final]
    assert finals == [heard[-1] if heard else ""]  # Azure: the deployment that should write it down is missing
    words = "".join(event.text for event in got.all(TextDelta))
    assert words == _said(lines, "response.output_audio_transcript.delta")
    assert words
    assert b"".join(event.audio.pcm for event in got.all(AudioDelta)) == _sound(lines)
    assert got.all(Answered) == [Answered("stop")]
    assert got.all(Usage)[-1].output_tokens > 100
    assert got.all(Usage)[-1].audio_output_tokens > 0


@pytest.mark.parametrize("name", TOOLS)
async def test_a_tool_is_called_and_what_it_says_is_told(name: str) -> None:
    result = "It is foggy and 12 degrees in London."

    def then(event: ProviderEvent) -> Iterator[Input]:
        if isinstance(event, ToolCallDelta):
            calls.append(event)
            if event.arguments.strip().endswith("}"):
                yield ToolResult(calls[0].id or "", result)  # their client did not wait for the answer's end
        if isinstance(event, Answered) and event.reason == "tool_calls":
            yield Respond()

    calls: list[ToolCallDelta] = []
    got, lines = await _replay(name, 2, then=then)
    _sent_alike(got, lines, "session.update")
    _sent_alike(got, lines, "conversation.item.create")
    assert [event.reason for event in got.all(Answered)] == ["tool_calls", "stop"]
    first = got.all(ToolCallDelta)[0]
    done = next(line.data for line in lines if line.data["type"] == "response.function_call_arguments.done")
    assert (first.name, first.id) == ("get_weather", done["call_id"])
    arguments = "".join(event.arguments for event in got.all(ToolCallDelta))
    assert orjson.loads(arguments) == orjson.loads(done["arguments"])
    words = "response.output_text.delta", "response.output_audio_transcript.delta"
    assert "".join(event.text for event in got.all(TextDelta)) == _said(lines, *words)


@pytest.mark.parametrize("name", ["openai_text_in_audio_out", "openai_history_seeding"])
async def test_what_was_said_before_is_put_in_as_items(name: str) -> None:
    got, lines = await _replay(name, 1)
    _sent_alike(got, lines, "session.update")
    _sent_alike(got, lines, "conversation.item.create")
    words = "response.output_text.delta", "response.output_audio_transcript.delta"
    assert "".join(event.text for event in got.all(TextDelta)) == _said(lines, *words)


async def test_history_is_put_in_at_the_beginning_as_their_client_did() -> None:
    lines = recorded("openai_history_seeding")
    *before, last = [item for item in _inputs(lines) if isinstance(item, Message)]
    asked = _request(lines)
    request = ConverseRequest(asked.instructions, tuple(before), speaks=asked.speaks)
    replay = Replay(lines, _kind)
    got = await replayed(partial(_build, "openai"), replay, "model-1", request, [last, Respond()], 1)
    _sent_alike(got, lines, "conversation.item.create")
