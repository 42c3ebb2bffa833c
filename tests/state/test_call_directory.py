"""Which replica holds a call: two gateways, as they are run, on one real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.gateway_process import GatewayProcess, gateway_process
from tests.redis_server import RedisServer, redis_server
from tests.serving import plain_http
from tests.state.sharing import until
from tests.transports.offers import CHROMIUM

pytestmark = [pytest.mark.wire, pytest.mark.needs("redis-server")]

ROUTES = """
routes:
  agent: {kind: call, cascaded: {stt: ear, llm: mind, tts: voice}}
  ear: {kind: stt, targets: [fake/ok]}
  mind: {kind: llm, targets: [fake/ok]}
  voice: {kind: tts, targets: [fake/ok]}
"""
OWN = "http://one.example:8080"
SOON = 1.5
"""Seconds in which the others must know."""
KEPT = 6.0
"""Seconds for which they know of a call whose replica says nothing any more (Pace.call)."""


@dataclass
class Stage:
    """Two replicas; only `one` was told its own URL."""

    one: GatewayProcess
    two: GatewayProcess
    http_one: httpx.AsyncClient
    http_two: httpx.AsyncClient
    redis: RedisServer

    async def offer(self, http: httpx.AsyncClient) -> str:
        """The id of a call that waits for its caller to connect, which none of them does."""
        answer = await http.post(
            "/v1/realtime/calls", content=CHROMIUM.replace("\n", "\r\n"), headers={"content-type": "application/sdp"}
        )
        assert answer.status_code == 201, answer.text
        return answer.headers["location"].rpartition("/")[2]

    async def until_told(self, http: httpx.AsyncClient, call_id: str, status: int, within: float = SOON) -> float:
        """Seconds until it answers so of the call."""
        began = time.monotonic()
        while (answer := await http.get(f"/v1/calls/{call_id}")).status_code != status:
            assert time.monotonic() - began < within, answer.text
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    async def entries(self) -> list[str]:
        return [key for key in await self.redis.keys() if ":call:" in key]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncGenerator[Stage]:
    config = tmp_path / "routes.yaml"
    config.write_text(ROUTES)
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server())
        one, two = await asyncio.gather(
            stack.enter_async_context(gateway_process(config, redis=redis.url, reached_at=OWN)),
            stack.enter_async_context(gateway_process(config, redis=redis.url)),
        )
        https = [await stack.enter_async_context(plain_http(base_url=each.url, trust_env=False)) for each in (one, two)]
        for each in (one, two):
            await _shares(each)
        yield Stage(one, two, https[0], https[1], redis)


async def _shares(gateway: GatewayProcess) -> None:
    await until(lambda: any("state is shared" in line for line in gateway.log))


def name_of(gateway: GatewayProcess) -> str:
    """As it logged it."""
    return next(line for line in gateway.log if "this is replica" in line).split()[-1]


async def test_another_replica_names_who_holds_a_call_and_where_until_it_ends(stage: Stage) -> None:
    call_id = await stage.offer(stage.http_one)
    await stage.until_told(stage.http_two, call_id, 421)
    asked = [
        ("GET", f"/v1/calls/{call_id}", {}),
        ("DELETE", f"/v1/calls/{call_id}", {}),
        ("DELETE", f"/v1/realtime/calls/{call_id}", {}),
        ("POST", f"/v1/realtime/calls/{call_id}/hangup", {}),
        ("PATCH", f"/v1/realtime/calls/{call_id}", {"content-type": "application/trickle-ice-sdpfrag"}),
    ]
    for method, path, headers in asked:
        answer = await stage.http_two.request(method, path, headers=headers)
        assert answer.status_code == 421, path
        error = answer.json()["error"]
        assert (error["code"], error["replica"], error["url"]) == ("call_elsewhere", name_of(stage.one), OWN)
    assert (await stage.http_one.get(f"/v1/calls/{call_id}")).json()["id"] == call_id  # nobody hung up
    assert (await stage.http_one.delete(f"/v1/calls/{call_id}")).status_code == 200
    await stage.until_told(stage.http_two, call_id, 404)
    assert await stage.entries() == []


async def test_a_replica_that_was_not_told_its_url_gives_its_name_alone(stage: Stage) -> None:
    call_id = await stage.offer(stage.http_two)
    await stage.until_told(stage.http_one, call_id, 421)
    error = (await stage.http_one.get(f"/v1/calls/{call_id}")).json()["error"]
    assert (error["replica"], error["url"]) == (name_of(stage.two), None)


async def test_a_call_is_known_for_as_long_as_it_goes_on_and_not_beyond_its_replicas_death(stage: Stage) -> None:
    call_id = await stage.offer(stage.http_one)
    await stage.until_told(stage.http_two, call_id, 421)
    await asyncio.sleep(KEPT + 2.0)
    assert (await stage.http_two.get(f"/v1/calls/{call_id}")).status_code == 421  # it was renewed
    stage.one.process.kill()
    await stage.one.process.wait()
    assert (await stage.http_two.get(f"/v1/calls/{call_id}")).status_code == 421  # nobody can know yet
    await stage.until_told(stage.http_two, call_id, 404, within=KEPT + 0.5)
    assert await stage.entries() == []


async def test_a_replica_that_stops_takes_its_calls_back(stage: Stage) -> None:
    call_id = await stage.offer(stage.http_one)
    await stage.until_told(stage.http_two, call_id, 421)
    stage.one.process.terminate()
    await stage.one.process.wait()
    assert await stage.entries() == []
    assert (await stage.http_two.get(f"/v1/calls/{call_id}")).status_code == 404


async def test_without_redis_calls_go_on_and_others_know_of_none(stage: Stage) -> None:
    call_id = await stage.offer(stage.http_one)
    await stage.until_told(stage.http_two, call_id, 421)
    stage.redis.freeze()
    began = time.monotonic()
    assert (await stage.http_two.get(f"/v1/calls/{call_id}")).status_code == 404
    later = await stage.offer(stage.http_one)
    for each in (call_id, later):
        assert (await stage.http_one.get(f"/v1/calls/{each}")).status_code == 200
    assert (await stage.http_one.delete(f"/v1/calls/{call_id}")).status_code == 200
    assert time.monotonic() - began < 1.0
    stage.redis.thaw()
    await stage.until_told(stage.http_two, later, 421, within=KEPT)
    await stage.until_told(stage.http_two, call_id, 404, within=KEPT)
