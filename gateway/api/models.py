"""GET /v1/models: the routes, which are what clients put in `model`.

`trunkline` is ours: `kind`; `endpoints` that take it; what it `can` do beyond text; `targets` that are awake, in order;
`asleep`, why the route cannot serve, or null; and `sleeping`, why single targets do not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import orjson
from fastapi import APIRouter, Response

from gateway.access.grant import paying
from gateway.api.abilities import ENDPOINTS, abilities
from gateway.contract.errors import NoSuchRoute
from gateway.routing.engine import Engine
from gateway.routing.route import CallRoute, Route


def router(
    engine: Engine, calls: Callable[[], Mapping[str, CallRoute]] = dict, clock: Callable[[], float] = time.time
) -> APIRouter:
    """`calls`: the routes of kind call, as they are now; `clock`: Unix seconds."""
    created = int(clock())
    routes = APIRouter()

    def known() -> dict[str, dict[str, object]]:
        """Those that the caller's key may use."""
        grant = paying()
        found = {name: _route(engine, route) for name, route in engine.routes.items() if grant.allows(name)}
        return found | {name: _call(route, engine.routes) for name, route in calls().items() if grant.allows(name)}

    def model(name: str, fields: dict[str, object]) -> dict[str, object]:
        return {"id": name, "object": "model", "created": created, "owned_by": "trunkline", "trunkline": fields}

    @routes.get("/v1/models")
    async def models() -> Response:
        return _json({"object": "list", "data": [model(name, fields) for name, fields in known().items()]})

    @routes.get("/v1/models/{name:path}")
    async def one(name: str) -> Response:
        found = known()
        paying().check(name, found)
        if name not in found:
            raise NoSuchRoute(name[:256], sorted(found))
        return _json(model(name, found[name]))

    return routes


def _json(body: object) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")


def _route(engine: Engine, route: Route) -> dict[str, object]:
    return {
        "kind": route.kind,
        "endpoints": ENDPOINTS[route.kind],
        "can": abilities(engine, route),
        "targets": [str(target) for target in route.targets],
        "asleep": _why(route),
        "sleeping": dict(route.asleep),
    }


def _call(call: CallRoute, routes: Mapping[str, Route]) -> dict[str, object]:
    stages = {"stt": call.stt, "llm": call.llm, "tts": call.tts}
    parts = {stage: routes.get(name) for stage, name in stages.items()}
    reasons = [
        f"{name}: {_why(part) if part is not None else 'no such route'}"
        for name, part in zip(stages.values(), parts.values())
        if part is None or not part.targets
    ]
    return {
        "kind": "call",
        "endpoints": ("/v1/realtime/calls",),
        "targets": [str(target) for part in parts.values() if part is not None for target in part.targets],
        "asleep": "; ".join(reasons) or None,
        "sleeping": {target: why for part in parts.values() if part is not None for target, why in part.asleep.items()},
        "cascaded": stages,
    }


def _why(route: Route) -> str | None:
    if route.targets:
        return None
    return "; ".join(f"{target}: {why}" for target, why in route.asleep.items()) or "it names no target"
