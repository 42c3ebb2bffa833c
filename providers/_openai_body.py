"""What is sent to an upstream that speaks OpenAI's chat protocol: the caller's own body, or one built from typed messages."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from gateway.contract.audio import Audio
from gateway.contract.errors import Refused
from gateway.contract.messages import Image, Message, Part, Sound, Text, Tool
from gateway.contract.requests import ChatRequest
from gateway.contract.wav import wav_header


def encode(model: str, request: ChatRequest, include_usage: bool) -> bytes:
    """The body as JSON. Raises Refused for what JSON cannot say.

    `include_usage`: ask for the usage of a stream, which some upstreams give anyway and refuse to be asked for.
    """
    body = dict(request.body) if request.body is not None else _built(request)
    body["model"], body["stream"] = model, request.stream
    if not request.stream:
        body.pop("stream_options", None)  # refused by OpenAI without stream
    elif include_usage:
        asked = body.get("stream_options")
        body["stream_options"] = {**(asked if isinstance(asked, dict) else {}), "include_usage": True}
    try:
        return orjson.dumps(body)
    except TypeError:
        # Numbers past 64 bits, broken Unicode, nesting past 254: its words may quote the body.
        raise Refused("the request cannot be written as JSON", code="invalid_json") from None


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
    }
    return body | {name: value for name, value in options.items() if value is not None}


def _message(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role, "content": _content(message)}
    if message.tool_calls:
        said["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        said["tool_call_id"] = message.tool_call_id
    return said


def _content(message: Message) -> str | list[dict[str, Any]] | None:
    if all(isinstance(part, Text) for part in message.parts):
        return message.text or (None if message.tool_calls else "")
    return [_part(part) for part in message.parts]


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(url, None):
            return {"type": "image_url", "image_url": {"url": url}}
        case Image(url, detail):
            return {"type": "image_url", "image_url": {"url": url, "detail": detail}}
        case Sound(audio):
            return {"type": "input_audio", "input_audio": {"data": _wav(audio), "format": "wav"}}


def _wav(audio: Audio) -> str:
    return base64.b64encode(wav_header(audio.rate, audio.samples) + audio.pcm).decode("ascii")


def _tool(tool: Tool) -> dict[str, Any]:
    try:
        parameters = orjson.loads(tool.parameters)
    except orjson.JSONDecodeError:
        raise Refused("a tool's parameters are no JSON", code="invalid_tool") from None
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": parameters},
    }
