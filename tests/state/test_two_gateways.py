"""Two gateways, as they are run, on one real Redis: what one learned serves the other, and Redis can be lost at no cost."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.gateway_process import GatewayProcess, gateway_process
from tests.needs import ROOT
from tests.redis_server import RedisServer, free_port, redis_server
from tests.serving import plain_http
from tests.upstream_scripts import ok, slow_first
from tests.upstreams import Upstream

pytestmark = [pytest.mark.wire, pytest.mark.needs("redis-server")]

ROUTES = """
providers:
  a: {{module: openai_compatible, base_url: "{a}"}}
  b: {{module: openai_compatible, base_url: "{b}"}}
policies:
  in_order: {{order: priority}}
  soonest: {{order: ttft, hedge: {{budget: 0%}}}}
routes:
  ordered: {{kind: llm, policy: in_order, targets: [a/model, b/model]}}
  soonest: {{kind: llm, policy: soonest, targets: [a/model, b/model]}}
"""
TOLD, LEARNED = 1.5, 2.5
"""Seconds in which an ejection must show in the other replica, and what was learned: said once a second, and read once a second."""


class Gateway:
    def __init__(self, process: GatewayProcess, http: httpx.AsyncClient) -> None:
        self.process, self._http = process, http

    async def ask(self, route: str) -> float:
        """Seconds that a whole, well-formed, streamed answer took."""
        asked = {"model": route, "messages": [{"role": "user", "content": "Count."}], "stream": True}
        began = time.monotonic()
        answer = await self._http.post("/v1/chat/completions", json=asked)
        assert answer.status_code == 200, answer.text
        assert answer.text.rstrip().endswith("data: [DONE]"), answer.text[-200:]
        return time.monotonic() - began

    async def decisions(self, route: str) -> list[dict[str, Any]]:
        """Newest first."""
        answer = await self._http.get("/v1/telemetry/decisions", params={"route": route, "limit": 500})
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    async def left_out(self, route: str, target: str) -> bool:
        """By its latest decision."""
        latest = (await self.decisions(route))[0]
        return any(each["target"] == target and each["excluded"] for each in latest["candidates"])

    async def local(self) -> bool:
        """As the gauge says."""
        text = (await self._http.get("/metrics")).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return next(bool(each.value) for each in samples if each.name == "trunkline_state_local")

    async def until_told(self, *states: str) -> None:
        """Looks at its log, which costs it nothing: it may be measured meanwhile."""
        for _ in range(1500):
            if self.told() == list(states):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"its state was not {states}, but {self.told()}")

    def told(self) -> list[str]:
        """What it logged of its state."""
        return [line.split("state is ")[1].strip() for line in self.process.log if "state is " in line]


@dataclass
class Stage:
    """`alone`: a third one, which was never told of Redis: what the others' answers are measured by."""

    one: Gateway
    two: Gateway
    alone: Gateway
    a: Upstream
    b: Upstream
    redis: RedisServer


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncGenerator[Stage]:
    async with AsyncExitStack() as stack:
        a, b = [await stack.enter_async_context(Upstream("ok")) for _ in range(2)]
        redis = await stack.enter_async_context(redis_server())
        config = tmp_path / "routes.yaml"
        config.write_text(ROUTES.format(a=a.url, b=b.url))
        one, two, alone = await asyncio.gather(
            *(stack.enter_async_context(_gateway(config, url)) for url in (redis.url, redis.url, ""))
        )
        yield Stage(one, two, alone, a, b, redis)


@asynccontextmanager
async def _gateway(config: Path, redis: str) -> AsyncGenerator[Gateway]:
    async with gateway_process(config, redis=redis) as process:
        async with plain_http(base_url=process.url, timeout=30.0, trust_env=False) as http:
            gateway = Gateway(process, http)
            await gateway.until_told(*(["shared"] if redis else []))
            yield gateway


async def test_a_target_that_one_ejects_is_left_by_the_other(stage: Stage) -> None:
    await stage.two.ask("ordered")
    assert len(stage.a.received) == 1  # well, and the first in order
    stage.a.play("503")
    for _ in range(20):
        await stage.one.ask("ordered")
        if await stage.one.left_out("ordered", "a/model"):
            break
    await asyncio.sleep(TOLD)
    before = len(stage.a.received)
    for _ in range(3):
        await stage.two.ask("ordered")
    assert len(stage.a.received) == before
    assert await stage.two.left_out("ordered", "a/model")


async def test_what_one_learned_serves_the_other(stage: Stage) -> None:
    stage.a.play(slow_first(0.4))
    for _ in range(30):
        await stage.one.ask("soonest")
    await asyncio.sleep(LEARNED)
    before = len(stage.a.received)
    for _ in range(10):
        await stage.two.ask("soonest")
    assert len(stage.a.received) - before <= 2  # alone it would have to find out: both look the same to it
    expected = {each["target"]: each["ttft"] for each in (await stage.two.decisions("soonest"))[-1]["candidates"]}
    assert expected["a/model"] > 0.2
    assert expected["b/model"] < 0.1


async def test_losing_redis_in_mid_load_loses_no_request_and_slows_none(stage: Stage) -> None:
    stage.a.play(ok(10, tick=0.005))
    stage.b.play(ok(10, tick=0.005))
    sharing: list[float] = []
    alone: list[float] = []
    loading = True

    async def load(gateway: Gateway, times: list[float]) -> None:
        while loading:
            times.append(await gateway.ask("soonest"))
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        for gateway, times in ((stage.one, sharing), (stage.two, sharing), (stage.alone, alone)):
            for _ in range(2):
                group.create_task(load(gateway, times))
        await _lose_redis_twice(stage)
        loading = False
    for times in (sharing, alone):
        times.sort()
    for share in (0.5, 0.9):  # each loss is a seventh of the time or more; what is rarer is the machine
        assert sharing[int(len(sharing) * share)] < alone[int(len(alone) * share)] + 0.05
    assert sharing[-1] < 1.0  # waiting for Redis would take as long


async def _lose_redis_twice(stage: Stage) -> None:
    both = (stage.one, stage.two)
    told = ["shared"]
    for state, happens in (
        ("local: TimeoutError", stage.redis.freeze),
        ("shared", stage.redis.thaw),
        ("local: ConnectionError", stage.redis.kill),
        ("shared", stage.redis.start),
    ):
        happening = happens()
        if happening is not None:
            await happening
        told.append(state)
        await asyncio.gather(*(gateway.until_told(*told) for gateway in both))
        assert [await gateway.local() for gateway in both] == [state != "shared"] * 2
        await asyncio.sleep(1.0)


async def test_refused_at_the_start_the_gateway_serves_and_joins_later(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "routes.yaml"
    async with Upstream("ok") as a, Upstream("ok") as b:
        config.write_text(ROUTES.format(a=a.url, b=b.url))
        async with gateway_process(config, redis=f"redis://:secret@127.0.0.1:{port}") as process:
            async with plain_http(base_url=process.url, trust_env=False) as http:
                gateway = Gateway(process, http)
                await gateway.until_told("local: ConnectionError")
                assert await gateway.ask("ordered") < 5.0
                assert await gateway.local()
                async with redis_server("--requirepass", "secret", port=port):
                    await gateway.until_told("local: ConnectionError", "shared")
    log = "".join(process.log)
    assert "secret" not in log
    assert str(port) not in log


async def test_without_redis_there_is_no_gauge_to_alert_on(tmp_path: Path) -> None:
    config = tmp_path / "routes.yaml"
    async with Upstream("ok") as a, Upstream("ok") as b:
        config.write_text(ROUTES.format(a=a.url, b=b.url))
        async with gateway_process(config) as process, plain_http(base_url=process.url, trust_env=False) as http:
            assert "trunkline_state_local" not in (await http.get("/metrics")).text
            assert Gateway(process, http).told() == []


async def test_a_redis_url_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text(ROUTES.format(a="http://127.0.0.1:1", b="http://127.0.0.1:1"))
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--config", str(config)]
    env = os.environ | {"REDIS_URL": "http://:secret@somewhere"}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await process.communicate()
    assert process.returncode == 2
    assert b"REDIS_URL" in told
    assert b"secret" not in told
