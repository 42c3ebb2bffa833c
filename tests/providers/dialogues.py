"""A speech-to-speech session against a fake, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import pytest

from gateway.contract.channel import Channel
from gateway.contract.errors import ProviderError
from gateway.contract.events import Answered, Events, ProviderEvent, TextDelta, Transcript
from gateway.contract.requests import Input, Respond
from tests.fakes.base import Fake
from tests.fakes.routes import KEY

E = TypeVar("E", bound=ProviderEvent)
F = TypeVar("F", bound=Fake)


class Dialogue(Generic[F]):
    """A session, and what came of it so far."""

    def __init__(self, events: Events, inputs: Channel[Input], fake: F) -> None:
        self._events, self._inputs, self.fake = events, inputs, fake
        self.came: list[ProviderEvent] = []

    def put(self, *items: Input) -> None:
        for item in items:
            self._inputs.put(item)

    def close(self) -> None:
        self._inputs.close()

    async def until(self, met: Callable[[ProviderEvent], bool]) -> ProviderEvent:
        async with asyncio.timeout(5):
            async for event in self._events:
                self.came.append(event)
                if met(event):
                    return event
        raise AssertionError(f"it ended; came: {[type(each).__name__ for each in self.came[-12:]]}")

    async def answered(self, times: int = 1) -> str:
        """Until so many more answers are over; what was said in them."""
        before = len(self.came)
        for _ in range(times):
            await self.until(lambda event: isinstance(event, Answered))
        return "".join(event.text for event in self.came[before:] if isinstance(event, TextDelta))

    async def fails_as(self, error: type[ProviderError]) -> None:
        """Asked for an answer, it raises that, without the key in it."""
        self.put("Hello.", Respond())
        with pytest.raises(ProviderError) as failed:
            await self.answered()
        assert type(failed.value) is error
        assert KEY.reveal() not in str(failed.value)

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.came if isinstance(event, kind)]

    @property
    def heard(self) -> list[str]:
        return [event.text for event in self.all(Transcript) if event.final]

    @property
    def sent(self) -> list[Any]:
        return self.fake.sessions[-1].said

    def sent_of(self, kind: str) -> list[Any]:
        """Frames of that `type`, or with that field."""
        return [each for each in self.sent if each.get("type") == kind or kind in each]
