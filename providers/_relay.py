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
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from gateway.contract.channel import Reader
from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import Events, ProviderEvent, Ready, Transcript
from gateway.contract.requests import Input
from gateway.contract.settled import Place, Unsettled, later

OPENING = 2.0
"""Seconds for the next session to be ready."""

Open = Callable[[AsyncIterator[Input]], Events]
"""One session: Ready first, Finished last; closing it closes its socket."""


async def relay(open: Open, inputs: AsyncIterator[Input], cap: float | None = None) -> Events:
    assert isinstance(inputs, Reader)  # as whoever opens a stream gives one
    async with aclosing(_Line(open, inputs, cap).events()) as events:
        async for event in events:
            yield event


class _Line:
    def __init__(self, open: Open, inputs: Reader[Input], cap: float | None) -> None:
        self._open, self._inputs, self._cap = open, inputs.channel, cap
        self._unsettled = Unsettled(inputs.channel, inputs.index)
        self._place = self._began = Place(inputs.index, 0.0)
        self._reader = inputs  # of the session that is heard
        self._opened_at = asyncio.get_running_loop().time()
        self._ready = self._settled = False
        self._used = 0.0  # seconds, by sessions that were left

    async def events(self) -> Events:
        session = self._open(self._reader)
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
        if place.index < self._inputs.first and error is not None:
            raise error  # what is not kept would be lost
        reader = self._inputs.reader(place.index, place.skip)
        following = self._open(reader)
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
        self._reader = reader
        self._began, self._settled, self._opened_at = place, False, asyncio.get_running_loop().time()
        return following

    def _told(self, event: ProviderEvent) -> ProviderEvent | None:
        if isinstance(event, Ready):
            first, self._ready = not self._ready, True
            return event if first else None
        told = later(event, self._began.seconds, self._used)
        if isinstance(told, Transcript) and told.final:
            place = self._unsettled.settle(told, self._reader.index)
            self._place, self._settled = place or self._place, place is not None
        return told
