"""Connecting: to whichever of a host's addresses answers first (RFC 8305, Happy Eyeballs)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any, TypeVar

P = TypeVar("P", bound=asyncio.BaseProtocol)

STAGGER = 0.25
"""Seconds an address is given before the next is tried beside it (RFC 8305, 5)."""

Address = tuple[int, Any]
"""Its family, and what `connect` takes."""


async def connect(build: Callable[[], P], host: str, port: int, trust: ssl.SSLContext | None) -> P:
    """A connected protocol, over TLS if there is a `trust`. Raises OSError (ssl.SSLError among them)."""
    held = await _first(await _addresses(host, port))
    taken = False

    def built() -> P:
        nonlocal taken
        taken = True
        return build()

    try:
        name = host if trust is not None else None
        _, protocol = await asyncio.get_running_loop().create_connection(
            built, sock=held, ssl=trust, server_hostname=name
        )
    except BaseException:
        if not taken:  # else it is the transport's, which closes it a little later; the number must not be free before
            held.close()
        raise
    return protocol


async def _addresses(host: str, port: int) -> list[Address]:
    """Of both families in turn, the resolver's favourite first."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, host)
            return [(family, (host, port))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    favourite = found[0][0] if found else socket.AF_INET6
    first = [(family, address) for family, _, _, _, address in found if family == favourite]
    others = [(family, address) for family, _, _, _, address in found if family != favourite]
    pairs = chain.from_iterable(zip_longest(first, others))
    return [address for address in pairs if address is not None]


async def _first(addresses: list[Address]) -> socket.socket:
    """Connected to the first address that accepts; the others are closed. Raises the last OSError."""
    if len(addresses) == 1:
        return await _socket(addresses[0])
    race = _Race(addresses)
    try:
        await race.run()
        await race.end()
    except BaseException:
        await race.end()
        race.forget()
        raise
    return race.won()


class _Race:
    """Attempts beside each other."""

    def __init__(self, addresses: list[Address]) -> None:
        self._waiting = addresses
        self._trying: set[asyncio.Task[socket.socket]] = set()
        self._winner: asyncio.Task[socket.socket] | None = None
        self._failure: BaseException = OSError("no address")

    async def run(self) -> None:
        """Until one is connected, or none will be."""
        while self._winner is None and (self._waiting or self._trying):
            if self._waiting:
                self._trying.add(asyncio.create_task(_socket(self._waiting.pop(0))))
            stagger = STAGGER if self._waiting else None
            done, _ = await asyncio.wait(self._trying, timeout=stagger, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if (failure := task.exception()) is None:
                    self._winner = task
                else:
                    self._trying.discard(task)
                    self._failure = failure

    async def end(self) -> None:
        """The others are closed."""
        for task in self._trying:
            task.cancel()
        if self._trying:
            await asyncio.wait(self._trying)
        for task in self._trying:
            if task is not self._winner and not task.cancelled() and task.exception() is None:
                task.result().close()

    def forget(self) -> None:
        """The winner is closed too."""
        if self._winner is not None:
            self._winner.result().close()

    def won(self) -> socket.socket:
        if self._winner is None:
            raise self._failure
        return self._winner.result()


async def _socket(address: Address) -> socket.socket:
    family, where = address
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, where)
    except BaseException:
        made.close()
        raise
    return made
