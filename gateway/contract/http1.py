"""The streaming client: HTTP/1.1 on asyncio and httptools.

Not httpx, though that is what everything else uses: a request cancelled between connecting and asking leaves httpx 0.28 a
connection that is neither used nor closed again (tests/conformance/test_leaving.py found it), and a request costs it 690 us
of CPU where this takes 46 (2 cores, uvloop, keep-alive, 2026-11-23). Proxies of the environment are not used.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.contract.client import Answer
from gateway.contract.errors import Unavailable
from gateway.contract.http1_connection import Broken, Connection
from gateway.contract.sockets import connect

CONNECT_TIMEOUT = 5.0
"""Seconds, for resolving, connecting and TLS together."""

MAX_CONNECTIONS = 1000
KEPT_SECONDS = 30.0
"""An idle connection is closed before the upstream is likely to: usual limits are 60 s and more."""

_SENDABLE = re.compile(r"[\t\x20-\x7e]*")
_TARGET = re.compile(r"[\x21-\x7e]+")


class Origin(NamedTuple):
    secure: bool
    host: str
    port: int


class Http1Client:
    """`provider`: its name, for errors. `trust`: for https, instead of the certificates httpx trusts (for tests)."""

    def __init__(self, provider: str, trust: ssl.SSLContext | None = None) -> None:
        self._provider = provider
        self._trust = trust
        self._idle: defaultdict[Origin, list[Connection]] = defaultdict(list)
        self._open: set[Connection] = set()
        self._opening = 0
        self._closed = False

    @asynccontextmanager
    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> AsyncIterator[Answer]:
        origin, head = self._head(url, headers, len(body))
        connection = await self._connection(origin)
        try:
            connection.send(head, body)
            try:
                await connection.head()
            except Broken as error:
                raise Unavailable(f"{error} before it answered", self._provider) from None
            answer = _Answer(connection, self._provider)
            try:
                yield answer
            finally:
                answer.over = True
        finally:
            self._release(origin, connection)

    async def aclose(self) -> None:
        """Closes every connection; answers under way break. Again is a no-op."""
        self._closed = True
        closing = list(self._open)
        for connection in closing:
            connection.abort()
        await asyncio.gather(*(connection.gone for connection in closing))

    def _head(self, url: str, headers: Mapping[str, str], length: int) -> tuple[Origin, bytes]:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if parts.scheme not in ("http", "https") or not parts.hostname or not _TARGET.fullmatch(target):
            raise Unavailable("its address is no http:// or https:// address", self._provider)
        secure = parts.scheme == "https"
        origin = Origin(secure, parts.hostname, parts.port or (443 if secure else 80))
        fields = {
            "host": parts.netloc.rpartition("@")[2],
            "user-agent": "trunkline",
            "accept-encoding": "identity",
            **headers,
            "content-length": str(length),
        }
        for name, value in fields.items():
            if not _SENDABLE.fullmatch(value):
                raise Unavailable(f"header {name} holds what no header can", self._provider)
        lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        return origin, "\r\n".join(lines).encode("ascii")

    async def _connection(self, origin: Origin) -> Connection:
        if self._closed:
            raise Unavailable("the provider is closed", self._provider)
        kept = self._idle[origin]
        while kept:
            connection = kept.pop()
            if connection.take():
                return connection
        if len(self._open) + self._opening >= MAX_CONNECTIONS:
            raise Unavailable(f"{MAX_CONNECTIONS} connections are in use", self._provider)
        self._opening += 1
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                trust = await self._trusted() if origin.secure else None
                connection = await connect(lambda: Connection(self._open.discard), origin.host, origin.port, trust)
        except TimeoutError:
            raise Unavailable(f"no connection within {CONNECT_TIMEOUT:g} s", self._provider) from None
        except ssl.SSLError as error:
            raise Unavailable(f"no TLS connection ({error.reason or 'failed'})", self._provider) from None
        except (OSError, UnicodeError):
            raise Unavailable("no connection: refused, unreachable or no such host", self._provider) from None
        finally:
            self._opening -= 1
        if not self._usable(connection):
            connection.abort()
            raise Unavailable("the connection was closed before it was asked", self._provider)
        self._open.add(connection)
        return connection

    def _usable(self, connection: Connection) -> bool:
        return not self._closed and connection.take()

    def _release(self, origin: Origin, connection: Connection) -> None:
        kept = self._idle[origin]
        if self._closed or not connection.keep(KEPT_SECONDS, kept):
            connection.abort()
        else:
            kept.append(connection)

    async def _trusted(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = await asyncio.to_thread(_default_trust)  # reading the certificates takes 20 ms and more
        return self._trust


class _Answer:
    def __init__(self, connection: Connection, provider: str) -> None:
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers
        self.over = False
        """The connection is somebody else's by now."""
        self._connection, self._provider = connection, provider

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.over:
            raise StopAsyncIteration
        if self.headers.get("content-encoding", "identity") != "identity":
            raise Unavailable("compressed, though it was asked not to", self._provider, self.status)
        try:
            data = await self._connection.body()
        except Broken as error:
            raise Unavailable(f"{error} in mid-answer", self._provider) from None
        if not data:
            raise StopAsyncIteration
        return data


def _default_trust() -> ssl.SSLContext:
    from httpx import create_ssl_context

    context = create_ssl_context()  # certifi's, or SSL_CERT_FILE's and SSL_CERT_DIR's
    context.set_alpn_protocols(["http/1.1"])
    return context
