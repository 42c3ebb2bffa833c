"""GET /v1/telemetry/decisions: the decision log. GET /v1/telemetry/costs: what each target and each key used
and cost since this process started. GET /v1/telemetry: a live feed, as server-sent events.

    event: standing   every second: {"at", "state", "step", "targets": [{...Standing, "ttft": [...], "failed": [...]}]}
    event: decision   a request that is over, as the decision log has it
    event: skipped    {"decisions": how many this reader was too slow for}

`ttft` and `failed` are the last minutes in steps of `step` seconds, oldest first. Nothing here was said by anybody: names of
the configuration, numbers, and classes of errors.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields

import orjson
from fastapi import APIRouter, Request, Response
from starlette.datastructures import QueryParams
from starlette.routing import Route

from gateway.access.grant import paying
from gateway.api.errors import Failure
from gateway.api.exchange import Endpoint, Exchange, Watch
from gateway.api.headers import SSE
from gateway.contract.errors import BadRequest
from gateway.state.store import Peers
from gateway.telemetry.decision_log import ENDINGS, DecisionLog, Filter, ending_of, is_hedged
from gateway.telemetry.decisions import Decision
from gateway.telemetry.feed import Crowded, Feed
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.standing import Standing
from gateway.telemetry.trend import STEP, Trend

EVERY = 1.0
"""Seconds between two tellings of how the targets stand."""
USUAL, MOST = 100, 500
"""Decisions in one answer of the log."""
AT_ONCE = 20
"""Decisions written before requests get their turn: with twenty candidates each they take about 2 ms."""
COME_BACK = 5
"""Seconds after which a listener that found no room may ask again."""

_FIELDS = tuple(field.name for field in fields(Decision))
_FILTERS = ("route", "target", "outcome", "hedged", "since", "limit")
_OUTCOMES = (*ENDINGS, "failed")


def router(
    log: DecisionLog,
    feed: Feed,
    standing: Callable[[], Sequence[Standing]],
    trend: Trend,
    watch: Watch | None = None,
    state: Callable[[], str | None] = lambda: None,
    ledger: Ledger | None = None,
    peers: Peers | None = None,
) -> APIRouter:
    """`peers`: the other workers behind this port, which are asked too. `state`: of what replicas share, in the store's word
    for it ("shared", "local", ...)."""
    began = time.time()
    ledger = ledger or Ledger({})
    live = Endpoint("telemetry", Live(feed, standing, trend, state).answer, watch)
    routes = APIRouter(routes=[Route("/v1/telemetry", live, methods=["GET"], name="telemetry")])

    @routes.get("/v1/telemetry/decisions")
    async def decisions(request: Request) -> Response:
        _check()
        asked, limit = _asked(request.query_params)
        written = []
        for number, decision in enumerate(log.latest(asked, limit)):
            written.append((decision.at, orjson.dumps(told(decision))))
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        if peers is not None:
            for answer in await peers.ask(f"decisions {request.url.query}"):
                written += [(each["at"], orjson.dumps(each)) for each in orjson.loads(answer or b"[]")]
            written = sorted(written, key=lambda each: -each[0])[:limit]
        body = b'{"object":"list","data":[' + b",".join(each for _, each in written) + b"]}"
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    @routes.get("/v1/telemetry/costs")
    async def costs() -> Response:
        total = ledger.copy()
        for answer in await peers.ask("costs") if peers is not None else ():
            total.add(answer or b"{}")
        body = {
            "currency": "USD",
            "since": began,
            "targets": [
                {"route": route, "target": target} | asdict(account)
                for (route, target), account in sorted(total.targets.items())
            ],
            "keys": [{"key": key} | asdict(account) for key, account in total.payers.items()],
        }
        return Response(orjson.dumps(body), media_type="application/json", headers={"Cache-Control": "no-store"})

    return routes


def decisions_of(log: DecisionLog, query: str) -> bytes:
    """What another worker asks for, who has checked the query."""
    asked, limit = _asked(QueryParams(query))
    return orjson.dumps([told(decision) for decision in log.latest(asked, limit)])


def told(decision: Decision) -> dict[str, object]:
    """A decision as the outside sees it, for orjson: its fields, and `outcome` and `hedged`, which follow from them."""
    return {name: getattr(decision, name) for name in _FIELDS} | {
        "candidates": list(decision.candidates),
        "outcome": ending_of(decision),
        "hedged": is_hedged(decision),
    }


class Live:
    """The feed, to any number of readers: what all of them get every second is made once."""

    def __init__(
        self,
        feed: Feed,
        standing: Callable[[], Sequence[Standing]],
        trend: Trend,
        state: Callable[[], str | None],
    ) -> None:
        self._feed, self._standing, self._trend, self._state = feed, standing, trend, state
        self._made_at, self._made = -math.inf, b""

    async def answer(self, exchange: Exchange) -> None:
        _check()
        await exchange.read(0)
        try:
            with self._feed.listen() as listener:
                await exchange.start(200, SSE)
                await exchange.write(b"retry: 2000\n\n")
                clock = asyncio.get_running_loop().time
                due = clock()
                while not listener.over:
                    skipped, decisions = listener.take()
                    if skipped:
                        await exchange.write(_event("skipped", {"decisions": skipped}))
                    for decision in decisions:
                        await exchange.write(_event("decision", told(decision)))
                    if clock() >= due:
                        await exchange.write(self._now(clock()))
                        due = clock() + EVERY
                    await listener.wait(due - clock())
                await exchange.finish()
        except Crowded:
            full = Failure(
                503,
                "as many listen to the live feed as may at once; close one, or ask /v1/telemetry/decisions",
                "server_error",
                code="too_many_listeners",
                headers=((b"retry-after", b"%d" % COME_BACK),),
            )
            await exchange.reply(full.status, full.body(), headers=full.headers)

    def _now(self, now: float) -> bytes:
        if now - self._made_at >= EVERY / 2:
            rows = []
            for each in self._standing():
                points = self._trend.points(each.route, each.target)
                rows.append(asdict(each) | {"ttft": points.ttft, "failed": points.failed})
            frame = {"at": time.time(), "state": self._state(), "step": STEP, "targets": rows}
            self._made_at, self._made = now, _event("standing", frame)
        return self._made


def _check() -> None:
    """Telemetry tells of every route, so it is for keys that may use every route. Raises RouteNotAllowed."""
    grant = paying()
    if not grant.unlimited:
        grant.check("telemetry of all routes")


def _event(name: str, data: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


def _asked(query: QueryParams) -> tuple[Filter, int]:
    """Raises BadRequest, which names the parameter."""
    for name in query:
        if name not in _FILTERS:
            raise BadRequest(f"there is no filter {name[:64]!r}; there are {', '.join(_FILTERS)}", name[:64])
    outcome = query.get("outcome")
    if outcome is not None and outcome not in _OUTCOMES:
        raise BadRequest(f"outcome must be one of {', '.join(_OUTCOMES)}", "outcome")
    hedged = query.get("hedged")
    if hedged not in (None, "true", "false"):
        raise BadRequest("hedged must be true or false", "hedged")
    limit = _number(query, "limit", 1, MOST)
    if limit is not None and limit != int(limit):
        raise BadRequest("limit must be a whole number", "limit")
    asked = Filter(
        query.get("route"),
        query.get("target"),
        outcome,
        None if hedged is None else hedged == "true",
        _number(query, "since", 0, 1e12),
    )
    return asked, USUAL if limit is None else int(limit)


def _number(query: QueryParams, name: str, low: float, high: float) -> float | None:
    given = query.get(name)
    if given is None:
        return None
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise BadRequest(f"{name} must be a number between {low:g} and {high:g}", name)
    return number
