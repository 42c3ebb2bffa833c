"""Fleet: the providers that requests are sent to. A new file brings a new fleet; the old one serves what it began."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.contract.errors import ProviderError
from gateway.contract.provider import CountsTokens, Limited
from gateway.contract.requests import ChatRequest, Request, TranscribeRequest
from gateway.routing.route import Route, Target

COUNTED_WITHIN = 5.0
"""Seconds a target may take to count: who asks wants to know before asking in earnest."""


@dataclass(eq=False, slots=True)
class Fleet:
    """`providers`: built, by the name of their row; `open`: requests that use them now."""

    providers: Mapping[str, object]
    open: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _limited: dict[str, Limited] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._limited = {name: each for name, each in self.providers.items() if isinstance(each, Limited)}

    def unfit(self, route: Route, request: Request) -> dict[Target, str]:
        """Which of the route's targets cannot do all that is asked, and why. Who says nothing of itself can do what is ordinary."""
        beyond = _beyond(request)
        found: dict[Target, str] = {}
        if self._limited or beyond is not None:
            for target in route.targets:
                limited = self._limited.get(target.provider)
                if limited is not None and (why := limited.cannot(target.model, request)) is not None:
                    found[target] = why
                elif limited is None and beyond is not None:
                    found[target] = beyond
        return found

    async def count(self, route: Route, request: ChatRequest) -> tuple[Target, int] | None:
        """The tokens of the prompt, as the first target counts them that can; None where none does, or not soon."""
        unfit = self.unfit(route, request)
        for target in route.targets:
            provider = self.providers.get(target.provider)
            if isinstance(provider, CountsTokens) and target not in unfit:
                try:
                    async with asyncio.timeout(COUNTED_WITHIN):
                        return target, await provider.count(target.model, request)
                except (ProviderError, TimeoutError):
                    continue
        return None

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


def _beyond(request: Request) -> str | None:
    """What of the request only those can do that say so."""
    match request:
        case ChatRequest(untyped=(first, *_)):
            return f"it cannot be told '{first}'"
        case TranscribeRequest(translate=True):
            return "it does not translate speech"
        case TranscribeRequest(diarize=True):
            return "it does not tell speakers apart"
    return None
