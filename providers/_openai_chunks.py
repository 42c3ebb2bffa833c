"""What an OpenAI-shaped upstream says, as events: chat.completion.chunk objects one by one, or a whole chat.completion. Pure.

Of several choices (n > 1) only the first becomes text and tool calls; the others are passed on as they came.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import orjson

from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import (
    JOINT,
    Finished,
    FinishReason,
    Passed,
    ProviderEvent,
    TextDelta,
    TextKind,
    ToolCallDelta,
    Usage,
)

BROKEN_LIMIT = 3
"""Events of one stream that may be no JSON. One is a glitch that costs a word; more, and the answer is full of holes."""

# What they say beyond OpenAI's five: Together "eos", Mistral "model_length", others as their own protocols have it.
_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
}
_ONLY_FIRST, _NOTHING = {0}, object()
_NO_FRAME = (b"", b"")
_FIELD, _END = b"data: ", b"\n\n"
FRAMES = 4
"""How often a stream's chunks may be seen to have other words around their text before it is no longer looked for."""
# Ends that are none: Mistral and OpenRouter, DeepSeek, vLLM.
_INTERRUPTED = {"error", "insufficient_system_resource", "abort"}

Failed = Callable[[object], ProviderError]
"""Makes the error of an upstream's `error` object."""


class ChatChunks:
    """Reads the data of one stream's events. `provider`: its name, for errors; `forward`: events carry the chunks they came in."""

    def __init__(self, provider: str, failed: Failed, forward: bool = True) -> None:
        self._provider, self._failed, self._forward = provider, failed, forward
        self._unfinished: set[int] = set()
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None
        self._understood = self._broken = 0
        self._frame = self._framed = _NO_FRAME  # of a chunk, and of one as the event it comes in
        self._frames_left = FRAMES
        self.done = False
        """[DONE] was read: nothing more will mean anything."""

    @property
    def finished(self) -> bool:
        """The upstream gave every choice its finish_reason; usage may follow."""
        return self._reason is not None and not self._unfinished

    def take(self, pieces: Iterable[bytes], events: list[ProviderEvent]) -> None:
        """Add the events of these chunks. Raises ProviderError for an error inside the stream, and for too much that is no JSON.

        Chunks of nothing but text of the one choice there is become one event for as many of them as follow each other.
        """
        texts: list[str] = []
        raws: list[bytes] = []
        run: list[bytes] = []  # chunks in the frame, not yet read
        head, tail = self._open_frame()
        for piece in pieces:
            if head and piece.startswith(head) and piece.endswith(tail):
                run.append(piece)
                continue
            if run:
                self._take_run(run, texts, raws, events)
                run = []
            if not self._take_one(piece, texts, raws, events):
                return
            head, tail = self._open_frame()
        if run:
            self._take_run(run, texts, raws, events)
        if texts:
            events.append(self._joined(texts, raws))

    def _take_run(self, run: list[bytes], texts: list[str], raws: list[bytes], events: list[ProviderEvent]) -> None:
        """Chunks that begin and end as those of text before them. `texts`, `raws`: what was read and is not yet an event."""
        head, tail = self._frame
        text = _plain_text([piece[len(head) : -len(tail)] for piece in run])
        if text is None:
            for piece in run:
                self._take_one(piece, texts, raws, events)
            return
        self._understood += len(run)
        texts.append(text)
        raws += run

    def _take_one(self, piece: bytes, texts: list[str], raws: list[bytes], events: list[ProviderEvent]) -> bool:
        """Any chunk. False if it was the last."""
        chunk = self._parsed(piece)
        if self._one_begun() and (text := _only_text(chunk)) is not None:
            texts.append(text)
            raws.append(piece if b"\n" not in piece else orjson.dumps(chunk))
            self._learn_frame(piece, text)
            return True
        if texts:
            events.append(self._joined(texts, raws))
            texts.clear()
            raws.clear()
        if self.done:
            return False
        if self._broken > BROKEN_LIMIT:
            raise Unavailable("garbage in the stream", self._provider)
        if chunk is not _NOTHING:
            events += self._read(chunk, piece)
        return True

    def _one_begun(self) -> bool:
        """The first choice is under way, and no other is."""
        return self._unfinished == _ONLY_FIRST and self._reason is None

    def _open_frame(self) -> tuple[bytes, bytes]:
        return self._frame if self._one_begun() else _NO_FRAME

    def take_plain(self, data: bytes, events: list[ProviderEvent]) -> bool:
        """Add what one read says, if it is whole events of text in the same frame as before, and nothing else; False if it is not.
        Then the texts are all that is looked at."""
        if not (self._frame[0] and self._one_begun()):
            return False
        head, tail = self._framed
        if not (data.startswith(head) and data.endswith(tail)):
            return False
        texts = data[len(head) : -len(tail)].split(tail + head)
        said = _plain_text(texts)
        if said is None:
            return False
        self._understood += len(texts)
        events.append(TextDelta(said, "text", data[len(_FIELD) : -len(_END)] if self._forward else None, len(texts)))
        return True

    def _learn_frame(self, piece: bytes, text: str) -> None:
        """What stands around the text of a chunk stands around that of the next, nearly always: then only the text is read."""
        head, tail = self._frame
        if self._frames_left and not (piece.startswith(head) and piece.endswith(tail) and head):
            self._frames_left -= 1
            head, tail = self._frame = _frame(piece, text)
            self._framed = _FIELD + head, tail + _END

    def read(self, data: bytes) -> list[ProviderEvent]:
        """The events of one chunk."""
        events: list[ProviderEvent] = []
        self.take((data,), events)
        return events

    def _parsed(self, data: bytes) -> object:
        """_NOTHING for the end and for garbage."""
        if data == b"[DONE]":
            self.done = True
            return _NOTHING
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            if data.strip() == b"[DONE]":
                self.done = True
            else:
                self._broken += 1
            return _NOTHING
        self._understood += 1
        return chunk

    def _joined(self, texts: list[str], raws: list[bytes]) -> TextDelta:
        raw = JOINT.join(raws) if self._forward else None
        return TextDelta("".join(texts), "text", raw, len(raws))

    def _read(self, chunk: object, data: bytes) -> list[ProviderEvent]:
        # On several lines it could not be forwarded as one `data:` line.
        raw = orjson.dumps(chunk) if b"\n" in data else data
        events: list[ProviderEvent] = self._events(chunk, raw) if isinstance(chunk, dict) else [Passed(raw)]
        return events if self._forward else list(without_raw(events))

    def end(self) -> list[ProviderEvent]:
        """The last events. Raises Unavailable if the upstream did not come to its end."""
        if not self._understood and not self.done:
            raise Unavailable("garbage instead of a stream" if self._broken else "an empty stream", self._provider)
        if not self.done and not self.finished:
            raise Unavailable("cut off: the stream ended without finishing", self._provider)
        held: list[ProviderEvent] = [self._usage] if self._usage else []
        return [*held, Finished(self._reason or "stop")]

    def _events(self, chunk: dict[str, Any], raw: bytes) -> list[ProviderEvent]:
        groq = _dict(chunk.get("x_groq"))
        if error := chunk.get("error") or groq.get("error"):
            raise self._failed(error)
        events: list[ProviderEvent] = []
        choices = [choice for choice in _list(chunk.get("choices")) if isinstance(choice, dict)]
        for choice in choices:
            index = _index(choice)
            self._end_of_choice(index, choice)
            if index == 0:
                events += _said(_dict(choice.get("delta")), raw)
        used = chunk.get("usage") or groq.get("usage")
        if isinstance(used, dict) and choices:
            self._usage = usage(used)  # some count in every chunk: the last stands
        elif isinstance(used, dict):
            self._usage = None
            events.append(usage(used, raw))
        return events or [Passed(raw)]

    def _end_of_choice(self, index: int, choice: dict[str, Any]) -> None:
        said = choice.get("finish_reason")
        if choice.get("error"):
            raise self._failed(choice["error"])
        if not isinstance(said, str) or not said:
            self._unfinished.add(index)
            return
        reason = _reason(said, self._provider)
        self._unfinished.discard(index)
        if index == 0 or self._reason is None:
            self._reason = reason


def _only_text(chunk: object) -> str | None:
    """What a chunk says that says no more than that, of the first choice."""
    choices = chunk.get("choices") if type(chunk) is dict else None
    if type(chunk) is not dict or type(choices) is not list or len(choices) != 1 or type(choices[0]) is not dict:
        return None
    choice = choices[0]
    delta = choice.get("delta")
    if type(delta) is not dict or len(delta) != 1 or choice.get("index") != 0:
        return None
    text = delta.get("content")
    more = choice.get("finish_reason") or choice.get("error") or chunk.get("error") or chunk.get("usage")
    return text if type(text) is str and text and not more and "x_groq" not in chunk else None


def _frame(piece: bytes, text: str) -> tuple[bytes, bytes]:
    """What stands before and after the text in a chunk that says only that; _NO_FRAME where that is not plain to see."""
    quoted = b'"%b"' % text.encode()
    # Without escapes the text stands there as it is; if its quoted form does once, that is the place.
    if b"\\" in piece or b"\n" in piece or piece.count(quoted) != 1:
        return _NO_FRAME
    before, _, after = piece.partition(quoted)
    return before + b'"', b'"' + after


def _plain_text(said: list[bytes]) -> str | None:
    """What stands in strings of JSON, where it stands there as it is, and in none of them is nothing."""
    joined = b"".join(said)
    if b"" in said or b'"' in joined or b"\\" in joined:
        return None
    try:
        # Each for itself, for no character may begin in one and end in the next.
        text = joined.decode() if joined.isascii() else "".join([each.decode() for each in said])
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None  # JSON has no control characters inside a string


def without_raw(events: Iterable[ProviderEvent]) -> Iterator[ProviderEvent]:
    """The same for a caller of another dialect, who could do nothing with the chunks."""
    for event in events:
        match event:
            case Passed():
                pass
            case TextDelta() | ToolCallDelta() | Usage() if event.raw is not None:
                yield replace(event, raw=None)
            case _:
                yield event


def whole(body: bytes, provider: str, failed: Failed, forward: bool = True) -> list[ProviderEvent]:
    """The events of an answer that was not streamed. Raises ProviderError.

    `forward`: the first event has the body as `raw`; False where the caller wants chunks and could do nothing with it.
    """
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Unavailable("garbage instead of an answer", provider) from None
    if isinstance(answer, dict) and answer.get("error"):
        raise failed(answer["error"])
    choices = _list(_dict(answer).get("choices"))
    first = choices[0] if len(choices) == 1 else None
    if type(first) is not dict or first.get("index", 0) != 0:
        first = next((c for c in choices if isinstance(c, dict) and _index(c) == 0), None)
    if first is None:
        raise Unavailable("an answer without a choice", provider)
    if first.get("error"):
        raise failed(first["error"])
    reason = _reason(first.get("finish_reason"), provider)
    once = body if forward else None
    events: list[ProviderEvent]
    message = _dict(first.get("message"))
    plain = _plain(message)
    events = [TextDelta(plain, "text", once)] if plain else list(_said(message, once))
    if not events and once is not None:
        events.append(Passed(once))
    used = answer.get("usage") or _dict(answer.get("x_groq")).get("usage")
    if isinstance(used, dict):
        events.append(usage(used))
    return [*events, Finished(reason)]


def _plain(message: dict[str, Any]) -> str | None:
    """Its text, if that is all there is."""
    for name, value in message.items():
        if value and name != "content" and name != "role":
            return None
    content = message.get("content")
    return content if type(content) is str else None


def _said(message: dict[str, Any], once: bytes | None) -> Iterator[ProviderEvent]:
    """Text and tool calls; the first event has `once` as raw."""
    for kind, text in _texts(message):
        yield TextDelta(text, kind, once)
        once = None
    for position, call in enumerate(_calls(message)):
        yield _call(_index(call, position), call, once)
        once = None


def usage(used: dict[str, Any], raw: bytes | None = None) -> Usage:
    """Cached tokens: OpenAI's details, else DeepSeek's own field."""
    prompt, completion = used.get("prompt_tokens_details"), used.get("completion_tokens_details")
    cached = used.get("prompt_cache_hit_tokens")
    if not (prompt or completion or cached):
        return Usage(_count(used.get("prompt_tokens")), _count(used.get("completion_tokens")), raw=raw)
    prompt, completion = _dict(prompt), _dict(completion)
    return Usage(
        input_tokens=_count(used.get("prompt_tokens")),
        output_tokens=_count(used.get("completion_tokens")),
        cached_tokens=_count(prompt.get("cached_tokens") or cached),
        reasoning_tokens=_count(completion.get("reasoning_tokens")),
        audio_input_tokens=_count(prompt.get("audio_tokens")),
        audio_output_tokens=_count(completion.get("audio_tokens")),
        raw=raw,
    )


def _texts(said: dict[str, Any]) -> Iterator[tuple[TextKind, str]]:
    """What is not empty of a delta or a message, reasoning first."""
    reasoning = said.get("reasoning_content") or said.get("reasoning")
    content = said.get("content")
    if isinstance(reasoning, str) and reasoning:
        yield "reasoning", reasoning
    if isinstance(content, str) and content:
        yield "text", content
    for part in _list(content):  # Mistral's reasoning models: parts instead of a string
        yield from _part(_dict(part))
    spoken = _dict(said.get("audio")).get("transcript")
    if isinstance(spoken, str) and spoken:
        yield "text", spoken
    refusal = said.get("refusal")
    if isinstance(refusal, str) and refusal:
        yield "refusal", refusal


def _part(part: dict[str, Any]) -> Iterator[tuple[TextKind, str]]:
    if isinstance(text := part.get("text"), str) and text:
        yield "text", text
    for thought in _list(part.get("thinking")):
        if isinstance(text := _dict(thought).get("text"), str) and text:
            yield "reasoning", text


def _calls(said: dict[str, Any]) -> list[dict[str, Any]]:
    """Tool calls, and the one of the old protocol."""
    calls = [call for call in _list(said.get("tool_calls")) if isinstance(call, dict)]
    old = said.get("function_call")
    return calls or ([{"index": 0, "function": old}] if isinstance(old, dict) else [])


def _call(index: int, call: dict[str, Any], raw: bytes | None) -> ToolCallDelta:
    called = _dict(call.get("function") or call.get("custom"))
    arguments = called.get("arguments") or called.get("input")
    if isinstance(arguments, dict):  # Ollama has sent the object itself
        arguments = orjson.dumps(arguments).decode()
    return ToolCallDelta(
        index, _name(call.get("id")), _name(called.get("name")), arguments if isinstance(arguments, str) else "", raw
    )


def _reason(said: object, provider: str) -> FinishReason:
    if not isinstance(said, str):
        return "stop"
    if said in _INTERRUPTED:
        raise Unavailable("interrupted by the upstream", provider, code=said)
    return _REASONS.get(said, "stop")


def _index(of: dict[str, Any], otherwise: int = 0) -> int:
    index = of.get("index")
    return index if isinstance(index, int) else otherwise


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int:
    return int(value) if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)) else 0


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
