"""What is sent to an upstream that speaks OpenAI's chat protocol: the caller's own body, or one built from typed messages."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from gateway.contract.audio import Audio
from gateway.contract.errors import Refused
from gateway.contract.messages import File, Image, Message, Part, Sound, Text, Thought, Tool
from gateway.contract.requests import AnswerFormat, ChatRequest, ToolChoice
from gateway.contract.wav import wav_header

LIMITS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Quirks:
    """An upstream's own ways. `include_usage`: ask for the usage of a stream, which some give anyway and refuse to be asked
    for; `limit`: the only name by which it knows the limit of an answer (None: either); `drop`: fields that it refuses."""

    include_usage: bool = True
    limit: Literal["max_tokens", "max_completion_tokens"] | None = None
    drop: frozenset[str] = frozenset()


def encode(model: str, request: ChatRequest, quirks: Quirks) -> bytes:
    """The body as JSON. Raises Refused for what JSON cannot say."""
    own = request.body if request.dialect == "chat" else None
    body = dict(own) if own is not None else _built(request)
    body["model"], body["stream"] = model, request.stream
    if quirks.limit is not None or quirks.drop:
        _adapt(body, quirks)
    if not request.stream or not quirks.include_usage:
        body.pop("stream_options", None)  # refused by OpenAI without stream
    else:
        asked = body.get("stream_options")
        body["stream_options"] = {**(asked if isinstance(asked, dict) else {}), "include_usage": True}
    try:
        return orjson.dumps(body)
    except TypeError:
        # Numbers past 64 bits, broken Unicode, nesting past 254: its words may quote the body.
        raise Refused("the request cannot be written as JSON", code="invalid_json") from None


def _adapt(body: dict[str, Any], quirks: Quirks) -> None:
    for name in quirks.drop:
        body.pop(name, None)
    if quirks.limit is not None:
        told = [body.pop(name) for name in LIMITS if name in body]
        if told:
            body[quirks.limit] = told[-1]


def _built(request: ChatRequest) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": [_message(message) for message in request.messages]}
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    options = {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": list(request.stop) or None,
        "seed": request.seed,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "tool_choice": _choice(request.tool_choice),
        "parallel_tool_calls": request.parallel_tool_calls if request.tools else None,
        "response_format": _format(request.format),
        "reasoning_effort": request.thinking.effort if request.thinking else None,
        "user": request.user,
    }
    return body | {name: value for name, value in options.items() if value is not None}


def _message(message: Message) -> dict[str, Any]:
    # What OpenAI calls a developer, it takes as a system too, and most others know by no other name.
    role = "system" if message.role == "developer" else message.role
    said: dict[str, Any] = {"role": role, "content": _content(message)}
    if message.tool_calls:
        said["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        said["tool_call_id"] = message.tool_call_id
    return said


def _choice(choice: ToolChoice | None) -> str | dict[str, Any] | None:
    if choice is None or choice.name is None:
        return choice.mode if choice else None
    return {"type": "function", "function": {"name": choice.name}}


def _format(format: AnswerFormat | None) -> dict[str, Any] | None:
    if format is None or format.schema is None:
        return {"type": "json_object"} if format else None
    schema: dict[str, Any] = {"name": format.name, "schema": _json(format.schema, "the answer's schema")}
    if format.description:
        schema["description"] = format.description
    if format.strict is not None:
        schema["strict"] = format.strict
    return {"type": "json_schema", "json_schema": schema}


def _content(message: Message) -> str | list[dict[str, Any]] | None:
    """Thoughts stay out: this protocol has no place for them."""
    parts = [part for part in message.parts if not isinstance(part, Thought)]
    if all(isinstance(part, Text) for part in parts):
        return message.text or (None if message.tool_calls else "")
    return [_part(part) for part in parts]


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(url, None):
            return {"type": "image_url", "image_url": {"url": url}}
        case Image(url, detail):
            return {"type": "image_url", "image_url": {"url": url, "detail": detail}}
        case File(url, name):
            return {"type": "file", "file": {"filename": name or "document.pdf", "file_data": url}}
        case Thought(text):
            return {"type": "text", "text": text}
        case Sound(audio):
            return {"type": "input_audio", "input_audio": {"data": _wav(audio), "format": "wav"}}


def _wav(audio: Audio) -> str:
    return base64.b64encode(wav_header(audio.rate, audio.samples) + audio.pcm).decode("ascii")


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description}
    function["parameters"] = _json(tool.parameters, "a tool's parameters")
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _json(text: str, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Refused(f"{what} are no JSON", code="invalid_tool") from None
