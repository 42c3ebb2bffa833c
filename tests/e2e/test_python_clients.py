"""OpenAI's and Anthropic's clients for Python run the programs of tests/clients, on routes of every family."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable
from typing import Any, ClassVar

import anthropic
import httpx2
import openai
import orjson
import pytest
from pydantic import BaseModel

from tests.e2e.families import FAMILIES, PICTURE, WEATHER, Told, busy, expected, gateway, refused_once
from tests.serving import client

pytestmark = pytest.mark.wire

TEXT, ONE, TWO, OBJECT, ODD = "Hello", "How cold is Oslo?", "How cold are Oslo and Bergen?", "Which city?", "Be odd"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
URL = f"data:image/png;base64,{PICTURE}"


class City(BaseModel):
    city: str


def says(content: object) -> Any:
    return [{"role": "user", "content": content}]


async def refusal(asking: Awaitable[object], kind: type[Any]) -> str:
    with pytest.raises(kind) as caught:
        await asking
    return f"{caught.value.status_code} {'Too odd.' if 'Too odd.' in str(caught.value) else caught.value}"


async def broken(asking: Awaitable[object], kind: type[Exception]) -> str:
    with pytest.raises(kind):
        await asking
    return "true"


class Chats:
    """The check of that name, for one surface. `refused`: the client's error for a 400, `broke`: for a stream that ends early."""

    refused, broke = openai.BadRequestError, openai.APIError
    function: ClassVar[Any] = {
        "type": "function",
        "function": {"name": "weather", "parameters": SCHEMA, "strict": False},
    }

    async def text(self, client: Any, route: str, words: object = TEXT, **more: Any) -> str:
        answer = await client.chat.completions.create(model=route, messages=says(words), **more)
        return str(answer.choices[0].message.content)

    async def stream(self, client: Any, route: str, words: str = TEXT) -> str:
        usage = {"include_usage": True}
        async with client.chat.completions.stream(model=route, messages=says(words), stream_options=usage) as stream:
            final = await stream.get_final_completion()
        [choice], used = final.choices, final.usage
        return f"{choice.message.content} ({choice.finish_reason}, {used.prompt_tokens} + {used.completion_tokens})"

    async def round(self, client: Any, route: str, words: str) -> tuple[list[Any], str]:
        first = await client.chat.completions.create(model=route, messages=says(words), tools=[self.function])
        message = first.choices[0].message
        calls = [(call.id, call.function.name, orjson.loads(call.function.arguments)) for call in message.tool_calls]
        results = [{"role": "tool", "tool_call_id": id, "content": WEATHER[args["city"]]} for id, _, args in calls]
        messages = [*says(words), message.model_dump(exclude_none=True), *results]
        last = await client.chat.completions.create(model=route, messages=messages, tools=[self.function])
        return calls, last.choices[0].message.content

    async def object(self, client: Any, route: str) -> str:
        asked = {"model": route, "messages": says(OBJECT), "response_format": City}
        return str((await client.chat.completions.parse(**asked)).choices[0].message.parsed.city)

    async def picture(self, client: Any, route: str) -> str:
        image = {"type": "image_url", "image_url": {"url": URL}}
        return await self.text(client, route, [{"type": "text", "text": "Look."}, image])


class Responses:
    refused, broke = openai.BadRequestError, openai.APIError
    function: ClassVar[Any] = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}

    async def text(self, client: Any, route: str, words: object = TEXT) -> str:
        return str((await client.responses.create(model=route, input=words)).output_text)

    async def stream(self, client: Any, route: str, words: str = TEXT) -> str:
        async with client.responses.stream(model=route, input=words) as stream:
            final = await stream.get_final_response()
        finish, used = "stop" if final.status == "completed" else final.status, final.usage
        return f"{final.output_text} ({finish}, {used.input_tokens} + {used.output_tokens})"

    async def round(self, client: Any, route: str, words: str) -> tuple[list[Any], str]:
        first = await client.responses.create(model=route, input=words, tools=[self.function])
        calls = [(call.call_id, call.name, orjson.loads(call.arguments)) for call in first.output]
        results = [
            {"type": "function_call_output", "call_id": id, "output": WEATHER[args["city"]]} for id, _, args in calls
        ]
        history = [*says(words), *(item.model_dump(exclude_none=True) for item in first.output), *results]
        last = await client.responses.create(model=route, input=history, tools=[self.function])
        return calls, last.output_text

    async def object(self, client: Any, route: str) -> str:
        answer = await client.responses.parse(model=route, input=OBJECT, text_format=City)
        return str(answer.output_parsed.city)

    async def picture(self, client: Any, route: str) -> str:
        content = [{"type": "input_text", "text": "Look."}, {"type": "input_image", "image_url": URL, "detail": "auto"}]
        return await self.text(client, route, says(content))


class Messages:
    refused, broke = anthropic.BadRequestError, anthropic.APIError
    function: ClassVar[Any] = {"name": "weather", "description": "How cold it is.", "input_schema": SCHEMA}

    async def text(self, client: Any, route: str, words: object = TEXT) -> str:
        answer = await client.messages.create(model=route, max_tokens=100, messages=says(words))
        return str(answer.content[0].text)

    async def stream(self, client: Any, route: str, words: str = TEXT) -> str:
        async with client.messages.stream(model=route, max_tokens=100, messages=says(words)) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_message()
        finish = "stop" if final.stop_reason == "end_turn" else final.stop_reason
        return f"{text} ({finish}, {final.usage.input_tokens} + {final.usage.output_tokens})"

    async def round(self, client: Any, route: str, words: str) -> tuple[list[Any], str]:
        asked = {"model": route, "max_tokens": 100, "tools": [self.function]}
        first = await client.messages.create(**asked, messages=says(words))
        calls = [(block.id, block.name, block.input) for block in first.content if block.type == "tool_use"]
        results = [
            {"type": "tool_result", "tool_use_id": id, "content": WEATHER[args["city"]]} for id, _, args in calls
        ]
        turns = [*says(words), {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
        last = await client.messages.create(**asked, messages=turns)
        return calls, last.content[0].text

    async def object(self, client: Any, route: str) -> str:
        asked = {"model": route, "max_tokens": 100, "messages": says(OBJECT), "output_format": City}
        return str((await client.messages.parse(**asked)).parsed_output.city)

    async def picture(self, client: Any, route: str) -> str:
        source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
        return await self.text(client, route, [{"type": "text", "text": "Look."}, {"type": "image", "source": source}])


Surface = Chats | Responses | Messages


async def told_by(name: str, surface: Surface, official: Any) -> Told:
    told = await asyncio.gather(*[_told_of(family, name, surface, official) for family in FAMILIES])
    return {(family, name, check): answer for family, each in zip(FAMILIES, told) for check, answer in each.items()}


async def _told_of(family: str, name: str, surface: Surface, official: Any) -> dict[str, str]:
    checks = {
        "text": surface.text(official, family),
        "stream": surface.stream(official, family),
        "tools": _said(surface.round(official, family, ONE)),
        "parallel": _called(surface.round(official, family, TWO)),
        "object": surface.object(official, family),
        "picture": surface.picture(official, family),
        "error": refusal(surface.text(official, family, ODD), surface.refused),
        "error of a stream": refusal(surface.stream(official, family, ODD), surface.refused),
        "cut": broken(surface.stream(official, f"{family}-cut"), surface.broke),
        "retry": surface.text(official.with_options(max_retries=2), *busy(family, name)),
    }
    return dict(zip(checks, await asyncio.gather(*checks.values())))


async def _said(round: Awaitable[tuple[list[Any], str]]) -> str:
    return (await round)[1]


async def _called(round: Awaitable[tuple[list[Any], str]]) -> str:
    calls, text = await round
    return " ".join([*(f"{name}({args['city']})" for _, name, args in calls), text])


@pytest.mark.parametrize(
    ("name", "surface"), [("chat", Chats()), ("responses", Responses())], ids=["chat", "responses"]
)
async def test_openais_client(name: str, surface: Surface) -> None:
    async with gateway() as (served, answering), client(served) as official:
        assert await told_by(name, surface, official) == expected(name)
    assert answering.busy == refused_once([name])


async def test_anthropics_client() -> None:
    http = httpx2.AsyncClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # quick to make, for http:// alone
    async with (
        gateway() as (served, answering),
        anthropic.AsyncAnthropic(api_key="test", base_url=served.url, max_retries=0, http_client=http) as official,
    ):
        assert await told_by("messages", Messages(), official) == expected("messages")
        tool = anthropic.beta_async_tool(_weather, name="weather")
        for family in FAMILIES:
            asked: Any = {"model": family, "max_tokens": 100, "messages": says(ONE), "tools": [tool]}
            final = await official.beta.messages.tool_runner(**asked).until_done()
            assert final.content[0].text == "It is -3"
    assert answering.busy == refused_once(["messages"])


async def _weather(city: str) -> str:
    """How cold it is."""
    return WEATHER[city]
