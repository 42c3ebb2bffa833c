"""The shipped rows of OpenAI-shaped upstreams: each is asked as its row says, and its ways of answering are understood."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from gateway.contract.errors import RateLimited, Unavailable
from gateway.contract.events import Finished, ProviderEvent, TextDelta, Usage
from gateway.contract.messages import Message
from gateway.contract.provider import Secret, Settings
from gateway.contract.requests import ChatRequest
from providers.openai_compatible import Provider
from tests.needs import ROOT
from tests.upstream_scripts import DONE, bytes_as_they_are, chunk, event
from tests.upstreams import Received, Upstream

pytestmark = pytest.mark.wire

ROWS: dict[str, dict[str, Any]] = {
    name: row
    for name, row in yaml.safe_load((ROOT / "routes.yaml").read_text())["providers"].items()
    if row.get("module") == "openai_compatible"
}
DEPLOYMENTS = "https://acme.openai.azure.com/openai/deployments/{model}"
OWN = {"model": "our-route", "messages": [{"role": "user", "content": "hello"}], "max_completion_tokens": 5}


@asynccontextmanager
async def row(name: str, **options: Any) -> AsyncGenerator[tuple[Provider, Upstream]]:
    """Its provider, with an upstream of ours at its path."""
    base = ROWS[name]["base_url"]
    path = urlsplit(DEPLOYMENTS if base.startswith("$") else base).path
    async with Upstream() as upstream:
        told = {**ROWS[name].get("options", {}), **options}
        settings = Settings(name, upstream.origin + path, Secret("secret-key"), told)
        async with aclosing(Provider(settings)) as provider:
            yield provider, upstream


async def asked(name: str, request: ChatRequest, **options: Any) -> Received:
    async with row(name, **options) as (provider, upstream):
        async with aclosing(provider.chat("model-1", request)) as events:
            assert [event async for event in events][-1] == Finished()
    [received] = upstream.received
    return received


async def said(name: str, *pieces: bytes) -> list[ProviderEvent]:
    """What comes of a stream of these bytes."""
    async with row(name) as (provider, upstream):
        upstream.play(bytes_as_they_are(b"".join(pieces)))
        async with aclosing(provider.chat("model-1", ChatRequest((), body=OWN))) as events:
            return [event async for event in events]


def own(**fields: Any) -> ChatRequest:
    return ChatRequest((), body={**OWN, **fields})


def test_every_upstream_that_is_promised_has_a_row() -> None:
    promised = "groq together fireworks mistral deepseek xai openrouter cerebras azure vllm ollama llama_cpp"
    assert ROWS.keys() == set(promised.split())


@pytest.mark.parametrize("name", ROWS)
async def test_a_request_reaches_each_with_its_key_and_with_what_nobody_here_knows(name: str) -> None:
    received = await asked(name, own(odd={"field": [1]}))
    assert received.path.split("?")[0].endswith("/chat/completions")
    assert received.json["odd"] == {"field": [1]}
    key = received.headers["api-key"] if name == "azure" else received.headers["authorization"].removeprefix("Bearer ")
    assert key == "secret-key"


async def test_azure_is_asked_at_its_deployment_with_its_version_and_its_own_header() -> None:
    received = await asked("azure", own())
    assert received.path == "/openai/deployments/model-1/chat/completions?api-version=2024-10-21"
    assert "authorization" not in received.headers


async def test_a_models_name_cannot_leave_its_place_in_the_path() -> None:
    async with row("azure") as (provider, upstream):
        async with aclosing(provider.chat("../a?b#c", own())) as events:
            async for _ in events:
                pass
    assert upstream.received[0].path.startswith("/openai/deployments/..%2Fa%3Fb%23c/chat/completions?")


@pytest.mark.parametrize("name", ["mistral", "deepseek"])
async def test_a_limit_has_the_one_name_that_is_understood(name: str) -> None:
    typed = ChatRequest((Message.of("user", "hello"),), max_tokens=5)
    for request in (own(), typed):
        received = await asked(name, request)
        limits = {each: value for each, value in received.json.items() if each.startswith("max_")}
        assert limits == {"max_tokens": 5}
    assert (await asked("groq", own())).json["max_completion_tokens"] == 5


async def test_what_is_refused_is_left_out() -> None:
    given = {"parallel_tool_calls": True, "service_tier": "auto", "seed": 1}
    received = await asked("cerebras", own(**given))
    assert {name: received.json.get(name) for name in given} == {**dict.fromkeys(given), "seed": 1}
    asks = await asked("mistral", own(stream_options={"include_usage": True}))
    assert "stream_options" not in asks.json


async def test_a_row_may_add_headers() -> None:
    received = await asked("openrouter", own(), headers={"X-Title": "Acme"})
    assert received.headers["x-title"] == "Acme"


async def test_a_developer_is_a_system_to_all() -> None:
    received = await asked("vllm", ChatRequest((Message.of("developer", "Be brief."),)))
    assert received.json["messages"] == [{"role": "system", "content": "Be brief."}]


TEXT, STOP = chunk({"content": "hi"}), chunk({}, "stop")
USED = {"prompt_tokens": 7, "completion_tokens": 2}


async def test_groqs_usage_in_a_field_of_its_own() -> None:
    events = await said("groq", event(TEXT), event({**STOP, "x_groq": {"id": "req", "usage": USED}}), DONE)
    assert Usage(7, 2) in events


async def test_openrouters_comments_are_nothing() -> None:
    events = await said("openrouter", b": OPENROUTER PROCESSING\n\n" * 3, event(TEXT), event(STOP), DONE)
    assert [type(each).__name__ for each in events] == ["TextDelta", "Passed", "Finished"]


@pytest.mark.parametrize(("code", "kind"), [(429, RateLimited), (502, Unavailable)])
async def test_openrouters_error_inside_a_200_is_one(code: int, kind: type[Exception]) -> None:
    failed = {**chunk({"content": ""}, "error"), "error": {"code": code, "message": "Provider returned error"}}
    with pytest.raises(kind):
        await said("openrouter", event(TEXT), event(failed), DONE)


async def test_azures_filters_come_before_content_and_are_none() -> None:
    filters = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []}
    events = await said("azure", event(filters), event(TEXT), event(STOP), DONE)
    assert [type(each).__name__ for each in events] == ["Passed", "TextDelta", "Passed", "Finished"]


async def test_deepseeks_reasoning_and_its_cache_are_counted() -> None:
    used = {**USED, "prompt_cache_hit_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 1}}
    thought = chunk({"reasoning_content": "hm"})
    events = await said("deepseek", event(thought), event(TEXT), event({**STOP, "usage": used}), DONE)
    assert [each.kind for each in events if isinstance(each, TextDelta)] == ["reasoning", "text"]
    assert Usage(7, 2, 5, 1) in events


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"drop": "user"}, "drop"),
        ({"drop": [1]}, "drop"),
        ({"query": {"a": 1}}, "query"),
        ({"max_tokens_field": "tokens"}, "max_tokens_field"),
        ({"auth_header": "two words"}, "two words"),
        ({"headers": {"x-a": "line\nbreak"}}, "x-a"),
    ],
    ids=str,
)
def test_an_option_that_can_never_work_is_a_mistake_told_at_start(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Provider(Settings("acme", "https://x.test/v1", options=options))
