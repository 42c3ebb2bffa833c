"""OpenAI's official client runs its ordinary programs on routes served by each way of speaking OpenAI, over sockets.

Upstreams are OpenAI-shaped: `openai` is asked for responses or chats as the caller asked, `openai_compatible` for chats alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import orjson
import pytest
from pydantic import BaseModel

from gateway.contract.provider import Settings
from providers import openai as openai_provider
from providers import openai_compatible
from tests.answering import answers
from tests.api.stage import Gateway, stage
from tests.upstream_scripts import status
from tests.upstreams import Script, Upstream

pytestmark = pytest.mark.wire

FAMILIES: dict[str, Any] = {"openai": openai_provider.Provider, "openai_compatible": openai_compatible.Provider}
PICTURE = "data:image/png;base64,iVBORw0KGgo="
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def route(family: str, *scripts: Script | str) -> AsyncIterator[tuple[Gateway, Upstream]]:
    async with Upstream(*scripts) as upstream:
        async with stage(chat=FAMILIES[family](Settings("up", upstream.url))) as gateway:
            yield gateway, upstream


HELLO: list[Any] = [{"role": "user", "content": "hello"}]
FUNCTIONS: Any = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER, "strict": True}}]
TOOLS: Any = [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}]
PARALLEL = [("weather", '{"city":"Oslo"}'), ("weather", '{"city":"Bergen"}')]


async def test_chat_text(family: str) -> None:
    async with route(family, *answers("Good day")) as (gateway, _):
        client = gateway.openai.chat.completions
        one = await client.create(model="chat", messages=HELLO)
        chunks = [each async for each in await client.create(model="chat", messages=HELLO, stream=True)]
    assert one.choices[0].message.content == "Good day"
    assert "".join(each.choices[0].delta.content or "" for each in chunks) == "Good day"
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_chat_tools_in_parallel_and_their_results(family: str) -> None:
    async with route(family, *answers(PARALLEL, PARALLEL, "Cold")) as (gateway, upstream):
        client = gateway.openai.chat.completions
        async with client.stream(model="chat", messages=HELLO, tools=FUNCTIONS) as stream:
            final = await stream.get_final_completion()
        one = await client.create(model="chat", messages=HELLO, tools=FUNCTIONS)
        called = one.choices[0].message
        results = [{"role": "tool", "tool_call_id": call.id, "content": "-3"} for call in called.tool_calls or []]
        messages: Any = [*HELLO, called.model_dump(exclude_none=True), *results]
        last = await client.create(model="chat", messages=messages, tools=FUNCTIONS)
    for answer in (final, one):
        made: Any = answer.choices[0].message.tool_calls
        assert [(call.function.name, call.function.arguments) for call in made] == PARALLEL
    assert last.choices[0].message.content == "Cold"
    assert upstream.received[-1].json["messages"] == messages


class City(BaseModel):
    city: str


async def test_chat_structured_output(family: str) -> None:
    async with route(family, *answers('{"city": "Oslo"}')) as (gateway, upstream):
        answer = await gateway.openai.chat.completions.parse(model="chat", messages=HELLO, response_format=City)
    assert answer.choices[0].message.parsed == City(city="Oslo")
    assert upstream.received[0].json["response_format"]["json_schema"]["name"] == "City"


async def test_chat_picture(family: str) -> None:
    content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    async with route(family, *answers("A cat")) as (gateway, upstream):
        await gateway.openai.chat.completions.create(
            model="chat",
            messages=[{"role": "user", "content": content}],  # type: ignore[misc,list-item]  # as callers write it
        )
    assert upstream.received[0].json["messages"][0]["content"] == content


ERRORS: list[tuple[Script, type[openai.APIStatusError], str]] = [
    (status(400, "Too odd.", "invalid_request_error", "odd"), openai.BadRequestError, "Too odd."),
    (status(429, "Slow down.", "requests", "rate_limit_exceeded", retry_after="3"), openai.RateLimitError, "429"),
    (status(503), openai.InternalServerError, "503"),
]


@pytest.mark.parametrize(("script", "kind", "told"), ERRORS, ids=["400", "429", "503"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("surface", ["chat", "responses"])
async def test_errors(
    family: str, script: Script, kind: type[openai.APIStatusError], told: str, stream: Any, surface: str
) -> None:
    async with route(family, script) as (gateway, _):
        client = gateway.openai
        asked: Any = (
            client.chat.completions.create(model="chat", messages=HELLO, stream=stream)
            if surface == "chat"
            else client.responses.create(model="chat", input="hello", stream=stream)
        )
        with pytest.raises(kind, match=told):
            await asked


async def test_response_text(family: str) -> None:
    async with route(family, *answers("Good day")) as (gateway, upstream):
        client = gateway.openai.responses
        one = await client.create(model="chat", input="hello", instructions="Be kind.", max_output_tokens=9)
        async with client.stream(model="chat", input="hello") as stream:
            kinds = [each.type async for each in stream]
            final = await stream.get_final_response()
    assert one.output_text == final.output_text == "Good day"
    assert one.usage is not None
    assert (one.usage.input_tokens, one.usage.output_tokens) == (7, 2)
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    native = family == "openai"
    assert upstream.received[0].path == ("/v1/responses" if native else "/v1/chat/completions")
    if not native:
        assert upstream.received[0].json["messages"] == [{"role": "system", "content": "Be kind."}, *HELLO]
        assert upstream.received[0].json["max_tokens"] == 9


async def test_response_tools_in_parallel_and_their_results(family: str) -> None:
    async with route(family, *answers(PARALLEL, PARALLEL, "Cold")) as (gateway, upstream):
        client = gateway.openai.responses
        async with client.stream(model="chat", input="hello", tools=TOOLS) as stream:
            final: Any = await stream.get_final_response()
        one: Any = await client.create(model="chat", input="hello", tools=TOOLS)
        results = [{"type": "function_call_output", "call_id": each.call_id, "output": "-3"} for each in one.output]
        history: Any = [*HELLO, *(each.model_dump(exclude_none=True) for each in one.output), *results]
        last = await client.create(model="chat", input=history, tools=TOOLS)
    for answer in (final, one):
        assert [(each.name, each.arguments) for each in answer.output] == PARALLEL
    assert last.output_text == "Cold"
    sent = upstream.received[-1].json
    if family == "openai":
        assert sent["input"] == history
        return
    user, called, *told = sent["messages"]
    assert [user] == HELLO
    assert [orjson.loads(each["function"]["arguments"]) for each in called["tool_calls"]] == [
        {"city": "Oslo"},
        {"city": "Bergen"},
    ]
    assert told == [{"role": "tool", "tool_call_id": f"call_{n}", "content": "-3"} for n in range(2)]


async def test_response_structured_output(family: str) -> None:
    async with route(family, *answers('{"city": "Oslo"}')) as (gateway, upstream):
        client = gateway.openai.responses
        answer = await client.parse(model="chat", input="hello", text_format=City)
        async with client.stream(model="chat", input="hello", text_format=City) as stream:
            final = await stream.get_final_response()
    assert answer.output_parsed == final.output_parsed == City(city="Oslo")
    asked = upstream.received[0].json
    format = asked["text"]["format"] if family == "openai" else asked["response_format"]["json_schema"]
    assert format["name"] == "City"
    assert format["schema"]["required"] == ["city"]


async def test_response_picture(family: str) -> None:
    content: Any = [
        {"type": "input_text", "text": "What?"},
        {"type": "input_image", "image_url": PICTURE, "detail": "auto"},
    ]
    async with route(family, *answers("A cat")) as (gateway, upstream):
        await gateway.openai.responses.create(model="chat", input=[{"role": "user", "content": content}])
    sent = upstream.received[0].json
    if family == "openai":
        assert sent["input"][0]["content"] == content
    else:
        assert sent["messages"][0]["content"] == [
            {"type": "text", "text": "What?"},
            {"type": "image_url", "image_url": {"url": PICTURE, "detail": "auto"}},
        ]
