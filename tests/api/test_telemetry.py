"""The decision log and the live feed over HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI

from gateway.api import errors, health, telemetry
from gateway.contract.sse import ServerEvents
from gateway.telemetry.decision_log import DecisionLog
from gateway.telemetry.decisions import Tried
from gateway.telemetry.feed import HELD, Feed
from gateway.telemetry.standing import Ejection, Standing
from gateway.telemetry.telemetry import Telemetry
from gateway.telemetry.trend import POINTS
from tests.api.stage import Watched
from tests.serving import Served, plain_http, serving
from tests.telemetry.happened import FAST, OUT, SLOW, failed, fell_back, hedged, made, sample, served, standings

pytestmark = pytest.mark.wire


@dataclass
class Desk:
    """A gateway that only tells: what happens is the test's to say, to `kept.recorder`."""

    kept: Telemetry
    metrics: Watched
    standing: list[Standing]
    served: Served
    http: httpx.AsyncClient
    local: list[bool] = field(default_factory=lambda: [False])

    def happen(self, *decisions: Any) -> None:
        for decision in decisions:
            self.kept.recorder.decided(decision)
            self.kept.recorder.settled(decision)

    async def found(self, query: str = "") -> list[dict[str, Any]]:
        response = await self.http.get(f"/v1/telemetry/decisions{query}")
        assert response.status_code == 200, response.text
        return list(response.json()["data"])


@asynccontextmanager
async def desk(listeners: int = 4) -> AsyncIterator[Desk]:
    metrics = Watched()
    kept = Telemetry({}, metrics)
    kept.feed = Feed(listeners)
    kept.recorder._settled = [metrics.routing.settled, kept.feed.settled]
    standing = standings()
    metrics.ask_standing(lambda: standing)
    app = FastAPI()
    errors.install(app)
    local = [False]
    app.include_router(
        telemetry.router(
            kept.decisions,
            kept.feed,
            lambda: standing,
            kept.trend,
            metrics,
            lambda: "local" if local[0] else "shared",
        )
    )
    app.include_router(health.router(lambda: health.Readiness(True), metrics))
    async with serving(app) as server, plain_http(base_url=server.url) as http:
        yield Desk(kept, metrics, standing, server, http, local)
        await kept.aclose()
