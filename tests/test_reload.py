"""Reload: a changed routes.yaml is taken up while requests run; a bad one changes nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from gateway.app import create_app
from gateway.config import parse
from gateway.loader import load
from tests.serving import plain_http, serving

pytestmark = pytest.mark.wire

ONE = "routes:\n  chat: {kind: llm, targets: [fake/ok]}\n"
SLOW = ONE + "  slow: {kind: llm, targets: [fake/tick-200ms]}\n"


async def until(met: Callable[[], bool], within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while not met():  # noqa: ASYNC110  a log line has no event to wait for
            await asyncio.sleep(0.02)


async def names(client: httpx.AsyncClient) -> list[str]:
    return [each["id"] for each in (await client.get("/v1/models")).json()["data"]]


async def test_a_changed_file_is_taken_up_and_a_bad_one_keeps_the_old(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "routes.yaml"
    path.write_text(SLOW)
    config = parse(SLOW, str(path))
    app = create_app(config, load(config, {}))
    async with serving(app) as server, plain_http(base_url=server.url, trust_env=False) as client:
        assert await names(client) == ["chat", "slow"]
        body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        async with client.stream("POST", "/v1/chat/completions", json=body) as running:
            lines = running.aiter_lines()
            await anext(lines)

            path.write_text(ONE + "  other: {kind: llm, targets: [fake/ok]}\n")
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: "was read again" in caplog.text)
            assert await names(client) == ["chat", "other"]

            rest = [line async for line in lines]  # the route is gone, its answer is not
            assert rest[-2:] == ["data: [DONE]", ""]

        path.write_text(ONE.replace("llm", "lmm"))
        await until(lambda: "the new routes are not used" in caplog.text)
        assert f"{path}:2: routes.chat.kind" in caplog.text
        assert await names(client) == ["chat", "other"]

        path.write_text(ONE)
        await until(lambda: caplog.text.count("was read again") == 2)
        assert await names(client) == ["chat"]


async def test_probes_begin_with_the_file_that_asks_for_them(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(ONE)
    config = parse(ONE, str(path))
    app = create_app(config, load(config, {}))
    async with serving(app) as server, plain_http(base_url=server.url, trust_env=False) as client:
        path.write_text(ONE.replace("{kind", "{policy: p, kind") + "policies: {p: {probe: {every: 1s}}}\n")
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(10):
            while not (await client.get("/v1/telemetry/decisions")).json()["data"]:  # noqa: ASYNC110  as above
                await asyncio.sleep(0.05)


def test_a_provider_whose_row_did_not_change_is_kept_with_all_it_holds() -> None:
    row = 'providers:\n  up: {module: openai_compatible, base_url: "http://127.0.0.1:9/v1", key: %s}\n'
    text = row % "one" + ONE.replace("fake/ok", "up/m, fake/ok")
    first = load(parse(text), {})
    again = load(parse(text + "  more: {kind: llm, targets: [up/n]}\n"), {}, first)
    assert again.providers["up"] is first.providers["up"]
    other = load(parse(text.replace("one", "two")), {}, again)
    assert other.providers["up"] is not first.providers["up"]
    assert other.providers["fake"] is first.providers["fake"]
