"""A chat's events as Anthropic's: the server-sent events of a stream, or one whole message. Pure.

An event with `raw` is forwarded as it came. After `Rerouted` no more of them come, and the stream goes on in our words where
the upstream's broke off: in the block that is open, under its number.
"""

from __future__ import annotations

import os
import re
from typing import Any

import orjson

from gateway.contract.errors import Unavailable
from gateway.contract.events import (
    AnswerEvent,
    Finished,
    Passed,
    Rerouted,
    TextDelta,
    ThoughtSealed,
    ToolCallDelta,
    Usage,
)

_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_TYPE = re.compile(rb'\s*\{\s*"type"\s*:\s*"([a-z_]{1,64})"')
_DELTAS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}
_BEGUN: dict[str, dict[str, object]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


def event(kind: str, data: bytes) -> bytes:
    """One server-sent event. Line breaks, which valid JSON has only between tokens, start new data lines."""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines())
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def usage_fields(usage: Usage) -> dict[str, object]:
    """Anthropic counts what came from a cache, and what went into one, apart from its input tokens."""
    fields: dict[str, object] = {
        "input_tokens": max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        fields["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return fields


class Ending:
    """Why a message ended. A refusal's text is no content here, but the explanation of why it stopped."""

    def __init__(self) -> None:
        self.usage = Usage()
        self._refused: list[str] = []

    def refuse(self, text: str) -> None:
        self._refused.append(text)

    def fields(self, event: Finished) -> dict[str, object]:
        reason = "refusal" if self._refused else _REASONS.get(event.reason, "end_turn")
        details = {"type": "refusal", "category": None, "explanation": "".join(self._refused) or None}
        fields: dict[str, object] = {"stop_reason": reason, "stop_sequence": None}
        return fields | ({"stop_details": details} if reason == "refusal" else {})


class MessageStream:
    """The events of one streaming answer. `thoughts`: whether the caller asked for them; who did not gets none, since programs
    take the first block for text."""

    def __init__(self, model: str, thoughts: bool) -> None:
        self._model, self._thoughts = model, thoughts
        self._ending = Ending()
        self._begun = False
        self._index = 0
        """Of the block that is open, else of the next."""
        self._open: str | None = None
        self._call: int | None = None
        """Which of the answer's tool calls the open block is."""
        self._calls: set[int] = set()
        self._last: bytes | None = None
        """Of what was forwarded, if that went last."""

    def encode(self, event_: AnswerEvent) -> bytes:
        """What is sent for it: whole server-sent events, or nothing. Raises Unavailable for what this protocol cannot say."""
        match event_:
            case TextDelta() | ToolCallDelta() | ThoughtSealed() | Usage() | Passed() | Finished() if (
                event_.raw is not None
            ):
                return self._forward(event_.raw)
            case Rerouted():
                return self._rerouted(event_)
            case Usage():
                self._ending.usage = event_
            case Finished():
                return self._finish(event_)
            case _ if self._last is not None:
                return b""  # part of what was forwarded
            case TextDelta(text, "refusal"):
                self._ending.refuse(text)
            case TextDelta(text, "text"):
                return self._text("text", text)
            case TextDelta(text) if self._thoughts:
                return self._text("thinking", text)
            case ThoughtSealed() if self._thoughts:
                return self._seal(event_)
            case ToolCallDelta():
                return self._tool(event_)
        return b""

    def _forward(self, raw: bytes) -> bytes:
        known = _TYPE.match(raw)
        kind = known[1].decode() if known else str(_parsed(raw).get("type"))
        self._begun = True
        if kind != "ping":
            self._last = raw
        return event(kind, raw)

    def _rerouted(self, told: Rerouted) -> bytes:
        """Another target goes on. Who was forwarded says where it stood."""
        if self._last is not None:
            last, self._last = _parsed(self._last), None
            self._index = last["index"] if isinstance(last.get("index"), int) else 0
            match last:
                case {"type": "content_block_start", "content_block": {"type": str(kind)}}:
                    self._open = kind
                case {"type": "content_block_delta", "delta": {"type": str(kind)}}:
                    self._open = "text" if kind == "text_delta" else "thinking"
                case {"type": "content_block_stop"}:
                    self._index += 1
        said = f": rerouted from {told.origin} to {told.target}: {told.reason}"
        return " ".join(said.split()).encode() + b"\n\n"

    def _text(self, kind: str, text: str) -> bytes:
        begun = b"" if self._open == kind else self._opened(kind, _BEGUN[kind])
        delta, field = _DELTAS[kind]
        return begun + self._delta({"type": delta, field: text})

    def _seal(self, sealed: ThoughtSealed) -> bytes:
        if sealed.redacted:
            return self._opened("redacted", {"type": "redacted_thinking", "data": sealed.signature}) + self._closed()
        begun = b"" if self._open == "thinking" else self._opened("thinking", _BEGUN["thinking"])
        return begun + self._delta({"type": "signature_delta", "signature": sealed.signature}) + self._closed()

    def _tool(self, call: ToolCallDelta) -> bytes:
        begun = b""
        if self._open != "tool_use" or self._call != call.index:
            if call.index in self._calls:
                raise Unavailable("tool calls that are written at the same time, which this protocol cannot say")
            self._calls.add(call.index)
            begun = self._opened("tool_use", _tool_use(call))
            self._call = call.index
        if not call.arguments:
            return begun
        return begun + self._delta({"type": "input_json_delta", "partial_json": call.arguments})

    def _finish(self, ended: Finished) -> bytes:
        if self._last is not None:  # the upstream said why it ended, and not that it did
            return _event({"type": "message_stop"})
        delta = {"type": "message_delta", "delta": self._ending.fields(ended)}
        closing = {**delta, "usage": usage_fields(self._ending.usage)}
        return self._start() + self._closed() + _event(closing) + _event({"type": "message_stop"})

    def _start(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        begun = _message(self._model, [], {"stop_reason": None, "stop_sequence": None}, Usage())
        return _event({"type": "message_start", "message": begun})

    def _opened(self, kind: str, block: dict[str, object]) -> bytes:
        before = self._start() + self._closed()
        self._open = kind
        return before + _event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _delta(self, delta: dict[str, object]) -> bytes:
        return _event({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _closed(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        self._index += 1
        return _event({"type": "content_block_stop", "index": self._index - 1})


class WholeMessage:
    """One whole answer, from its events. `thoughts`: as in MessageStream."""

    def __init__(self, model: str, thoughts: bool) -> None:
        self._model, self._thoughts = model, thoughts
        self._raw: bytes | None = None
        self._blocks: list[dict[str, Any]] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._ending = Ending()
        self._ended = Finished()

    def add(self, event_: AnswerEvent) -> None:
        match event_:
            case TextDelta() | ToolCallDelta() | ThoughtSealed() | Usage() | Passed() | Finished() if (
                event_.raw is not None
            ):
                self._raw = self._raw or event_.raw
            case TextDelta(text, "refusal"):
                self._ending.refuse(text)
            case TextDelta(text, "text"):
                self._block("text")["text"] += text
            case TextDelta(text) if self._thoughts:
                self._block("thinking")["thinking"] += text
            case ThoughtSealed(signature, True) if self._thoughts:
                self._blocks.append({"type": "redacted_thinking", "data": signature})
            case ThoughtSealed(signature) if self._thoughts:
                self._block("thinking")["signature"] = signature
            case ToolCallDelta():
                self._tool(event_)
            case Usage():
                self._ending.usage = event_
            case Finished():
                self._ended = event_

    def body(self) -> bytes:
        if self._raw is not None:
            return self._raw
        for call in self._calls.values():
            call["input"] = _input(call["input"])
        return orjson.dumps(_message(self._model, self._blocks, self._ending.fields(self._ended), self._ending.usage))

    def _block(self, kind: str) -> dict[str, Any]:
        """The one that is being written: a thought that has its seal is over."""
        last = self._blocks[-1] if self._blocks else {}
        if last.get("type") != kind or last.get("signature"):
            last = {**_BEGUN[kind]}
            self._blocks.append(last)
        return last

    def _tool(self, call: ToolCallDelta) -> None:
        known = self._calls.get(call.index)
        if known is None:
            known = self._calls[call.index] = {**_tool_use(call), "input": ""}
            self._blocks.append(known)
        known["input"] += call.arguments


def _message(model: str, content: list[dict[str, Any]], ending: dict[str, object], usage: Usage) -> dict[str, object]:
    identity = "msg_" + os.urandom(12).hex()
    begun = {"id": identity, "type": "message", "role": "assistant", "model": model, "content": content}
    return {**begun, **ending, "usage": usage_fields(usage)}


def _tool_use(call: ToolCallDelta) -> dict[str, object]:
    """`signature` is ours: the seal of the thought behind the call, which the caller hands back with it."""
    block: dict[str, object] = {
        "type": "tool_use",
        "id": call.id or "toolu_" + os.urandom(12).hex(),
        "name": call.name or "",
        "input": {},
    }
    return block | ({"signature": call.signature} if call.signature is not None else {})


def _input(arguments: str) -> object:
    """Arguments are an object here. What a model wrote that is none goes to the caller as it is, for its own checks."""
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        value = arguments
    return value if isinstance(value, dict) else {"arguments": value}


def _event(data: dict[str, Any]) -> bytes:
    return event(data["type"], orjson.dumps(data))


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = None
    return value if isinstance(value, dict) else {}
