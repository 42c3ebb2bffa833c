"""What a stub gateway tells of its routes: the real telemetry and its real routes, and what happened is the test's to say.

Called from the test's thread; the recorder and everything behind it live on the server's loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from fastapi import APIRouter

from gateway.api import telemetry
from gateway.telemetry.decisions import Decision
from gateway.telemetry.feed import Feed
from gateway.telemetry.sample import Sample
from gateway.telemetry.standing import Standing
from gateway.telemetry.telemetry import Telemetry
from gateway.telemetry.trend import STEP, Trend


class Telling:
    """`standing`: what it tells; replace its rows as you like."""

    def __init__(self, listeners: int = 32) -> None:
        self.standing: list[Standing] = []
        self.state: str | None = None
        self.kept = Telemetry({}, feed=Feed(listeners))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._now = time.monotonic()
        self._trend = Trend(lambda: self._now)

    def router(self) -> APIRouter:
        @asynccontextmanager
        async def lifespan(_: object) -> AsyncIterator[None]:
            self._loop = asyncio.get_running_loop()
            yield
            self.kept.feed.close()

        def standing() -> list[Standing]:
            return self.standing

        kept = self.kept
        routes = APIRouter(lifespan=lifespan)
        routes.include_router(
            telemetry.router(kept.decisions, kept.feed, standing, self._trend, state=lambda: self.state)
        )
        return routes

    def happen(self, *decisions: Decision) -> None:
        """They are made and over."""
        for decision in decisions:
            self._on_loop(partial(self.kept.recorder.decided, decision))
            self._on_loop(partial(self.kept.recorder.settled, decision))

    def history(self, samples: list[list[Sample]]) -> None:
        """What was measured, a list for each step of the trend, oldest first."""
        for step in samples:
            for sample in step:
                self._trend.sample(sample)
            self._now += STEP

    def close(self) -> None:
        """Sends every listener home."""
        self._on_loop(self.kept.feed.close)

    def _on_loop(self, act: Callable[[], None]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(act)
