"""WarmSockets: connections that stand ready, so that a first clause never pays a handshake.

    warm = WarmSockets(lambda: open_socket(...))
    socket = await warm.take()                  # one that stands ready, else a new one; another is then opened for the next
    ...
    warm.give(socket)                           # still good for another session; or: await socket.aclose()

None is opened before the first `take`: what nobody uses costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.contract.errors import ProviderError
from gateway.contract.websocket import Socket

log = logging.getLogger(__name__)

SPARE = 1
"""Connections that stand ready beside those in use."""
KEPT = 15.0
"""Seconds that one stands ready. Providers close what is idle for 20 and more."""
UNUSED = 120.0
"""Seconds without a `take` after which none stands ready."""

ADDRESSES = 32
"""Addresses that connections stand ready to; those not used for longest are left."""


@dataclass(slots=True)
class _Ready:
    socket: Socket
    until: float


class WarmSockets:
    """`open`: opens one. Raises what it raises. Close it when the provider is closed."""

    def __init__(self, open: Callable[[], Awaitable[Socket]], spare: int = SPARE, kept: float = KEPT) -> None:
        self._open, self._spare, self._kept = open, spare, kept
        self._ready: list[_Ready] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._tending: asyncio.Task[None] | None = None
        self._taken_at = 0.0
        self._closed = False

    @property
    def ready(self) -> int:
        """How many stand ready."""
        return sum(not each.socket.closed for each in self._ready)

    async def take(self) -> Socket:
        loop = asyncio.get_running_loop()
        self._taken_at = loop.time()
        try:
            while self._ready:
                kept = self._ready.pop()
                if not kept.socket.closed and kept.until > loop.time():
                    return kept.socket
                self._drop(kept.socket)
            return await self._open()
        finally:
            self._tend()

    def give(self, socket: Socket) -> None:
        """It can serve another session; one too many is closed."""
        if self._closed or socket.closed or self.ready >= self._spare:
            self._drop(socket)
        else:
            self._ready.append(_Ready(socket, asyncio.get_running_loop().time() + self._kept))

    async def aclose(self) -> None:
        """Again is a no-op."""
        self._closed = True
        tending, self._tending = self._tending, None
        if tending is not None:
            tending.cancel()
            await asyncio.wait([tending])
        for kept in self._ready:
            self._drop(kept.socket)
        self._ready.clear()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _drop(self, socket: Socket) -> None:
        task = asyncio.create_task(socket.aclose())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tend(self) -> None:
        if self._tending is None and not self._closed:
            self._tending = asyncio.create_task(self._stand_ready(), name="warm sockets")

    async def _stand_ready(self) -> None:
        """Replaces those that were taken or got old, until nobody has wanted one for a while."""
        loop = asyncio.get_running_loop()
        while loop.time() - self._taken_at < UNUSED:
            for old in [each for each in self._ready if each.socket.closed or each.until <= loop.time()]:
                self._ready.remove(old)
                self._drop(old.socket)
            try:
                while len(self._ready) < self._spare:
                    self._ready.append(_Ready(await self._open(), loop.time() + self._kept))
            except ProviderError as error:
                log.info("no connection stands ready: %s", type(error).__name__)
            await asyncio.sleep(1.0)
        for kept in self._ready:
            self._drop(kept.socket)
        self._ready.clear()
        self._tending = None


class WarmPool:
    """WarmSockets for each address that is in use, since a voice or a rate is part of it. `open`: opens one to an address."""

    def __init__(self, open: Callable[[str], Awaitable[Socket]], spare: int = SPARE, kept: float = KEPT) -> None:
        self._open, self._spare, self._kept = open, spare, kept
        self._warm: dict[str, WarmSockets] = {}

    @property
    def ready(self) -> int:
        return sum(warm.ready for warm in self._warm.values())

    async def take(self, url: str) -> Socket:
        warm = self._warm.pop(url, None) or WarmSockets(lambda: self._open(url), self._spare, self._kept)
        self._warm[url] = warm  # the one used last is the last
        if len(self._warm) > ADDRESSES:
            await self._warm.pop(next(iter(self._warm))).aclose()
        return await warm.take()

    async def aclose(self) -> None:
        """Again is a no-op."""
        for warm in self._warm.values():
            await warm.aclose()
