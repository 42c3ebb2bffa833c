"""Two gateways, as they are run, on one real Redis: a key's limits are its own, not one for each of them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gateway.access.key import Limits
from gateway.access.key_file import KeyFile
from tests.access.stage import ROUTES, bearer, made
from tests.gateway_process import GatewayProcess, gateway_process
from tests.needs import ROOT
from tests.redis_server import RedisServer, redis_server
from tests.serving import plain_http

pytestmark = [pytest.mark.wire, pytest.mark.needs("redis-server")]

SHARED, LOCAL = "limits are shared", "limits are local"


@dataclass
class Replica:
    process: GatewayProcess
    http: httpx.AsyncClient

    async def ask(self, key: str, model: str = "chat", **more: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
        return await self.http.post("/v1/chat/completions", json=body, headers=bearer(key))

    async def until_told(self, *lines: str) -> None:
        """It logged these of its limits, and no others."""
        for _ in range(1500):
            told = [line for line in self.process.log if "limits are" in line]
            if len(told) == len(lines) and all(said in line for said, line in zip(lines, told)):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"it did not say {lines}, but:\n{''.join(self.process.log)}")


@dataclass
class Stage:
    one: Replica
    two: Replica
    redis: RedisServer
    file: KeyFile

    def key(self, limits: Limits) -> str:
        """A new one; before the gateways start."""
        shown, key = made(limits)
        self.file.change(lambda keys: [*keys, key])
        return shown


@asynccontextmanager
async def replica(config: Path, redis: str, *more: str) -> AsyncGenerator[Replica]:
    async with gateway_process(config, *more, redis=redis) as process:
        limits = httpx.Limits(max_connections=None)
        async with plain_http(base_url=process.url, timeout=60.0, trust_env=False, limits=limits) as http:
            yield Replica(process, http)


@asynccontextmanager
async def two(folder: Path, limits: Limits, *more: str) -> AsyncGenerator[tuple[Stage, str]]:
    config = folder / "routes.yaml"
    config.write_text(ROUTES.replace("agent:", "#"))
    file = KeyFile(folder / "keys.json")
    shown, key = made(limits)
    file.change(lambda _: [key])
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server())
        replicas = (replica(config, redis.url, *more) for _ in range(2))
        one, other = await asyncio.gather(*(stack.enter_async_context(each) for each in replicas))
        for each in (one, other):
            await each.until_told(SHARED)
        yield Stage(one, other, redis, file), shown


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


async def test_two_hundred_at_once_never_exceed_a_keys_requests_per_minute(tmp_path: Path) -> None:
    async with two(tmp_path, Limits(requests=60)) as (stage, key):
        both = (stage.one, stage.two)
        answers = await asyncio.gather(*(both[n % 2].ask(key) for n in range(200)))
        assert statuses(answers) == {200: 60, 429: 140}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert 55 <= int(refused.headers["retry-after"]) <= 61
        assert refused.headers["x-ratelimit-limit-requests"] == "60"
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        for each in both:
            await each.until_told(SHARED)  # all the time
        later = await asyncio.gather(*(both[n % 2].ask(key) for n in range(20)))
        assert statuses(later) == {429: 20}


async def test_keys_in_redis_are_those_of_all_replicas(tmp_path: Path) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text(ROUTES.replace("agent:", "#"))
    async with redis_server() as redis:
        made_key = orjson.loads(await keys(redis, "create", "ada", "--requests", "5", "--json", "--keys", "redis"))
        shown, key_id = made_key["key"], made_key["id"]
        both = (replica(config, redis.url, "--keys", "redis") for _ in range(2))
        async with AsyncExitStack() as stack:
            replicas = await asyncio.gather(*(stack.enter_async_context(each) for each in both))
            answers = [await replicas[n % 2].ask(shown) for n in range(8)]
            assert statuses(answers) == {200: 5, 429: 3}
            assert "revoked" in await keys(redis, "revoke", key_id, "--keys", "redis")
            for each in replicas:
                await until_refused(each, shown)
            assert "revoked" in await keys(redis, "list", "--keys", "redis")
            kept = b"".join([await redis.ask("HGET", "trunkline:1:keys", key_id)])
            assert shown.rpartition("_")[2].encode() not in kept


async def until_refused(replica: Replica, key: str) -> None:
    for _ in range(300):
        if (await replica.ask(key)).status_code == 401:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("a revoked key is still good")


async def keys(redis: RedisServer, *words: str) -> str:
    """What `trunkline keys` says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "keys", *words),
        cwd=ROOT,
        env=os.environ | {"REDIS_URL": redis.url},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()
