"""LiteLLM as a provider, on a socket: what it is told, what comes of it, and what it may not do."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from gateway.contract.errors import (
    ContextTooLong,
    OutOfQuota,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from gateway.contract.events import (
    Embedded,
    Finished,
    ProviderEvent,
    TextDelta,
    ThoughtSealed,
    ToolCallDelta,
    Usage,
)
from gateway.contract.messages import Image, Message, Text, Thought, Tool, ToolCall
from gateway.contract.provider import Secret, Settings
from gateway.contract.requests import AnswerFormat, ChatRequest, EmbedRequest, Thinking
from providers import _litellm_words as words
from providers._litellm_errors import Words
from providers.litellm import Provider
from tests.needs import ROOT
from tests.upstreams import Script, Upstream

pytestmark = [
    pytest.mark.wire,
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Item '.*' on TypedDict:UserWarning"),
]
KEY = "canary-0123456789"
PROMPT = "Of purple elephants."
HELLO = (Message.of("user", PROMPT),)


@pytest.fixture
async def upstream() -> AsyncGenerator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


async def chat(
    upstream: Upstream, script: Script | str, request: ChatRequest, model: str = "openai/m", **options: object
) -> tuple[list[ProviderEvent], ProviderError | None]:
    upstream.play(script)
    events: list[ProviderEvent] = []
    async with aclosing(Provider(Settings("acme", upstream.url, Secret(KEY), options))) as provider:
        async with aclosing(provider.chat(model, request)) as answer:
            try:
                async for each in answer:
                    events.append(each)  # noqa: PERF401 - what came before an error counts
            except ProviderError as error:
                return events, error
    return events, None


@pytest.mark.parametrize("stream", [True, False])
async def test_text_usage_and_what_is_sent(upstream: Upstream, stream: bool) -> None:
    request = ChatRequest(
        (*HELLO, Message("user", (Text("look"), Image("data:image/png;base64,AAAA")))),
        temperature=0.5,
        max_tokens=9,
        stop=("x",),
        format=AnswerFormat('{"type":"object"}'),
        stream=stream,
        body={"messages": [], "api_key": "theirs", "unknown": True},
    )
    events, error = await chat(upstream, "ok", request, extra_headers={"x-team": "blue"})
    assert error is None
    assert "".join(event.text for event in events if isinstance(event, TextDelta)).split()[-1] == "w20"
    assert events[-2:] == [Usage(7, 20), Finished("stop")]
    [received] = upstream.received
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert received.headers["x-team"] == "blue"
    body = received.json
    assert (body["model"], body["temperature"], body["max_tokens"], body["stop"]) == ("m", 0.5, 9, ["x"])
    assert body["messages"][1]["content"][1]["image_url"]["url"] == "data:image/png;base64,AAAA"
    assert body["response_format"]["type"] == "json_schema"
    assert not {"unknown", "api_key"} & body.keys()


@pytest.mark.parametrize("stream", [True, False])
async def test_parallel_tools(upstream: Upstream, stream: bool) -> None:
    events, error = await chat(upstream, "tools", ChatRequest(HELLO, tools=(Tool("get_weather"),), stream=stream))
    assert error is None
    made: dict[int, list[str]] = {}
    for event in events:
        if isinstance(event, ToolCallDelta):
            made.setdefault(event.index, []).append((event.name or "") + event.arguments)
    assert ["".join(each) for each in made.values()] == ['get_weather{"city":"Paris"}', 'get_time{"zone":"CET"}']
    assert events[-1] == Finished("tool_calls")
    assert not stream or not any(isinstance(event, Usage) for event in events)  # none was told, and none is made up


@pytest.mark.parametrize("script", ["ends-early", "dies"])
async def test_an_end_that_litellm_makes_up_is_not_believed(upstream: Upstream, script: str) -> None:
    events, error = await chat(upstream, script, ChatRequest(HELLO))
    assert type(error) is Unavailable
    assert not any(isinstance(event, Finished) for event in events)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("401", Unauthorized),
        ("403", Unauthorized),
        ("404", Unavailable),
        ("429", RateLimited),
        ("no-quota", OutOfQuota),
        ("context-too-long", ContextTooLong),
        ("content-policy", Refused),
        ("422", Refused),
        ("503", Unavailable),
        ("502", Unavailable),
        ("error-in-stream", Unavailable),
        ("hang-up", Unavailable),
    ],
)
async def test_errors_once_and_without_words(
    upstream: Upstream, script: str, kind: type[ProviderError], caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    for stream in (True, False):
        _, error = await chat(upstream, script, ChatRequest(HELLO, stream=stream))
        assert type(error) is kind
        assert bool(error.detail) == (kind in (Refused, ContextTooLong))
        assert error.__cause__ is error.__context__ is None
        for secret in (KEY, PROMPT):
            assert secret not in f"{error!r} {vars(error)} {caplog.text}"
    assert len(upstream.received) == 2
    assert capfd.readouterr() == ("", "")


async def test_embeddings(upstream: Upstream) -> None:
    async def embeds(exchange: Any) -> None:
        made = [{"object": "embedding", "index": n, "embedding": [n, 0.5]} for n in range(2)]
        used = {"prompt_tokens": 4, "total_tokens": 4}
        await exchange.answer(200, {"object": "list", "data": made, "model": "m", "usage": used})

    upstream.play(embeds)
    async with aclosing(Provider(Settings("acme", upstream.url, Secret(KEY)))) as provider:
        async with aclosing(provider.embed("openai/text-embedding-3-small", EmbedRequest(("a", "b"), 2))) as answer:
            events = [each async for each in answer]
    assert events == [Embedded(((0.0, 0.5), (1.0, 0.5))), Usage(4), Finished()]
    assert upstream.received[0].json["dimensions"] == 2


async def test_what_a_model_does_not_take_is_known_once_it_is_warm() -> None:
    tools = ChatRequest(HELLO, tools=(Tool("f"),))
    async with aclosing(Provider(Settings("acme", key=Secret(KEY)))) as provider:
        assert provider.cannot("ollama/x", ChatRequest(HELLO, n=2))
        assert provider.cannot("ollama/x", ChatRequest(HELLO, untyped=("audio",)))
        await provider.warm("perplexity/sonar", ())
        assert provider.cannot("perplexity/sonar", tools) == "this model does not take 'tools'"
        assert provider.cannot("perplexity/sonar", ChatRequest(HELLO)) is None


def test_seals_go_both_ways() -> None:
    calls = (ToolCall("1", "f", "{}", "c2VhbA=="),)
    thoughts = (Thought("no", "gemini:another"), Thought("hm", "sig"), Thought("", "data", redacted=True))
    request = ChatRequest((*HELLO, Message("assistant", thoughts, calls)), thinking=Thinking(budget=99), top_k=3)
    claude, gemini = words.asked("bedrock/anthropic.claude-x", request), words.asked("vertex_ai/gemini-3", request)
    assert claude["messages"][1]["thinking_blocks"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "data"},
    ]
    assert (claude["thinking"], claude["top_k"]) == ({"type": "enabled", "budget_tokens": 99}, 3)
    told = gemini["messages"][1]["tool_calls"][0]["provider_specific_fields"]
    assert told == {"thought_signature": "c2VhbA=="}
    said = {
        "thinking_blocks": [{"type": "thinking", "signature": "s"}],
        "tool_calls": [{"provider_specific_fields": told}],
    }
    events: list[ProviderEvent] = [TextDelta("hm", "reasoning"), TextDelta("a"), ToolCallDelta(0, "1", "f")]
    assert list(words.sealed(events, said)) == [
        events[0],
        ThoughtSealed("s"),
        events[1],
        ToolCallDelta(0, "1", "f", signature="c2VhbA=="),
    ]


def test_secrets_among_the_options_are_hidden_in_details() -> None:
    class BadRequestError(Exception):
        status_code = 400
        message = "litellm.BadRequestError: BedrockException - cannot read aws-secret-value"

    error = Words("acme", {"aws_secret_access_key": "aws-secret-value"}).error(BadRequestError())
    assert (type(error), error.detail) == (Refused, "cannot read ***")


LOADED = """
import json, sys
from gateway.config import parse
from gateway.loader import load
config = parse(sys.stdin.read())
loaded = load(config, {})
print(json.dumps(["litellm" in sys.modules, "providers.litellm" in sys.modules, [str(t) for t in loaded.routes["chat"].targets]]))
"""


@pytest.mark.parametrize("target", ["litellm/bedrock/anthropic.claude-x", "local_llm/smollm2"])
def test_it_is_not_loaded_before_it_is_warmed_nor_where_nobody_names_it(target: str) -> None:
    routes = f"routes:\n  chat: {{kind: llm, targets: [{target}]}}\n"
    ran = subprocess.run(
        [sys.executable, "-c", LOADED], input=routes, capture_output=True, text=True, cwd=ROOT, check=True
    )
    imported, provider, targets = json.loads(ran.stdout)
    assert not imported
    assert provider == target.startswith("litellm")
    assert not provider or targets == [target]


def test_without_the_extra_it_is_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "litellm" in (Provider(Settings("acme")).asleep("m") or "")


def test_the_body_is_json() -> None:
    assert orjson.dumps(words.asked("m", ChatRequest(HELLO)))
