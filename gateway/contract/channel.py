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
class Entry(Generic[T]):
    """`at`: when it was put, by the loop's clock; `before`: seconds of all audio before it; `seconds`: its own."""

    item: T
    at: float
    before: float
    seconds: float


class Channel(Generic[T]):
    """`seconds`: audio kept for readers that lag or come later; `items`: the same for anything else."""

    def __init__(self, seconds: float = 60.0, items: int = 10_000, clock: Callable[[], float] | None = None) -> None:
        self._clock, self._loop = clock, _running()
        self._limit, self._most = seconds, items
        self._log: deque[Entry[T]] = deque()
        self._first = 0  # index of the oldest entry kept
        self._mark = 0  # where a new reader begins
        self._held = self._total = 0.0
        self._waiters: dict[asyncio.Future[None], float] = {}  # how much sound there must be, if nothing else comes
        self._enough = float("inf")  # the least of that
        self._watchers: list[Callable[[T, float], None]] = []
        self._closed = False
        self.lost = 0.0
        """Seconds of audio dropped by overflow."""

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def first(self) -> int:
        """Index of the oldest item kept."""
        return self._first

    @property
    def end(self) -> int:
        """Index after the newest item."""
        return self._first + len(self._log)

    def put(self, item: T) -> None:
        """Append. Raises ChannelClosed after `close`."""
        if self._closed:
            raise ChannelClosed
        if self._clock is None:
            self._clock = (self._loop or asyncio.get_running_loop()).time
        now, seconds = self._clock(), item.seconds if isinstance(item, Audio) else 0.0
        self._log.append(Entry(item, now, self._total, seconds))
        self._held += seconds
        self._total += seconds
        if not seconds and self._watchers:
            for watcher in tuple(self._watchers):
                watcher(item, now)
        while self._held > self._limit or len(self._log) > self._most:
            self.lost += self._drop()
        if not seconds or self._total >= self._enough:
            self._wake()

    def close(self) -> None:
        """No more will come; readers end after what is there. Again is a no-op."""
        self._closed = True
        self._wake()

    def mark(self, index: int | None = None) -> None:
        """New readers begin at `index` (default: the end); what lies before is forgotten once no reader needs it."""
        self._mark = self.end if index is None else max(self._mark, index)

    def reader(self, start: int | None = None, skip: float = 0.0) -> Reader[T]:
        """`skip`: seconds of the first item, if it is audio, that are left out."""
        return Reader(self, max(self._first, self._mark if start is None else start), skip)

    def entry(self, index: int) -> Entry[T]:
        """Raises IndexError for what is not kept, or not there yet."""
        if index < self._first:
            raise IndexError
        return self._log[index - self._first]

    def before(self, index: int) -> float:
        """Seconds of all audio before the item, the next one included."""
        return self._total if index >= self.end else self.entry(index).before

    def watch(self, watcher: Callable[[T, float], None]) -> None:
        """`watcher` is told of every item but audio, and when it was put, from the mark on, until `unwatch`."""
        for index in range(max(self._first, self._mark), self.end):
            entry = self.entry(index)
            if not entry.seconds:
                watcher(entry.item, entry.at)
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[T, float], None]) -> None:
        """Again is a no-op."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def dated(self, second: float) -> float | None:
        """When the audio was put that is at that second of all there ever was; None where it is not there, or not any more."""
        for entry in reversed(self._log):
            if entry.before < second:
                return entry.at if second <= entry.before + entry.seconds + 1e-6 else None
        return None

    def _drop(self) -> float:
        entry = self._log.popleft()
        self._first += 1
        self._held -= entry.seconds
        return entry.seconds

    def _wake(self) -> None:
        """All of them: who wanted more waits again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
        self._enough = float("inf")

    async def wait(self, seconds: float = 0.0) -> None:
        """Until something more is put, or it is closed; if that is sound, until so many seconds of it are. May end before that."""
        waiter: asyncio.Future[None] = (self._loop or asyncio.get_running_loop()).create_future()
        self._waiters[waiter] = enough = self._total + seconds - 1e-6
        self._enough = min(self._enough, enough)
        try:
            await waiter
        finally:
            self._waiters.pop(waiter, None)


def _running() -> asyncio.AbstractEventLoop | None:
    """The loop there is: to ask for it is a system call, which is too much for each of 50 pieces a second."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Reader(Generic[T]):
    """A cursor over a channel; iterate it. `at`: when the last item was put, by the loop's clock. `lost`: items it was too slow for;
    `skip`: seconds that are left out of the first, if that is audio."""

    def __init__(self, channel: Channel[T], start: int, skip: float = 0.0) -> None:
        self._channel, self._skip = channel, skip
        self.index = start
        self.at = 0.0
        self.lost = 0

    @property
    def channel(self) -> Channel[T]:
        return self._channel

    def __aiter__(self) -> Reader[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            try:
                return self.take()
            except LookupError:
                if self._channel.closed:
                    raise StopAsyncIteration from None
                await self._channel.wait()

    def take(self) -> T:
        """The next item if it is there; LookupError if not."""
        log, oldest = self._channel._log, self._channel._first
        if self.index < oldest:
            self.lost += oldest - self.index
            self.index = oldest
        if self.index - oldest >= len(log):
            raise LookupError
        entry = log[self.index - oldest]
        self.index += 1
        self.at = entry.at
        item = entry.item
        if self._skip:
            if isinstance(item, Audio):
                item = item.after(self._skip)  # type: ignore[assignment]  # a T that is Audio
            self._skip = 0.0
        return item
