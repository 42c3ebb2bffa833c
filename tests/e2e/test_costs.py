"""The real program: what an answer cost is in its headers, in the metrics, in the totals and in the ledger's file."""

import asyncio
import sys
from pathlib import Path

import httpx
import orjson
import pytest

from tests.gateway_process import gateway_process
from tests.needs import ROOT

pytestmark = pytest.mark.wire

ROUTES = """
providers:
  good: {module: fake}
  bad: {module: fake}
policies: {plain: {order: priority, retries: 0}}
routes:
  chat: {kind: llm, policy: plain, targets: [bad/error-503, good/words-4]}
  dear: {kind: llm, policy: plain, targets: [good/words-6]}
prices:
  good/words-4: {input: 2, output: 8}
"""


async def test_what_an_answer_cost_is_told_wherever_one_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, ledger = tmp_path / "routes.yaml", tmp_path / "ledger.jsonl"
    config.write_text(ROUTES)
    monkeypatch.setenv("TRUNKLINE_LEDGER", str(ledger))
    ask = {"messages": [{"role": "user", "content": "one two three"}]}
    async with gateway_process(config) as gateway, httpx.AsyncClient(base_url=gateway.url, trust_env=False) as http:
        known = await http.post("/v1/chat/completions", json={"model": "chat", **ask})
        unknown = await http.post("/v1/chat/completions", json={"model": "dear", **ask})
        streamed = await http.post(
            "/v1/chat/completions",
            json={"model": "chat", "stream": True, "stream_options": {"include_usage": True}, **ask},
        )
        totals = (await http.get("/v1/telemetry/costs")).json()
        metrics = (await http.get("/metrics")).text
        decisions = (await http.get("/v1/telemetry/decisions?route=chat")).json()["data"]
    assert known.headers["x-trunkline-cost-usd"] == "0.000038"  # 3 words read at $2, 4 written at $8 a million
    assert unknown.headers["x-trunkline-cost-usd"] == "unknown"
    assert ": cost 0.000038 USD" in streamed.text
    rows = {row["target"]: row for row in totals["targets"]}
    assert rows["good/words-4"]["usd"] == pytest.approx(0.000076)
    assert (rows["good/words-4"]["input_tokens"], rows["good/words-4"]["output_tokens"]) == (6, 8)
    assert (rows["good/words-6"]["usd"], rows["good/words-6"]["unpriced"]) == (0.0, 1)
    assert (rows["bad/error-503"]["usd"], rows["bad/error-503"]["unpriced"]) == (0.0, 0)
    assert 'trunkline_cost_dollars_total{kind="llm",route="chat",target="good/words-4"} 7.6e-05' in metrics
    assert 'trunkline_unpriced_attempts_total{kind="llm",route="dear",target="good/words-6"} 1.0' in metrics
    assert [tried["cost"] for tried in decisions[0]["tried"]] == [0.0, pytest.approx(0.000038)]
    lines = [orjson.loads(line) for line in ledger.read_bytes().splitlines()]
    assert [(line["target"], line["outcome"], line["usd"]) for line in lines[:3]] == [
        ("bad/error-503", "unavailable", 0.0),
        ("good/words-4", "ok", pytest.approx(0.000038)),
        ("good/words-6", "ok", None),
    ]
    assert len(lines) == 5
    assert ledger.stat().st_mode & 0o077 == 0


async def test_a_price_of_a_target_that_no_route_has_is_a_mistake(tmp_path: Path) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text(ROUTES.replace("good/words-4: {input", "good/words-5: {input"))
    with pytest.raises(AssertionError, match=r"routes.yaml:10: prices.good/words-5: no route has this target"):
        async with gateway_process(config):
            pass


async def test_a_key_whose_budget_is_spent_on_answers_gets_402(tmp_path: Path) -> None:
    config, keys = tmp_path / "routes.yaml", tmp_path / "keys.json"
    config.write_text(ROUTES)
    command = [sys.executable, "-m", "gateway", "keys", "create", "--keys", str(keys), "--budget", "0.00005/day", "ann"]
    made = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    said, _ = await made.communicate()
    key = next(word for word in said.decode().split() if word.startswith("tl_"))
    ask = {"model": "chat", "messages": [{"role": "user", "content": "one two three"}]}
    async with (
        gateway_process(config, "--keys", str(keys)) as gateway,
        httpx.AsyncClient(base_url=gateway.url, headers={"authorization": f"Bearer {key}"}, trust_env=False) as http,
    ):
        answers = [await http.post("/v1/chat/completions", json=ask) for _ in range(3)]
        costs = (await http.get("/v1/telemetry/costs")).status_code
    assert [answer.status_code for answer in answers] == [
        200,
        200,
        402,
    ]  # $0.000038 each: the second one passes the line
    assert answers[2].headers["x-should-retry"] == "false"
    assert costs in (200, 402, 403)
