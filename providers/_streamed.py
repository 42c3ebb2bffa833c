"""A streamed answer, from an upstream's bytes to events: server-sent events, each read by the codec of its protocol."""

from __future__ import annotations

import asyncio
from typing import Protocol

from gateway.contract.client import Answer, drain
from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import ProviderEvent
from gateway.contract.sse import EventTooLarge, ServerEvents

BLANK_LIMIT = 64 << 10
"""Bytes of nothing before an answer."""

GRACE = 2.0
"""Seconds for what may follow the end of an answer; without it the answer is complete all the same."""


class Codec(Protocol):
    """Reads the data of one stream's events. `finished`: the answer is complete, and more may follow; `done`: nothing will."""

    @property
    def finished(self) -> bool: ...

    @property
    def done(self) -> bool: ...

    def read(self, data: bytes) -> list[ProviderEvent]: ...

    def end(self) -> list[ProviderEvent]: ...


class Streamed:
    """`begun`: the answer's bytes that were read already."""

    def __init__(self, answer: Answer, begun: bytes, provider: str, codec: Codec, limit: int) -> None:
        self._answer, self._begun, self._provider, self._codec = answer, begun, provider, codec
        self._lines = ServerEvents(limit)
        self._until: float | None = None
        self._read_all = self._ended = False
        self._error: ProviderError | None = None

    async def more(self) -> list[ProviderEvent] | None:
        """The next events, maybe none; None after the last. Raises ProviderError, after giving what came before it."""
        if self._error is not None:
            raise self._error
        if self._ended:
            return None
        events: list[ProviderEvent] = []
        try:
            if self._read_all:
                self._ended = True
                if self._codec.done:
                    await drain(self._answer)
                return self._codec.end()
            self._read_all = not await self._read(events)
        except ProviderError as error:
            self._error = error
        return events

    async def _read(self, events: list[ProviderEvent]) -> bool:
        """Add what one read brings; False if it was the last."""
        data = await self._bytes()
        try:
            for event in self._lines.feed(data) if data else self._lines.end():
                events += self._codec.read(event.data)
                if self._codec.done:
                    return False
        except EventTooLarge as error:
            raise Unavailable(str(error), self._provider) from None
        return bool(data)

    async def _bytes(self) -> bytes:
        """What comes next; empty at the end, and when nothing more needs to come."""
        if self._begun:
            begun, self._begun = self._begun, b""
            return begun
        if self._codec.finished and self._until is None:
            self._until = asyncio.get_running_loop().time() + GRACE
        try:
            async with asyncio.timeout_at(self._until):
                return await anext(self._answer, b"")
        except (TimeoutError, Unavailable):
            if self._until is None:
                raise
            return b""


async def beginning(answer: Answer) -> bytes:
    """The body up to the first read that is not blank."""
    begun = b""
    while not begun.strip() and len(begun) < BLANK_LIMIT:
        data = await anext(answer, b"")
        if not data:
            break
        begun += data
    return begun
