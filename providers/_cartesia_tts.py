"""Cartesia's text to speech: one session as a pure codec.

An answer is a context, so that its clauses sound like one: each is sent whole at its Commit and flushed, and `flush_done` says
that all its audio came. A context dies a second after its last audio; before that can be, the next clause begins another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.contract.duplex import Wait
from gateway.contract.errors import Unavailable
from gateway.contract.events import Finished, Flushed, ProviderEvent, Usage, Word
from gateway.contract.requests import Cancel, Clear, Commit, Input
from gateway.contract.websocket import Frame
from providers._cartesia_errors import Faults
from providers._spoken import Spoken

LIVES = 0.5
"""Seconds after its last audio in which a context is gone on with: half of what it has, for the way there."""
_BACK = 0.1
"""Seconds that a word may begin before the end of the last one; more, and its times count from another start."""
_NOW = Wait(0.0)


@dataclass(slots=True, eq=False)
class _Clause:
    """`asked`: it was sent and will be flushed; else it is over when it is its turn. `owed`: somebody waits for its Flushed."""

    asked: bool
    owed: bool


class Speaking:
    """Implements duplex.Codec and Patient. `fields`: of every message; `contexts`: ids, each once for a connection."""

    keep_alive: float | None = None

    def __init__(
        self,
        provider: str,
        faults: Faults,
        fields: Mapping[str, object],
        rate: int,
        contexts: Iterator[str],
        clock: Callable[[], float],
    ) -> None:
        self._provider, self._faults, self._fields = provider, faults, fields
        self._contexts, self._clock = contexts, clock
        self._spoken = Spoken(provider, rate)
        self._text = ""
        self._clauses: deque[_Clause] = deque()
        self._context: str | None = None
        self._last = 0.0  # when the context last said something
        self._base = self._since = self._word = (
            0.0  # seconds: where word times count from; this clause; the last word's end
        )
        self._heard = self._ended = False
        self._characters = 0
        self.finished = False

    @property
    def wait(self) -> Wait | None:
        """Clauses without a word are answered here."""
        over = not self._clauses[0].asked if self._clauses else self._ended
        return _NOW if over else None

    def late(self) -> Iterator[ProviderEvent]:
        yield from self._settle()

    def begin(self) -> Iterable[Frame]:
        return ()

    def put(self, item: Input) -> Iterator[Frame]:
        match item:
            case str(text):
                self._text += text
            case Commit():
                yield from self._say(owed=True)
            case Clear():
                self._text = ""
            case Cancel():
                self._text = ""
                yield from self._cancel()

    def end(self) -> Iterator[Frame]:
        yield from self._say(owed=False)
        self._ended = True
        if self._context is not None and self._alive():
            yield self._message("", last=True)

    def idle(self) -> Iterable[Frame]:
        return ()

    def hear(self, frame: Frame) -> Iterator[ProviderEvent]:
        message = self._faults.read(frame)
        context, kind = message.get("context_id"), message.get("type")
        if context != self._context and not (context is None and kind == "error"):
            return  # of one that is over
        self._last = self._clock()
        match kind:
            case "chunk":
                yield from self._sound(message.get("data"))
            case "timestamps":
                self._words(message.get("word_timestamps"))
            case "flush_done":
                yield from self._over(1)
            case "done":
                yield from self._over(len(self._clauses))
                self._context = None
            case "error":
                raise self._faults.said(message)

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        raise self._faults.closed(code, "everything was spoken")

    def _say(self, *, owed: bool) -> Iterator[Frame]:
        text, self._text = self._text, ""
        worded = any(map(str.isalnum, text))
        if worded and (self._context is None or not self._alive()):
            self._context = next(self._contexts)
            self._base = self._word = self._spoken.seconds
        if worded or owed:
            self._clauses.append(_Clause(worded, owed))
        if worded:
            self._characters += len(text)
            yield self._message(text)
            yield self._message("", flush=True)

    def _alive(self) -> bool:
        """Whether the context can be gone on with: audio of it is to come, or came just now."""
        return any(clause.asked for clause in self._clauses) or self._clock() < self._last + LIVES

    def _cancel(self) -> Iterator[Frame]:
        if any(clause.asked for clause in self._clauses):
            yield _frame({"context_id": self._context, "cancel": True})
        self._context = None
        self._spoken.forget()
        for clause in self._clauses:
            clause.asked = False

    def _sound(self, data: object) -> Iterator[ProviderEvent]:
        if not data:
            return
        self._heard = True
        if (delta := self._spoken.take_base64(data)) is not None:
            yield delta

    def _words(self, told: Any) -> None:
        told = told if isinstance(told, dict) else {}
        times = list(zip(told.get("words") or (), told.get("start") or (), told.get("end") or ()))
        if times and self._base + times[0][1] < self._word - _BACK:
            self._base = self._since
        for word, start, end in times:
            self._word = self._base + end
            self._spoken.say(Word(str(word), self._base + start, self._word))

    def _over(self, count: int) -> Iterator[ProviderEvent]:
        """The first so many clauses have been spoken."""
        asked = [clause for clause in self._clauses if clause.asked][:count]
        for clause in asked:
            clause.asked = False
        if asked and not self._heard:
            raise Unavailable("it made no audio of a text", self._provider)
        if asked:
            self._heard = False
            if (delta := self._spoken.rest()) is not None:
                yield delta
            self._since = self._spoken.seconds
        yield from self._settle()

    def _settle(self) -> Iterator[ProviderEvent]:
        while self._clauses and not self._clauses[0].asked:
            if self._clauses.popleft().owed:
                yield Flushed()
        if self._ended and not self._clauses and not self.finished:
            yield Usage(characters=self._characters, seconds=self._spoken.seconds)
            yield Finished()
            self.finished = True

    def _message(self, text: str, *, flush: bool = False, last: bool = False) -> str:
        message = {**self._fields, "context_id": self._context, "transcript": text, "continue": not last}
        return _frame({**message, "flush": True} if flush else message)


def _frame(message: Mapping[str, object]) -> str:
    return orjson.dumps(message).decode()
