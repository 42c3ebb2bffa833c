"""OpenAI's client on a route that Gemini serves, and Google's own client on the same upstream, which shows that it is faithful."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import openai
import orjson
import pydantic
import pytest
from google import genai
from google.genai import errors, types

from gateway.app import create_app
from gateway.config import parse
from gateway.loader import load
from tests import gemini_scripts as says
from tests.serving import client, plain_http, serving
from tests.upstreams import Exchange, Script, Upstream

pytestmark = pytest.mark.wire
ROUTES = """
providers:
  gemini: {{base_url: "{url}", key: canary-0123456789}}
routes:
  chat: {{kind: llm, targets: [gemini/gemini-3-flash]}}
  near: {{kind: embed, targets: [gemini/gemini-embedding-001]}}
"""
PIXEL = "iVBORw0KGgo="
WEATHER = {"functionCall": {"name": "get_weather", "args": {"city": "Paris"}}, "thoughtSignature": "c2VhbA=="}
TIME = {"functionCall": {"id": "2", "name": "get_time", "args": {"zone": "CET"}}}
CALLS = says.says(says.chunk([{"text": "I look. "}]), says.chunk([WEATHER]), says.chunk([TIME], "STOP", 9))
FUNCTIONS: list[Any] = [
    {
        "type": "function",
        "function": {"name": name, "strict": True, "parameters": {"type": "object", "properties": {field: {}}}},
    }
    for name, field in (("get_weather", "city"), ("get_time", "zone"))
]
HELLO: list[Any] = [{"role": "user", "content": "hello"}]


class Gateway:
    def __init__(self, upstream: Upstream, official: openai.AsyncOpenAI) -> None:
        self.upstream, self.official = upstream, official

    async def ask(self, script: Script | str, stream: bool, **asked: Any) -> Any:
        """The message and what it ended with; a stream is gathered by the client itself."""
        self.upstream.play(says.SCRIPTS[script] if isinstance(script, str) else script)
        given: dict[str, Any] = {"model": "chat", "messages": HELLO, **asked}
        if not stream:
            return await self.official.chat.completions.create(**given)
        async with self.official.chat.completions.stream(**given, stream_options={"include_usage": True}) as answer:
            return await answer.get_final_completion()


@asynccontextmanager
async def gateway() -> AsyncGenerator[Gateway]:
    async with Upstream() as upstream:
        config = parse(ROUTES.format(url=upstream.origin))
        async with serving(create_app(config, load(config, {}))) as served, client(served) as official:
            yield Gateway(upstream, official)


either = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])


@either
async def test_text_and_usage(stream: bool) -> None:
    async with gateway() as each:
        answer = await each.ask("ok", stream)
    [choice] = answer.choices
    assert choice.message.content.split()[-1] == "w20"
    assert (choice.finish_reason, answer.model) == ("stop", "gemini/gemini-3-flash")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 20)


@either
async def test_a_round_of_parallel_tools(stream: bool) -> None:
    """The client hands back the message as it got it, the seal of the thought in it."""
    async with gateway() as each:
        first = await each.ask(CALLS, stream, tools=FUNCTIONS, tool_choice="required")
        [choice] = first.choices
        message = choice.message.model_dump(exclude_none=True)
        message.pop("parsed", None)
        assert choice.finish_reason == "tool_calls"
        calls = choice.message.tool_calls
        assert [(call.function.name, orjson.loads(call.function.arguments)) for call in calls] == [
            ("get_weather", {"city": "Paris"}),
            ("get_time", {"zone": "CET"}),
        ]
        results = [{"role": "tool", "tool_call_id": call.id, "content": "fine"} for call in calls]
        await each.ask("ok", stream, tools=FUNCTIONS, messages=[*HELLO, message, *results])
    asked, again = (received.json for received in each.upstream.received)
    assert asked["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    assert [declared["name"] for declared in asked["tools"][0]["functionDeclarations"]] == ["get_weather", "get_time"]
    _, said, told = again["contents"]
    text, weather, time = said["parts"]
    assert text == {"text": "I look. "}
    assert weather["thoughtSignature"] == "c2VhbA=="
    assert time["functionCall"] == TIME["functionCall"]
    assert [part["functionResponse"]["id"] for part in told["parts"]] == [weather["functionCall"]["id"], "2"]


@either
async def test_structured_output(stream: bool) -> None:
    class City(pydantic.BaseModel):
        name: str

    script = says.says(says.chunk([{"text": '{"name":'}]), says.chunk([{"text": '"Paris"}'}], "STOP", 4))
    async with gateway() as each:
        each.upstream.play(script)
        if stream:
            async with each.official.chat.completions.stream(
                model="chat", messages=HELLO, response_format=City
            ) as answer:
                made = await answer.get_final_completion()
        else:
            made = await each.official.chat.completions.parse(model="chat", messages=HELLO, response_format=City)
    assert made.choices[0].message.parsed == City(name="Paris")
    config = each.upstream.received[0].json["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["properties"]["name"]["type"] == "string"


@either
async def test_pictures_and_reasoning(stream: bool) -> None:
    content = [{"type": "text", "text": "look"}]
    content += [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]  # type: ignore[dict-item]  # OpenAI's
    script = says.says(says.chunk([{"text": "hm", "thought": True}]), says.chunk([{"text": "A dot."}], "STOP"))
    async with gateway() as each:
        asked = [{"role": "user", "content": content}]
        answer = await each.ask(script, stream, messages=asked, reasoning_effort="low")
    message = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("A dot.", "hm")
    body = each.upstream.received[0].json
    assert body["contents"][0]["parts"][1] == {"inlineData": {"mimeType": "image/png", "data": PIXEL}}
    assert body["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "LOW", "includeThoughts": True}


@either
@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("blocked", 400, "content_policy_violation"),
        ("too-long", 400, "context_length_exceeded"),
        ("429", 429, "rate_limit_exceeded"),
        ("bad-key", 503, "all_targets_failed"),
    ],
)
async def test_errors(stream: bool, name: str, status: int, code: str) -> None:
    async with gateway() as each:
        with pytest.raises(openai.APIStatusError) as caught:
            await each.ask(name, stream)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert "canary" not in f"{caught.value} {caught.value.body} {caught.value.response.headers}"


async def test_what_it_cannot_is_said_before_it_is_asked() -> None:
    async with gateway() as each:
        with pytest.raises(openai.BadRequestError, match="one answer at a time"):
            await each.ask("ok", False, n=2)
        assert not each.upstream.received


async def test_embeddings() -> None:
    async def embeds(exchange: Exchange) -> None:
        made = [{"values": [n / 2, 0.25]} for n, _ in enumerate(exchange.request.json["requests"])]
        await exchange.answer(200, {"embeddings": made, "usageMetadata": {"promptTokenCount": 5}})

    async with gateway() as each:
        each.upstream.play(embeds)
        made = await each.official.embeddings.create(model="near", input=["a", "b"], dimensions=2)
    assert [each.embedding for each in made.data] == [[0.0, 0.25], [0.5, 0.25]]
    assert made.usage.prompt_tokens == 5
    async with google(embeds) as models:
        answer = await models.embed_content(model="gemini-embedding-001", contents=["a", "b"])
    assert [each.values for each in answer.embeddings] == [[0.0, 0.25], [0.5, 0.25]]


@asynccontextmanager
async def google(script: Script | str) -> AsyncGenerator[Any]:
    """Google's client on the upstream itself."""
    async with Upstream() as upstream:
        upstream.play(says.SCRIPTS[script] if isinstance(script, str) else script)
        async with plain_http() as http:  # not aiohttp, of which it uses what is deprecated
            made = genai.Client(
                api_key="key", http_options=types.HttpOptions(base_url=upstream.origin, httpx_async_client=http)
            )
            yield made.aio.models
            made.close()


async def gathered(models: Any) -> list[types.GenerateContentResponse]:
    stream = await models.generate_content_stream(model="gemini-3-flash", contents="hello")
    return [chunk async for chunk in stream]


async def test_googles_client_reads_the_upstream() -> None:
    async with google("ok") as models:
        chunks = await gathered(models)
        assert "".join(chunk.text or "" for chunk in chunks).split()[-1] == "w20"
        assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP  # type: ignore[index]  # it must have one
        whole = await models.generate_content(model="gemini-3-flash", contents="hello")
        assert whole.usage_metadata.candidates_token_count == 20
    async with google(CALLS) as models:
        parts = [part for chunk in await gathered(models) for part in chunk.parts or ()]
        assert [part.function_call.name for part in parts if part.function_call] == ["get_weather", "get_time"]
        assert parts[1].thought_signature == b"seal"
    async with google("blocked") as models:
        [chunk] = await gathered(models)
        assert chunk.prompt_feedback is not None
        assert chunk.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT


@pytest.mark.parametrize(
    ("name", "status"),
    [("bad-key", "INVALID_ARGUMENT"), ("429", "RESOURCE_EXHAUSTED"), ("503", "UNAVAILABLE")],
)
async def test_googles_client_reads_the_upstreams_errors(name: str, status: str) -> None:
    async with google(name) as models:
        with pytest.raises(errors.APIError) as caught:
            await gathered(models)
    assert caught.value.status == status
    details: Mapping[str, Any] = caught.value.details
    assert details["error"]["code"] == caught.value.code
