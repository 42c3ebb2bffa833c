"""The body of a chat, from OpenAI's JSON to a ChatRequest. What is wrong is told by the name of the field.

The caller's body goes along untouched, so that fields nobody here knows reach providers of the same shape; the typed ones
are for all others. Parts and tools that no typed form exists for are refused rather than lost.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

import orjson

from gateway.api.fields import Fields
from gateway.api.urls import why_not
from gateway.contract.encoding import BadAudio, decode
from gateway.contract.errors import NoSuchRoute, WrongKind
from gateway.contract.messages import Image, Message, Part, Role, Sound, Text, Tool, ToolCall
from gateway.contract.requests import ChatRequest, Kind
from gateway.routing.route import Route

LONGEST_NAME = 256
"""Characters of a route's name."""
MOST_MESSAGES, MOST_PARTS, MOST_TOOLS, MOST_STOPS = 10_000, 1_000, 512, 16
SOUND_RATE = 16_000
"""Samples per second of audio inside messages, once decoded."""
SOUND_SECONDS = 600.0
"""Of one audio part."""

_ROLES: dict[object, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_OURS = ("api_base", "base_url", "api_key")
"""Where a request goes, and with what key, is the configuration's business alone."""


def route_of(routes: Mapping[str, Route], body: Fields, kind: Kind) -> str:
    """The name in `model`, if it is a route of that kind. Raises BadRequest, NoSuchRoute, WrongKind."""
    name = body.needed_text("model", LONGEST_NAME)
    route = routes.get(name)
    if route is None:
        raise NoSuchRoute(name, sorted(routes))
    if route.kind != kind:
        raise WrongKind(name, route.kind, kind, sorted(each.name for each in routes.values() if each.kind == kind))
    return name


def chat_request(body: Fields) -> ChatRequest:
    """Raises BadRequest. Decodes audio parts: with one in it, not for the event loop (see `has_sound`)."""
    for name in _OURS:
        if name in body.mapping:
            raise body.fault(name, "is not for a request to say: the gateway's configuration names its upstreams")
    limit = body.whole("max_completion_tokens", 1, 1 << 31)
    return ChatRequest(
        messages=_messages(body),
        tools=_tools(body),
        max_tokens=limit if limit is not None else body.whole("max_tokens", 1, 1 << 31),
        temperature=body.number("temperature", 0.0, 2.0),
        top_p=body.number("top_p", 0.0, 1.0),
        stop=_stops(body),
        seed=body.whole("seed", -(1 << 63), (1 << 63) - 1),
        stream=body.flag("stream"),
        body=body.mapping,
    )


def wants_usage(body: Fields) -> bool:
    """Whether the caller asked for the usage chunk of a stream."""
    options = body.inner("stream_options")
    return options is not None and options.flag("include_usage")


def has_sound(data: Mapping[str, object]) -> bool:
    """Whether any message carries audio, which takes time to decode."""
    messages = data.get("messages")
    if not isinstance(messages, list):
        return False
    return any(
        isinstance(part, dict) and part.get("type") == "input_audio"
        for message in messages
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        for part in message["content"]
    )


def _messages(body: Fields) -> tuple[Message, ...]:
    given = body.items("messages", MOST_MESSAGES)
    if not given:
        raise body.fault("messages", "must be an array of at least one message")
    return tuple([_message(body, index, each) for index, each in enumerate(given)])


def _message(body: Fields, index: int, given: object) -> Message:
    if isinstance(given, dict):  # the common form, without building names for errors that do not happen
        content, role = given.get("content"), given.get("role")
        if isinstance(content, str) and role in ("user", "system"):
            return Message(_ROLES[role], (Text(content),))
    fields = body.of(given, f"messages[{index}]")
    name = fields.needed_text("role")
    known = _ROLES.get(name)
    if known is None:
        raise fields.fault("role", f"must be one of {', '.join(str(each) for each in _ROLES)}")
    calls = _tool_calls(fields) if known == "assistant" else ()
    answers = fields.needed_text("tool_call_id") if known == "tool" else None
    parts = _parts(fields)
    if not parts and not calls and known != "assistant":
        raise fields.fault("content", "is missing")
    return Message(known, parts, calls, answers)


def _parts(message: Fields) -> tuple[Part, ...]:
    content = message.mapping.get("content")
    if isinstance(content, str):
        return (Text(content),)
    if content is not None and not isinstance(content, list):
        raise message.fault("content", "must be a string or an array of parts")
    given = message.items("content", MOST_PARTS)
    return tuple([_part(message.of(each, f"content[{index}]")) for index, each in enumerate(given)])


def _part(part: Fields) -> Part:
    kind = part.needed_text("type")
    match kind:
        case "text" | "refusal":
            return Text(part.needed_text(kind))
        case "image_url":
            return _image(part.needed_inner("image_url"))
        case "input_audio":
            return _sound(part.needed_inner("input_audio"))
    raise part.fault("type", "must be one of text, image_url, input_audio, refusal")


def _image(image: Fields) -> Image:
    url = image.needed_text("url")
    problem = why_not(url)
    if problem is not None:
        raise image.fault("url", problem)
    return Image(url, image.text("detail", 32))


def _sound(sound: Fields) -> Sound:
    sound.choice("format", ("wav", "mp3"), "wav")
    try:
        data = base64.b64decode(sound.needed_text("data"), validate=True)
    except (binascii.Error, ValueError):
        raise sound.fault("data", "must be base64") from None
    try:
        return Sound(decode(data, SOUND_RATE, SOUND_SECONDS))
    except BadAudio as error:
        raise sound.fault("data", str(error)) from None


def _tool_calls(message: Fields) -> tuple[ToolCall, ...]:
    calls = []
    for index, each in enumerate(message.items("tool_calls", MOST_PARTS)):
        call = message.of(each, f"tool_calls[{index}]")
        function = call.needed_inner("function")
        calls.append(ToolCall(call.needed_text("id"), function.needed_text("name"), function.text("arguments") or ""))
    return tuple(calls)


def _tools(body: Fields) -> tuple[Tool, ...]:
    tools = []
    for index, each in enumerate(body.items("tools", MOST_TOOLS)):
        tool = body.of(each, f"tools[{index}]")
        tool.choice("type", ("function",), "function")
        function = tool.needed_inner("function")
        parameters = function.inner("parameters")
        schema = orjson.dumps(parameters.mapping).decode() if parameters is not None else "{}"
        tools.append(Tool(function.needed_text("name", LONGEST_NAME), function.text("description") or "", schema))
    return tuple(tools)


def _stops(body: Fields) -> tuple[str, ...]:
    stop = body.mapping.get("stop")
    if isinstance(stop, str):
        return (stop,)
    if stop is not None and not isinstance(stop, list):
        raise body.fault("stop", "must be a string or an array of strings")
    return _strings(body, "stop", body.items("stop", MOST_STOPS))


def _strings(body: Fields, name: str, given: Sequence[object]) -> tuple[str, ...]:
    texts = []
    for index, each in enumerate(given):
        if not isinstance(each, str):
            raise body.fault(f"{name}[{index}]", "must be a string")
        texts.append(each)
    return tuple(texts)
