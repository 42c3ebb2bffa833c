"""Cartesia's speech to text where the client ends turns: one session as a pure codec.

`finalize` ends a turn; what was heard comes as pieces that are joined as they are, and `flush_done` says that it was all. A piece
becomes final for the caller once the next one shows that a word ended with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from gateway.contract.audio import Audio
from gateway.contract.duplex import Wait
from gateway.contract.events import Finished, ProviderEvent, Transcript, Usage, Word
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from gateway.contract.websocket import Frame
from providers._cartesia_errors import Faults
from providers._owed import Owed
from providers._sound_clock import SoundClock

KEEP_ALIVE = 60.0
"""Seconds without audio after which a little silence is sent: what is idle for three minutes is closed, and nothing else counts."""
SILENCE = 0.1
_NOW = Wait(0.0)


class Hearing:
    """Implements duplex.Codec and Patient."""

    keep_alive: float | None = KEEP_ALIVE

    def __init__(self, faults: Faults, request: TranscribeRequest) -> None:
        self._faults, self._request = faults, request
        self._clock = SoundClock(request.rate)
        self._owed = Owed()
        self._text, self._words, self._language = "", list[Word](), request.language
        self.finished = False

    @property
    def wait(self) -> Wait | None:
        """What nobody said is answered here."""
        return _NOW if self._owed.ours else None

    def late(self) -> Iterator[ProviderEvent]:
        for _ in range(self._owed.empties()):
            yield self._final(ends_turn=True)

    def begin(self) -> Iterable[Frame]:
        return ()

    def put(self, item: Input) -> Iterator[Frame]:
        match item:
            case Audio(pcm) if pcm:
                self._clock.add(item)
                self._owed.fresh = True
                yield pcm
            case Commit() if self._owed.commit():
                yield "finalize"
            case Clear() if self._owed.clear():
                yield "finalize"

    def end(self) -> Iterator[Frame]:
        yield "close"

    def idle(self) -> Iterator[Frame]:
        yield self._clock.pad(SILENCE)

    def hear(self, frame: Frame) -> Iterator[ProviderEvent]:
        message = self._faults.read(frame)
        match message.get("type"):
            case "transcript" if not self._owed.void:
                yield from self._heard(message)
            case "flush_done":
                if self._owed.answered():
                    yield self._final(ends_turn=True)
                self._forget()
                for _ in range(self._owed.empties()):
                    yield self._final(ends_turn=True)
            case "done":
                yield from self._finish()
            case "error":
                raise self._faults.said(message)

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        raise self._faults.closed(code, "it had finished")

    def _heard(self, message: dict[str, Any]) -> Iterator[ProviderEvent]:
        text = str(message.get("text") or "")
        self._language = message.get("language") or self._language
        if not message.get("is_final"):
            if self._request.partials and (partial := (self._text + text).strip()):
                yield Transcript(partial, language=self._language)
            return
        if text[:1].isspace() and self._text.strip():
            yield self._final(ends_turn=False)
            self._forget()
        self._text += text
        self._words += [
            Word(word, self._clock.ours(start), self._clock.ours(end)) for word, start, end in _words(message)
        ]

    def _final(self, *, ends_turn: bool) -> Transcript:
        return Transcript(self._text.strip(), True, ends_turn, tuple(self._words), self._language)

    def _forget(self) -> None:
        self._text, self._words = "", []

    def _finish(self) -> Iterator[ProviderEvent]:
        void = self._owed.void
        waiting = self._owed.rest()
        if not void and (waiting or self._text.strip()):
            yield self._final(ends_turn=True)
            waiting -= 1
        self._forget()
        for _ in range(waiting):
            yield self._final(ends_turn=True)
        yield Usage(seconds=self._clock.put)
        yield Finished()
        self.finished = True


def _words(message: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    """As its documentation shows them, one by one; its client expects lists, as its speech has them."""
    for each in message.get("words") or ():
        if isinstance(each, dict) and "word" in each:
            yield str(each["word"]).strip(), float(each["start"]), float(each["end"])
        elif isinstance(each, dict):
            yield from zip(each.get("words") or (), each.get("start") or (), each.get("end") or ())
