"""What Anthropic says, as events: a message's stream event by event, or a whole message. Pure.

Blocks of kinds we have no words for (server tools and their results, citations, whatever comes) are nothing in typed form,
and passed on to a caller of the same protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import (
    Finished,
    FinishReason,
    Passed,
    ProviderEvent,
    TextDelta,
    ThoughtSealed,
    ToolCallDelta,
    Usage,
)

BROKEN_LIMIT = 3
"""Events of one stream that may be no JSON. One is a glitch that costs a word; more, and the answer is full of holes."""
REFUSED = "The provider stopped this answer."
"""Where it refused, and did not say why."""

_REASONS: dict[str, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # it would go on if it were asked to: not the whole answer
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

Failed = Callable[[object], ProviderError]
"""Makes the error of an `error` event."""


@dataclass(slots=True)
class _Block:
    """One that is open. `call`: which of the answer's tool calls it is; `told`: whether any of its arguments came; `given`:
    those that came with its beginning."""

    kind: str
    call: int = 0
    told: bool = False
    given: str = "{}"


class MessageEvents:
    """Reads the data of one stream's events. `provider`: its name, for errors; `forward`: events carry the data they came in."""

    def __init__(self, provider: str, failed: Failed, forward: bool) -> None:
        self._provider, self._failed, self._forward = provider, failed, forward
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._used: dict[str, Any] = {}
        self._reason: str | None = None
        self._usage_told = False
        self._understood = self._broken = 0
        self._stop: bytes | None = None
        self.done = False
        """message_stop was read: nothing more will mean anything."""

    @property
    def finished(self) -> bool:
        """Why it ended was said; only message_stop may follow."""
        return self._reason is not None

    def read(self, data: bytes) -> list[ProviderEvent]:
        """The events of one. Raises ProviderError for an error inside the stream, and for too much that is no JSON."""
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            self._broken += 1
            if self._broken > BROKEN_LIMIT:
                raise Unavailable("garbage in the stream", self._provider) from None
            return []
        if not isinstance(event, dict):
            return []
        self._understood += 1
        raw = data if b"\n" not in data else orjson.dumps(event)
        if event.get("type") == "message_stop":
            self.done, self._stop = True, raw
            return []
        events = list(self._events(event))
        if not self._forward:
            return [*events]
        return [replace(events[0], raw=raw), *events[1:]] if events else [Passed(raw)]

    def end(self) -> list[ProviderEvent]:
        """The last events. Raises Unavailable if the upstream did not come to its end."""
        if not self._understood:
            raise Unavailable("garbage instead of a stream" if self._broken else "an empty stream", self._provider)
        if not self.done and not self.finished:
            raise Unavailable("cut off: the stream ended without finishing", self._provider)
        held = [] if self._usage_told or not self._used else [usage(self._used)]
        return [*held, Finished(_reason(self._reason), self._stop if self._forward else None)]

    def _events(self, event: dict[str, Any]) -> Iterator[TextDelta | ToolCallDelta | ThoughtSealed | Usage]:
        match event.get("type"):
            case "message_start":
                self._use(_dict(event.get("message")))
            case "content_block_start":
                yield from self._begins(_index(event), _dict(event.get("content_block")))
            case "content_block_delta":
                yield from self._goes_on(self._blocks.get(_index(event)), _dict(event.get("delta")))
            case "content_block_stop":
                yield from self._ends(self._blocks.pop(_index(event), None))
            case "message_delta":
                yield from self._closes(event)
            case "error":
                raise self._failed(event)

    def _begins(self, index: int, block: dict[str, Any]) -> Iterator[TextDelta | ToolCallDelta | ThoughtSealed]:
        opened = self._blocks[index] = _Block(str(block.get("type")))
        match opened.kind:
            case "tool_use":
                opened.call, opened.given = self._calls, _json(block.get("input"))
                self._calls += 1
                yield ToolCallDelta(opened.call, _text(block.get("id")) or None, _text(block.get("name")) or None)
            case "redacted_thinking":
                yield ThoughtSealed(_text(block.get("data")), redacted=True)
            case "text" if text := _text(block.get("text")):
                yield TextDelta(text)
            case "thinking" if text := _text(block.get("thinking")):
                yield TextDelta(text, "reasoning")

    def _goes_on(
        self, block: _Block | None, delta: dict[str, Any]
    ) -> Iterator[TextDelta | ToolCallDelta | ThoughtSealed]:
        match delta.get("type"):
            case "text_delta" if text := _text(delta.get("text")):
                yield TextDelta(text)
            case "thinking_delta" if text := _text(delta.get("thinking")):
                yield TextDelta(text, "reasoning")
            case "signature_delta" if seal := _text(delta.get("signature")):
                yield ThoughtSealed(seal)
            case "input_json_delta" if block is not None and block.kind == "tool_use":
                if part := _text(delta.get("partial_json")):
                    block.told = True
                    yield ToolCallDelta(block.call, arguments=part)

    def _ends(self, block: _Block | None) -> Iterator[ToolCallDelta]:
        """A call without arguments says nothing of them, where others say {}."""
        if block is not None and block.kind == "tool_use" and not block.told:
            yield ToolCallDelta(block.call, arguments=block.given)

    def _closes(self, event: dict[str, Any]) -> Iterator[TextDelta | Usage]:
        """Its counts are totals: they take the place of those before."""
        self._use(event)
        delta = _dict(event.get("delta"))
        reason = delta.get("stop_reason")
        if not isinstance(reason, str):
            return
        self._reason = reason
        if reason == "refusal":
            yield TextDelta(_explained(delta), "refusal")
        if self._used:
            self._usage_told = True
            yield usage(self._used)

    def _use(self, of: dict[str, Any]) -> None:
        self._used |= {name: value for name, value in _dict(of.get("usage")).items() if value is not None}


def whole(body: bytes, provider: str, failed: Failed, forward: bool) -> list[ProviderEvent]:
    """The events of an answer that was not streamed. Raises ProviderError.

    `forward`: the first event has the body as `raw`; False where the caller could do nothing with it.
    """
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Unavailable("garbage instead of an answer", provider) from None
    if isinstance(answer, dict) and answer.get("type") == "error":
        raise failed(answer)
    if not isinstance(answer, dict) or not isinstance(answer.get("content"), list):
        raise Unavailable("an answer without content", provider)
    said = list(_said(answer["content"]))
    if answer.get("stop_reason") == "refusal":
        said.append(TextDelta(_explained(answer), "refusal"))
    events: list[ProviderEvent] = [*said]
    if forward:
        events[:1] = [replace(said[0], raw=body)] if said else [Passed(body)]
    used = _dict(answer.get("usage"))
    return [*events, *([usage(used)] if used else []), Finished(_reason(answer.get("stop_reason")))]


def counted(body: bytes, provider: str) -> int:
    """The answer of count_tokens. Raises Unavailable."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    tokens = _dict(answer).get("input_tokens")
    if not isinstance(tokens, int):
        raise Unavailable("garbage instead of a count", provider)
    return tokens


def usage(used: dict[str, Any]) -> Usage:
    """Anthropic counts what came from a cache, and what went into one, apart from its input tokens."""
    read, written = _count(used.get("cache_read_input_tokens")), _count(used.get("cache_creation_input_tokens"))
    return Usage(
        input_tokens=_count(used.get("input_tokens")) + read + written,
        output_tokens=_count(used.get("output_tokens")),
        cached_tokens=read,
        reasoning_tokens=_count(_dict(used.get("output_tokens_details")).get("thinking_tokens")),
        cache_write_tokens=written,
    )


def _said(blocks: list[Any]) -> Iterator[TextDelta | ToolCallDelta | ThoughtSealed]:
    calls = 0
    for block in blocks:
        match block:
            case {"type": "text", "text": str(text)} if text:
                yield TextDelta(text)
            case {"type": "thinking"}:
                if text := _text(block.get("thinking")):
                    yield TextDelta(text, "reasoning")
                if seal := _text(block.get("signature")):
                    yield ThoughtSealed(seal)
            case {"type": "redacted_thinking", "data": str(seal)}:
                yield ThoughtSealed(seal, redacted=True)
            case {"type": "tool_use", "id": str(name), "name": str(tool)}:
                yield ToolCallDelta(calls, name, tool, _json(block.get("input")))
                calls += 1


def _explained(ended: dict[str, Any]) -> str:
    return _text(_dict(ended.get("stop_details")).get("explanation")) or REFUSED


def _reason(said: object) -> FinishReason:
    return _REASONS.get(said, "stop") if isinstance(said, str) else "stop"


def _json(value: object) -> str:
    return orjson.dumps(value).decode() if isinstance(value, dict) else "{}"


def _index(event: dict[str, Any]) -> int:
    index = event.get("index")
    return index if isinstance(index, int) else -1


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
