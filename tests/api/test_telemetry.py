"""The decision log and the live feed over HTTP, and what /metrics tells of routing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI

from gateway.api import errors, health, telemetry
from gateway.contract.sse import ServerEvents
from gateway.telemetry.decisions import Decision
from gateway.telemetry.feed import HELD, Feed
from gateway.telemetry.standing import Ejection, Standing
from gateway.telemetry.telemetry import Telemetry
from gateway.telemetry.trend import POINTS
from tests.api.stage import Watched
from tests.serving import Served, plain_http, serving
from tests.telemetry.happened import FAST, OUT, SLOW, failed, fell_back, hedged, sample, served, standings

pytestmark = pytest.mark.wire
SOON = 5.0


class Heard:
    """The live feed of one reader."""

    def __init__(self, response: httpx.Response) -> None:
        self._bytes, self._split = response.aiter_bytes(), ServerEvents()
        self._events: list[tuple[str, Any]] = []

    async def next(self, name: str) -> Any:
        """The next event of that name; others are passed over."""
        async with asyncio.timeout(SOON):
            while True:
                while self._events:
                    found, data = self._events.pop(0)
                    if found == name:
                        return data
                received = await anext(self._bytes)
                self._events += [(each.event, orjson.loads(each.data)) for each in self._split.feed(received)]

    async def ended(self) -> None:
        async with asyncio.timeout(SOON):
            async for _ in self._bytes:
                pass


@dataclass
class Desk:
    """A gateway that only tells: what happens is the test's to say."""

    kept: Telemetry
    metrics: Watched
    standing: list[Standing]
    served: Served
    http: httpx.AsyncClient

    def happen(self, *decisions: Decision) -> None:
        for decision in decisions:
            self.kept.recorder.decided(decision)
            self.kept.recorder.settled(decision)

    async def found(self, query: str = "") -> list[dict[str, Any]]:
        response = await self.http.get(f"/v1/telemetry/decisions{query}")
        assert response.status_code == 200, response.text
        return list(response.json()["data"])

    async def gauges(self) -> dict[str, float]:
        text = (await self.http.get("/metrics")).text
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Heard]:
        async with self.http.stream("GET", "/v1/telemetry") as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            yield Heard(response)


@asynccontextmanager
async def desk(feed: Feed | None = None) -> AsyncIterator[Desk]:
    metrics = Watched()
    kept = Telemetry({}, metrics, feed)
    standing = standings()
    metrics.ask_standing(lambda: standing)
    app = FastAPI()
    errors.install(app)
    app.include_router(telemetry.router(kept.decisions, kept.feed, lambda: standing, kept.trend, metrics))
    app.include_router(health.router(lambda: health.Readiness(True), metrics))
    async with serving(app) as server, plain_http(base_url=server.url) as http:
        yield Desk(kept, metrics, standing, server, http)
        await kept.aclose()


async def test_a_decision_tells_every_score_every_exclusion_and_every_attempt() -> None:
    async with desk() as gateway:
        gateway.happen(fell_back(at=1_000.5))
        [told] = await gateway.found()
    assert told.pop("id")
    assert told == {
        "at": 1_000.5,
        "route": "chat",
        "kind": "llm",
        "order": "ttft",
        "chosen": FAST,
        "done": True,
        "outcome": "ok",
        "hedged": False,
        "candidates": [
            {"target": FAST, "score": 0.21, "ttft": 0.2, "excluded": None},
            {"target": SLOW, "score": 0.44, "ttft": 0.4, "excluded": None},
            {"target": OUT, "score": None, "ttft": None, "excluded": "ejected: 3 failures in a row"},
        ],
        "tried": [
            {
                "target": target,
                "why": why,
                "at": at,
                "outcome": outcome,
                "ttft": ttft,
                "duration": duration,
                "error": error,
                "cost": None,
            }
            for target, why, at, outcome, ttft, duration, error in (
                (SLOW, "first", 0.0, "unavailable", None, 0.1, "Unavailable 503"),
                (SLOW, "retry", 0.3, "unavailable", None, 0.1, "Unavailable 503"),
                (FAST, "fallback", 0.4, "ok", 0.2, 0.9, None),
            )
        ],
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [5.0, 4.0, 3.0, 2.0, 1.0]),
        ("?limit=2", [5.0, 4.0]),
        ("?route=other", [5.0]),
        (f"?target={SLOW}", [4.0, 3.0, 2.0]),
        ("?outcome=failed", [4.0]),
        ("?outcome=ok&hedged=false", [5.0, 2.0, 1.0]),
        ("?hedged=true", [3.0]),
        ("?since=3", [5.0, 4.0]),
        ("?route=nowhere", []),
    ],
)
async def test_the_log_is_newest_first_and_filtered(query: str, found: list[float]) -> None:
    async with desk() as gateway:
        gateway.happen(served(1.0), fell_back(2.0), hedged(3.0), failed(4.0), served(5.0, route="other"))
        assert [each["at"] for each in await gateway.found(query)] == found


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("?outcome=great", "outcome"),
        ("?hedged=maybe", "hedged"),
        ("?limit=501", "limit"),
        ("?limit=0", "limit"),
        ("?limit=2.5", "limit"),
        ("?limit=many", "limit"),
        ("?since=yesterday", "since"),
        ("?since=nan", "since"),
        ("?rout=chat", "rout"),
    ],
)
async def test_a_filter_that_cannot_be_is_named(query: str, param: str) -> None:
    async with desk() as gateway:
        response = await gateway.http.get(f"/v1/telemetry/decisions{query}")
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert param in error["message"]


async def test_a_listener_is_told_how_the_targets_stand_and_again_every_second() -> None:
    async with desk() as gateway:
        for ttft in (0.2, 0.2):
            gateway.kept.recorder.record(sample(ttft))
        gateway.kept.recorder.record(sample(None, "unavailable", SLOW))
        async with gateway.listening() as heard:
            first = await heard.next("standing")
            gateway.standing[0] = Standing("chat", "llm", FAST, 0.9, in_flight=7)
            second = await heard.next("standing")
    fast, slow, out = first["targets"]
    assert (fast["target"], fast["ttft_p50"], fast["in_flight"], fast["share"]) == (FAST, 0.2, 3, 0.75)
    assert len(fast["ttft"]) == len(fast["failed"]) == POINTS
    assert [each for each in fast["ttft"] if each is not None] == [0.2]
    assert (slow["ejected_for"], slow["why"], sum(slow["failed"])) == (7.5, "3 failures in a row", 1)
    assert out["asleep"] == "weights are missing"
    assert second["targets"][0]["in_flight"] == 7
    assert 0.5 < second["at"] - first["at"] < 3


async def test_a_listener_is_told_of_every_decision_as_it_settles() -> None:
    async with desk() as gateway:
        async with gateway.listening() as one, gateway.listening() as other:
            for each in (one, other):
                await each.next("standing")
            gateway.happen(served(1.0), hedged(2.0))
            for each in (one, other):
                assert (await each.next("decision"))["at"] == 1.0
                second = await each.next("decision")
                assert (second["at"], second["hedged"], second["outcome"]) == (2.0, True, "ok")


async def test_a_slow_listener_misses_the_oldest_and_is_told_how_many() -> None:
    async with desk(Feed(held=3)) as gateway:
        async with gateway.listening() as heard:
            await heard.next("standing")
            gateway.happen(*(served(float(n)) for n in range(10)))
            assert await heard.next("skipped") == {"decisions": 7}
            assert [(await heard.next("decision"))["at"] for _ in range(3)] == [7.0, 8.0, 9.0]
            gateway.happen(served(99.0))
            assert (await heard.next("decision"))["at"] == 99.0


async def test_a_listener_that_reads_nothing_holds_up_nobody_and_costs_no_more_than_its_share() -> None:
    async with desk() as gateway:
        with socket.socket() as asleep:
            asleep.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            asleep.connect(("127.0.0.1", gateway.served.port))
            asleep.sendall(b"GET /v1/telemetry HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with gateway.listening() as heard:
                while len(gateway.kept.feed) < 2:
                    await heard.next("standing")
                for n in range(200):  # up to 15 MB, more than a socket holds
                    gateway.happen(*(fell_back(float(n)) for _ in range(100)))
                    for _ in range(100):
                        assert (await heard.next("decision"))["at"] == float(n)
                    if max(gateway.kept.feed.waiting()) == HELD:
                        break
                assert sorted(gateway.kept.feed.waiting()) == [0, HELD]


async def test_a_listener_that_leaves_is_forgotten() -> None:
    async with desk() as gateway:
        async with gateway.listening() as heard:
            await heard.next("standing")
            assert len(gateway.kept.feed) == 1
        async with asyncio.timeout(SOON):
            await gateway.metrics.left.wait()
        assert len(gateway.kept.feed) == 0
        assert gateway.metrics.open == 0


async def test_there_is_room_for_so_many_listeners_and_again_when_one_left() -> None:
    async with desk(Feed(listeners=1)) as gateway:
        async with gateway.listening() as heard:
            await heard.next("standing")
            refused = await gateway.http.get("/v1/telemetry")
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "too_many_listeners"
            assert int(refused.headers["retry-after"]) > 0
        async with asyncio.timeout(SOON):
            await gateway.metrics.left.wait()
        async with gateway.listening() as heard:
            await heard.next("standing")


async def test_a_gateway_that_stops_sends_its_listeners_home() -> None:
    async with desk() as gateway:
        async with gateway.listening() as heard:
            await heard.next("standing")
            gateway.kept.feed.close()
            await heard.ended()
        async with gateway.listening() as heard:
            await heard.ended()


async def test_metrics_count_hedges_their_wins_retries_fallbacks_and_ejections() -> None:
    async with desk() as gateway:
        gateway.happen(served(), fell_back(), hedged(won=True), hedged(won=False), failed())
        gateway.kept.recorder.ejected(Ejection("chat", "llm", SLOW, 5.0, "3 failures in a row"))
        gateway.kept.recorder.record(sample(0.2))
        gauges = await gateway.gauges()
    fast, slow, out = (f'{{kind="llm",route="chat",target="{target}"}}' for target in (FAST, SLOW, OUT))
    assert {
        f"trunkline_hedges_total{fast}": 2,
        f"trunkline_hedges_total{slow}": 0,
        f"trunkline_hedge_wins_total{fast}": 1,
        f"trunkline_retries_total{slow}": 1,
        f"trunkline_retries_total{fast}": 0,
        f"trunkline_fallbacks_total{fast}": 1,
        f"trunkline_fallbacks_total{slow}": 1,
        f"trunkline_ejections_total{slow}": 1,
        f"trunkline_ejections_total{out}": 0,
        'trunkline_decisions_total{kind="llm",outcome="ok",route="chat"}': 4,
        'trunkline_decisions_total{kind="llm",outcome="rate_limited",route="chat"}': 1,
        f"gen_ai_server_time_to_first_token_seconds_count{fast}": 1,
    }.items() <= gauges.items()


async def test_metrics_tell_how_the_targets_stand_now() -> None:
    async with desk() as gateway:
        before = await gateway.gauges()
        gateway.standing[1] = Standing("chat", "llm", SLOW, resting_for=2.0)
        after = await gateway.gauges()
    fast, slow, out = (f'{{kind="llm",route="chat",target="{target}"}}' for target in (FAST, SLOW, OUT))
    assert (before[f"trunkline_ejected{slow}"], after[f"trunkline_ejected{slow}"]) == (1, 0)
    assert (before[f"trunkline_resting{slow}"], after[f"trunkline_resting{slow}"]) == (0, 1)
    assert before[f"trunkline_asleep{out}"] == 1
    assert before[f"trunkline_in_flight{fast}"] == 3
    assert before[f"trunkline_traffic_share{fast}"] == 0.75
    assert before[f"trunkline_error_rate{slow}"] == 0.4


async def test_only_where_state_is_shared_does_a_gauge_say_that_it_is_local() -> None:
    async with desk() as gateway:
        assert "trunkline_state_local" not in await gateway.gauges()
        local = False
        gateway.metrics.ask_whether_local(lambda: local)
        assert (await gateway.gauges())["trunkline_state_local"] == 0
        local = True
        assert (await gateway.gauges())["trunkline_state_local"] == 1
