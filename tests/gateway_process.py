"""The real program in a process of its own: `trunkline serve` on a free port.

async with gateway_process() as gateway:        # the shipped routes.yaml; warm when it is there
    gateway.url, gateway.process.pid
    gateway.ready_after                         # seconds from its start to /readyz saying yes
    gateway.log                                 # the lines it wrote until now
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import httpx

from tests.needs import ROOT

WARM_WITHIN = 90.0
STOPPED_WITHIN = 15.0


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    url: str
    process: asyncio.subprocess.Process
    ready_after: float
    warm_after: float
    log: list[str]


@asynccontextmanager
async def gateway_process(
    config: Path = ROOT / "routes.yaml",
    *more: str,
    verify: ssl.SSLContext | bool = True,
    redis: str = "",
    reached_at: str = "",
) -> AsyncIterator[GatewayProcess]:
    """`more`: arguments of `trunkline serve`; `verify`: who its certificate is trusted by; `redis`: the URL of what it shares;
    `reached_at`: its own, for other replicas.
    Keys of cloud providers are kept from it."""
    theirs = (name for name in os.environ if not name.endswith("_API_KEY") and name != "TRUNKLINE_KEYS")
    env = {name: os.environ[name] for name in theirs} | {"REDIS_URL": redis, "TRUNKLINE_URL": reached_at}
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--config", str(config), *more]
    began = monotonic()
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    log: list[str] = []
    reading: asyncio.Task[None] | None = None
    try:
        url = await _address(process.stdout, log)
        reading = asyncio.create_task(_read(process.stdout, log))  # a full pipe would hold it up
        ready_after = await _until(url, lambda body: bool(body["ready"]), began, log, verify)
        warm_after = await _until(url, lambda body: set(body["warm"].values()) <= {"warm"}, began, log, verify)
        yield GatewayProcess(url, process, ready_after, warm_after, log)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(STOPPED_WITHIN):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if reading is not None:
            await reading


async def _address(output: asyncio.StreamReader, log: list[str]) -> str:
    async with asyncio.timeout(WARM_WITHIN):
        async for line in output:
            log.append(line.decode(errors="replace"))
            if found := re.search(r"open (https?://\S+)", log[-1]):
                return found[1]
    raise AssertionError(f"the gateway stopped before it was ready:\n{''.join(log)}")


async def _read(output: asyncio.StreamReader, log: list[str]) -> None:
    while line := await output.readline():
        log.append(line.decode(errors="replace"))


async def _until(
    url: str, holds: Callable[[dict[str, Any]], bool], began: float, log: list[str], verify: ssl.SSLContext | bool
) -> float:
    async with httpx.AsyncClient(trust_env=False, verify=verify) as client:
        while monotonic() - began < WARM_WITHIN:
            if holds((await client.get(f"{url}/readyz")).json()):
                return monotonic() - began
            await asyncio.sleep(0.1)
    raise AssertionError(f"not there within {WARM_WITHIN} s:\n{''.join(log)}")
