"""The whole application: what runs beside the requests (probes, shadow copies), and mixes of orders, as routes.yaml says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest

from gateway.app import create_app
from gateway.config import parse
from gateway.loader import load
from tests.serving import plain_http, serving

pytestmark = pytest.mark.wire

ROUTES = """
policies:
  probed: {probe: {every: 1s, daily: 1}}
  cheap: {order: ttft, max_price: 2}
  shares: {order: weighted}
routes:
  watched: {kind: llm, targets: [fake/ok, {target: fake/slow-100ms+words-3, shadow: 100%}]}
  idle: {kind: llm, policy: probed, targets: [fake/words-2]}
  heard: {kind: stt, policy: probed, targets: [fake/ok]}
  stuck: {kind: llm, targets: [fake/ok, {target: fake/hang, shadow: 100%}]}
  capped: {kind: llm, policy: cheap, targets: [{target: fake/ok, price: 3}, {target: fake/slow-5ms+words-1, price: 2}, fake/error-503]}
  canaries:
    kind: llm
    policy: shares
    targets: [{target: fake/words-3, weight: 3}, {target: fake/words-1, weight: 1}, {target: fake/words-2, canary: 30%}]
"""


@asynccontextmanager
async def gateway() -> AsyncIterator[httpx.AsyncClient]:
    config = parse(ROUTES)
    async with serving(create_app(config, load(config, {}))) as server, plain_http(base_url=server.url) as http:
        yield http


async def ask(http: httpx.AsyncClient, route: str) -> str:
    """What was said."""
    body = {"model": route, "messages": [{"role": "user", "content": "hi"}]}
    answer = await http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


async def decisions(http: httpx.AsyncClient, route: str, **asked: str) -> list[dict[str, Any]]:
    """Newest first."""
    found = await http.get("/v1/telemetry/decisions", params={"route": route, "limit": "500", **asked})
    return list(found.json()["data"])


async def attempt(http: httpx.AsyncClient, route: str, why: str) -> dict[str, Any]:
    """The first of that kind that is over."""
    async with asyncio.timeout(10):
        while True:
            for decision in await decisions(http, route):
                for tried in decision["tried"]:
                    if tried["why"] == why and tried["outcome"] is not None:
                        return {**decision, **tried}
            await asyncio.sleep(0.02)


async def test_a_shadow_is_told_of_and_the_caller_cannot_tell() -> None:
    async with gateway() as http:
        said = await ask(http, "watched")
        copy = await attempt(http, "watched", "shadow")
        metrics = (await http.get("/metrics")).text
        models = (await http.get("/v1/models/watched")).text
    assert len(said.split()) > 3
    assert (copy["chosen"], copy["target"], copy["outcome"]) == ("fake/ok", "fake/slow-100ms+words-3", "ok")
    assert [candidate["target"] for candidate in copy["candidates"]] == ["fake/ok"]
    who = 'route="watched",target="fake/slow-100ms+words-3"'
    assert f'trunkline_background_attempts_total{{kind="llm",outcome="ok",purpose="shadow",{who}}} 1.0' in metrics
    assert f'trunkline_shadow{{kind="llm",{who}}} 1.0' in metrics
    assert f'trunkline_attempts_total{{kind="llm",outcome="ok",{who}}}' not in metrics
    assert 'trunkline_decisions_total{kind="llm",outcome="ok",route="watched"} 1.0' in metrics
    written = 'gen_ai_request_model="slow-100ms+words-3",gen_ai_token_type="output",trunkline_route="watched"'
    assert (
        f'gen_ai_client_token_usage_sum{{gen_ai_operation_name="chat",gen_ai_provider_name="fake",{written}}} 3.0'
        in metrics
    )
    assert "slow-100ms" not in models


async def test_an_idle_target_is_probed_and_a_probe_is_nobody_s_request() -> None:
    async with gateway() as http:
        probe = await attempt(http, "idle", "probe")
        await attempt(http, "heard", "probe")
        [standing] = [row for row in await standings(http) if row["route"] == "idle"]
        metrics = (await http.get("/metrics")).text
    assert (probe["order"], probe["target"], probe["outcome"]) == ("probe", "fake/words-2", "ok")
    assert standing["samples"] > 0.5
    asked = 'kind="llm",outcome="ok",purpose="probe",route="idle",target="fake/words-2"'
    assert f"trunkline_background_attempts_total{{{asked}}} 1.0" in metrics
    assert 'trunkline_decisions_total{kind="llm",outcome="ok",route="idle"}' not in metrics
    who = 'purpose="probe",route="heard",target="fake/ok"'
    first = f'trunkline_background_time_to_first_token_seconds_count{{kind="stt",{who}}} 1.0'
    assert first in metrics, "its turn, and that not twice"
    assert f'trunkline_background_attempts_total{{kind="stt",outcome="ok",{who}}} 1.0' in metrics


async def test_a_copy_under_way_does_not_outlive_the_gateway() -> None:
    async with gateway() as http:
        await ask(http, "stuck")
        [decision] = await decisions(http, "stuck")
        assert [tried["why"] for tried in decision["tried"] if tried["outcome"] is None] == ["shadow"]
    assert "copy for fake/hang" not in {task.get_name() for task in asyncio.all_tasks()}


async def standings(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    async with asyncio.timeout(5), http.stream("GET", "/v1/telemetry") as response:
        text = ""
        async for piece in response.aiter_text():
            text += piece
            if "event: standing\ndata: " in text and text.endswith("\n\n"):
                data = text.partition("event: standing\ndata: ")[2].partition("\n")[0]
                return list(orjson.loads(data)["targets"])
    raise AssertionError("the feed ended")


async def test_by_ttft_within_a_price_cap_the_quickest_is_not_asked_if_it_costs_too_much() -> None:
    async with gateway() as http:
        for _ in range(20):
            await ask(http, "capped")
        told = await decisions(http, "capped")
    asked = {tried["target"] for decision in told for tried in decision["tried"]}
    assert "fake/ok" not in asked
    assert {decision["chosen"] for decision in told} == {"fake/slow-5ms+words-1"}
    [reason] = {row["excluded"] for decision in told for row in decision["candidates"] if row["target"] == "fake/ok"}
    assert reason == "its price of 3 is above 2"


async def test_a_canary_has_its_share_and_weights_share_the_rest() -> None:
    async with gateway() as http:
        for _ in range(200):
            await ask(http, "canaries")
        chosen = Counter(decision["chosen"] for decision in await decisions(http, "canaries"))
    assert 35 <= chosen["fake/words-2"] <= 85  # 60, and 4 standard deviations
    assert chosen["fake/words-3"] > 1.5 * chosen["fake/words-1"] > 0
