"""What a speech-to-speech session is told in OpenAI's Realtime protocol, GA or as xAI has it: sessions, items, answers. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.contract.messages import Message, Tool
from gateway.contract.requests import ConverseRequest, Respond, ToolChoice
from providers._openai_languages import code

RATE = 24_000
"""Samples per second, both ways."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How an upstream has the protocol. `flat`: voice and turns at the top of its session, no modalities, no `semantic_vad`;
    `truncates`: an answer can be cut at what was heard; `hears`: the model that writes down what the caller says."""

    hears: str = "gpt-4o-mini-transcribe"
    flat: bool = False
    truncates: bool = True


GA = Shape()
XAI = Shape("grok-transcribe", flat=True, truncates=False)


def session(asked: ConverseRequest, shape: Shape) -> dict[str, Any]:
    """The `session` of a session.update."""
    format = {"type": "audio/pcm", "rate": RATE}
    heard: dict[str, Any] = {"format": format, "transcription": _transcription(asked, shape)}
    spoken: dict[str, Any] = {"format": format}
    told: dict[str, Any] = {"instructions": asked.instructions}
    told["tools"] = [tool(each) for each in asked.tools]
    if asked.tool_choice is not None:
        told["tool_choice"] = tool_choice(asked.tool_choice)
    if shape.flat:
        told["turn_detection"] = _turns(asked, shape) or {"type": None}
        if asked.voice is not None:
            told["voice"] = asked.voice
    else:
        heard["turn_detection"] = _turns(asked, shape)
        if asked.voice is not None:
            spoken["voice"] = asked.voice
        told = {"type": "realtime", "output_modalities": ["audio" if asked.speaks else "text"], **told}
        told["max_output_tokens"] = "inf" if asked.max_tokens is None else asked.max_tokens
    return {**told, "audio": {"input": heard, "output": spoken}}


def changed(asked: ConverseRequest, shape: Shape) -> dict[str, Any]:
    """The same in the middle of a session, whose voice is what it is."""
    told = session(asked, shape)
    told.pop("voice", None)
    told["audio"]["output"].pop("voice", None)
    return told


def _transcription(asked: ConverseRequest, shape: Shape) -> dict[str, Any]:
    language = {} if asked.language is None else {"language": code(asked.language)}
    return {"model": shape.hears, **language}


def _turns(asked: ConverseRequest, shape: Shape) -> dict[str, Any] | None:
    if asked.turns == "client":
        return None
    does = {"create_response": asked.answers, "interrupt_response": asked.interrupts}
    if asked.eagerness is not None and not shape.flat:
        return {"type": "semantic_vad", "eagerness": asked.eagerness, **does}
    patience = {} if asked.patience is None else {"silence_duration_ms": round(asked.patience * 1000)}
    return {"type": "server_vad", **patience, **does}


def tool(each: Tool) -> dict[str, Any]:
    about = {"description": each.description} if each.description else {}
    return {"type": "function", "name": each.name, **about, "parameters": orjson.loads(each.parameters)}


def tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    return {"type": "function", "name": choice.name} if choice.mode == "function" else choice.mode


def items(message: Message) -> Iterator[dict[str, Any]]:
    """A message as items of the conversation; none for one that says nothing."""
    if message.role == "tool":
        yield output(message.tool_call_id or "", message.text)
        return
    if message.text:
        kind = "output_text" if message.role == "assistant" else "input_text"
        role = "system" if message.role == "developer" else message.role
        yield {"type": "message", "role": role, "content": [{"type": kind, "text": message.text}]}
    for call in message.tool_calls:
        yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}


def output(call_id: str, text: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def response(asked: Respond) -> dict[str, Any]:
    """The `response` of a response.create."""
    told: dict[str, Any] = {} if asked.instructions is None else {"instructions": asked.instructions}
    return told if asked.max_tokens is None else {**told, "max_output_tokens": asked.max_tokens}
