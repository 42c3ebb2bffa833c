"""`trunkline serve --workers`: one port, several processes, which tell each other what they learn. The real program."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.gateway_process import gateway_process
from tests.needs import ROOT

pytestmark = pytest.mark.wire

ROUTES = """
providers: {good: {module: fake}, bad: {module: fake}}
policies: {plain: {order: priority, retries: 0, eject: {consecutive: 3, base: 60s, max: 60s}}}
routes:
  chat: {kind: llm, policy: plain, targets: [bad/error-503, good/words-4]}
prices: {good/words-4: {input: 1, output: 1}}
"""
ASK = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
SOON = 10.0


async def ask(url: str) -> httpx.Response:
    """On a connection of its own, so that any worker may get it."""
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.post(f"{url}/v1/chat/completions", json=ASK, timeout=SOON)


async def get(url: str, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(url + path, timeout=SOON)


@asynccontextmanager
async def two_workers(folder: Path) -> AsyncIterator[tuple[str, psutil.Process, list[str]]]:
    config = folder / "routes.yaml"
    config.write_text(ROUTES)
    async with gateway_process(config, "--workers", "2") as gateway:
        yield gateway.url, psutil.Process(gateway.process.pid), gateway.log


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SOON):
        while not await true():
            pass  # each look is a request, and takes its time


async def test_both_answer_the_port_and_tell_together_what_happened(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (url, _, _):
        answers = await asyncio.gather(*[ask(url) for _ in range(40)])
        metrics = (await get(url, "/metrics")).text
        costs = (await get(url, "/v1/telemetry/costs")).json()
        decisions = (await get(url, "/v1/telemetry/decisions?limit=500")).json()["data"]
    assert {answer.status_code for answer in answers} == {200}
    served = Counter[str]()
    for worker, count in re.findall(
        r'trunkline_requests_total\{worker="(\d)",endpoint="chat",status="200"\} (\d+)', metrics
    ):
        served[worker] += int(count)
    assert set(served) == {"1", "2"}
    assert served.total() == 40
    assert metrics.count("# TYPE trunkline_requests_total counter") == 1
    good = next(row for row in costs["targets"] if row["target"] == "good/words-4")
    assert (good["attempts"], good["output_tokens"]) == (40, 160)
    assert len(decisions) == 40
    assert [each["at"] for each in decisions] == sorted((each["at"] for each in decisions), reverse=True)


async def test_what_one_ejects_the_other_leaves_and_one_that_is_killed_is_missed_by_nobody(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (url, parent, log):

        async def both_left() -> bool:
            await ask(url)
            latest = (await get(url, "/v1/telemetry/decisions?limit=20")).json()["data"]
            return len(latest) == 20 and all(len(each["tried"]) == 1 for each in latest)

        await until(both_left)
        metrics = (await get(url, "/metrics")).text
        out = re.findall(r'trunkline_ejected\{worker="(\d)",\S*target="bad/error-503"\S*\} 1.0', metrics)
        assert sorted(out) == ["1", "2"]
        failures = re.findall(r'trunkline_attempts_total\{worker="\d",\S*outcome="unavailable"\S*\} (\d+)', metrics)
        assert sum(map(int, failures)) < 6  # three would do; six if each had to find out by itself

        victim, other = parent.children()
        victim.send_signal(signal.SIGKILL)
        assert {(await ask(url)).status_code for _ in range(20)} == {200}

        async def is_back() -> bool:
            text = (await get(url, "/metrics")).text
            return 'worker="1"' in text and 'worker="2"' in text

        await until(is_back)
        assert other.is_running()
        assert any("died (-9)" in line for line in log)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_nothing_is_left_when_it_is_told_to_stop(tmp_path: Path, number: int) -> None:
    async with two_workers(tmp_path) as (_, parent, _):
        children = parent.children()
        parent.send_signal(number)
        gone, alive = await asyncio.to_thread(psutil.wait_procs, [parent, *children], SOON)
        assert (len(gone), alive) == (3, [])


async def test_workers_end_when_who_started_them_is_killed(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (_, parent, _):
        children = parent.children()
        parent.send_signal(signal.SIGKILL)
        _, alive = await asyncio.to_thread(psutil.wait_procs, children, SOON)
        assert alive == []


def test_a_number_that_is_none_is_refused() -> None:
    command = [sys.executable, "-m", "gateway", "serve", "--workers", "0"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, env=dict(os.environ))
    assert told.returncode == 2
    assert "a number from 1 to 64" in told.stderr
