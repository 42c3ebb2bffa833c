"""Clauses: text to speech where each clause is a context of its own on one connection. A session as a pure codec; what a
provider calls things is its dialect.

A clause is sent whole at its Commit, and the end of its context says that all its audio came. A few run at a time, so that the next
one is made while one is spoken; what comes early waits its turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.contract.duplex import Wait
from gateway.contract.errors import Unavailable
from gateway.contract.events import Finished, Flushed, ProviderEvent, Usage, Word
from gateway.contract.requests import Cancel, Clear, Commit, Input
from gateway.contract.websocket import Frame
from providers._spoken import Spoken

_NOW = Wait(0.0)


@dataclass(frozen=True, slots=True)
class Piece:
    """What a frame says of a context (None: of the connection). `audio`: base64. `words` and `characters`: text, start and end,
    in seconds from the start of the clause's audio, of this piece's, or from the last word before. `over`: all of the context came."""

    context: str | None
    audio: object = None
    words: tuple[tuple[str, float, float], ...] = ()
    characters: tuple[tuple[str, float, float], ...] = ()
    since: Literal["clause", "piece", "word"] = "clause"
    over: bool = False


class Dialect(Protocol):
    """`keep_alive`: seconds without anything sent after which `alive` is; None where nothing is needed. `at_a_time`: contexts that
    may run."""

    keep_alive: float | None
    at_a_time: int

    def say(self, context: str, text: str) -> Iterable[Frame]:
        """Speak this in a new context, and end it."""

    def cancel(self, context: str) -> Iterable[Frame]: ...

    def alive(self, context: str | None) -> Iterable[Frame]:
        """`context`: one that runs."""

    def read(self, frame: Frame) -> Iterable[Piece]:
        """Raises ProviderError."""

    def lost(self, code: int | None, reason: str) -> Exception:
        """What a close before the end means."""


@dataclass(slots=True, eq=False)
class _Clause:
    """`owed`: somebody waits for its Flushed. `context`: once it was sent. `early`: what came before its turn. `word`: one
    whose end has not come."""

    text: str
    owed: bool
    done: bool
    context: str | None = None
    early: deque[Piece] = field(default_factory=deque)
    base: float | None = None
    word: tuple[str, float, float] | None = None
    heard: bool = False


class Clauses:
    """Implements duplex.Codec and Patient. `contexts`: ids, each once for a connection."""

    def __init__(self, provider: str, dialect: Dialect, rate: int, contexts: Iterator[str]) -> None:
        self._provider, self._dialect, self._contexts = provider, dialect, contexts
        self.keep_alive = dialect.keep_alive
        self._spoken = Spoken(provider, rate)
        self._text = ""
        self._clauses: deque[_Clause] = deque()
        self._characters = 0
        self._ended = False
        self.finished = False

    @property
    def wait(self) -> Wait | None:
        """What has no word is answered here."""
        over = self._clauses[0].done if self._clauses else self._ended
        return _NOW if over else None

    def late(self) -> Iterator[Frame | ProviderEvent]:
        yield from self._settle()

    def begin(self) -> Iterable[Frame]:
        return ()

    def put(self, item: Input) -> Iterator[Frame]:
        match item:
            case str(text):
                self._text += text
            case Commit():
                yield from self._add(owed=True)
            case Clear():
                self._text = ""
            case Cancel():
                self._text = ""
                yield from self._cancel()

    def end(self) -> Iterator[Frame]:
        yield from self._add(owed=False)
        self._ended = True

    def idle(self) -> Iterable[Frame]:
        return self._dialect.alive(next((each.context for each in self._running()), None))

    def hear(self, frame: Frame) -> Iterator[Frame | ProviderEvent]:
        for piece in self._dialect.read(frame):
            for clause in self._running():
                if piece.context is not None and clause.context == piece.context:
                    clause.early.append(piece)
        yield from self._settle()

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        raise self._dialect.lost(code, reason)

    def _running(self) -> Iterator[_Clause]:
        return (clause for clause in self._clauses if clause.context is not None and not clause.done)

    def _add(self, *, owed: bool) -> Iterator[Frame]:
        text, self._text = self._text, ""
        worded = any(map(str.isalnum, text))
        if worded or owed:
            self._clauses.append(_Clause(text, owed, done=not worded))
        yield from self._feed()

    def _feed(self) -> Iterator[Frame]:
        """Sends those whose turn it is."""
        for clause in [each for each in self._clauses if not each.done][: self._dialect.at_a_time]:
            if clause.context is None:
                clause.context = next(self._contexts)
                self._characters += len(clause.text)
                yield from self._dialect.say(clause.context, clause.text)

    def _cancel(self) -> Iterator[Frame]:
        running = [clause.context for clause in self._running()]
        self._spoken.forget()
        for clause in self._clauses:
            clause.done = True
            clause.early.clear()
        for context in running:
            yield from self._dialect.cancel(context or "")

    def _settle(self) -> Iterator[Frame | ProviderEvent]:
        """What can be said now: of the first clause, and of the next ones once those before are over."""
        while self._clauses:
            clause = self._clauses[0]
            while clause.early:
                yield from self._said(clause, clause.early.popleft())
            if not clause.done:
                break
            self._clauses.popleft()
            if clause.owed:
                yield Flushed()
            yield from self._feed()
        if self._ended and not self._clauses and not self.finished:
            yield Usage(characters=self._characters, seconds=self._spoken.seconds)
            yield Finished()
            self.finished = True

    def _said(self, clause: _Clause, piece: Piece) -> Iterator[ProviderEvent]:
        if clause.base is None:
            clause.base = self._spoken.seconds
        base = self._spoken.seconds if piece.since == "piece" else clause.base
        for text, start, end in piece.words:
            self._spoken.say(Word(text, base + start, base + end))
        if piece.since == "word" and piece.words:
            clause.base += piece.words[-1][2]
        self._spell(clause, piece, base)
        if piece.audio:
            clause.heard = True
            if (delta := self._spoken.take_base64(piece.audio)) is not None:
                yield delta
        if piece.over:
            self._word_over(clause)
            if not clause.heard:
                raise Unavailable("it made no audio of a text", self._provider)
            clause.done = True
            if (delta := self._spoken.rest()) is not None:
                yield delta

    def _spell(self, clause: _Clause, piece: Piece, base: float) -> None:
        """Words out of characters; one may go on in the next piece."""
        for character, start, end in piece.characters:
            if character.isspace():
                self._word_over(clause)
            else:
                text, since, _ = clause.word or ("", base + start, 0.0)
                clause.word = (text + character, since, base + end)

    def _word_over(self, clause: _Clause) -> None:
        if clause.word is not None:
            self._spoken.say(Word(*clause.word))
            clause.word = None
