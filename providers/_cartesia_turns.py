"""Cartesia's speech to text where it ends turns itself: one session as a pure codec.

The text of a turn is told whole with every event. There is no verb that ends a turn: a Commit is answered by the turn that ends
next, or after PATIENCE by what of the turn is known by then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from gateway.contract.audio import Audio
from gateway.contract.duplex import Wait
from gateway.contract.events import (
    EagerTurnEnd,
    Finished,
    ProviderEvent,
    Ready,
    SpeechStarted,
    Transcript,
    TurnResumed,
    Usage,
)
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from gateway.contract.websocket import Frame
from providers._cartesia_errors import Faults
from providers._cartesia_stt import KEEP_ALIVE, SILENCE
from providers._sound_clock import SoundClock

_WELL = (1000, 1005)
PATIENCE = 1.0
"""Seconds. What was said before a Commit has been told by then, a few hundred milliseconds after it was heard."""


class Turns:
    """Implements duplex.Codec and Patient."""

    keep_alive: float | None = KEEP_ALIVE

    def __init__(self, faults: Faults, request: TranscribeRequest) -> None:
        self._faults, self._request = faults, request
        self._clock = SoundClock(request.rate)
        self._commits: deque[Wait] = deque()
        self._text = ""  # of the turn
        self._told = ""  # of it, the beginning that was made final or forgotten
        self._closing = False
        self.finished = False

    @property
    def wait(self) -> Wait | None:
        return self._commits[0] if self._commits else None

    def late(self) -> Iterator[ProviderEvent]:
        """A turn that was committed and goes on as it seems."""
        self._commits.popleft()
        yield Transcript(self._rest(self._text), True, True)
        self._told = self._text

    def begin(self) -> Iterable[Frame]:
        return ()

    def put(self, item: Input) -> Iterator[Frame]:
        match item:
            case Audio(pcm) if pcm:
                self._clock.add(item)
                yield pcm
            case Commit():
                self._commits.append(Wait(PATIENCE))
            case Clear():
                self._told = self._text

    def end(self) -> Iterator[Frame]:
        self._closing = True
        yield '{"type":"close"}'

    def idle(self) -> Iterator[Frame]:
        yield self._clock.pad(SILENCE)

    def hear(self, frame: Frame) -> Iterator[ProviderEvent]:
        message = self._faults.read(frame)
        kind, text = message.get("type"), str(message.get("transcript") or "")
        match kind:
            case "connected":
                yield Ready()
            case "turn.start":
                yield SpeechStarted()
            case "turn.update" | "turn.eager_end":
                self._text = text
                rest = self._rest(text)
                if self._request.partials and rest and kind == "turn.update":
                    yield Transcript(rest)
                if kind == "turn.eager_end" and rest:
                    yield EagerTurnEnd(rest)
            case "turn.resume":
                yield TurnResumed()
            case "turn.end":
                yield from self._over(self._rest(text))
            case "error":
                raise self._faults.said(message)

    def closed(self, code: int | None, reason: str) -> Iterator[ProviderEvent]:
        """After `close` it tells what is left and closes the socket: there is no other end."""
        if not self._closing or code not in _WELL:
            raise self._faults.closed(code, "it had finished")
        rest = self._rest(self._text)
        waiting = len(self._commits)
        if rest or waiting:
            yield Transcript(rest, True, True)
        for _ in range(waiting - 1):
            yield Transcript("", True, True)
        yield Usage(seconds=self._clock.put)
        yield Finished()
        self.finished = True

    def _over(self, rest: str) -> Iterator[ProviderEvent]:
        """A turn has ended: also what was committed of it, if something was."""
        self._text = self._told = ""
        if self._commits:
            self._commits.popleft()
        elif not rest:
            return  # all of it was told
        yield Transcript(rest, True, True)

    def _rest(self, text: str) -> str:
        """What of the turn's text was not told."""
        told = self._told.strip()
        if not told or text.strip().startswith(told):
            return text.strip().removeprefix(told).strip()
        return " ".join(text.split()[len(told.split()) :])  # it was corrected since
