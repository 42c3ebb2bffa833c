"""The body of a chat, from OpenAI's JSON to a ChatRequest. What is wrong is told by the name of the field.

The caller's body goes along untouched, so that fields nobody here knows reach providers of the same shape; the typed ones
are for all others. Parts and tools that no typed form exists for are named in `untyped`: only a provider of this dialect can
be asked for them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from gateway.access.grant import Grant
from gateway.api.exact import exact
from gateway.api.fields import Fields
from gateway.api.urls import why_not
from gateway.contract.encoding import BadAudio, decode
from gateway.contract.errors import NoSuchRoute, WrongKind
from gateway.contract.messages import (
    CacheFor,
    File,
    Image,
    Message,
    Part,
    Role,
    Sound,
    Text,
    Thought,
    Tool,
    ToolCall,
)
from gateway.contract.requests import AnswerFormat, ChatRequest, Kind, Thinking, ToolChoice
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
_OURS = frozenset({"api_base", "base_url", "api_key"})
"""Where a request goes, and with what key, is the configuration's business alone."""

_Reader = tuple[str, Callable[[Fields, list[str]], object]]


def route_of(grant: Grant, routes: Mapping[str, Route], body: Fields, kind: Kind) -> str:
    """The name in `model`, if it is a route of that kind and granted. Raises BadRequest, NoSuchRoute, WrongKind, RouteNotAllowed."""
    name = body.needed_text("model", LONGEST_NAME)
    if grant.key is not None:
        grant.check(name, (each.name for each in routes.values() if each.kind == kind))
    route = routes.get(name)
    if route is None:
        raise NoSuchRoute(name, grant.among(routes))
    if route.kind != kind:
        raise WrongKind(name, route.kind, kind, grant.among(each.name for each in routes.values() if each.kind == kind))
    return name


def chat_request(body: Fields) -> ChatRequest:
    """Raises BadRequest. Decodes audio parts: with one in it, not for the event loop (see `has_sound`)."""
    refuse_ours(body)
    untyped: list[str] = []
    typed: dict[str, Any] = {}
    # By what is there, which is little of what could be.
    for name in body.mapping:
        reader = _READERS.get(name)
        if reader is not None:
            field, read = reader
            value = read(body, untyped)
            if value is not None:
                typed[field] = value
    if not typed.get("messages"):
        raise body.fault("messages", "must be an array of at least one message")
    typed.setdefault("stream", False)
    return ChatRequest(**typed, body=exact(body), untyped=tuple(untyped))


def _tool_choice(body: Fields, untyped: list[str]) -> ToolChoice | None:
    given = body.mapping.get("tool_choice")
    match given:
        case None:
            return None
        case "auto" | "none" | "required":
            return ToolChoice(given)
        case {"type": "function", "function": {"name": str(name)}}:
            return ToolChoice("function", name)
        case {"type": str()}:
            untyped.append("tool_choice")
            return None
    raise body.fault("tool_choice", "must be auto, none, required or an object that names a function")


def _format(body: Fields) -> AnswerFormat | None:
    given = body.inner("response_format")
    if given is None:
        return None
    match given.choice("type", ("text", "json_object", "json_schema"), "text"):
        case "json_object":
            return AnswerFormat()
        case "json_schema":
            schema = given.needed_inner("json_schema")
            return AnswerFormat(
                orjson.dumps(schema.needed_inner("schema").mapping).decode(),
                schema.text("name", LONGEST_NAME) or "answer",
                schema.text("description") or "",
                schema.maybe_flag("strict"),
            )
    return None


def _thinking(body: Fields) -> Thinking | None:
    effort = body.text("reasoning_effort", 32)
    match effort:
        case None:
            return None
        case "none" | "minimal" | "low" | "medium" | "high" | "xhigh":
            return Thinking(effort)
    return None  # a word that only its provider knows


def refuse_ours(body: Fields) -> None:
    """Raises BadRequest."""
    if not _OURS.isdisjoint(body.mapping):
        name = next(name for name in body.mapping if name in _OURS)
        raise body.fault(name, "is not for a request to say: the gateway's configuration names its upstreams")


def wants_usage(body: Fields) -> bool:
    """Whether the caller asked for the usage chunk of a stream."""
    options = body.inner("stream_options") if "stream_options" in body.mapping else None
    return options is not None and options.flag("include_usage")


def has_sound(data: Mapping[str, object]) -> bool:
    """Whether any message carries audio, which takes time to decode."""
    messages = data.get("messages")
    if not isinstance(messages, list):
        return False
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if type(content) is list and any(
            isinstance(each, dict) and each.get("type") == "input_audio" for each in content
        ):
            return True
    return False


def _messages(body: Fields, untyped: list[str]) -> tuple[Message, ...]:
    given = body.items("messages", MOST_MESSAGES)
    return tuple([_message(body, index, each, untyped) for index, each in enumerate(given)])


def _message(body: Fields, index: int, given: object, untyped: list[str]) -> Message:
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
    parts = (*_thoughts(fields), *_parts(fields, untyped)) if known == "assistant" else _parts(fields, untyped)
    if not parts and known != "assistant" and not fields.mapping.get("content"):
        raise fields.fault("content", "is missing")
    return Message(known, parts, calls, answers)


def _thoughts(message: Fields) -> tuple[Thought, ...]:
    """Sealed reasoning that the caller hands back (see chunks.py). What is not sealed is of no use to anybody."""
    thoughts = []
    for index, each in enumerate(message.items("thinking_blocks", MOST_PARTS)):
        block = message.of(each, f"thinking_blocks[{index}]")
        if block.text("type") == "redacted_thinking":
            thoughts.append(Thought("", block.needed_text("data"), redacted=True))
        elif signature := block.text("signature"):
            thoughts.append(Thought(block.text("thinking") or "", signature))
    return tuple(thoughts)


def _parts(message: Fields, untyped: list[str]) -> tuple[Part, ...]:
    content = message.mapping.get("content")
    if isinstance(content, str):
        return (Text(content, _cache(message)),)
    if content is not None and not isinstance(content, list):
        raise message.fault("content", "must be a string or an array of parts")
    given = message.items("content", MOST_PARTS)
    parts = [_part(message.of(each, f"content[{index}]"), untyped) for index, each in enumerate(given)]
    return tuple([part for part in parts if part is not None])


def _part(part: Fields, untyped: list[str]) -> Part | None:
    kind = part.needed_text("type")
    match kind:
        case "text" | "refusal":
            return Text(part.needed_text(kind), _cache(part))
        case "image_url":
            return _image(part.needed_inner("image_url"), _cache(part))
        case "input_audio":
            return read_sound(part.needed_inner("input_audio"))
        case "file":
            return _file(part.needed_inner("file"), _cache(part), untyped)
    untyped.append(f"{part.path}type")
    return None


def _cache(of: Fields) -> CacheFor | None:
    """`cache_control` as Anthropic's clients write it, and others for its models."""
    control = of.mapping.get("cache_control")
    if not isinstance(control, dict):
        return None
    return "1h" if control.get("ttl") == "1h" else "5m"


def _file(file: Fields, cache: CacheFor | None, untyped: list[str]) -> File | None:
    data = file.text("file_data")
    if data is None:
        untyped.append(f"{file.path}file_id")
        return None
    if not data.startswith("data:"):
        data = f"data:application/pdf;base64,{data}"
    problem = why_not(data)
    if problem is not None:
        raise file.fault("file_data", problem)
    return File(data, file.text("filename", LONGEST_NAME), cache)


def _image(image: Fields, cache: CacheFor | None) -> Image:
    url = image.needed_text("url")
    problem = why_not(url)
    if problem is not None:
        raise image.fault("url", problem)
    return Image(url, image.text("detail", 32), cache)


def read_sound(sound: Fields) -> Sound:
    """Raises BadRequest. Decodes it."""
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
        function = call.inner("function") or call.needed_inner("custom")
        arguments = function.text("arguments") or function.text("input") or ""
        calls.append(ToolCall(call.needed_text("id"), function.needed_text("name"), arguments, call.text("signature")))
    return tuple(calls)


def _tools(body: Fields, untyped: list[str]) -> tuple[Tool, ...]:
    tools = []
    for index, each in enumerate(body.items("tools", MOST_TOOLS)):
        tool = body.of(each, f"tools[{index}]")
        if tool.text("type", 64) not in ("function", None):
            untyped.append(f"tools[{index}].type")
            continue
        function = tool.needed_inner("function")
        parameters = function.inner("parameters")
        tools.append(
            Tool(
                function.needed_text("name", LONGEST_NAME),
                function.text("description") or "",
                orjson.dumps(parameters.mapping).decode() if parameters is not None else "{}",
                function.maybe_flag("strict"),
                _cache(tool) or _cache(function),
            )
        )
    return tuple(tools)


def stops(body: Fields) -> tuple[str, ...]:
    stop = body.mapping.get("stop")
    if isinstance(stop, str):
        return (stop,)
    if stop is not None and not isinstance(stop, list):
        raise body.fault("stop", "must be a string or an array of strings")
    return _strings(body, "stop", body.items("stop", MOST_STOPS))


def _modalities(body: Fields, untyped: list[str]) -> None:
    modalities = body.mapping.get("modalities")
    if isinstance(modalities, list) and modalities != ["text"]:
        untyped.append("modalities")


def _only_here(name: str) -> _Reader:
    """Of a field that changes what is asked for, and that no typed form says."""

    def read(body: Fields, untyped: list[str]) -> None:
        if body.mapping.get(name):
            untyped.append(name)

    return name, read


def _strings(body: Fields, name: str, given: Sequence[object]) -> tuple[str, ...]:
    texts = []
    for index, each in enumerate(given):
        if not isinstance(each, str):
            raise body.fault(f"{name}[{index}]", "must be a string")
        texts.append(each)
    return tuple(texts)


def _limit(body: Fields, _: object) -> int | None:
    limit = body.whole("max_completion_tokens", 1, 1 << 31)
    return limit if limit is not None else body.whole("max_tokens", 1, 1 << 31)


def _whole(name: str, low: int, high: int) -> _Reader:
    return name, lambda body, _: body.whole(name, low, high)


def _number(name: str, low: float, high: float) -> _Reader:
    return name, lambda body, _: body.number(name, low, high)


def _flag(name: str) -> _Reader:
    return name, lambda body, _: body.maybe_flag(name)


_READERS: Mapping[str, _Reader] = {
    "messages": ("messages", _messages),
    "tools": ("tools", _tools),
    "max_completion_tokens": ("max_tokens", _limit),
    "max_tokens": ("max_tokens", _limit),
    "temperature": _number("temperature", 0.0, 2.0),
    "top_p": _number("top_p", 0.0, 1.0),
    "stop": ("stop", lambda body, _: stops(body)),
    "seed": _whole("seed", -(1 << 63), (1 << 63) - 1),
    "stream": _flag("stream"),
    "tool_choice": ("tool_choice", _tool_choice),
    "parallel_tool_calls": _flag("parallel_tool_calls"),
    "response_format": ("format", lambda body, _: _format(body)),
    "reasoning_effort": ("thinking", lambda body, _: _thinking(body)),
    "top_k": _whole("top_k", 1, 1 << 31),
    "presence_penalty": _number("presence_penalty", -2.0, 2.0),
    "frequency_penalty": _number("frequency_penalty", -2.0, 2.0),
    "n": _whole("n", 1, 128),
    "logprobs": _flag("logprobs"),
    "user": ("user", lambda body, _: body.text("user", LONGEST_NAME)),
    "modalities": ("modalities", _modalities),
    **{name: _only_here(name) for name in ("audio", "functions", "web_search_options", "prediction")},
}
"""By the name of a field of the body: the field of a ChatRequest that it becomes, and how it is read. Null is as absent."""
