"""What the fakes of text to speech by contexts have in common: contexts spoken one after another, and what goes wrong.

class _Mouth(Mouth):
    async def take(self, message): ...          # what came; `self.speak(context, text, rate)` says it
    async def said(self, context, word, pcm): ...
    async def over(self, context): ...
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection

from tests.fakes.base import Behaviour, Fake, Session, text
from tests.fakes.hearing import Said
from tests.fakes.speaking import spoken


class Mouth:
    def __init__(self, fake: Fake, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        self.connection, self.session = connection, session
        self._fake, self.how = fake, behaviour
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._last: asyncio.Task[None] | None = None
        self._seconds = 0.0
        fake.not_yet(behaviour)

    async def run(self) -> None:
        try:
            async for frame in self._fake.heard(self.connection, self.session):
                if len(self.session.frames) == 1:
                    self.how = self._fake.now()
                if self.how.trouble == "garbage":
                    await self.connection.send("<html>")
                else:
                    await self.take(orjson.loads(frame))
        finally:
            for task in self._tasks.values():
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks.values())

    async def take(self, message: dict[str, Any]) -> None:
        raise NotImplementedError

    async def said(self, context: str, word: Said, pcm: bytes) -> None:
        """`word`: from the start of its context."""
        raise NotImplementedError

    async def over(self, context: str) -> None:
        raise NotImplementedError

    async def say(self, message: object) -> None:
        await self.connection.send(text(message))

    def speak(self, context: str, words: str, rate: int) -> None:
        self._last = self._tasks[context] = asyncio.create_task(self._speak(context, words, rate, self._last))

    @property
    def speaking(self) -> int:
        """Contexts that are spoken or wait for it."""
        return sum(not task.done() for task in self._tasks.values())

    def clear(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _speak(self, context: str, words: str, rate: int, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        how = self.how
        await asyncio.sleep(how.latency)
        for word, pcm in spoken(words if how.trouble != "endless" else "endless " * 10_000, rate):
            if how.trouble == "endless":
                await asyncio.sleep(0.005)
            if how.drop_after is not None and self._seconds >= how.drop_after:
                self.connection.transport.abort()
            if how.stall_after is not None and self._seconds >= how.stall_after:
                await asyncio.get_running_loop().create_future()
            self._seconds += len(pcm) / 2 / rate
            await self.said(context, word, pcm)
        await self.over(context)
