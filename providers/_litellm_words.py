"""LiteLLM's words for what we ask and what it answers: OpenAI's chat protocol with seals added. Pure; knows no LiteLLM.

Only what typed fields say is passed on, never a caller's own fields: LiteLLM takes addresses, keys and files by the same door.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from gateway.contract.events import ProviderEvent, TextDelta, ThoughtSealed, ToolCallDelta, Usage
from gateway.contract.messages import Message, Thought
from gateway.contract.requests import ChatRequest
from providers._openai_body import Quirks, encode


def asked(model: str, request: ChatRequest) -> dict[str, Any]:
    """The keywords of `acompletion`, `model` among them. Raises Refused."""
    body: dict[str, Any] = orjson.loads(encode(model, replace(request, body=None), Quirks()))
    if "claude" in model:
        for said, message in zip(body["messages"], request.messages):
            _seal_thoughts(said, message)
    if "gemini" in model:
        for said, message in zip(body["messages"], request.messages):
            _seal_calls(said, message)
    if request.top_k is not None:
        body["top_k"] = request.top_k
    if request.thinking is not None and request.thinking.budget is not None:
        body["thinking"] = {"type": "enabled", "budget_tokens": request.thinking.budget}
    return body


def _seal_thoughts(said: dict[str, Any], message: Message) -> None:
    """Claude refuses to go on with a tool's result where the thoughts before the call are not handed back."""
    thoughts = [part for part in message.parts if isinstance(part, Thought) and part.signature]
    blocks = [_block(part) for part in thoughts if ":" not in (part.signature or "")]  # Gemini's seals would be refused
    if blocks:
        said["thinking_blocks"] = blocks


def _block(thought: Thought) -> dict[str, Any]:
    if thought.redacted:
        return {"type": "redacted_thinking", "data": thought.signature}
    return {"type": "thinking", "thinking": thought.text, "signature": thought.signature}


def _seal_calls(said: dict[str, Any], message: Message) -> None:
    for told, call in zip(said.get("tool_calls", ()), message.tool_calls):
        if call.signature:
            told["provider_specific_fields"] = {"thought_signature": call.signature}


def sealed(events: list[ProviderEvent], said: Mapping[str, Any]) -> Iterator[ProviderEvent]:
    """`events` with the seals that the delta or message they came of has beside them: a thought's after it, a call's in it."""
    thoughts = [each for each in said.get("thinking_blocks") or () if isinstance(each, dict)]
    seals = [_sealed(each) for each in thoughts if each.get("signature") or each.get("data")]
    calls = iter(said.get("tool_calls") or ())
    for event in events:
        if seals and not (isinstance(event, TextDelta) and event.kind == "reasoning"):
            yield from seals
            seals = []
        if isinstance(event, ToolCallDelta):
            own = (next(calls, None) or {}).get("provider_specific_fields") or {}
            event = replace(event, signature=own.get("thought_signature"))
        yield event
    yield from seals


def _sealed(block: Mapping[str, Any]) -> ThoughtSealed:
    redacted = block.get("type") == "redacted_thinking"
    return ThoughtSealed(str(block["data"] if redacted else block["signature"]), redacted)


def usage(used: Mapping[str, Any]) -> Usage:
    """LiteLLM counts as OpenAI does, and adds what the others have: its input holds what was cached and written to a cache."""
    asked = used.get("prompt_tokens_details") or {}
    told = used.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=used.get("prompt_tokens") or 0,
        output_tokens=used.get("completion_tokens") or 0,
        cached_tokens=asked.get("cached_tokens") or used.get("cache_read_input_tokens") or 0,
        reasoning_tokens=told.get("reasoning_tokens") or 0,
        cache_write_tokens=used.get("cache_creation_input_tokens") or 0,
        audio_input_tokens=asked.get("audio_tokens") or 0,
        audio_output_tokens=told.get("audio_tokens") or 0,
        image_input_tokens=asked.get("image_tokens") or 0,
    )
