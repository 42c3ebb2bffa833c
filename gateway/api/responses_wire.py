"""The body of a response, from OpenAI's JSON to a ChatRequest. What is wrong is told by the name of the field.

The caller's body goes along untouched, for providers that speak this dialect; the typed fields are for all others. What no
typed field says is named in `untyped`: state kept upstream, tools that the upstream runs, items that only it can read.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from gateway.api.exact import exact
from gateway.api.fields import Fields
from gateway.api.responses_items import Conversation
from gateway.api.urls import why_not
from gateway.api.wire import LONGEST_NAME, MOST_TOOLS, refuse_ours
from gateway.contract.messages import Tool
from gateway.contract.requests import AnswerFormat, ChatRequest, Thinking, ToolChoice

MOST_ITEMS = 10_000

_STATE = ("previous_response_id", "conversation", "prompt")
"""What the upstream is to know already: with it, `input` may be left out."""


def response_request(body: Fields) -> ChatRequest:
    """Raises BadRequest. Decodes audio parts: with one in it, not for the event loop (see `has_input_audio`)."""
    refuse_ours(body)
    body.inner("metadata")  # repeated in the answer, so it must be what it is called
    untyped = _untyped(body)
    return ChatRequest(
        messages=_conversation(body, untyped).messages(),
        tools=_tools(body, untyped),
        max_tokens=body.whole("max_output_tokens", 1, 1 << 31),
        temperature=body.number("temperature", 0.0, 2.0),
        top_p=body.number("top_p", 0.0, 1.0),
        stream=body.flag("stream"),
        body=exact(body),
        tool_choice=_tool_choice(body, untyped),
        parallel_tool_calls=body.maybe_flag("parallel_tool_calls"),
        format=_format(body),
        thinking=_thinking(body),
        logprobs="top_logprobs" in untyped,
        user=body.text("user", LONGEST_NAME),
        dialect="responses",
        untyped=tuple(untyped),
    )


def has_input_audio(data: Mapping[str, object]) -> bool:
    """Whether any message carries audio, which takes time to decode."""
    items = data.get("input")
    if not isinstance(items, list):
        return False
    return any(
        isinstance(part, dict) and part.get("type") == "input_audio"
        for item in items
        if isinstance(item, dict) and isinstance(item.get("content"), list)
        for part in item["content"]
    )


def _untyped(body: Fields) -> list[str]:
    """Fields that change what is asked for, and that no typed form says."""
    told = [name for name in (*_STATE, "background", "moderation") if body.mapping.get(name)]
    if body.whole("top_logprobs", 0, 20) or "message.output_text.logprobs" in body.items("include", 32):
        told.append("top_logprobs")
    return told


def _conversation(body: Fields, untyped: list[str]) -> Conversation:
    conversation = Conversation(untyped)
    if instructions := body.text("instructions"):
        conversation.say("system", instructions)
    given = body.mapping.get("input")
    if not given and not any(body.mapping.get(name) for name in _STATE):
        raise body.fault("input", "is missing" if given is None else "is empty")
    if isinstance(given, str):
        conversation.say("user", given)
    elif given is not None and not isinstance(given, list):
        raise body.fault("input", "must be a string or an array of items")
    else:
        for index, item in enumerate(body.items("input", MOST_ITEMS)):
            conversation.add(body.of(item, f"input[{index}]"))
    return conversation


def _tools(body: Fields, untyped: list[str]) -> tuple[Tool, ...]:
    tools = []
    for index, each in enumerate(body.items("tools", MOST_TOOLS)):
        tool = body.of(each, f"tools[{index}]")
        if tool.needed_text("type", 64) != "function":
            untyped.append(f"{tool.path}type")
            address = tool.text("server_url")
            if address is not None and (problem := why_not(address)) is not None:
                raise tool.fault("server_url", problem)
            continue
        parameters = tool.inner("parameters")
        tools.append(
            Tool(
                tool.needed_text("name", LONGEST_NAME),
                tool.text("description") or "",
                orjson.dumps(parameters.mapping).decode() if parameters is not None else "{}",
                tool.maybe_flag("strict"),
            )
        )
    return tuple(tools)


def _tool_choice(body: Fields, untyped: list[str]) -> ToolChoice | None:
    given = body.mapping.get("tool_choice")
    match given:
        case None:
            return None
        case "auto" | "none" | "required":
            return ToolChoice(given)
        case {"type": "function", "name": str(name)}:
            return ToolChoice("function", name)
        case {"type": str()}:
            untyped.append("tool_choice")
            return None
    raise body.fault("tool_choice", "must be auto, none, required or an object that names a tool")


def _format(body: Fields) -> AnswerFormat | None:
    text = body.inner("text")
    given = text.inner("format") if text is not None else None
    if given is None:
        return None
    match given.choice("type", ("text", "json_object", "json_schema"), "text"):
        case "json_object":
            return AnswerFormat()
        case "json_schema":
            return AnswerFormat(
                orjson.dumps(given.needed_inner("schema").mapping).decode(),
                given.text("name", LONGEST_NAME) or "answer",
                given.text("description") or "",
                given.maybe_flag("strict"),
            )
    return None


def _thinking(body: Fields) -> Thinking | None:
    reasoning = body.inner("reasoning")
    if reasoning is None:
        return None
    shown = True if reasoning.text("summary") or reasoning.text("generate_summary") else None
    effort = reasoning.text("effort", 32)
    match effort:
        case "none" | "minimal" | "low" | "medium" | "high" | "xhigh":
            return Thinking(effort, shown=shown)
    return Thinking(shown=shown) if shown else None
