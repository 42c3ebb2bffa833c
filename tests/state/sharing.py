"""A replica that only notes what it is told, and a store that runs for it.

async with sharing(redis.url, sums={"chat\\x1ffake/a": [1.0]}) as one:
    await until(lambda: one.merged)
    one.store.ejected(one.ejection("fake/a", 5.0))
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from gateway.state.redis_store import Pace, RedisStore
from gateway.state.store import Ejection, Replica, Store, Sums

BRISK = Pace(beat=0.1, quiet=2.0, forget=3.0, call=2.0, backoff=0.3)
"""For tests of what happens, and not of when."""


@dataclass
class Noted:
    """`merged`: the latest sums of each other replica; `times`: how often; `ages`: seconds; `ejected`: as heard of others."""

    store: Store
    sums: dict[str, Sequence[float]]
    merged: dict[str, Sums] = field(default_factory=dict)
    ages: list[float] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    ejected: list[Ejection] = field(default_factory=list)

    @property
    def name(self) -> str:
        assert isinstance(self.store, RedisStore)
        return self.store.name

    def replica(self) -> Replica:
        return Replica(lambda: self.sums, self._merge, self._forget, self.ejected.append)

    def ejection(self, target: str, seconds: float, reason: str = "3 failures") -> Ejection:
        return Ejection("chat", target, asyncio.get_running_loop().time() + seconds, reason)

    def _merge(self, replica: str, sums: Sums, age: float) -> None:
        if any(len(row) != 2 for row in sums.values()):
            raise ValueError("not a row of ours")
        self.merged[replica] = sums
        self.ages.append(age)

    def _forget(self, replica: str) -> None:
        del self.merged[replica]
        self.forgotten.append(replica)


@asynccontextmanager
async def sharing(
    url: str, sums: dict[str, Sequence[float]] | None = None, pace: Pace | None = None
) -> AsyncIterator[Noted]:
    """Leaving stops it, as the gateway's end does."""
    noted = Noted(RedisStore(url, pace), sums or {})
    running = asyncio.create_task(noted.store.run(noted.replica()))
    try:
        yield noted
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def until(holds: Callable[[], object], within: float = 10.0) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within, f"not within {within} s"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


class Lag:
    """How long the event loop was held up, in seconds."""

    def __init__(self) -> None:
        self.times: list[float] = []

    async def __aenter__(self) -> Lag:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _watch(self) -> None:
        while True:
            asked = time.monotonic()
            await asyncio.sleep(0.005)
            self.times.append(time.monotonic() - asked - 0.005)
