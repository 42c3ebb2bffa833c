"""The streaming client: HTTP/1.1 on asyncio and httptools.

Not httpx, though that is what everything else uses: a request cancelled between connecting and asking leaves httpx 0.28 a
connection that is neither used nor closed again (tests/conformance/test_leaving.py found it), and a request costs it 690 us
of CPU where this takes 46 (2 cores, uvloop, keep-alive, 2026-11-23).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.contract.client import Answer
from gateway.contract.errors import Unavailable
from gateway.contract.http1_connection import Broken, Connection
from gateway.contract.proxies import BadProxy, Proxy, proxy_for
from gateway.contract.sockets import Forbidden, ProxyRefused, connect

CONNECT_TIMEOUT = 5.0
"""Seconds, for resolving, connecting and TLS together."""

MAX_CONNECTIONS = 1000
KEPT_SECONDS = 30.0
"""An idle connection is closed before the upstream is likely to: usual limits are 60 s and more."""

SWEEP_SECONDS = 5.0
"""Between two looks at which have been kept long enough."""

HEADS = 64
"""Heads of requests that are remembered: making one takes longer than all else the client does for a request."""

_SENDABLE = re.compile(r"[\t\x20-\x7e]*")
_TARGET = re.compile(r"[\x21-\x7e]+")


class Origin(NamedTuple):
    secure: bool
    host: str
    port: int
    proxy: Proxy | None


class Http1Client:
    """`provider`: its name, for errors. `trust`: for https, instead of the certificates httpx trusts (for tests)."""

    def __init__(self, provider: str, trust: ssl.SSLContext | None = None) -> None:
        self.provider = provider
        self._trust = trust
        self._idle: defaultdict[Origin, list[Connection]] = defaultdict(list)
        self._open: set[Connection] = set()
        self._opening = 0
        self._closed = False
        self._sweeping: asyncio.TimerHandle | None = None
        self._heads: dict[tuple[object, ...], tuple[Origin, bytes]] = {}

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> AbstractAsyncContextManager[Answer]:
        return _Posted(self, url, headers, body)

    async def asked(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[Origin, Connection]:
        """A connection on which the answer's head has come, for `released` once it is done with."""
        origin, head = self._head(url, headers)
        kept = self._idle.get(origin)
        connection = kept.pop() if kept else None
        if connection is None or not connection.take():
            connection = await self._connection(origin)
        try:
            connection.send(b"%b%d\r\n\r\n" % (head, len(body)), body)
            await connection.head()
        except Broken as error:
            self.released(origin, connection)
            raise Unavailable(f"{error} before it answered", self.provider) from None
        except BaseException:
            self.released(origin, connection)
            raise
        return origin, connection

    def released(self, origin: Origin, connection: Connection) -> None:
        """Keep it for the next if its answer was read to the end, else close it."""
        kept = self._idle[origin]
        if self._closed or not connection.keep(KEPT_SECONDS):
            connection.abort()
            return
        kept.append(connection)
        if self._sweeping is None:  # one timer for all that are kept: one for each would cost every request two calls
            self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close those that were kept long enough."""
        loop = asyncio.get_running_loop()
        for origin, kept in [*self._idle.items()]:
            for connection in [each for each in kept if each.expired(loop.time())]:
                kept.remove(connection)
                connection.abort()
            if not kept:
                del self._idle[origin]
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep) if self._idle else None

    async def aclose(self) -> None:
        """Closes every connection; answers under way break. Again is a no-op."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        closing = list(self._open)
        for connection in closing:
            connection.abort()
        await asyncio.gather(*(connection.gone for connection in closing))

    def _head(self, url: str, headers: Mapping[str, str]) -> tuple[Origin, bytes]:
        """Where it goes, and the head of the request up to the number of its content-length."""
        key = (url, *headers.items())
        known = self._heads.get(key)
        if known is None:
            if len(self._heads) >= HEADS:
                self._heads.clear()
            known = self._heads[key] = self._made(url, headers)
        return known

    def _made(self, url: str, headers: Mapping[str, str]) -> tuple[Origin, bytes]:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if parts.scheme not in ("http", "https") or not parts.hostname or not _TARGET.fullmatch(target):
            raise Unavailable("its address is no http:// or https:// address", self.provider)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        try:
            proxy = proxy_for(parts.scheme, parts.hostname, port)
        except BadProxy as error:
            raise Unavailable(str(error), self.provider) from None
        origin = Origin(secure, parts.hostname, port, proxy)
        fields = {
            "host": parts.netloc.rpartition("@")[2],
            "user-agent": "trunkline",
            "accept-encoding": "identity",
            **headers,
        }
        if proxy is not None and not secure:
            target = f"http://{fields['host']}{target}"
            fields |= {"proxy-authorization": proxy.authorization} if proxy.authorization is not None else {}
        for name, value in fields.items():
            if not _SENDABLE.fullmatch(value):
                raise Unavailable(f"header {name} holds what no header can", self.provider)
        lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "content-length: "]
        return origin, "\r\n".join(lines).encode("ascii")

    async def _connection(self, origin: Origin) -> Connection:
        if self._closed:
            raise Unavailable("the provider is closed", self.provider)
        kept = self._idle[origin]
        while kept:
            connection = kept.pop()
            if connection.take():
                return connection
        if len(self._open) + self._opening >= MAX_CONNECTIONS:
            raise Unavailable(f"{MAX_CONNECTIONS} connections are in use", self.provider)
        self._opening += 1
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                trust = await self._trusted() if origin.secure else None
                connection = await connect(
                    lambda: Connection(self._open.discard), origin.host, origin.port, trust, origin.proxy
                )
        except TimeoutError:
            raise Unavailable(f"no connection within {CONNECT_TIMEOUT:g} s", self.provider) from None
        except (Forbidden, ProxyRefused) as error:
            raise Unavailable(f"no connection: {error}", self.provider) from None
        except ssl.SSLError as error:
            raise Unavailable(f"no TLS connection ({error.reason or 'failed'})", self.provider) from None
        except (OSError, UnicodeError):
            raise Unavailable("no connection: refused, unreachable or no such host", self.provider) from None
        finally:
            self._opening -= 1
        if not self._usable(connection):
            connection.abort()
            raise Unavailable("the connection was closed before it was asked", self.provider)
        self._open.add(connection)
        return connection

    def _usable(self, connection: Connection) -> bool:
        return not self._closed and connection.take()

    async def _trusted(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = await asyncio.to_thread(_default_trust)  # reading the certificates takes 20 ms and more
        return self._trust


class _Posted(AbstractAsyncContextManager[Answer]):
    """What `post` returns. A class, because a generator's context manager costs as much as the rest of a request."""

    __slots__ = ("_answer", "_asked", "_client", "_connection", "_origin")

    def __init__(self, client: Http1Client, url: str, headers: Mapping[str, str], body: bytes) -> None:
        self._client, self._asked = client, (url, headers, body)
        self._connection: Connection
        self._origin: Origin
        self._answer: _Answer

    async def __aenter__(self) -> Answer:
        self._origin, self._connection = await self._client.asked(*self._asked)
        self._answer = _Answer(self._connection, self._client.provider)
        return self._answer

    async def __aexit__(self, *_: object) -> None:
        self._answer.over = True
        self._client.released(self._origin, self._connection)


class _Answer:
    def __init__(self, connection: Connection, provider: str) -> None:
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers
        self.over = False
        """The connection is somebody else's by now."""
        self._connection, self._provider = connection, provider
        self._compressed = self.headers.get("content-encoding", "identity") != "identity"

    @property
    def complete(self) -> bool:
        return not self.over and self._connection.complete

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    def divert(self, past: Callable[[bytes], bool]) -> None:
        if not self._compressed:
            self._connection.past = past

    async def __anext__(self) -> bytes:
        if self.over:
            raise StopAsyncIteration
        if self._compressed:
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
