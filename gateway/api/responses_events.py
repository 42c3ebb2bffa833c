"""A response as it grows: a chat's events as OpenAI's Responses tell them. Pure.

    response.created, .in_progress, and for each item of the output
        response.output_item.added
            a message:     response.content_part.added, .output_text.delta*, .output_text.done, .content_part.done
            reasoning:     response.reasoning_summary_part.added, .reasoning_summary_text.delta*, ...done
            a call:        response.function_call_arguments.delta*, .function_call_arguments.done
        response.output_item.done
    response.completed | response.incomplete | error, response.failed

One message or one piece of reasoning is open at a time. A call is closed when something else begins, if its arguments are
whole by then: upstreams may send the pieces of several calls in turns.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from gateway.api.errors import Failure
from gateway.api.responses_items import REDACTED
from gateway.contract.events import (
    AnswerEvent,
    Finished,
    FinishReason,
    TextDelta,
    TextKind,
    ThoughtSealed,
    ToolCallDelta,
    Usage,
)

Item = dict[str, Any]
Status = Literal["completed", "incomplete"]

_ENDS: dict[FinishReason, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
_CODES = {"rate_limit_exceeded": "rate_limit_exceeded", "invalid_prompt": "invalid_prompt"}
"""What a failed response may say of itself; anything else is a `server_error`. The `error` event before it says more."""


def identity(prefix: str) -> str:
    return prefix + os.urandom(16).hex()


def response_object(request: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A response that has just begun. `request`: the caller's body, which it repeats; `model`: who answers."""
    asked = request.get
    text, reasoning = asked("text"), asked("reasoning")
    return {
        "id": identity("resp_"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": asked("instructions"),
        "max_output_tokens": asked("max_output_tokens"),
        "max_tool_calls": asked("max_tool_calls"),
        "model": model,
        "output": [],
        "parallel_tool_calls": asked("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None, **(reasoning or {})},
        "store": False,
        "temperature": asked("temperature"),
        "text": {"format": {"type": "text"}, **(text or {})},
        "tool_choice": asked("tool_choice") or "auto",
        "tools": asked("tools") or [],
        "top_p": asked("top_p"),
        "truncation": "disabled",
        "usage": None,
        "user": asked("user"),
        "metadata": asked("metadata") or {},
    }


@dataclass(slots=True)
class Open:
    """A message or reasoning that is being written. `part`: what its last part is; `said`: of that part, so far."""

    index: int
    item: Item
    part: TextKind | None = None
    said: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Call:
    index: int
    item: Item
    said: list[str] = field(default_factory=list)
    closed: bool = False

    @property
    def whole(self) -> bool:
        try:
            return isinstance(orjson.loads("".join(self.said)), dict)
        except orjson.JSONDecodeError:
            return False


class Assembly:
    """`response`: as it is now. `add` and `fail` return the server-sent events that tell what became of it.

    `sequence`: of the next event; `begun`: the caller knows of it already; `open`: what is being written.
    """

    def __init__(
        self, response: dict[str, Any], sequence: int = 0, begun: bool = False, open: Open | None = None
    ) -> None:
        self.response = response
        self._output: list[Item] = response["output"]
        self._sequence, self._begun, self._open = sequence, begun, open
        self._calls: dict[int, _Call] = {}
        self._usage = Usage()

    def add(self, event: AnswerEvent) -> bytes:
        match event:
            case TextDelta("") | Usage():
                self._usage = event if isinstance(event, Usage) else self._usage
                return b""
            case TextDelta(text, "reasoning"):
                return self._begin() + self._think(text)
            case TextDelta(text, kind):
                return self._begin() + self._say(text, kind)
            case ThoughtSealed():
                return self._begin() + self._seal(event)
            case ToolCallDelta():
                return self._begin() + self._call(event)
            case Finished():
                return self._begin() + self._end(event.reason)
        return b""

    def fail(self, told: Failure) -> bytes:
        """It ends in an error, told with the keys of the wire and with those of the official client's type."""
        begun = self._begin()
        for item in self._output:
            if item.get("status") == "in_progress":
                item["status"] = "incomplete"
        if self._open is not None:
            self._write_part(self._open)
        for call in self._calls.values():
            call.item["arguments"] = "".join(call.said)
        code = _CODES.get(told.code or "", "server_error")
        self.response |= {"status": "failed", "error": {"code": code, "message": told.message}}
        fields = told.fields()
        flat = {name: fields.get(name) for name in ("code", "message", "param")}
        return (
            begun + self._event("error", **flat, error=fields) + self._event("response.failed", response=self.response)
        )

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        told = [self._event(kind, response=self.response) for kind in ("response.created", "response.in_progress")]
        return b"".join(told)

    def _say(self, text: str, kind: TextKind) -> bytes:
        told = b""
        if self._open is None or self._open.item["type"] != "message":
            told = self._close() + self._close_calls()
            message = {"id": identity("msg_"), "type": "message", "status": "in_progress", "role": "assistant"}
            told += self._add({**message, "content": []})
        assert self._open is not None
        if self._open.part != kind:
            told += self._close_part()
            self._open.part, self._open.said = kind, []
            self._open.item["content"].append(_part(kind, ""))
            told += self._event("response.content_part.added", **self._place(), part=_part(kind, ""))
        self._open.said.append(text)
        if kind == "refusal":
            return told + self._event("response.refusal.delta", **self._place(), delta=text)
        return told + self._event("response.output_text.delta", **self._place(), delta=text, logprobs=[])

    def _think(self, text: str) -> bytes:
        told = b""
        if self._open is None or self._open.item["type"] != "reasoning":
            told = self._close() + self._close_calls()
            told += self._add({"id": identity("rs_"), "type": "reasoning", "summary": [], "encrypted_content": None})
        assert self._open is not None
        if self._open.part is None:
            self._open.part = "reasoning"
            self._open.item["summary"].append(_part("reasoning", ""))
            told += self._event("response.reasoning_summary_part.added", **self._place(), part=_part("reasoning", ""))
        self._open.said.append(text)
        return told + self._event("response.reasoning_summary_text.delta", **self._place(), delta=text)

    def _seal(self, event: ThoughtSealed) -> bytes:
        """The seal of what is being thought, or of what was not shown."""
        told = b""
        if self._open is None or self._open.item["type"] != "reasoning" or event.redacted:
            prefix = REDACTED if event.redacted else "rs_"
            told = self._close() + self._close_calls()
            told += self._add({"id": identity(prefix), "type": "reasoning", "summary": []})
        assert self._open is not None
        self._open.item["encrypted_content"] = event.signature
        return told + self._close()

    def _call(self, event: ToolCallDelta) -> bytes:
        told, call = b"", self._calls.get(event.index)
        if call is None:
            told = self._close() + self._close_calls()
            item: Item = {"id": identity("fc_"), "type": "function_call", "status": "in_progress", "arguments": ""}
            item |= {"call_id": event.id or identity("call_"), "name": event.name or ""}
            call = self._calls[event.index] = _Call(len(self._output), item)
            self._output.append(item)
            told += self._event("response.output_item.added", output_index=call.index, item=item)
        if event.signature is not None:
            call.item["signature"] = event.signature
        if not event.arguments or call.closed:
            return told
        call.said.append(event.arguments)
        return told + self._arguments(call, event.arguments)

    def _arguments(self, call: _Call, delta: str) -> bytes:
        place = {"item_id": call.item["id"], "output_index": call.index}
        return self._event("response.function_call_arguments.delta", **place, delta=delta)

    def _add(self, item: Item) -> bytes:
        self._open = Open(len(self._output), item)
        self._output.append(item)
        return self._event("response.output_item.added", output_index=self._open.index, item=item)

    def _place(self) -> dict[str, Any]:
        """Where the part stands that is being written."""
        assert self._open is not None
        place = {"item_id": self._open.item["id"], "output_index": self._open.index}
        if self._open.item["type"] == "reasoning":
            return {**place, "summary_index": max(0, len(self._open.item["summary"]) - 1)}
        return {**place, "content_index": max(0, len(self._open.item["content"]) - 1)}

    def _close_part(self) -> bytes:
        if self._open is None or self._open.part is None:
            return b""
        place, part = self._place(), self._write_part(self._open)
        match self._open.part:
            case "reasoning":
                told = self._event("response.reasoning_summary_text.done", **place, text=part["text"])
                kind = "response.reasoning_summary_part.done"
            case "refusal":
                told = self._event("response.refusal.done", **place, refusal=part["refusal"])
                kind = "response.content_part.done"
            case "text":
                told = self._event("response.output_text.done", **place, text=part["text"], logprobs=[])
                kind = "response.content_part.done"
        self._open.part = None
        return told + self._event(kind, **place, part=part)

    @staticmethod
    def _write_part(open: Open) -> Item:
        """What was said, into the part where it stands."""
        if open.part is None:
            return {}
        parts = open.item["summary" if open.item["type"] == "reasoning" else "content"]
        parts[-1] = {**parts[-1], **_part(open.part, "".join(open.said))}
        last: Item = parts[-1]
        return last

    def _close(self, status: Status = "completed") -> bytes:
        told = self._close_part()
        if self._open is None:
            return told
        closed, self._open = self._open, None
        if closed.item["type"] == "message":
            closed.item["status"] = status
        return told + self._event("response.output_item.done", output_index=closed.index, item=closed.item)

    def _close_calls(self, status: Status | None = None) -> bytes:
        """Those whose arguments are whole; all with a `status`, which the answer then ends with."""
        told = b""
        for call in self._calls.values():
            if call.closed or (status is None and not call.whole):
                continue
            if (
                not call.said and status != "incomplete"
            ):  # none at all: who has no parameters may be called with nothing
                call.said.append("{}")
                told += self._arguments(call, "{}")
            call.closed = True
            arguments = "".join(call.said)
            call.item |= {"arguments": arguments, "status": "completed" if call.whole else status or "completed"}
            place = {"item_id": call.item["id"], "output_index": call.index}
            done = {"name": call.item["name"], "arguments": arguments}
            told += self._event("response.function_call_arguments.done", **place, **done)
            told += self._event("response.output_item.done", output_index=call.index, item=call.item)
        return told

    def _end(self, reason: FinishReason) -> bytes:
        why = _ENDS.get(reason)
        status: Status = "incomplete" if why else "completed"
        told = self._close(status) + self._close_calls(status)
        self.response |= {"status": status, "usage": _usage(self._usage)}
        if why is None:
            self.response["completed_at"] = int(time.time())
        else:
            self.response["incomplete_details"] = {"reason": why}
        return told + self._event(f"response.{status}", response=self.response)

    def _event(self, kind: str, **fields: Any) -> bytes:
        said = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return b"".join((b"event: ", kind.encode(), b"\ndata: ", orjson.dumps(said), b"\n\n"))


def _part(kind: TextKind, said: str) -> Item:
    match kind:
        case "reasoning":
            return {"type": "summary_text", "text": said}
        case "refusal":
            return {"type": "refusal", "refusal": said}
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": []}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
