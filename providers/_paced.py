"""Paced: inputs whose sound is handed on no faster than it was spoken, but for a little ahead.

For providers that close a session which sends faster than real time: what is said again after a failure, and files, would.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from gateway.contract.audio import Audio
from gateway.contract.requests import Input


class Paced:
    """`ahead`: seconds of sound that may go at once. A cancelled read loses nothing."""

    def __init__(self, inputs: AsyncIterator[Input], ahead: float) -> None:
        self._inputs, self._ahead = inputs, ahead
        self._next: Input | None = None
        self._lead = self._at = 0.0

    def __aiter__(self) -> Paced:
        return self

    async def __anext__(self) -> Input:
        if self._next is None:
            self._next = await anext(self._inputs)
        if isinstance(self._next, Audio):
            await self._due(self._next.seconds)
        item, self._next = self._next, None
        return item

    async def _due(self, seconds: float) -> None:
        clock = asyncio.get_running_loop().time
        self._lead, self._at = max(0.0, self._lead - (clock() - self._at)), clock()
        if self._lead > 0.0 and self._lead + seconds > self._ahead:
            await asyncio.sleep(min(self._lead, self._lead + seconds - self._ahead))
            self._lead, self._at = max(0.0, self._lead - (clock() - self._at)), clock()
        self._lead += seconds
