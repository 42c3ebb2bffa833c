"""Fleet: the providers that requests are sent to. A new file brings a new fleet; the old one serves what it began."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Fleet:
    """`providers`: built, by the name of their row; `open`: requests that use them now."""

    providers: Mapping[str, object]
    open: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def left(self) -> None:
        """A request that used it is over."""
        self.open -= 1
        if not self.open:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Returns once no request uses it."""
        while self.open:
            self._idle.clear()
            await self._idle.wait()
