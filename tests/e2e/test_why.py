"""The whole application on providers that fail: what it tells of its decisions, and that it tells nobody's words."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from gateway.app import DRAIN, create_app
from gateway.config import parse
from gateway.loader import load
from tests.gateway_process import gateway_process
from tests.serving import client, plain_http, serving
from tests.telemetry.collector import attributes, collecting

pytestmark = pytest.mark.wire

ROUTES = """
policies: {plain: {order: priority}}
routes:
  chat: {kind: llm, policy: plain, targets: [fake/error-503, fake/ok]}
  dead: {kind: llm, policy: plain, targets: [fake/error-401]}
"""
CANARY = "canary-in-a-prompt"


def application() -> FastAPI:
    config = parse(ROUTES, "routes.yaml")
    return create_app(config, load(config, {}))


async def ask(http: httpx.AsyncClient, route: str, stream: bool) -> int:
    """The status."""
    body = {"model": route, "messages": [{"role": "user", "content": CANARY}], "stream": stream}
    return (await http.post("/v1/chat/completions", json=body)).status_code


async def test_every_request_is_in_the_log_in_the_metrics_and_in_the_traces_and_no_word_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with collecting() as collector:
        for name, value in {**collector.environ, "OTEL_BSP_SCHEDULE_DELAY": "100"}.items():
            monkeypatch.setenv(name, value)
        async with serving(application()) as server, plain_http(base_url=server.url) as http:
            assert await ask(http, "chat", stream=True) == 200
            assert await ask(http, "chat", stream=False) == 200
            assert await ask(http, "dead", stream=True) == 503
            log = await http.get("/v1/telemetry/decisions")
            metrics = await http.get("/metrics")
            async with http.stream("GET", "/v1/telemetry") as response:
                async with asyncio.timeout(5):
                    feed = ""
                    async for piece in response.aiter_text():
                        feed += piece
                        if "event: standing" in feed and feed.endswith("\n\n"):
                            break
    dead, whole, streamed = log.json()["data"]
    for decision in (streamed, whole):
        assert (decision["route"], decision["chosen"], decision["outcome"]) == ("chat", "fake/ok", "ok")
        assert [each["target"] for each in decision["candidates"]] == ["fake/error-503", "fake/ok"]
        failures = [each for each in decision["tried"] if each["target"] == "fake/error-503"]
        assert failures
        assert all(each["error"] == "Unavailable 503" for each in failures)
        assert decision["tried"][-1]["ttft"] is not None
    assert (dead["chosen"], dead["outcome"]) == (None, "unauthorized")
    assert 'trunkline_decisions_total{kind="llm",outcome="ok",route="chat"} 2.0' in metrics.text
    assert 'trunkline_fallbacks_total{kind="llm",route="chat",target="fake/ok"} 2.0' in metrics.text
    assert '"target":"fake/error-401"' in feed
    requests = {str(attributes(span)["trunkline.decision"]) for span in collector.spans if not span.parent_span_id}
    assert requests == {each["id"] for each in (dead, whole, streamed)}, "what was left was sent at the end"
    for told in (log.text, metrics.text, feed, collector.raw.decode(errors="replace")):
        assert CANARY not in told


async def test_a_request_under_way_is_in_the_log_already() -> None:
    async with serving(application()) as server, client(server) as official, plain_http() as http:
        answer = await official.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        async for _ in answer:
            [open_now] = (await http.get(f"{server.url}/v1/telemetry/decisions?outcome=open")).json()["data"]
            assert (open_now["done"], open_now["chosen"]) == (False, "fake/ok")
            break
        await answer.close()


async def test_a_gateway_that_is_told_to_stop_does_not_wait_for_those_who_watch_it(tmp_path: Path) -> None:
    routes = tmp_path / "routes.yaml"
    routes.write_text(ROUTES)
    async with gateway_process(routes) as gateway, plain_http(base_url=gateway.url) as http:
        async with http.stream("GET", "/v1/telemetry") as response:
            pieces = response.aiter_bytes()
            await anext(pieces)
            gateway.process.terminate()
            async with asyncio.timeout(DRAIN - 2):
                async for _ in pieces:
                    pass
                await gateway.process.wait()
