"""Relay: one stream of stt over several sessions, one after another, without losing or doubling a word.

    def transcribe(self, model, request, inputs):
        return relay(lambda sound: self._session(model, request, sound), inputs, cap=3 * 3600 - 300)

`cap`: seconds after which a session is followed by another at the end of a turn: the next is opened beside, gets all sound from
where the turn ended, and takes over once it is Ready; where it does not open, the old one goes on. A session that is lost after
it settled something is followed by another, too, which gets all sound from the last word that was final. Everything else fails
as ever, and the route's next target answers.

What a session says of times is moved, so that they count from the first sound of all; so is what it used.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.channel import Channel, Reader
from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import (
    Events,
    ProviderEvent,
    Ready,
    SpeechEnded,
    SpeechStarted,
    Transcript,
    Usage,
    Word,
)
from gateway.contract.requests import Commit, Input

KEPT = 120.0
"""Seconds of sound that can be said again."""
OPENING = 2.0
"""Seconds for the next session to be ready."""

Open = Callable[[AsyncIterator[Input]], Events]
"""One session: Ready first, Finished last; closing it closes its socket."""


async def relay(open: Open, inputs: AsyncIterator[Input], cap: float | None = None) -> Events:
    tape = _Tape()
    filling = asyncio.create_task(tape.fill(inputs), name="relay")
    try:
        async with aclosing(_Line(open, tape, cap).events()) as events:
            async for event in events:
                yield event
    finally:
        filling.cancel()
        await asyncio.wait([filling])
        if not filling.cancelled() and (error := filling.exception()) is not None:
            raise error


@dataclass(frozen=True, slots=True)
class _Place:
    """Before the input `index`, with `at` seconds of sound before it, of which `skip` seconds are left out."""

    index: int
    at: float
    skip: float = 0.0

    @property
    def seconds(self) -> float:
        return self.at + self.skip


@dataclass(frozen=True, slots=True)
class _Mark:
    index: int
    at: float
    item: Input


class _Tape:
    """The inputs, and where those are that are not settled."""

    def __init__(self) -> None:
        self._channel: Channel[Input] = Channel(KEPT)
        self._marks: deque[_Mark] = deque()
        self._seconds = 0.0

    async def fill(self, inputs: AsyncIterator[Input]) -> None:
        async for item in inputs:
            self._marks.append(_Mark(self._channel.end, self._seconds, item))
            self._seconds += item.seconds if isinstance(item, Audio) else 0.0
            self._channel.put(item)
            while len(self._marks) > 10_000:
                self._marks.popleft()
        self._channel.close()

    def settle(self, final: Transcript) -> _Place | None:
        """What is final up to this: its last word, with `ends_turn` the next Commit if there is one. A turn that the provider
        ended without telling when its words were said ends with all that was put in by now; None where nothing tells."""
        if final.ends_turn and any(isinstance(mark.item, Commit) for mark in self._marks):
            while not isinstance((mark := self._marks.popleft()).item, Commit):
                pass
            return self._here(mark.at)
        if final.words:
            return self._here(final.words[-1].end)
        if final.ends_turn:
            return self._here(float("inf"))
        return None if final.text else self._here(0.0)

    def read(self, place: _Place) -> _Reading:
        return _Reading(self._channel.reader(place.index), place.skip)

    def _here(self, second: float) -> _Place:
        while self._marks and not isinstance(self._marks[0].item, Commit):
            mark = self._marks[0]
            length = mark.item.seconds if isinstance(mark.item, Audio) else 0.0
            if mark.at + length > second + 1e-6:
                return _Place(mark.index, mark.at, max(0.0, second - mark.at))
            self._marks.popleft()
        if self._marks:
            return _Place(self._marks[0].index, self._marks[0].at)
        return _Place(self._channel.end, self._seconds)


class _Reading:
    """The inputs from a place on. A cancelled read loses nothing."""

    def __init__(self, reader: Reader[Input], skip: float) -> None:
        self._reader, self._skip = reader, skip

    def __aiter__(self) -> _Reading:
        return self

    async def __anext__(self) -> Input:
        item = await anext(self._reader)
        if self._skip and isinstance(item, Audio):
            samples = round(self._skip * item.rate)
            item = Audio(item.pcm[samples * SAMPLE_BYTES :], item.rate)
        self._skip = 0.0
        return item


class _Line:
    def __init__(self, open: Open, tape: _Tape, cap: float | None) -> None:
        self._open, self._tape, self._cap = open, tape, cap
        self._place = self._began = _Place(0, 0.0)
        self._opened_at = asyncio.get_running_loop().time()
        self._ready = self._settled = False
        self._used = 0.0  # seconds, by sessions that were left

    async def events(self) -> Events:
        session = self._open(self._tape.read(self._place))
        try:
            while True:
                try:
                    event = await anext(session, None)
                except Unavailable as error:
                    if not self._settled:
                        raise
                    session = await self._follow(session, error)
                    continue
                if event is None:
                    return
                if (told := self._told(event)) is not None:
                    yield told
                if isinstance(event, Transcript) and event.ends_turn and self._due:
                    session = await self._follow(session)
        finally:
            await session.aclose()

    @property
    def _due(self) -> bool:
        return self._cap is not None and asyncio.get_running_loop().time() >= self._opened_at + self._cap

    async def _follow(self, session: Events, error: ProviderError | None = None) -> Events:
        """The next session; without an error, the one there is where it does not open."""
        place = self._place
        following = self._open(self._tape.read(place))
        try:
            async with asyncio.timeout(OPENING):
                while not isinstance(await anext(following), Ready):
                    pass
        except (ProviderError, TimeoutError, StopAsyncIteration) as failed:
            await following.aclose()
            if error is not None:
                raise error from failed
            self._opened_at = asyncio.get_running_loop().time()
            return session
        except BaseException:
            await following.aclose()
            raise
        await session.aclose()
        self._used += place.seconds - self._began.seconds
        self._began, self._settled, self._opened_at = place, False, asyncio.get_running_loop().time()
        return following

    def _told(self, event: ProviderEvent) -> ProviderEvent | None:
        moved = self._began.seconds
        match event:
            case Ready():
                first, self._ready = not self._ready, True
                return event if first else None
            case SpeechStarted(float(at)) | SpeechEnded(float(at)):
                return replace(event, at=at + moved)
            case Transcript():
                words = tuple([Word(word.text, word.start + moved, word.end + moved) for word in event.words])
                told = replace(event, words=words) if moved else event
                if event.final:
                    place = self._tape.settle(told)
                    self._place, self._settled = place or self._place, place is not None
                return told
            case Usage():
                return replace(event, seconds=event.seconds + self._used)
        return event
