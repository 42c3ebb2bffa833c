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
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gateway.contract.errors import Unavailable

DRAIN_SECONDS = 0.1
DRAIN_BYTES = 1 << 16


class Answer(Protocol):
    """`headers`: names in lower case. Iterating gives bytes of the body as they arrive; it may be done once."""

    status: int
    headers: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Its end has come: what is left to read is here."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    def divert(self, past: Callable[[bytes], bool]) -> None:
        """From now on what comes while somebody waits for it is offered to `past` first, which returns whether it took it."""


class Client(Protocol):
    """What a provider reaches its upstream with. Raises Unavailable."""

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
    if answer.complete:
        return
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            async for data in answer:
                left -= len(data)
                if left < 0:
                    return
    except (TimeoutError, Unavailable):
        return
