"""Soniox's text to speech: one session as a pure codec.

A clause is a stream of its own, with an id: its text as it comes, `text_end` at its Commit; then audio, `audio_end`,
`terminated`. Two streams run at a time, so that the next clause is made while one is spoken; what comes early waits its turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.contract.audio import Audio
from gateway.contract.duplex import Wait
from gateway.contract.errors import Unavailable
from gateway.contract.events import AudioDelta, Finished, Flushed, ProviderEvent, Usage, Word
from gateway.contract.requests import Cancel, Clear, Commit, Input, SpeakRequest
from gateway.contract.websocket import Frame
from providers._messages import read
from providers._pcm import Samples
from providers._soniox_errors import error_of

KEEP_ALIVE = 20.0
STREAMS = 2
"""At a time, of the 5 that a connection may have."""
LONGEST = 5_000
"""Characters of one message."""
_NOW = Wait(0.0)


@dataclass(slots=True, eq=False)
class _Clause:
    """`text`: not sent yet. `stream`: its id once it has begun. `early`: messages that came before its turn."""

    samples: Samples
    text: str = ""
    worded: bool = False
    committed: bool = False
    silent: bool = False
    """Ended by the inputs' end: nobody waits for its Flushed."""
    stream: str | None = None
    closed: bool = False
    done: bool = False
    early: deque[dict[str, Any]] = field(default_factory=deque)
    base: float | None = None
    word: tuple[str, float, float] | None = None
    heard: bool = False


class Speaking:
    """Implements duplex.Codec and Patient. `ids`: of streams, each once for a connection; `config`: what each begins with."""

    keep_alive: float | None = KEEP_ALIVE

    def __init__(self, provider: str, config: dict[str, Any], request: SpeakRequest, ids: Iterator[str]) -> None:
        self._provider, self._config, self._ids = provider, config, ids
        self._rate = int(config["sample_rate"])
        self._clauses: deque[_Clause] = deque()
        self._open: _Clause | None = None
        self._ended = False
        self._characters = 0
        self._seconds = 0.0
        self.finished = False

    @property
    def wait(self) -> Wait | None:
        """Clauses without a word are answered here."""
        over = self._over(self._clauses[0]) if self._clauses else self._ended
        return _NOW if over else None

    def late(self) -> Iterator[Frame | ProviderEvent]:
        yield from self._settle()

    def begin(self) -> Iterable[Frame]:
        return ()

    def put(self, item: Input) -> Iterator[Frame]:
        match item:
            case str(text):
                clause = self._current()
                clause.text += text
                clause.worded |= any(map(str.isalnum, text))
            case Commit():
                self._current().committed = True
                self._open = None
            case Clear():
                yield from self._drop(self._open)
            case Cancel():
                yield from self._drop(self._open)
                for clause in self._clauses:
                    yield from self._cancel(clause)
        yield from self._feed()

    def end(self) -> Iterator[Frame]:
        if self._open is not None:
            self._open.committed = self._open.silent = True
            self._open = None
        self._ended = True
        yield from self._feed()

    def idle(self) -> Iterator[Frame]:
        yield '{"keep_alive":true}'

    def hear(self, frame: Frame) -> Iterator[Frame | ProviderEvent]:
        message = read(self._provider, frame)
        stream = message.get("stream_id")
        clause = next((each for each in self._clauses if each.stream is not None and each.stream == stream), None)
        if stream is not None and (clause is None or clause.done):
            return  # of a stream that was cancelled
        if (error := error_of(self._provider, message)) is not None:
            raise error
        if clause is None:
            return
        clause.early.append(message)
        yield from self._settle()

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        raise Unavailable("its socket was closed before everything was spoken", self._provider, code)

    def _current(self) -> _Clause:
        if self._open is None:
            self._open = _Clause(Samples(self._provider, self._rate))
            self._clauses.append(self._open)
        return self._open

    def _feed(self) -> Iterator[Frame]:
        """What the streams that may run are to be told."""
        worded = [clause for clause in self._clauses if clause.worded and not clause.done]
        for clause in worded[:STREAMS]:
            if clause.stream is None:
                clause.stream = next(self._ids)
                yield _frame({**self._config, "stream_id": clause.stream})
            if not clause.closed and (clause.text or clause.committed):
                clause.closed = clause.committed
                yield from self._told(clause)

    def _told(self, clause: _Clause) -> Iterator[Frame]:
        text, clause.text = clause.text, ""
        self._characters += len(text)
        pieces = [text[at : at + LONGEST] for at in range(0, len(text), LONGEST)] or [""]
        for number, piece in enumerate(pieces, 1):
            ends = clause.closed and number == len(pieces)
            yield _frame({"text": piece, "text_end": ends, "stream_id": clause.stream})

    def _over(self, clause: _Clause) -> bool:
        return clause.done or (clause.committed and not clause.worded)

    def _settle(self) -> Iterator[Frame | ProviderEvent]:
        """What can be said now: of the first clause, and of the next ones once those before are over."""
        while self._clauses:
            clause = self._clauses[0]
            while clause.early:
                yield from self._said(clause, clause.early.popleft())
            if not self._over(clause):
                break
            self._clauses.popleft()
            if not clause.silent:
                yield Flushed()
            yield from self._feed()
        if self._ended and not self._clauses and not self.finished:
            yield Usage(characters=self._characters, seconds=self._seconds)
            yield Finished()
            self.finished = True

    def _said(self, clause: _Clause, message: dict[str, Any]) -> Iterator[ProviderEvent]:
        if clause.base is None:
            clause.base = self._seconds
        pcm = clause.samples.take_base64(message["audio"]) if message.get("audio") else b""
        over = bool(message.get("audio_end") or message.get("terminated"))
        words = tuple(_words(clause, message.get("timestamps"), over))
        if pcm:
            audio = Audio(pcm, self._rate)
            self._seconds += audio.seconds
            clause.heard = True
            yield AudioDelta(audio, words)
        if message.get("terminated"):
            if not clause.heard:
                raise Unavailable("it made no audio of a text", self._provider)
            clause.done = True

    def _drop(self, clause: _Clause | None) -> Iterator[Frame]:
        """The clause that was not committed is forgotten."""
        if clause is not None:
            yield from self._cancel(clause)
            self._clauses.remove(clause)
            self._open = None

    def _cancel(self, clause: _Clause) -> Iterator[Frame]:
        if clause.stream is not None and not clause.done:
            yield _frame({"stream_id": clause.stream, "cancel": True})
        clause.done = True
        clause.early.clear()


def _words(clause: _Clause, timestamps: Any, over: bool) -> Iterator[Word]:
    """Words that end in a message, of the times of its characters, which count from the start of the clause."""
    base = clause.base or 0.0
    told = timestamps if isinstance(timestamps, dict) else {}
    names = ("characters", "character_start_times_seconds", "character_end_times_seconds")
    for character, start, end in zip(*(told.get(name) or () for name in names)):
        if character.isspace():
            yield from _ended(clause)
        else:
            text, since, _ = clause.word or ("", base + start, 0.0)
            clause.word = (text + character, since, base + end)
    if over:
        yield from _ended(clause)


def _ended(clause: _Clause) -> Iterator[Word]:
    if clause.word is not None:
        yield Word(*clause.word)
        clause.word = None


def _frame(message: dict[str, Any]) -> str:
    return orjson.dumps(message).decode()
