"""OpenAI's Responses: what is sent, and what comes back as events: stream events one by one, or a whole response. Pure but `ask`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from gateway.contract.errors import Refused, Unavailable
from gateway.contract.events import (
    Events,
    Finished,
    FinishReason,
    Passed,
    ProviderEvent,
    TextDelta,
    TextKind,
    ThoughtSealed,
    ToolCallDelta,
    Usage,
)
from gateway.contract.requests import ChatRequest
from providers._openai_chunks import BROKEN_LIMIT, Failed
from providers._openai_upstream import Upstream

_TEXTS: dict[str, TextKind] = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_text.delta": "reasoning",
}
_ARGUMENTS = {"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"}
_ENDS = {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}


def ask(upstream: Upstream, model: str, request: ChatRequest) -> Events:
    name, failed = upstream.name, upstream.failed
    return upstream.ask(
        "/responses",
        model,
        partial(encode, model, request),
        partial(whole, provider=name, failed=failed, forward=not request.stream),
        partial(ResponseReader, name, failed) if request.stream else None,
    )


def encode(model: str, request: ChatRequest) -> bytes:
    """The caller's own body as JSON. Raises Refused for what JSON cannot say."""
    body = {**(request.body or {}), "model": model, "stream": request.stream}
    if not request.stream:
        body.pop("stream_options", None)  # refused without stream
    try:
        return orjson.dumps(body)
    except TypeError:
        raise Refused("the request cannot be written as JSON", code="invalid_json") from None


class ResponseReader:
    """Reads the data of one stream's events, each of which becomes one event that carries it. `provider`: its name, for errors."""

    def __init__(self, provider: str, failed: Failed) -> None:
        self._provider, self._failed = provider, failed
        self._reason: FinishReason | None = None
        self._understood = self._broken = 0
        self._useful = False
        self.done = False
        """The response's last event was read."""

    @property
    def finished(self) -> bool:
        return self.done

    def read(self, data: bytes) -> list[ProviderEvent]:
        """Raises ProviderError for an error inside the stream, and for too much that is no JSON."""
        try:
            said = orjson.loads(data)
        except orjson.JSONDecodeError:
            if data.strip() == b"[DONE]":  # which OpenAI does not send, and others do
                return []
            self._broken += 1
            if self._broken > BROKEN_LIMIT:
                raise Unavailable("garbage in the stream", self._provider) from None
            return []
        raw = orjson.dumps(said) if b"\n" in data else data
        self._understood += 1
        kind = said.get("type") if isinstance(said, dict) else None
        if not isinstance(kind, str):
            if isinstance(said, dict) and said.get("error"):
                raise self._failed(said["error"])
            return []  # without a type it could not be forwarded
        if kind == "error":
            raise self._failed(said.get("error") or {name: said.get(name) for name in ("code", "message", "param")})
        if kind in _ENDS:
            return self._end(_dict(said.get("response")), raw)
        event = _event(kind, said, raw)
        self._useful |= isinstance(event, TextDelta | ToolCallDelta)
        return [event]

    def take(self, pieces: Iterable[bytes], events: list[ProviderEvent]) -> None:
        for piece in pieces:
            events += self.read(piece)
            if self.done:
                return

    def end(self) -> list[ProviderEvent]:
        """The last event. Raises Unavailable if the upstream did not come to its end."""
        if not self._understood:
            raise Unavailable("garbage instead of a stream" if self._broken else "an empty stream", self._provider)
        if self._reason is None:
            raise Unavailable("cut off: the stream ended without finishing", self._provider)
        return [Finished(self._reason)]

    def _end(self, response: dict[str, Any], raw: bytes) -> list[ProviderEvent]:
        self._reason = reason_of(response, self._provider, self._failed)
        self.done = True
        # One that used up its limit while it thought: nothing came, and it is an answer all the same.
        nothing: list[ProviderEvent] = [] if self._useful or self._reason == "stop" else [TextDelta("")]
        used = response.get("usage")
        return [*nothing, usage(used, raw) if isinstance(used, dict) else Passed(raw)]


def whole(body: bytes, provider: str, failed: Failed, forward: bool = True) -> list[ProviderEvent]:
    """The events of a response that was not streamed. Raises ProviderError.

    `forward`: the first event has the body as `raw`; False where the caller wants a stream and could do nothing with it.
    """
    try:
        response = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Unavailable("garbage instead of an answer", provider) from None
    if not isinstance(response, dict) or not isinstance(response.get("output"), list):
        if isinstance(response, dict) and response.get("error"):
            raise failed(response["error"])
        raise Unavailable("an answer without output", provider)
    reason = reason_of(response, provider, failed)
    events = [event for index, item in enumerate(response["output"]) for event in _item(index, _dict(item))]
    if not any(isinstance(event, TextDelta | ToolCallDelta) for event in events) and reason != "stop":
        events.append(TextDelta(""))
    if forward:
        events.insert(0, Passed(body))
    used = response.get("usage")
    return [*events, *([usage(used)] if isinstance(used, dict) else []), Finished(reason)]


def reason_of(response: dict[str, Any], provider: str, failed: Failed) -> FinishReason:
    """Why it ended. Raises ProviderError if it did not end well."""
    status = response.get("status")
    if status == "failed" or (status != "completed" and response.get("error")):
        raise failed(response.get("error") or {})
    if status == "cancelled":
        raise Unavailable("interrupted by the upstream", provider, code="cancelled")
    if status == "incomplete":
        why = _dict(response.get("incomplete_details")).get("reason")
        return "content_filter" if why == "content_filter" else "length"
    if status in ("queued", "in_progress"):
        return "cancelled"  # in the background: this answer ends here, the response does not
    output = response.get("output")
    called = isinstance(output, list) and any(_dict(item).get("type") in _CALLS for item in output)
    return "tool_calls" if called else "stop"


def usage(used: dict[str, Any], raw: bytes | None = None) -> Usage:
    taken, given = _dict(used.get("input_tokens_details")), _dict(used.get("output_tokens_details"))
    return Usage(
        input_tokens=_count(used.get("input_tokens")),
        output_tokens=_count(used.get("output_tokens")),
        cached_tokens=_count(taken.get("cached_tokens")),
        reasoning_tokens=_count(given.get("reasoning_tokens")),
        raw=raw,
    )


_CALLS = {"function_call", "custom_tool_call"}
_SILENT = {"message", "reasoning", "compaction"}
"""Items whose beginning says nothing yet. Any other is a call: a function's, or of a tool that the upstream itself runs."""


def _event(kind: str, said: dict[str, Any], raw: bytes) -> ProviderEvent:
    delta = said.get("delta")
    if isinstance(delta, str) and delta and kind in _TEXTS:
        return TextDelta(delta, _TEXTS[kind], raw)
    if isinstance(delta, str) and delta and kind in _ARGUMENTS:
        return ToolCallDelta(_index(said), arguments=delta, raw=raw)
    item = _dict(said.get("item"))
    if kind == "response.output_item.added" and item.get("type") not in _SILENT:
        return _call(_index(said), item, raw)
    if kind == "response.output_item.done" and (seal := _seal(item)) is not None:
        return replace(seal, raw=raw)
    return Passed(raw)


def _seal(item: dict[str, Any]) -> ThoughtSealed | None:
    seal = _text(item.get("encrypted_content"))
    if seal is None or item.get("type") != "reasoning":
        return None
    return ThoughtSealed(seal, redacted=not item.get("summary") and not item.get("content"))


def _call(index: int, item: dict[str, Any], raw: bytes | None = None) -> ToolCallDelta:
    identity, name = item.get("call_id") or item.get("id"), item.get("name") or item.get("type")
    given = item.get("arguments") or item.get("input")
    return ToolCallDelta(index, _text(identity), _text(name), given if isinstance(given, str) else "", raw)


def _item(index: int, item: dict[str, Any]) -> Iterator[ProviderEvent]:
    match item.get("type"):
        case "message":
            for part in map(_dict, _list(item.get("content"))):
                if said := _text(part.get("text")):
                    yield TextDelta(said)
                if said := _text(part.get("refusal")):
                    yield TextDelta(said, "refusal")
        case "reasoning":
            for part in map(_dict, _list(item.get("summary")) or _list(item.get("content"))):
                if said := _text(part.get("text")):
                    yield TextDelta(said, "reasoning")
            if (seal := _seal(item)) is not None:
                yield seal
        case "compaction":
            pass
        case _:
            yield _call(index, item)


def _index(said: dict[str, Any]) -> int:
    index = said.get("output_index")
    return index if isinstance(index, int) else 0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
