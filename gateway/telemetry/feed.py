"""Feed: decisions as they settle, for those who listen. Bounded: who reads slowly misses the oldest, and is told how many."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.telemetry.decisions import Decision

LISTENERS = 32
"""At once. Each costs a connection and, while it sleeps, up to HELD decisions."""
HELD = 256
"""Decisions that wait for a listener."""


class Crowded(Exception):
    """There are as many listeners as there may be."""


class Listener:
    """Made by `Feed.listen`. `over`: there will be nothing more."""

    def __init__(self, held: int) -> None:
        self._waiting: deque[Decision] = deque(maxlen=held)
        self._news = asyncio.Event()
        self._skipped = 0
        self.over = False

    def __len__(self) -> int:
        """Decisions that wait for it."""
        return len(self._waiting)

    def give(self, decision: Decision) -> None:
        self._skipped += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(decision)
        self._news.set()

    def end(self) -> None:
        self.over = True
        self._news.set()

    async def wait(self, seconds: float) -> None:
        """Until there is news, or for so long."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._news.wait()
        except TimeoutError:
            pass

    def take(self) -> tuple[int, list[Decision]]:
        """How many were skipped and those that were not, oldest first, since it was last asked."""
        skipped, taken = self._skipped, list(self._waiting)
        self._skipped = 0
        self._waiting.clear()
        if not self.over:
            self._news.clear()
        return skipped, taken


class Feed:
    """`settled` is a sink of the recorder."""

    def __init__(self, listeners: int = LISTENERS, held: int = HELD) -> None:
        self._most, self._held = listeners, held
        self._listeners: set[Listener] = set()
        self._over = False

    def __len__(self) -> int:
        """Listeners now."""
        return len(self._listeners)

    def settled(self, decision: Decision) -> None:
        for listener in self._listeners:
            listener.give(decision)

    def waiting(self) -> list[int]:
        """How many decisions wait for each listener."""
        return [len(listener) for listener in self._listeners]

    @contextmanager
    def listen(self) -> Iterator[Listener]:
        """Raises Crowded."""
        if len(self._listeners) >= self._most:
            raise Crowded
        listener = Listener(self._held)
        if self._over:
            listener.end()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """Every listener ends, so that a gateway that is told to stop need not wait for them."""
        self._over = True
        for listener in self._listeners:
            listener.end()
