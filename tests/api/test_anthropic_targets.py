"""OpenAI's official client on a route that Anthropic's protocol serves: its ordinary programs, and what they reach it as."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from gateway.contract.provider import Settings
from providers.anthropic import Provider
from tests import anthropic_scripts as says
from tests.api.stage import Gateway, stage
from tests.upstream_scripts import text
from tests.upstreams import Exchange, Script, Upstream

pytestmark = pytest.mark.wire
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False},
    },
}
TWO_CALLS = says.blocks(
    {"type": "text", "text": "I look."},
    says.tool_use("weather", {"city": "Oslo"}, "toolu_1"),
    says.tool_use("now", {}, "toolu_2"),
    reason="tool_use",
)
both = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])


@asynccontextmanager
async def served(script: Script | str) -> AsyncIterator[tuple[Upstream, Gateway]]:
    async with Upstream(script) as upstream:
        async with stage(chat=Provider(Settings("up", upstream.url))) as gateway:
            yield upstream, gateway


async def ask(gateway: Gateway, stream: bool, **asked: Any) -> Any:
    """The completion, however it came."""
    asked = {"model": "chat", "messages": HELLO, **asked}
    if not stream:
        return await gateway.openai.chat.completions.create(**asked)
    async with gateway.openai.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
        async for _ in events:
            pass
        return await events.get_final_completion()


@both
async def test_text(stream: bool) -> None:
    async with served(says.ok(20)) as (upstream, gateway):
        answer = await ask(gateway, stream, messages=[{"role": "system", "content": "Be brief."}, *HELLO])
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (text(20), "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 20)
    assert (upstream.received[0].json["system"], upstream.received[0].json["max_tokens"]) == ("Be brief.", 8192)


@both
async def test_parallel_tool_calls_and_their_results(stream: bool) -> None:
    async with served(TWO_CALLS) as (upstream, gateway):
        first = (await ask(gateway, stream, tools=[WEATHER])).choices[0]
        upstream.play(says.ok(3))
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": f"of {call.function.name}"}
            for call in first.message.tool_calls
        ]
        said = first.message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
        last = await ask(gateway, stream, tools=[WEATHER], messages=[*HELLO, said, *results])
    assert first.finish_reason == "tool_calls"
    assert [(call.id, call.function.name, call.function.arguments) for call in first.message.tool_calls] == [
        ("toolu_1", "weather", '{"city":"Oslo"}'),
        ("toolu_2", "now", "{}"),
    ]
    assert last.choices[0].message.content == text(3)
    assert upstream.received[1].json["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}},
                {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "of weather"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "of now"},
            ],
        },
    ]


class Person(BaseModel):
    name: str
    age: int


async def test_structured_output() -> None:
    script = says.blocks({"type": "text", "text": '{"name":"Ada","age":36}'})
    async with served(script) as (upstream, gateway):
        answer = await gateway.openai.chat.completions.parse(model="chat", messages=HELLO, response_format=Person)
    assert answer.choices[0].message.parsed == Person(name="Ada", age=36)
    told = upstream.received[0].json["output_config"]["format"]
    assert (told["type"], told["schema"]["required"]) == ("json_schema", ["name", "age"])
    assert told["schema"]["additionalProperties"] is False


@both
async def test_pictures(stream: bool) -> None:
    data = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    link = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    async with served(says.ok(3)) as (upstream, gateway):
        await ask(gateway, stream, messages=[{"role": "user", "content": [data, link]}])
    assert [each["source"] for each in upstream.received[0].json["messages"][0]["content"]] == [
        {"type": "base64", "media_type": "image/png", "data": "AAAA"},
        {"type": "url", "url": "https://example.com/a.png"},
    ]


@both
async def test_reasoning_and_its_seal_go_out_and_come_back(stream: bool) -> None:
    script = says.blocks(
        {"type": "thinking", "thinking": "hm", "signature": "seal"}, *({"type": "text", "text": "yes"},)
    )
    async with served(script) as (upstream, gateway):
        message = (await ask(gateway, stream, reasoning_effort="high")).choices[0].message
        blocks = [{"type": "thinking", "thinking": "hm", "signature": "seal"}]
        again = {"role": "assistant", "content": "yes", "thinking_blocks": blocks}
        await ask(gateway, stream, messages=[*HELLO, again, *HELLO], reasoning_effort="high")
    assert (message.content, message.model_extra["reasoning_content"]) == ("yes", "hm")
    assert message.model_extra["thinking_blocks"][0]["signature"] == "seal"
    first, second = (each.json for each in upstream.received)
    assert (first["thinking"], first["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})
    assert second["messages"][1]["content"][0] == blocks[0]


@both
async def test_a_refusal_says_why(stream: bool) -> None:
    told: list[Any] = []
    details = {"type": "refusal", "category": "cyber", "explanation": "It was blocked."}
    body = says.begins() + says.closes("refusal", stop_details=details) + says.STOP
    whole = {**says.message([], "refusal", 5), "stop_details": details}

    async def script(exchange: Exchange) -> None:
        if not exchange.request.wants_stream:
            return await exchange.answer(200, whole)
        await exchange.head()
        await exchange.send(body)
        await exchange.end()

    async with served(script) as (_, gateway):
        if stream:
            asked: Any = {"model": "chat", "messages": HELLO, "stream": True}
            async for chunk in await gateway.openai.chat.completions.create(**asked):
                told += [chunk.choices[0].delta.refusal, chunk.choices[0].finish_reason]
        else:
            choice = (await ask(gateway, stream)).choices[0]
            told += [choice.message.refusal, choice.finish_reason]
    assert [each for each in told if each is not None] == ["It was blocked.", "content_filter"]


@both
@pytest.mark.parametrize(
    ("name", "raised", "code"),
    [
        ("429", openai.RateLimitError, "rate_limit_exceeded"),
        ("529", openai.InternalServerError, "all_targets_failed"),
        ("401", openai.InternalServerError, "all_targets_failed"),
        ("refuses", openai.BadRequestError, "invalid_request_error"),
        ("too-long", openai.BadRequestError, "context_length_exceeded"),
    ],
)
async def test_errors(name: str, raised: type[openai.APIStatusError], code: str, stream: bool) -> None:
    async with served(says.NAMED[name]) as (_, gateway):
        with pytest.raises(raised) as caught:
            await ask(gateway, stream)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"n": 2}, "it gives one answer at a time"),
        ({"logprobs": True}, "it does not tell logprobs"),
        ({"response_format": {"type": "json_object"}}, "it promises JSON only by a schema"),
        ({"modalities": ["text", "audio"], "audio": {}}, "it cannot be told 'modalities'"),
    ],
)
async def test_what_it_cannot_do_is_refused_before_it_is_asked(asked: dict[str, Any], why: str) -> None:
    async with served(says.ok(3)) as (upstream, gateway):
        with pytest.raises(openai.BadRequestError, match=why):
            await ask(gateway, False, **asked)
    assert upstream.received == []


async def test_an_error_inside_a_stream_is_no_end_of_it() -> None:
    async with served(says.error_in_stream(after=5)) as (_, gateway):
        with pytest.raises(openai.APIError, match="overloaded_error"):
            await ask(gateway, True)
