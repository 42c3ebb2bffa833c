"""The body of Anthropic's Messages API, from JSON to a ChatRequest. What is wrong is told by the name of the field.

The caller's body goes along untouched for targets that speak this protocol. What no typed form exists for is named in
`untyped`: server tools and their results, files by id, citations, containers. Hints that change nothing of what is asked for
(service_tier, speed, context_management, a tool's examples) are not: other targets are asked without them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import orjson

from gateway.api.fields import Fields
from gateway.api.urls import why_not
from gateway.api.wire import LONGEST_NAME, MOST_MESSAGES, MOST_PARTS, MOST_STOPS, MOST_TOOLS, refuse_ours
from gateway.contract.errors import BadRequest, NoThreads
from gateway.contract.messages import CacheFor, File, Image, Message, Part, Role, Text, Thought, Tool, ToolCall
from gateway.contract.requests import AnswerFormat, ChatRequest, Thinking, ToolChoice

LONGEST_BETA = 2048
"""Characters of `anthropic-beta`."""
IMAGE_TOKENS, FILE_TOKENS, CHARACTERS_A_TOKEN = 1600, 2000, 4
"""For estimates: the most that a picture costs with Anthropic, about a page of a PDF, and English text."""

_ROLES: Mapping[str, Role] = MappingProxyType({"user": "user", "assistant": "assistant", "system": "system"})
_VERSION = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UNTYPED = ("container", "mcp_servers", "inference_geo", "skills")


def messages_request(body: Fields, headers: Mapping[str, str], answered: bool = True) -> ChatRequest:
    """Raises BadRequest. `answered`: false where tokens are only counted, and no limit needs to be said."""
    refuse_ours(body)
    if body.mapping.get("thread") is not None:
        raise NoThreads
    untyped: list[str] = [name for name in _UNTYPED if body.mapping.get(name)]
    limit = body.whole("max_tokens", 0, 1 << 31)
    if limit is None and answered:
        raise body.fault("max_tokens", "is missing")
    if limit == 0:
        untyped.append("max_tokens")  # nothing but filling a cache
    choice, parallel = _choice(body)
    metadata = body.inner("metadata")
    return ChatRequest(
        messages=(*_system(body, untyped), *_messages(body, untyped)),
        tools=_tools(body, untyped),
        max_tokens=limit or None,
        temperature=body.number("temperature", 0.0, 1.0),
        top_p=body.number("top_p", 0.0, 1.0),
        stop=_stops(body),
        stream=body.flag("stream"),
        body=body.mapping,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        format=_format(body),
        thinking=_thinking(body),
        top_k=body.whole("top_k", 0, 1 << 31) or None,
        user=metadata.text("user_id", LONGEST_NAME) if metadata else None,
        dialect="messages",
        headers=headers,
        untyped=tuple(untyped),
    )


def betas(value: bytes | None) -> dict[str, str]:
    """The caller's `anthropic-beta`, as ChatRequest.headers has it. Raises BadRequest."""
    if value is None:
        return {}
    told = value.decode("latin-1").strip()
    if len(told) > LONGEST_BETA or not told.isascii() or not told.isprintable():
        raise BadRequest(
            f"anthropic-beta must have at most {LONGEST_BETA} printable ASCII characters", "anthropic-beta"
        )
    return {"anthropic-beta": told} if told else {}


def version(value: bytes | None) -> dict[str, str]:
    """The caller's `anthropic-version`, likewise: which fields the body may have, and the answer has. Raises BadRequest."""
    if value is None:
        return {}
    if not _VERSION.fullmatch(value):
        raise BadRequest("anthropic-version must be a date such as 2023-06-01", "anthropic-version")
    return {"anthropic-version": value.decode()}


def estimated_tokens(request: ChatRequest) -> int:
    """Of the prompt."""
    characters = sum(len(tool.name) + len(tool.description) + len(tool.parameters) for tool in request.tools)
    tokens = 0
    for message in request.messages:
        characters += sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
        for part in message.parts:
            match part:
                case Text(text) | Thought(text):
                    characters += len(text)
                case Image():
                    tokens += IMAGE_TOKENS
                case _:
                    tokens += FILE_TOKENS
    return max(1, tokens + characters // CHARACTERS_A_TOKEN)


def _system(body: Fields, untyped: list[str]) -> Iterator[Message]:
    system = body.mapping.get("system")
    if isinstance(system, str):
        yield Message.of("system", system)
    elif system is not None:
        parts = [_part(block, untyped) for block in _blocks(body, "system")]
        yield Message("system", tuple([part for part in parts if part is not None]))


def _messages(body: Fields, untyped: list[str]) -> list[Message]:
    given = body.items("messages", MOST_MESSAGES)
    if not given:
        raise body.fault("messages", "must be an array of at least one message")
    return [each for index, one in enumerate(given) for each in _message(body.of(one, f"messages[{index}]"), untyped)]


def _message(message: Fields, untyped: list[str]) -> Iterator[Message]:
    """One, or several where results of tools stand beside what else the user said."""
    role, content = _ROLES.get(message.needed_text("role")), message.mapping.get("content")
    if role is None:
        raise message.fault("role", f"must be one of {', '.join(_ROLES)}")
    if isinstance(content, str):
        yield Message(role, (Text(content),))
        return
    if content is None:
        raise message.fault("content", "is missing")
    blocks = _blocks(message, "content")
    if role == "assistant":
        yield _said(blocks, untyped)
        return
    parts: list[Part] = []
    for block in blocks:
        if block.mapping.get("type") == "tool_result":
            if parts:
                yield Message(role, tuple(parts))
                parts = []
            yield _result(block, untyped)
        elif (part := _part(block, untyped)) is not None:
            parts.append(part)
    if parts or not blocks:
        yield Message(role, tuple(parts))


def _said(blocks: list[Fields], untyped: list[str]) -> Message:
    """The assistant's: thoughts before the rest."""
    thoughts: list[Thought] = []
    parts: list[Part] = []
    calls: list[ToolCall] = []
    for block in blocks:
        match block.mapping.get("type"):
            case "thinking":
                thoughts.append(Thought(block.text("thinking") or "", block.text("signature") or None))
            case "redacted_thinking":
                thoughts.append(Thought("", block.needed_text("data"), redacted=True))
            case "tool_use":
                arguments = orjson.dumps(block.needed_inner("input").mapping).decode()
                calls.append(
                    ToolCall(block.needed_text("id"), block.needed_text("name"), arguments, block.text("signature"))
                )
            case _:
                part = _part(block, untyped)
                parts += [part] if part is not None else []
    return Message("assistant", (*thoughts, *parts), tuple(calls))


def _result(block: Fields, untyped: list[str]) -> Message:
    content = block.mapping.get("content")
    parts: list[Part | None] = []
    if isinstance(content, str):
        parts.append(Text(content, _cache(block)))
    elif content is not None:
        parts += [_part(each, untyped) for each in _blocks(block, "content")]
    answers = block.needed_text("tool_use_id")
    return Message("tool", tuple([part for part in parts if part is not None]), (), answers, block.flag("is_error"))


def _part(block: Fields, untyped: list[str]) -> Part | None:
    match block.needed_text("type"):
        case "text":
            return Text(block.needed_text("text"), _cache(block))
        case "image":
            url = _source(block.needed_inner("source"), untyped)
            return Image(url, cache=_cache(block)) if url is not None else None
        case "document":
            citations = block.inner("citations")
            if citations is not None and citations.flag("enabled"):
                untyped.append(f"{block.path}citations")
            source = block.needed_inner("source")
            if source.mapping.get("type") == "text":
                return Text(source.needed_text("data"), _cache(block))
            url = _source(source, untyped)
            return File(url, block.text("title"), _cache(block)) if url is not None else None
    untyped.append(f"{block.path}type")
    return None


def _source(source: Fields, untyped: list[str]) -> str | None:
    """As a URL."""
    match source.needed_text("type"):
        case "base64":
            return f"data:{source.needed_text('media_type', LONGEST_NAME)};base64,{source.needed_text('data')}"
        case "url":
            url = source.needed_text("url")
            if (problem := why_not(url)) is not None:
                raise source.fault("url", problem)
            return url
    untyped.append(f"{source.path}type")
    return None


def _tools(body: Fields, untyped: list[str]) -> tuple[Tool, ...]:
    tools = []
    for index, each in enumerate(body.items("tools", MOST_TOOLS)):
        tool = body.of(each, f"tools[{index}]")
        if tool.text("type", LONGEST_NAME) not in ("custom", None):
            untyped.append(f"{tool.path}type")
            continue
        schema = orjson.dumps(tool.needed_inner("input_schema").mapping).decode()
        name, description = tool.needed_text("name", LONGEST_NAME), tool.text("description") or ""
        tools.append(Tool(name, description, schema, tool.maybe_flag("strict"), _cache(tool)))
    return tuple(tools)


def _choice(body: Fields) -> tuple[ToolChoice | None, bool | None]:
    """Which tool, and whether several at once."""
    choice = body.inner("tool_choice")
    if choice is None:
        return None, None
    alone = choice.maybe_flag("disable_parallel_tool_use")
    parallel = None if alone is None else not alone
    match choice.needed_text("type"):
        case "auto":
            return ToolChoice("auto"), parallel
        case "any":
            return ToolChoice("required"), parallel
        case "none":
            return ToolChoice("none"), parallel
        case "tool":
            return ToolChoice("function", choice.needed_text("name", LONGEST_NAME)), parallel
    raise choice.fault("type", "must be one of auto, any, tool, none")


def _format(body: Fields) -> AnswerFormat | None:
    output = body.inner("output_config")
    format = (output.inner("format") if output else None) or body.inner("output_format")
    if format is None or format.choice("type", ("json_schema",), "json_schema") != "json_schema":
        return None
    return AnswerFormat(orjson.dumps(format.needed_inner("schema").mapping).decode(), strict=True)


def _thinking(body: Fields) -> Thinking | None:
    """Effort alone is about more than thinking, and models that do not think refuse to be told: it counts where thinking is on."""
    asked = body.inner("thinking")
    if asked is None:
        return None
    display = asked.text("display")
    shown = None if display is None else display != "omitted"
    output = body.inner("output_config")
    effort = output.text("effort", 32) if output else None
    match asked.needed_text("type"), effort:
        case "disabled", _:
            return Thinking("none")
        case "enabled", _:
            return Thinking(budget=asked.whole("budget_tokens", 1, 1 << 31), shown=shown)
        case "adaptive", ("low" | "medium" | "high" | "xhigh"):
            return Thinking(effort, adaptive=True, shown=shown)
        case "adaptive", "max":
            return Thinking("xhigh", adaptive=True, shown=shown)
        case _:
            return Thinking(adaptive=True, shown=shown)


def _stops(body: Fields) -> tuple[str, ...]:
    given = body.items("stop_sequences", MOST_STOPS)
    for index, each in enumerate(given):
        if not isinstance(each, str):
            raise body.fault(f"stop_sequences[{index}]", "must be a string")
    return tuple([str(each) for each in given])


def _blocks(of: Fields, name: str) -> list[Fields]:
    if not isinstance(of.mapping.get(name), list):
        raise of.fault(name, "must be a string or an array of blocks")
    return [of.of(each, f"{name}[{index}]") for index, each in enumerate(of.items(name, MOST_PARTS))]


def _cache(of: Fields) -> CacheFor | None:
    control = of.mapping.get("cache_control")
    if not isinstance(control, dict):
        return None
    return "1h" if control.get("ttl") == "1h" else "5m"
