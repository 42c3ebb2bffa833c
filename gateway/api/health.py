"""GET /healthz: the process answers. GET /readyz: it may be sent requests. GET /metrics: for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson
from fastapi import APIRouter, Response

from gateway.state.store import Peers
from gateway.telemetry.merging import merged_metrics
from gateway.telemetry.prometheus import CONTENT_TYPE, Metrics


@dataclass(frozen=True, slots=True)
class Readiness:
    """`warm`: by target, "warm", "warming" or "failed: why". `draining`: it finishes what runs, and wants no more."""

    ready: bool
    warm: Mapping[str, str] = field(default_factory=dict)
    draining: bool = False


def router(
    readiness: Callable[[], Readiness], metrics: Metrics, worker: int = 0, peers: Peers | None = None
) -> APIRouter:
    """`worker`: this one's number, `peers`: the others, where several answer for one port."""
    routes = APIRouter()

    @routes.get("/healthz")
    async def healthz() -> Response:
        return _json({"ok": True})

    @routes.get("/readyz")
    async def readyz() -> Response:
        now = readiness()
        ready = now.ready and not now.draining
        return _json({"ready": ready, "draining": now.draining, "warm": dict(now.warm)}, 200 if ready else 503)

    @routes.get("/metrics")
    async def exposition() -> Response:
        body = metrics.exposition()
        if peers is not None:
            numbered = [each.partition(b"\n") for each in await peers.ask("metrics") if each]
            others = {number.decode(): told for number, _, told in numbered}
            body = merged_metrics(others | {str(worker): body})
        return Response(body, headers={"Content-Type": CONTENT_TYPE})

    return routes


def _json(body: object, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json", headers={"Cache-Control": "no-store"})
