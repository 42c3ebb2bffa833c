"""Anthropic's Messages API through its official client, on targets of every shape: forwarded, encoded, and gone on with."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx2
import orjson
import pytest

from gateway.contract.events import Finished, TextDelta, ThoughtSealed, ToolCallDelta, Usage
from gateway.contract.messages import File, Image, Message, Text, Thought, Tool, ToolCall
from gateway.contract.provider import Settings
from gateway.contract.requests import AnswerFormat, Thinking, ToolChoice
from gateway.routing.route import Policy
from providers.anthropic import Provider as Anthropic
from providers.openai_compatible import Provider as OpenAICompatible
from tests import anthropic_scripts as says
from tests.api.stage import Chats, Gateway, stage
from tests.upstream_scripts import bytes_as_they_are, dies, ok, text, tools
from tests.upstreams import Script, Upstream

pytestmark = pytest.mark.wire
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
WEATHER: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
GOES_ON = Policy("priority", retries=0, mid_stream="continue", ttft_deadline=5.0, answer=10.0, idle=5.0, total=60.0)
SAYS = (TextDelta("Good "), TextDelta("day"), Usage(10, 2, cached_tokens=4, cache_write_tokens=1), Finished())


@asynccontextmanager
async def official(gateway: Gateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    http = httpx2.AsyncClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # quick to make, for http:// alone
    async with anthropic.AsyncAnthropic(
        base_url=gateway.served.url, api_key="test", max_retries=0, timeout=30.0, http_client=http
    ) as client:
        yield client


async def ask(gateway: Gateway, stream: bool, **asked: Any) -> Any:
    """The message, however it came."""
    asked = {"model": "chat", "max_tokens": 100, "messages": HELLO, **asked}
    async with official(gateway) as client:
        if not stream:
            return await client.messages.create(**asked)
        async with client.messages.stream(**asked) as events:
            return await events.get_final_message()


def of_openai(upstream: Upstream) -> OpenAICompatible:
    return OpenAICompatible(Settings("up", upstream.url))


def of_anthropic(upstream: Upstream) -> Anthropic:
    return Anthropic(Settings("up", upstream.url))


both = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
FAMILIES: dict[str, tuple[Any, Script, Script]] = {
    "openai": (of_openai, ok(20), tools(("weather", '{"city":"Oslo"}'), ("now", "{}"))),
    "anthropic": (
        of_anthropic,
        says.ok(20),
        says.blocks(
            says.tool_use("weather", {"city": "Oslo"}, "call_0"),
            says.tool_use("now", {}, "call_1"),
            reason="tool_use",
        ),
    ),
}
every = pytest.mark.parametrize("family", FAMILIES)


@both
@every
async def test_text(family: str, stream: bool) -> None:
    build, script, _ = FAMILIES[family]
    async with Upstream(script) as upstream, stage(chat=build(upstream)) as gateway:
        message = await ask(gateway, stream)
    assert [(block.type, block.text) for block in message.content] == [("text", text(20))]
    assert (message.stop_reason, message.role, message.type) == ("end_turn", "assistant", "message")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 20)


@both
@every
async def test_parallel_tool_calls(family: str, stream: bool) -> None:
    build, _, script = FAMILIES[family]
    async with Upstream(script) as upstream, stage(chat=build(upstream)) as gateway:
        message = await ask(gateway, stream, tools=[WEATHER])
    assert [(block.id, block.name, block.input) for block in message.content] == [
        ("call_0", "weather", {"city": "Oslo"}),
        ("call_1", "now", {}),
    ]
    assert message.stop_reason == "tool_use"


@both
@every
async def test_an_upstreams_error(family: str, stream: bool) -> None:
    async with Upstream("503") as upstream, stage(chat=FAMILIES[family][0](upstream)) as gateway:
        with pytest.raises(anthropic.InternalServerError) as caught:
            await ask(gateway, stream)
    said: Any = caught.value.body
    assert (said["type"], said["error"]["type"], caught.value.status_code) == ("error", "api_error", 503)
    assert said["error"]["attempts"][0]["status"] == 503
    assert caught.value.request_id == said["request_id"]
    assert caught.value.response.headers["x-should-retry"] == "false"


@every
async def test_a_stream_that_breaks_ends_in_an_error_and_never_as_a_message(family: str) -> None:
    script = dies(5) if family == "openai" else says.dies(5)
    async with Upstream(script) as upstream, stage(chat=FAMILIES[family][0](upstream)) as gateway:
        async with official(gateway) as client:
            stream = await client.messages.create(model="chat", max_tokens=9, messages=HELLO, stream=True)
            kinds: list[str] = []
            with pytest.raises(anthropic.APIStatusError, match="api_error"):
                await _read(stream, kinds)
    assert kinds[-1] == "content_block_delta"


async def _read(stream: Any, kinds: list[str]) -> None:
    async for each in stream:
        kinds.append(each.type)  # noqa: PERF401 - what came before an error counts


async def test_the_order_of_a_streams_events() -> None:
    plays = (
        TextDelta("hm", "reasoning"),
        ThoughtSealed("seal"),
        ThoughtSealed("dark", redacted=True),
        TextDelta("Let me see."),
        ToolCallDelta(0, "c1", "weather", '{"city":'),
        ToolCallDelta(0, arguments='"Oslo"}'),
        ToolCallDelta(1, "c2", "now"),
        Usage(10, 2),
        Finished("tool_calls"),
    )
    async with stage(chat=Chats(*plays)) as gateway, official(gateway) as client:
        thinking: Any = {"type": "enabled", "budget_tokens": 1024}
        stream = await client.messages.create(
            model="chat", max_tokens=2000, messages=HELLO, stream=True, thinking=thinking
        )
        told = [(each.type, getattr(each, "index", None)) async for each in stream]
    block = ("content_block_start", "content_block_delta", "content_block_stop")
    assert told == [
        ("message_start", None),
        *((kind, 0) for kind in ("content_block_start", "content_block_delta", *block[1:])),
        ("content_block_start", 1),
        ("content_block_stop", 1),
        *((kind, 2) for kind in block),
        *((kind, 3) for kind in ("content_block_start", "content_block_delta", *block[1:])),
        ("content_block_start", 4),
        ("content_block_stop", 4),
        ("message_delta", None),
        ("message_stop", None),
    ]


THOUGHT = (TextDelta("hm, ", "reasoning"), TextDelta("yes", "reasoning"), ThoughtSealed("seal"), *SAYS)


@both
async def test_thoughts_come_with_their_seal_to_who_asked(stream: bool) -> None:
    async with stage(chat=Chats(*THOUGHT)) as gateway:
        asked = await ask(gateway, stream, max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024})
        others = await ask(gateway, stream)
    thought, said = asked.content
    assert (thought.thinking, thought.signature, said.text) == ("hm, yes", "seal", "Good day")
    assert [block.type for block in others.content] == ["text"]


@both
async def test_each_thought_has_a_seal_of_its_own(stream: bool) -> None:
    plays = (*THOUGHT[:3], TextDelta("more", "reasoning"), ThoughtSealed("seal-2"), *SAYS)
    async with stage(chat=Chats(*plays)) as gateway:
        message = await ask(gateway, stream, max_tokens=2000, thinking={"type": "adaptive"})
    thoughts = [(block.thinking, block.signature) for block in message.content if block.type == "thinking"]
    assert thoughts == [("hm, yes", "seal"), ("more", "seal-2")]


@both
async def test_usage_is_counted_as_anthropic_does(stream: bool) -> None:
    async with stage(chat=Chats(*SAYS)) as gateway:
        used = (await ask(gateway, stream)).usage
    assert (used.input_tokens, used.cache_read_input_tokens, used.cache_creation_input_tokens) == (5, 4, 1)
    assert used.output_tokens == 2


@both
@pytest.mark.parametrize(
    ("plays", "reason"),
    [
        ((TextDelta("x"), Finished("length")), "max_tokens"),
        ((TextDelta("x"), Finished("content_filter")), "refusal"),
        ((TextDelta("I must not.", "refusal"), Finished()), "refusal"),
        ((TextDelta("x"), Finished("cancelled")), "end_turn"),
    ],
)
async def test_why_it_ended(plays: tuple[Any, ...], reason: str, stream: bool) -> None:
    async with stage(chat=Chats(*plays)) as gateway:
        message = await ask(gateway, stream)
    assert message.stop_reason == reason
    if plays[0] == TextDelta("I must not.", "refusal"):
        assert (message.content, message.stop_details.explanation) == ([], "I must not.")


PDF = base64.b64encode(b"%PDF-").decode()
RICH: dict[str, Any] = {
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                {
                    "type": "document",
                    "title": "p",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                },
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "seal"},
                {"type": "redacted_thinking", "data": "dark"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "is_error": True,
                    "content": [{"type": "text", "text": "no"}],
                },
                {"type": "text", "text": "and?"},
            ],
        },
    ],
    "tools": [{**WEATHER, "description": "Tells it.", "strict": True}],
    "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    "stop_sequences": ["END"],
    "metadata": {"user_id": "u"},
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
}


async def test_a_request_is_typed_field_by_field() -> None:
    chats = Chats(*SAYS)
    async with stage(chat=chats) as gateway:
        await ask(gateway, False, **RICH)
    [request] = chats.asked
    assert request.messages == (
        Message("system", (Text("Be brief.", "1h"),)),
        Message(
            "user",
            (
                Text("look", "5m"),
                Image("data:image/png;base64,AAAA"),
                Image("https://example.com/a.png"),
                File(f"data:application/pdf;base64,{PDF}", "p"),
                Text("plain"),
            ),
        ),
        Message(
            "assistant",
            (Thought("hm", "seal"), Thought("", "dark", redacted=True), Text("I look.")),
            (ToolCall("c1", "weather", '{"city":"Oslo"}'),),
        ),
        Message("tool", (Text("no"),), (), "c1", failed=True),
        Message.of("user", "and?"),
    )
    schema = '{"type":"object","properties":{"city":{"type":"string"}}}'
    assert request.tools == (Tool("weather", "Tells it.", schema, strict=True),)
    assert (request.tool_choice, request.parallel_tool_calls) == (ToolChoice("function", "weather"), False)
    assert request.format == AnswerFormat('{"type":"object"}', strict=True)
    assert request.thinking == Thinking("high", adaptive=True)
    assert (request.max_tokens, request.stop, request.user) == (100, ("END",), "u")
    assert (request.dialect, request.untyped) == ("messages", ())


async def test_pictures_and_results_reach_an_openai_shaped_upstream() -> None:
    async with Upstream("ok") as upstream, stage(chat=of_openai(upstream)) as gateway:
        await ask(gateway, False, **RICH)
    sent = upstream.received[0].json
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "assistant", "tool", "user"]
    assert sent["messages"][1]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,AAAA"},
    }
    assert sent["messages"][2]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Oslo"}'}
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert sent["response_format"]["type"] == "json_schema"


@both
async def test_what_only_anthropic_knows_reaches_it_and_comes_back_as_it_came(stream: bool) -> None:
    odd = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    script = says.blocks(odd, {"type": "text", "text": "found"}, reason="pause_turn")
    search: Any = {"type": "web_search_20250305", "name": "web_search"}
    async with Upstream(script) as upstream, stage(chat=of_anthropic(upstream)) as gateway:
        more = {"extra_body": {"odd_field": [1]}, "extra_headers": {"anthropic-beta": "x-1"}}
        message = await ask(gateway, stream, tools=[search], **more)
    assert [block.type for block in message.content] == ["server_tool_use", "text"]
    assert (message.id, message.model, message.stop_reason) == ("msg_upstream", says.MODEL, "pause_turn")
    sent = upstream.received[0]
    assert (sent.json["odd_field"], sent.json["tools"], sent.json["model"]) == ([1], [search], "m")
    assert sent.headers["anthropic-beta"] == "x-1"


async def test_what_only_anthropic_knows_is_refused_where_nobody_does() -> None:
    search: Any = {"type": "web_search_20250305", "name": "web_search"}
    async with Upstream("ok") as upstream, stage(chat=of_openai(upstream)) as gateway:
        with pytest.raises(anthropic.BadRequestError) as caught:
            await ask(gateway, False, tools=[search])
    said: Any = caught.value.body
    assert said["error"]["type"] == "invalid_request_error"
    assert "it cannot be told 'tools[0].type'" in said["error"]["message"]
    assert upstream.received == []


async def test_only_anthropic_can_fill_a_cache_and_say_nothing() -> None:
    async with Upstream("ok") as upstream, stage(chat=of_openai(upstream)) as gateway:
        with pytest.raises(anthropic.BadRequestError, match="cannot be told 'max_tokens'"):
            await ask(gateway, False, max_tokens=0)
    assert upstream.received == []


@pytest.mark.parametrize("raw", [True, False], ids=["forwarded-first", "encoded-first"])
async def test_a_stream_that_dies_is_gone_on_with_in_one_message(raw: bool) -> None:
    rest = text(60)[len(text(40)) :]
    async with (
        Upstream(says.dies(40) if raw else dies(40)) as first,
        Upstream(_says(rest) if raw else _continues(rest)) as second,
    ):
        build = (of_anthropic, of_openai) if raw else (of_openai, of_anthropic)
        async with stage(chat=(build[0](first), build[1](second)), policy=GOES_ON) as gateway:
            message = await ask(gateway, True, extra_body={"odd_field": 1})
    assert second.received[0].json.get("odd_field") == (
        None if raw else 1
    )  # to who speaks it the caller's own words go on
    assert [(block.type, block.text) for block in message.content] == [("text", text(60))]
    assert message.stop_reason == "end_turn"
    turns = second.received[0].json["messages"]
    assert turns[-2] == {"role": "assistant", "content": text(40)}


def _says(words: str) -> Script:
    """OpenAI's stream of just this."""
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    said = {**chunk, "choices": [{"index": 0, "delta": {"content": words}, "finish_reason": None}]}
    ended = {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return bytes_as_they_are(
        b"".join(b"data: %b\n\n" % orjson.dumps(each) for each in (said, ended)) + b"data: [DONE]\n\n"
    )


def _continues(words: str) -> Script:
    """Anthropic's."""
    return says.blocks({"type": "text", "text": words})


async def test_calls_that_are_written_at_the_same_time_end_in_an_error() -> None:
    plays = (
        ToolCallDelta(0, "a", "x", "{"),
        ToolCallDelta(1, "b", "y", "{"),
        ToolCallDelta(0, arguments="}"),
        Finished(),
    )
    async with stage(chat=Chats(*plays)) as gateway:
        with pytest.raises(anthropic.APIStatusError):
            await ask(gateway, True)


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].source"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"tools": [{"name": "x"}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "odd"}}, "tool_choice.type"),
        ({"temperature": 2}, "temperature"),
        ({"stop_sequences": [1]}, "stop_sequences[0]"),
        ({"model": 5}, "model"),
        ({"api_base": "http://x"}, "api_base"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": {"type": "url", "url": "http://127.0.0.1/"}}],
                    }
                ]
            },
            "messages[0].content[0].source.url",
        ),
    ],
)
async def test_what_is_wrong_is_named(changed: dict[str, Any], param: str) -> None:
    async with stage(chat=Chats(*SAYS)) as gateway:
        body = {"model": "chat", "max_tokens": 5, "messages": HELLO, **changed}
        answer = await gateway.http.post("/v1/messages", json=body)
    said = answer.json()
    assert (answer.status_code, said["type"]) == (400, "error")
    assert (said["error"]["type"], said["error"]["param"]) == ("invalid_request_error", param)
    assert answer.headers["request-id"] == said["request_id"]


@pytest.mark.parametrize(
    ("model", "status", "kind"), [("nobody", 404, "not_found_error"), ("asleep", 503, "api_error")]
)
async def test_routes_that_cannot_answer(model: str, status: int, kind: str) -> None:
    async with stage(chat=Chats(*SAYS), asleep={"asleep": {"x/y": "KEY is not set"}}) as gateway:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await ask(gateway, False, model=model)
    said: Any = caught.value.body
    assert (caught.value.status_code, said["error"]["type"]) == (status, kind)


async def test_rate_limits_are_told_with_the_time_to_wait() -> None:
    async with Upstream(says.NAMED["429"]) as upstream, stage(chat=of_anthropic(upstream)) as gateway:
        with pytest.raises(anthropic.RateLimitError) as caught:
            await ask(gateway, False)
    said: Any = caught.value.body
    assert (said["error"]["type"], caught.value.response.headers["retry-after"]) == ("rate_limit_error", "2")


async def test_who_answered_and_what_it_cost_is_in_the_headers() -> None:
    async with stage(chat=Chats(*SAYS)) as gateway, official(gateway) as client:
        raw = await client.messages.with_raw_response.create(model="chat", max_tokens=9, messages=HELLO)
    assert raw.headers["x-trunkline-target"] == "chat-chats/m"
    assert raw.headers["x-trunkline-cost-usd"] == "unknown"
    assert raw.headers["request-id"] == raw.headers["x-request-id"]
    message = await raw.parse()
    assert message.id.startswith("msg_")
    assert message.model == "chat-chats/m"


async def test_tokens_are_estimated_and_that_is_said() -> None:
    async with stage(chat=Chats(*SAYS)) as gateway, official(gateway) as client:
        long: Any = [{"role": "user", "content": "four" * 1000}]
        raw = await client.messages.with_raw_response.count_tokens(model="chat", messages=long, tools=[WEATHER])
    assert 1000 < (await raw.parse()).input_tokens < 1100
    assert raw.headers["x-trunkline-tokens"] == "estimated"


async def test_tokens_are_counted_by_who_can_and_not_by_who_failed() -> None:
    counted = bytes_as_they_are(b'{"input_tokens": 41}')
    async with Upstream(counted, "500") as upstream:
        async with stage(chat=(Chats(*SAYS), of_anthropic(upstream))) as gateway, official(gateway) as client:
            told = [
                await client.messages.with_raw_response.count_tokens(model="chat", messages=HELLO) for _ in range(2)
            ]
    assert (await told[0].parse()).input_tokens == 41
    assert [each.headers["x-trunkline-tokens"] for each in told] == ["counted", "estimated"]
    assert told[0].headers["x-trunkline-target"] == "chat-provider1/m"


async def test_a_beta_client_is_a_client_too() -> None:
    async with Upstream(says.ok(5)) as upstream, stage(chat=of_anthropic(upstream)) as gateway:
        async with official(gateway) as client:
            message = await client.beta.messages.create(
                model="chat", max_tokens=9, messages=HELLO, betas=["context-1m-2025-08-07"]
            )
    assert message.stop_reason == "end_turn"
    assert upstream.received[0].headers["anthropic-beta"] == "context-1m-2025-08-07"
    assert upstream.received[0].path == "/v1/messages"
