"""What is sent to Anthropic: the caller's own body where it speaks this protocol, or one built from typed messages.

Built by field, after the types of Anthropic's own client (anthropic 2.14). What has no form here `cannot` names, before
anything is sent. Hints that only make an answer likelier stay out instead: `seed`, `detail`, and, since that client's types
have none of them any more, `temperature`, `top_p` and `top_k`, unless the row says that its models take them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson

from gateway.contract.errors import Refused
from gateway.contract.messages import Tool
from gateway.contract.requests import ChatRequest, Thinking, ToolChoice
from providers import _anthropic_messages as messages
from providers._anthropic_schema import supported

LEAST_BUDGET = 1024
"""Tokens of thinking: Anthropic takes no less."""
_NOT_COUNTED = {"max_tokens", "stream", "stop_sequences", "metadata", "temperature", "top_k", "top_p", "service_tier"}
"""Refused where tokens are counted."""
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}


@dataclass(frozen=True, slots=True)
class Defaults:
    """`max_tokens`: of an answer, where the caller does not say, since Anthropic must be told; `thinking`: how models of the row
    are asked for it: `adaptive` (from Claude 4.6 on) or `budget` (those before); `sampling`: they take a temperature and such."""

    max_tokens: int = 8192
    thinking: Literal["adaptive", "budget"] = "adaptive"
    sampling: bool = False


def cannot(request: ChatRequest, defaults: Defaults) -> str | None:
    """What of a request that was not written for this protocol has no form in it, in a few words."""
    if request.dialect == "messages" and request.body is not None:
        return None
    if request.untyped:
        return f"it cannot be told '{request.untyped[0]}'"
    if request.n > 1:
        return "it gives one answer at a time (n)"
    if request.logprobs:
        return "it does not tell logprobs"
    if request.presence_penalty or request.frequency_penalty:
        return "it has no presence_penalty and no frequency_penalty"
    if defaults.sampling and request.temperature is not None and request.temperature > 1:
        return "its temperature ends at 1"
    if request.format is not None and request.format.schema is None:
        return "it promises JSON only by a schema (response_format json_schema)"
    return messages.cannot(request.messages)


def encode(model: str, request: ChatRequest, defaults: Defaults) -> bytes:
    """The body as JSON. Raises Refused for what JSON cannot say."""
    own = request.body if request.dialect == "messages" else None
    body = dict(own) if own is not None else _built(request, defaults)
    body["model"], body["stream"] = model, request.stream
    try:
        return orjson.dumps(body)
    except TypeError:
        # Numbers past 64 bits, broken Unicode, nesting past 254: its words may quote the body.
        raise Refused("the request cannot be written as JSON", code="invalid_json") from None


def encode_count(model: str, request: ChatRequest, defaults: Defaults) -> bytes:
    """The body that asks how many tokens a request would be. Raises Refused."""
    body = orjson.loads(encode(model, request, defaults))
    return orjson.dumps({name: value for name, value in body.items() if name not in _NOT_COUNTED})


def _built(request: ChatRequest, defaults: Defaults) -> dict[str, Any]:
    limit = request.max_tokens or defaults.max_tokens
    thinking, output = _thinking(request, limit, defaults)
    if thinking.get("type") == "enabled" and request.max_tokens is None:
        limit += thinking["budget_tokens"]
    system, turns = messages.encode(request.messages, thoughts=thinking.get("type") != "disabled")
    if request.format is not None and request.format.schema is not None:
        output["format"] = {
            "type": "json_schema",
            "schema": supported(messages.parsed(request.format.schema, "the answer's schema")),
        }
    options: dict[str, Any] = {
        "system": system,
        "tools": [_tool(tool) for tool in request.tools],
        "tool_choice": _choice(request),
        "stop_sequences": [each for each in request.stop if each.strip()],
        "thinking": thinking,
        "output_config": output,
        "metadata": {"user_id": request.user} if request.user else None,
    }
    if defaults.sampling and thinking.get("type") not in ("enabled", "adaptive"):  # which refuses them
        options |= {"temperature": request.temperature, "top_k": request.top_k}
        options |= {"top_p": request.top_p if request.top_p != 1 else None}  # not both, where both say something
    told = {name: value for name, value in options.items() if value is not None and value not in ([], {}, "")}
    return {"max_tokens": limit, "messages": turns, **told}


def _thinking(request: ChatRequest, limit: int, defaults: Defaults) -> tuple[dict[str, Any], dict[str, Any]]:
    """`thinking` and what of `output_config` belongs to it; empty where nothing is to be said.

    A forced tool and thinking exclude each other, and the tool was asked for more exactly. A budget needs a place below
    max_tokens, and a tool turn under way that began with a sealed thought.
    """
    asked, choice = request.thinking, request.tool_choice
    if asked is None:
        return {}, {}
    if asked.effort == "none":
        return {"type": "disabled"}, {}
    if choice is not None and choice.mode in ("required", "function"):
        return {}, {}
    shown = {} if asked.shown is None else {"display": "summarized" if asked.shown else "omitted"}
    if defaults.thinking == "adaptive":
        effort = _effort(asked)
        return {"type": "adaptive", **shown}, ({"effort": effort} if effort else {})
    budget = asked.budget or _BUDGETS[asked.effort or "high"]
    if request.max_tokens is not None:
        budget = min(budget, limit - 1)
    if budget < LEAST_BUDGET or not messages.may_think(request.messages):
        return {}, {}
    return {"type": "enabled", "budget_tokens": budget, **shown}, {}


def _effort(asked: Thinking) -> str | None:
    if asked.effort is not None or asked.budget is None:
        return _EFFORTS.get(asked.effort or "")
    return next(
        (effort for effort, most in _BUDGETS.items() if effort in _EFFORTS.values() and asked.budget <= most), "xhigh"
    )


def _choice(request: ChatRequest) -> dict[str, Any] | None:
    if not request.tools:
        return None
    choice = request.tool_choice or ToolChoice("auto")
    alone = request.parallel_tool_calls is False and choice.mode != "none"
    if request.tool_choice is None and not alone:
        return None
    kinds = {"auto": "auto", "none": "none", "required": "any", "function": "tool"}
    told: dict[str, Any] = {"type": kinds[choice.mode]}
    if choice.name is not None:
        told["name"] = choice.name
    if alone:
        told["disable_parallel_tool_use"] = True
    return told


def _tool(tool: Tool) -> dict[str, Any]:
    schema = messages.parsed(tool.parameters, "a tool's parameters")
    schema = {"type": "object", **schema}
    told: dict[str, Any] = {"name": tool.name, "input_schema": supported(schema) if tool.strict else schema}
    if tool.description:
        told["description"] = tool.description
    if tool.strict is not None:
        told["strict"] = tool.strict
    return messages.marked(told, tool.cache)
