"""Upstream HTTP for streaming: a POST whose answer is read as it comes and dropped at once.

    async with client.post(url, headers, body) as answer:
        if answer.status == 200:
            async for data in answer: ...
                                            # leaving early closes the connection, reading to the end keeps it for the next

HTTP/1.1, no redirects (a key goes only where the configuration says), no compression (bytes come when they were sent),
no cookies. A client belongs to one provider: connections, opened when first needed, are shared by its requests alone.
Failures are `Unavailable`; nothing here waits for headers or body on a deadline, since the engine has those.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Protocol, cast

import httpx

from gateway.contract.errors import Unavailable

CONNECT_TIMEOUT = 5.0
WRITE_TIMEOUT = 30.0
"""Seconds in which the upstream takes some of the request."""

MAX_CONNECTIONS = 1000
KEPT_CONNECTIONS = 100
KEPT_SECONDS = 30.0
"""An idle connection is closed before the upstream is likely to: usual limits are 60 s and more."""

DRAIN_SECONDS = 0.1
DRAIN_BYTES = 1 << 16

_SENDABLE = re.compile(r"[\t\x20-\x7e]*")
_LOCAL = ("all://localhost", "all://127.0.0.1", "all://[::1]")


class Answer(Protocol):
    """`headers`: names in lower case. Iterating gives bytes of the body as they arrive; it may be done once."""

    status: int
    headers: Mapping[str, str]

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...


class Client(Protocol):
    """What a provider is given to reach its upstream. Raises Unavailable."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> AbstractAsyncContextManager[Answer]: ...

    async def aclose(self) -> None: ...


async def read_up_to(answer: Answer, limit: int) -> bytes:
    """The body up to `limit` bytes; what is longer is cut there."""
    body = bytearray()
    async for data in answer:
        body += data
        if len(body) > limit:
            break
    return bytes(body[:limit])


async def drain(answer: Answer) -> None:
    """Read what is left of a body whose meaning is complete, if it is little and comes soon, so that the connection is kept."""
    left = DRAIN_BYTES
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            async for data in answer:
                left -= len(data)
                if left < 0:
                    return
    except (TimeoutError, Unavailable):
        return


class HttpxClient:
    """The client on httpx. `provider`: its name, for errors."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._client: httpx.AsyncClient | None = None

    @asynccontextmanager
    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> AsyncIterator[Answer]:
        fields = {"accept-encoding": "identity", "user-agent": "trunkline", **headers}
        for name, value in fields.items():
            if not _SENDABLE.fullmatch(value):
                raise Unavailable(f"header {name} holds what no header can", self._provider)
        try:
            request = self._opened().build_request("POST", url, headers=fields, content=body)
            response = await self._opened().send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._failed(error, "before it answered") from None
        # The response is closed last and closes the connection; the iterator is closed too, or the collector would do it.
        body_bytes = cast(AsyncGenerator[bytes, None], response.aiter_raw())
        async with aclosing(response), aclosing(body_bytes) as chunks:
            yield _HttpxAnswer(response, chunks, self)

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            # Both write headers or addresses into log lines, httpcore all headers of the answer at DEBUG.
            logging.getLogger("httpcore").setLevel(logging.WARNING)
            logging.getLogger("httpx").setLevel(logging.WARNING)
            self._client = httpx.AsyncClient(
                http2=False,
                follow_redirects=False,
                timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT, write=WRITE_TIMEOUT, pool=CONNECT_TIMEOUT),
                limits=httpx.Limits(
                    max_connections=MAX_CONNECTIONS,
                    max_keepalive_connections=KEPT_CONNECTIONS,
                    keepalive_expiry=KEPT_SECONDS,
                ),
                mounts=dict.fromkeys(_LOCAL),  # never through a proxy of the environment
            )
        return self._client

    def _failed(self, error: Exception, when: str) -> Unavailable:
        # The library's words may hold a header's value: only the kind of error is told.
        match error:
            case httpx.ConnectTimeout():
                what = f"no connection within {CONNECT_TIMEOUT:g} s"
            case httpx.ConnectError():
                what = "no connection: refused, unreachable or no such host"
            case httpx.PoolTimeout():
                what = f"{MAX_CONNECTIONS} connections are in use"
            case httpx.RemoteProtocolError() | httpx.ReadError() | httpx.WriteError():
                what = f"the connection broke {when}"
            case _:
                what = f"{type(error).__name__} {when}"
        return Unavailable(what, self._provider)


class _HttpxAnswer:
    def __init__(self, response: httpx.Response, chunks: AsyncIterator[bytes], client: HttpxClient) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
        self._chunks, self._client = chunks, client

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.headers.get("content-encoding", "identity") != "identity":
            raise Unavailable("compressed, though it was asked not to", self._client._provider, self.status)
        try:
            return await anext(self._chunks)
        except httpx.HTTPError as error:
            raise self._client._failed(error, "in mid-answer") from None
