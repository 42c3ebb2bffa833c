"""What operators and clients look up: models, health, readiness, metrics."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from gateway.api.health import Readiness
from gateway.contract.audio import Audio
from gateway.contract.errors import Unavailable
from gateway.contract.events import AudioDelta, Finished, TextDelta, Usage
from gateway.routing.route import CallRoute
from tests.api.stage import Chats, Hears, Speaks, stage

pytestmark = pytest.mark.wire

AGENT = {"agent": CallRoute("agent", "listen", "chat", "say")}
SLEEPY = {"sleepy": {"cloud/big": "CLOUD_KEY is not set"}}


def cast() -> dict[str, Any]:
    return {
        "chat": Chats(TextDelta("hi"), Usage(input_tokens=3, output_tokens=1), Finished()),
        "say": Speaks(AudioDelta(Audio.silence(0.1, 24_000))),
        "listen": Hears(),
    }


async def test_routes_are_the_models() -> None:
    async with stage(calls=AGENT, asleep=SLEEPY, **cast()) as gateway:
        models = {model.id: model async for model in await gateway.openai.models.list()}
        chat = await gateway.openai.models.retrieve("chat")
    assert list(models) == ["chat", "say", "listen", "sleepy", "agent"]
    assert chat == models["chat"]
    assert (chat.object, chat.owned_by) == ("model", "trunkline")
    told = {name: (model.model_extra or {})["trunkline"] for name, model in models.items()}
    assert told["chat"] == {
        "kind": "llm",
        "endpoints": ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/completions"],
        "can": [
            "images",
            "audio",
            "files",
            "tools",
            "structured_output",
            "reasoning",
            "logprobs",
            "several_answers",
        ],
        "targets": ["chat-chats/m"],
        "asleep": None,
        "sleeping": {},
    }
    assert told["sleepy"]["asleep"] == "cloud/big: CLOUD_KEY is not set"
    assert told["agent"]["kind"] == "call"
    assert told["agent"]["targets"] == ["listen-hears/m", "chat-chats/m", "say-speaks/m"]


async def test_a_call_sleeps_when_a_stage_of_it_does() -> None:
    calls = {"agent": CallRoute("agent", "listen", "sleepy", "say")}
    async with stage(calls=calls, asleep=SLEEPY, **cast()) as gateway:
        agent: Any = await gateway.openai.models.retrieve("agent")
    assert agent.trunkline["asleep"] == "sleepy: cloud/big: CLOUD_KEY is not set"


async def test_an_unknown_model_is_told_the_known_ones() -> None:
    async with stage(**cast()) as gateway:
        with pytest.raises(openai.NotFoundError, match="chat, listen, say"):
            await gateway.openai.models.retrieve("org/nope")


async def test_readiness_is_told_with_what_is_warm() -> None:
    async with stage(**cast()) as gateway:
        assert (await gateway.http.get("/healthz")).json() == {"ok": True}
        for now, status in (
            (Readiness(True, {"a/b": "warming"}), 200),
            (Readiness(False, {"a/b": "failed: OSError"}), 503),
            (Readiness(True, {"a/b": "warm"}, draining=True), 503),
        ):
            gateway.readiness.append(now)
            response = await gateway.http.get("/readyz")
            assert response.status_code == status
            assert response.json() == {"ready": status == 200, "draining": now.draining, "warm": dict(now.warm)}


async def test_metrics_count_requests_attempts_and_tokens_and_hold_nobodys_words() -> None:
    parts = cast()
    parts["chat"] = (Chats(Unavailable("503", "down", 503)), parts["chat"])
    async with stage(**parts) as gateway:
        gateway.metrics.count_calls(lambda: 2)
        await gateway.openai.chat.completions.create(model="chat", messages=[{"role": "user", "content": "canary"}])
        await gateway.http.post("/v1/chat/completions", json={"model": "canary"})
        response = await gateway.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = response.text.splitlines()
    who = 'gen_ai_operation_name="chat",gen_ai_provider_name="chat-chats1",gen_ai_request_model="m"'
    for line in (
        'trunkline_requests_total{endpoint="chat",status="200"} 1.0',
        'trunkline_requests_total{endpoint="chat",status="404"} 1.0',
        'trunkline_open_requests{endpoint="chat"} 0.0',
        "trunkline_calls 2.0",
        'trunkline_attempts_total{kind="llm",outcome="unavailable",route="chat",target="chat-chats/m"} 1.0',
        'trunkline_attempts_total{kind="llm",outcome="ok",route="chat",target="chat-chats1/m"} 1.0',
        f'gen_ai_client_operation_time_to_first_chunk_seconds_count{{{who},trunkline_route="chat"}} 1.0',
        f'gen_ai_client_operation_duration_seconds_count{{{who},trunkline_route="chat"}} 1.0',
        f'gen_ai_client_token_usage_sum{{{who},gen_ai_token_type="input",trunkline_route="chat"}} 3.0',
    ):
        assert line in lines
    assert "canary" not in response.text
