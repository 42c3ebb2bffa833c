"""Connections that stand ready, where what is to be spoken (a voice, a model, a rate) is in the address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gateway.contract.warm_sockets import WarmSockets
from gateway.contract.websocket import Socket

MOST = 16
"""Addresses; of the one that was wanted longest ago none stands ready any more."""


class WarmVoices:
    """`open`: a connection to an address. Close it when the provider is closed."""

    def __init__(self, open: Callable[[str], Awaitable[Socket]]) -> None:
        self._open = open
        self._warm: dict[str, WarmSockets] = {}

    async def of(self, url: str) -> WarmSockets:
        warm = self._warm.pop(url, None) or WarmSockets(lambda: self._open(url))
        self._warm[url] = warm
        if len(self._warm) > MOST:
            await self._warm.pop(next(iter(self._warm))).aclose()
        return warm

    async def aclose(self) -> None:
        """Again is a no-op."""
        for warm in self._warm.values():
            await warm.aclose()
