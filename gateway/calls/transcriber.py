"""Transcriber: the caller's speech to text, by one stt stream for the whole call.

The stream is opened when the call begins and reopened when it fails; what was not yet transcribed is then said again to the
next target, so that no speech is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from gateway.calls.leg import Opens
from gateway.calls.timeline import Turn
from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.errors import GatewayError, Unavailable
from gateway.contract.events import Rerouted, Transcript
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from gateway.routing.engine import Answer

KEPT = 90.0
"""Seconds of speech kept to be said again."""
TRIES = 2
"""Times a turn is tried, each with every target of the route, before it counts as lost."""
BACKOFF, MOST_BACKOFF = 0.25, 8.0


@dataclass(slots=True, eq=False)
class CallerTurn:
    """What the caller says until the turn ends. `began`: seconds of the call's audio; `seconds`: of speech put in."""

    item_id: str
    timeline: Turn
    began: float
    seconds: float = 0.0
    answer: bool = True
    """Whether it will be answered without being asked to."""
    committed: bool = False
    tries: int = 0
    """Streams that failed to give its text."""
    finals: list[str] = field(default_factory=list)
    partial: str = ""
    language: str | None = None
    """BCP 47, where the target detects it."""

    @property
    def text(self) -> str:
        return " ".join(part for part in (*self.finals, self.partial) if part)


class Hearing(Protocol):
    """Who is told what the caller said."""

    def heard_partial(self, turn: CallerTurn) -> None: ...

    def heard_final(self, turn: CallerTurn) -> None:
        """Once for each committed turn, unless it is lost."""

    def lost(self, turn: CallerTurn, error: GatewayError) -> None: ...

    def stt_served(self, answer: Answer) -> None:
        """Another stream began."""


class Transcriber:
    def __init__(self, engine: Opens, route: str, request: TranscribeRequest, hearing: Hearing, sticky: str) -> None:
        self._engine, self._route, self._hearing, self._sticky = engine, route, hearing, sticky
        self._request = request
        self._streaming: asyncio.Timeout | None = None
        self._turns: deque[CallerTurn] = deque()  # committed and waiting for their text; the last may be open
        self._unsettled: deque[Input] = deque()  # what was put in since the last final
        self._kept = 0.0
        self._channel: Channel[Input] | None = None
        self._wanted = asyncio.Event()  # there is something to transcribe
        self._target: str | None = None
        self._failed: set[str] = set()  # targets whose streams failed since one last understood something
        self._progress = False  # the stream that is open, or was last, transcribed something
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def waiting(self) -> bool:
        """Whether a committed turn has no text yet."""
        return any(turn.committed for turn in self._turns)

    def configure(self, route: str, request: TranscribeRequest) -> None:
        """Another route, or another request: the stream that is open is replaced, and what it had not settled said again."""
        if (route, request) == (self._route, self._request):
            return
        self._route, self._request = route, request
        if self._streaming is not None and not self._streaming.expired():
            self._streaming.reschedule(0.0)

    async def settled(self) -> None:
        """Returns when every committed turn has its text, or is lost."""
        await self._quiet.wait()

    def begin(self, turn: CallerTurn) -> None:
        self._turns.append(turn)

    def put(self, audio: Audio) -> None:
        """Speech of the turn that is open."""
        self._turns[-1].seconds += audio.seconds
        self._kept += audio.seconds
        self._put(audio)
        while self._kept > KEPT and isinstance(oldest := self._unsettled[0], Audio):
            self._kept -= oldest.seconds
            self._unsettled.popleft()

    def commit(self) -> None:
        """The open turn is over."""
        self._turns[-1].committed = True
        self._quiet.clear()
        self._put(Commit())

    def drop(self) -> None:
        """Forget the open turn."""
        self._turns.pop()
        while self._unsettled and not isinstance(self._unsettled[-1], Commit):
            dropped = self._unsettled.pop()
            self._kept -= dropped.seconds if isinstance(dropped, Audio) else 0.0
        if self._channel is not None:
            self._channel.put(Clear())

    async def run(self) -> None:
        """Keep a stream open until cancelled."""
        failures = 0
        while True:
            error = await self._stream()
            if error is None:
                continue
            failures = 1 if self._progress else failures + 1
            self._blame(error)
            await self._rest(min(MOST_BACKOFF, BACKOFF * 2.0 ** min(failures, 10)))

    async def _stream(self) -> GatewayError | None:
        """One stream, from open to its failure; None if another is wanted."""
        try:
            async with asyncio.timeout(None) as self._streaming:
                return await self._stream_on()
        except TimeoutError:
            if self._streaming is None or not self._streaming.expired():
                raise
            if self._turns:
                self._forget()
            return None
        finally:
            self._streaming = None

    async def _stream_on(self) -> GatewayError:
        self._channel = channel = Channel[Input](KEPT + 30.0)
        self._progress = False
        self._wanted.clear()
        for item in self._unsettled:
            channel.put(item)
        try:
            async with self._engine.open(
                self._route, self._request, channel, sticky=self._sticky, avoid=self._failed
            ) as answer:
                self._target = str(answer.target)
                self._hearing.stt_served(answer)
                async for event in answer:
                    if isinstance(event, Transcript):
                        self._heard(event)
                    elif isinstance(event, Rerouted):
                        self._failed.add(event.origin)
                        self._target = event.target
                        self._hearing.stt_served(answer)
            return Unavailable("the stt stream ended by itself")
        except GatewayError as error:
            return error
        finally:
            self._channel = None

    async def _rest(self, seconds: float) -> None:
        """Before the next try; speech cuts it short, but not below BACKOFF."""
        await asyncio.sleep(BACKOFF if self._unsettled else 0.0)
        if not self._unsettled:
            try:
                async with asyncio.timeout(seconds):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    def _heard(self, event: Transcript) -> None:
        self._progress |= event.final
        if event.final:
            self._failed.clear()
        if not self._turns:
            return  # late words of a turn that was dropped
        turn = self._turns[0]
        before = turn.text
        turn.partial = "" if event.final else event.text.strip()
        if event.final:
            turn.finals.append(event.text.strip())
            turn.language = event.language or turn.language
        if event.ends_turn and turn.committed:
            self._settle()
            self._hearing.heard_final(turn)
        elif turn.text != before:
            self._hearing.heard_partial(turn)

    def _settle(self) -> CallerTurn:
        """The first turn needs no more: forget its speech."""
        turn = self._turns.popleft()
        while self._unsettled:
            item = self._unsettled.popleft()
            self._kept -= item.seconds if isinstance(item, Audio) else 0.0
            if isinstance(item, Commit):
                break
        if not self.waiting:
            self._quiet.set()
        return turn

    def _blame(self, error: GatewayError) -> None:
        """A stream failed: the turn that waited for it has one try less. What it had heard of it is void."""
        if self._target is not None:
            self._failed.add(self._target)
            self._target = None
        if not self._turns:
            return
        turn = self._forget()
        turn.tries += turn.committed
        if turn.tries >= TRIES:
            self._hearing.lost(self._settle(), error)

    def _forget(self) -> CallerTurn:
        """What was heard of the first turn by a stream that is no more is void."""
        turn = self._turns[0]
        turn.finals, turn.partial, turn.language = [], "", None
        return turn

    def _put(self, item: Input) -> None:
        self._unsettled.append(item)
        self._wanted.set()
        if self._channel is not None:
            self._channel.put(item)
