"""What Gemini says, as events: GenerateContentResponse objects one by one; an answer that is not streamed is one of them. Pure.

A stream has no terminator: it is whole if the candidate told why it finished, and cut if not. Usage stands in every chunk, and
the last one's counts. A call comes whole. Parts that no event says (pictures, code that Google ran) are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import orjson

from gateway.contract.errors import ProviderError, Unauthorized, Unavailable
from gateway.contract.events import (
    Finished,
    FinishReason,
    ProviderEvent,
    TextDelta,
    ThoughtSealed,
    ToolCallDelta,
    Usage,
)
from providers._gemini_body import SEAL

BROKEN_LIMIT = 3
"""Events of one stream that may be no JSON."""

_REASONS: Mapping[str, FinishReason] = MappingProxyType(
    {
        "STOP": "stop",
        "MAX_TOKENS": "length",
        "CONTINUATION": "length",
        **dict.fromkeys(("RECITATION", "LANGUAGE", "IMAGE_RECITATION"), "content_filter"),
        **dict.fromkeys(("SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "ESCALATION"), "content_filter"),
        **dict.fromkeys(("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "MODEL_ARMOR"), "content_filter"),
    }
)
"""What is not here is no end: the model failed (MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, MISSING_THOUGHT_SIGNATURE, ...)
or stopped for a reason it does not tell (OTHER)."""

_FLAWED = {"RECITATION", "LANGUAGE", "IMAGE_RECITATION"}
"""Of the answer and not of what was asked: another model may answer well."""


class Failures(Protocol):
    """Makes errors of what the upstream says: of its `error` objects, and of what it blocks."""

    def failed(self, error: object) -> ProviderError: ...

    def blocked(self, reason: str, message: object = None) -> ProviderError: ...


class GeminiChunks:
    """Reads the data of one stream's events. `mint`: an id for calls that come without; `one_call`: the caller wants no more."""

    done = False

    def __init__(self, provider: str, failures: Failures, mint: Callable[[], str], one_call: bool = False) -> None:
        self._provider, self._failures, self._mint, self._one_call = provider, failures, mint, one_call
        self._usage: Usage | None = None
        self._reason: FinishReason | None = None
        self._calls = self._understood = self._broken = 0
        self._said = False

    @property
    def finished(self) -> bool:
        return self._reason is not None

    def read(self, data: bytes) -> list[ProviderEvent]:
        """The events of one chunk. Raises ProviderError for an error inside the stream, and for too much that is no JSON."""
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            self._broken += 1
            if self._broken > BROKEN_LIMIT:
                raise Unavailable("garbage in the stream", self._provider) from None
            return []
        events: list[ProviderEvent] = []
        for each in chunk if isinstance(chunk, list) else [chunk]:
            if isinstance(each, dict):
                self._understood += 1
                events += self._events(each)
        return events

    def end(self) -> list[ProviderEvent]:
        """The last events. Raises Unavailable if the upstream did not come to its end."""
        if not self._understood:
            raise Unavailable("garbage instead of a stream" if self._broken else "an empty stream", self._provider)
        if self._reason is None:
            raise Unavailable("cut off: the stream ended without finishing", self._provider)
        reason = "tool_calls" if self._calls and self._reason == "stop" else self._reason
        return [*([self._usage] if self._usage else []), Finished(reason)]

    def _events(self, chunk: dict[str, Any]) -> list[ProviderEvent]:
        if error := chunk.get("error"):
            raise self._failures.failed(error)
        if isinstance(chunk.get("usageMetadata"), dict):
            self._usage = usage(chunk["usageMetadata"])
        candidates = [each for each in _list(chunk.get("candidates")) if isinstance(each, dict)]
        candidate = next((each for each in candidates if not each.get("index")), None)
        if candidate is None:
            feedback = _dict(chunk.get("promptFeedback"))
            if reason := _text(feedback.get("blockReason")):
                raise self._failures.blocked(reason, feedback.get("blockReasonMessage"))
            return []
        events = [event for part in _list(_dict(candidate.get("content")).get("parts")) for event in self._part(part)]
        self._said = self._said or bool(events)
        if reason := _text(candidate.get("finishReason")):
            self._finish(reason, candidate.get("finishMessage"))
        return events

    def _part(self, part: object) -> Iterator[ProviderEvent]:
        said = _dict(part)
        seal, text, call = _text(said.get("thoughtSignature")), _text(said.get("text")), said.get("functionCall")
        if isinstance(call, dict):
            yield from self._call(call, seal)
            return
        if text:
            yield TextDelta(text, "reasoning" if said.get("thought") else "text")
        if seal:
            yield ThoughtSealed(SEAL + seal)

    def _call(self, call: dict[str, Any], seal: str | None) -> Iterator[ProviderEvent]:
        if self._calls and self._one_call:
            return
        arguments = orjson.dumps(call.get("args") or {}).decode()
        name = _text(call.get("id")) or self._mint()
        yield ToolCallDelta(self._calls, name, _text(call.get("name")), arguments, signature=seal)
        self._calls += 1

    def _finish(self, reason: str, message: object) -> None:
        if reason == "PUP_LIMITED_DISABLED":
            raise Unauthorized("the account is limited", self._provider, code=reason)
        known = _REASONS.get(reason)
        if known is None:
            raise Unavailable("the model stopped without coming to its end", self._provider, code=reason)
        if known == "content_filter" and not self._said and reason not in _FLAWED:
            raise self._failures.blocked(reason, message)
        self._reason = known


def usage(said: dict[str, Any]) -> Usage:
    """Thoughts are counted apart from the answer, and results of Google's own tools apart from the prompt."""
    prompt, answer = _by_modality(said, "promptTokensDetails"), _by_modality(said, "candidatesTokensDetails")
    thoughts = _count(said.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=_count(said.get("promptTokenCount")) + _count(said.get("toolUsePromptTokenCount")),
        output_tokens=_count(said.get("candidatesTokenCount")) + thoughts,
        cached_tokens=_count(said.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
        audio_input_tokens=prompt.get("AUDIO", 0),
        audio_output_tokens=answer.get("AUDIO", 0),
        image_input_tokens=prompt.get("IMAGE", 0),
    )


def vectors(body: bytes, provider: str, failures: Failures, wanted: int) -> tuple[tuple[tuple[float, ...], ...], Usage]:
    """What a BatchEmbedContentsResponse holds. Raises ProviderError."""
    try:
        answer = _dict(orjson.loads(body))
    except orjson.JSONDecodeError:
        raise Unavailable("garbage instead of an answer", provider) from None
    if error := answer.get("error"):
        raise failures.failed(error)
    found = tuple(tuple(_list(_dict(each).get("values"))) for each in _list(answer.get("embeddings")))
    if len(found) != wanted or not all(found):
        raise Unavailable(f"{len(found)} vectors for {wanted} inputs", provider)
    return found, usage(_dict(answer.get("usageMetadata")))


def counted(body: bytes, provider: str) -> int:
    """What a CountTokensResponse says. Raises Unavailable."""
    try:
        tokens = _dict(orjson.loads(body)).get("totalTokens")
    except orjson.JSONDecodeError:
        tokens = None
    if not isinstance(tokens, int):
        raise Unavailable("garbage instead of a count", provider)
    return tokens


def _by_modality(said: dict[str, Any], name: str) -> dict[str, int]:
    details = [_dict(each) for each in _list(said.get(name))]
    return {str(each.get("modality")): _count(each.get("tokenCount")) for each in details}


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
