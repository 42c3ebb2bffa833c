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

    async def until_told(
        self, http: httpx.AsyncClient, call_id: str, status: int, within: float = SOON
    ) -> dict[str, object]:
        """What it answers once it answers with that status."""
        return await self.until_answered(http, "GET", f"/v1/calls/{call_id}", status, within)

    async def until_answered(
        self, http: httpx.AsyncClient, method: str, path: str, status: int, within: float = SOON
    ) -> dict[str, object]:
        """On a busy machine Redis may not say it at once, and then it is 404."""
        began = time.monotonic()
        headers = {"content-type": "application/trickle-ice-sdpfrag"}
        while (answer := await http.request(method, path, headers=headers)).status_code != status:
            assert answer.status_code in (404, 421)
            assert time.monotonic() - began < within, answer.text
            await asyncio.sleep(0.02)
        told: dict[str, object] = answer.json()["error"]
        return told

    async def until_renewed(self, call_id: str) -> None:
        before = KEPT * 1000
        async with asyncio.timeout(KEPT):
            while (left := await self.redis.ask("PTTL", f"trunkline:1:call:{call_id}")) <= before:
                before = left
                await asyncio.sleep(0.02)

    async def until_forgotten(self, within: float = SOON) -> None:
        """Until no call is in Redis."""
        began = time.monotonic()
        while any(":call:" in key for key in await self.redis.keys()):
            assert time.monotonic() - began < within
            await asyncio.sleep(0.02)


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


async def test_another_replica_names_who_holds_a_call_and_where_if_told_until_it_ends(stage: Stage) -> None:
    call_id = await stage.offer(stage.http_one)
    await stage.until_told(stage.http_two, call_id, 421)
    ours, theirs = f"/v1/calls/{call_id}", f"/v1/realtime/calls/{call_id}"
    for method, path in (
        ("GET", ours),
        ("DELETE", ours),
        ("DELETE", theirs),
        ("POST", f"{theirs}/hangup"),
        ("PATCH", theirs),
    ):
        error = await stage.until_answered(stage.http_two, method, path, 421)
        assert (error["code"], error["replica"], error["url"]) == ("call_elsewhere", name_of(stage.one), OWN)
    assert (await stage.http_one.get(f"/v1/calls/{call_id}")).json()["id"] == call_id  # nobody hung up
    assert (await stage.http_one.delete(f"/v1/calls/{call_id}")).status_code == 200
    await stage.until_forgotten()
    await stage.until_told(stage.http_two, call_id, 404)
    other = await stage.offer(stage.http_two)
    error = await stage.until_told(stage.http_one, other, 421)
    assert (error["replica"], error["url"]) == (name_of(stage.two), None)


async def test_a_call_is_known_for_as_long_as_it_goes_on_and_not_beyond_its_replicas_death(stage: Stage) -> None:
    call_id = await stage.offer(stage.http_one)
    await stage.until_told(stage.http_two, call_id, 421)
    await stage.until_renewed(call_id)
    await stage.until_renewed(call_id)  # once may be the next beat's doing
    stage.one.process.kill()
    await stage.one.process.wait()
    await stage.until_told(stage.http_two, call_id, 421)  # nobody can know yet
    await stage.until_forgotten(within=KEPT + 0.5)
    await stage.until_told(stage.http_two, call_id, 404)


async def test_a_replica_that_stops_takes_its_calls_back(stage: Stage) -> None:
    call_id = await stage.offer(stage.http_one)
    await stage.until_told(stage.http_two, call_id, 421)
    stage.one.process.terminate()
    await stage.one.process.wait()
    await stage.until_forgotten()
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
