"""Connecting: to whichever of a host's addresses answers first (RFC 8305, Happy Eyeballs), through a proxy where there is one.

A cloud's metadata service is never connected to, whatever name or spelling leads there: it hands out the machine's own keys.
Looked at are the addresses that are then connected to, so that a name cannot mean another one in between.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from itertools import chain, zip_longest
from typing import Any, TypeVar

from gateway.contract.proxies import Proxy

P = TypeVar("P", bound=asyncio.BaseProtocol)

STAGGER = 0.25
"""Seconds an address is given before the next is tried beside it (RFC 8305, 5)."""

TUNNEL_HEAD = 64 << 10
"""Bytes of a proxy's answer."""

METADATA = "its address is of a cloud's metadata service"
_FORBIDDEN = tuple(
    map(
        ipaddress.ip_network,
        (
            "169.254.0.0/16",
            "100.100.100.200/32",
            "192.0.0.192/32",
            "fd00:ec2::254/128",
            "fd20:ce::254/128",
            "fe80::a9fe:a9fe/128",
        ),
    )
)
"""AWS, Azure, Google and most others; Alibaba; Oracle; AWS, Google and OpenStack over IPv6."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Forbidden(OSError):
    """An address that is not connected to; says why."""


class ProxyRefused(OSError):
    """The proxy made no connection; says why."""


Address = tuple[int, Any]
"""Its family, and what `connect` takes."""


async def connect(
    build: Callable[[], P], host: str, port: int, trust: ssl.SSLContext | None, proxy: Proxy | None = None
) -> P:
    """A connected protocol, over TLS if there is a `trust`; with a `proxy` through a tunnel then, else to the proxy itself.
    Raises OSError (Forbidden, ProxyRefused and ssl.SSLError among them)."""
    if is_metadata(host):
        raise Forbidden(METADATA)
    held = await _first(await _addresses(*((host, port) if proxy is None else (proxy.host, proxy.port))))
    taken = False

    def built() -> P:
        nonlocal taken
        taken = True
        return build()

    try:
        if proxy is not None and trust is not None:
            await _tunnel(held, host, port, proxy)
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
            return _allowed([(family, (host, port))])
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    favourite = found[0][0] if found else socket.AF_INET6
    first = [(family, address) for family, _, _, _, address in found if family == favourite]
    others = [(family, address) for family, _, _, _, address in found if family != favourite]
    pairs = chain.from_iterable(zip_longest(first, others))
    return _allowed([address for address in pairs if address is not None])


@lru_cache(maxsize=1024)
def is_metadata(host: str) -> bool:
    """Whether that address, not name, is of a cloud's metadata service."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        address = inner or address
    return any(address in network for network in _FORBIDDEN)


def _allowed(addresses: list[Address]) -> list[Address]:
    allowed = [(family, where) for family, where in addresses if not is_metadata(where[0])]
    if addresses and not allowed:
        raise Forbidden(METADATA)
    return allowed


async def _tunnel(held: socket.socket, host: str, port: int, proxy: Proxy) -> None:
    """Ask the proxy for a connection to the origin. Raises ProxyRefused."""
    loop = asyncio.get_running_loop()
    origin = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    head = f"CONNECT {origin} HTTP/1.1\r\nhost: {origin}\r\n"
    if proxy.authorization is not None:
        head += f"proxy-authorization: {proxy.authorization}\r\n"
    await loop.sock_sendall(held, f"{head}\r\n".encode("ascii"))
    answer = b""
    while b"\r\n\r\n" not in answer:
        received = await loop.sock_recv(held, 4096)
        answer += received
        if not received or len(answer) > TUNNEL_HEAD:
            raise ProxyRefused("the proxy did not answer")
    version, _, rest = answer.partition(b" ")
    status = rest[:3]
    if not version.startswith(b"HTTP/1.") or not status.isdigit():
        raise ProxyRefused("the proxy speaks no HTTP")
    if not status.startswith(b"2"):
        raise ProxyRefused(f"the proxy refused: {int(status)}")


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
