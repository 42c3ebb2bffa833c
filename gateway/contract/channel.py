"""Channel: an append-only log of inputs with a cursor per reader.

A failed attempt loses nothing: the next one opens a reader from the mark. A second reader can race the first. A cancelled
read loses nothing: the cursor moves only when the item is handed over. Bounded in seconds of audio and in items; overflow
drops the oldest and counts it in `lost`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.contract.audio import Audio

T = TypeVar("T")


class ChannelClosed(Exception):
    """Something was put after `close`."""


@dataclass(slots=True)
class _Entry(Generic[T]):
    item: T
    at: float
    seconds: float


class Channel(Generic[T]):
    """`seconds`: audio kept for readers that lag or come later; `items`: the same for anything else."""

    def __init__(self, seconds: float = 60.0, items: int = 10_000, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._limit, self._most = seconds, items
        self._log: deque[_Entry[T]] = deque()
        self._first = 0  # index of the oldest entry kept
        self._mark = 0  # where a new reader begins
        self._held = 0.0
        self._waiters: set[asyncio.Future[None]] = set()
        self._watchers: list[Callable[[T, float], None]] = []
        self._closed = False
        self.lost = 0.0
        """Seconds of audio dropped by overflow."""

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def end(self) -> int:
        """Index after the newest item."""
        return self._first + len(self._log)

    def put(self, item: T) -> None:
        """Append. Raises ChannelClosed after `close`."""
        if self._closed:
            raise ChannelClosed
        seconds = item.seconds if isinstance(item, Audio) else 0.0
        self._log.append(_Entry(item, self._clock(), seconds))
        self._held += seconds
        for watcher in tuple(self._watchers):
            watcher(item, self._log[-1].at)
        while self._held > self._limit or len(self._log) > self._most:
            self.lost += self._drop()
        self._wake()

    def close(self) -> None:
        """No more will come; readers end after what is there. Again is a no-op."""
        self._closed = True
        self._wake()

    def mark(self, index: int | None = None) -> None:
        """New readers begin at `index` (default: the end); what lies before is forgotten once no reader needs it."""
        self._mark = self.end if index is None else max(self._mark, index)

    def reader(self, start: int | None = None) -> Reader[T]:
        return Reader(self, max(self._first, self._mark if start is None else start))

    def watch(self, watcher: Callable[[T, float], None]) -> None:
        """`watcher` is told of every item and when it was put, from the mark on, until `unwatch`."""
        for index in range(max(self._first, self._mark), self.end):
            entry = self._entry(index)
            watcher(entry.item, entry.at)
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[T, float], None]) -> None:
        """Again is a no-op."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def _drop(self) -> float:
        entry = self._log.popleft()
        self._first += 1
        self._held -= entry.seconds
        return entry.seconds

    def _entry(self, index: int) -> _Entry[T]:
        return self._log[index - self._first]

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)


class Reader(Generic[T]):
    """A cursor over a channel; iterate it. `at`: when the last item was put, by the loop's clock. `lost`: items it was too slow for."""

    def __init__(self, channel: Channel[T], start: int) -> None:
        self._channel = channel
        self.index = start
        self.at = 0.0
        self.lost = 0

    def __aiter__(self) -> Reader[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            try:
                return self.take()
            except LookupError:
                if self._channel.closed:
                    raise StopAsyncIteration from None
                await self._channel._wait()

    def take(self) -> T:
        """The next item if it is there; LookupError if not."""
        oldest = self._channel._first
        if self.index < oldest:
            self.lost += oldest - self.index
            self.index = oldest
        if self.index >= self._channel.end:
            raise LookupError
        entry = self._channel._entry(self.index)
        self.index += 1
        self.at = entry.at
        return entry.item
