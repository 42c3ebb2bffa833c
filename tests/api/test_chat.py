"""Chats through the official client: streaming and not, forwarded and encoded."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from gateway.contract.errors import Unavailable
from gateway.contract.events import Finished, TextDelta, ToolCallDelta, Usage
from gateway.contract.messages import Image, Message, Sound, Text, Tool, ToolCall
from gateway.contract.provider import Settings
from providers.openai_compatible import Provider as OpenAICompatible
from tests.api.stage import Chats, stage
from tests.upstream_scripts import text
from tests.upstreams import Upstream

pytestmark = pytest.mark.wire

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
SAYS = (TextDelta("Good "), TextDelta("day"), Usage(input_tokens=3, output_tokens=2), Finished())


def forwards(upstream: Upstream) -> OpenAICompatible:
    return OpenAICompatible(Settings("up", upstream.url))


async def test_a_stream_arrives_word_by_word_and_is_finished() -> None:
    async with stage(chat=Chats(*SAYS)) as gateway:
        stream = await gateway.openai.chat.completions.create(model="chat", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["Good ", "day", None]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    assert {chunk.model for chunk in chunks} == {"chat-chats/m"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].id.startswith("chatcmpl-")


async def test_usage_comes_last_when_it_was_asked_for() -> None:
    async with stage(chat=Chats(*SAYS)) as gateway:
        stream = await gateway.openai.chat.completions.create(
            model="chat", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert [len(chunk.choices) for chunk in chunks] == [1, 1, 1, 0]
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 2, 5)


async def test_an_answer_without_streaming_is_one_completion() -> None:
    async with stage(chat=Chats(*SAYS)) as gateway:
        raw = await gateway.openai.chat.completions.with_raw_response.create(model="chat", messages=HELLO)
        answer = raw.parse()
    assert answer.choices[0].message.content == "Good day"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 5
    assert raw.headers["x-trunkline-target"] == "chat-chats/m"
    assert raw.headers["x-trunkline-attempts"] == "1"
    assert raw.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("stream", [True, False])
async def test_tool_calls_come_through(stream: bool) -> None:
    calls = Chats(
        ToolCallDelta(0, "call_1", "weather", '{"city":'),
        ToolCallDelta(0, arguments='"Oslo"}'),
        ToolCallDelta(1, "call_2", "time", "{}"),
        Finished("tool_calls"),
    )
    async with stage(chat=calls) as gateway:
        if stream:
            async with gateway.openai.chat.completions.stream(model="chat", messages=HELLO) as events:
                answer: Any = await events.get_final_completion()
        else:
            answer = await gateway.openai.chat.completions.create(model="chat", messages=HELLO)
    message = answer.choices[0].message
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls] == [
        ("call_1", "weather", '{"city":"Oslo"}'),
        ("call_2", "time", "{}"),
    ]
    assert answer.choices[0].finish_reason == "tool_calls"


async def test_reasoning_and_refusals_have_their_own_fields() -> None:
    says = Chats(TextDelta("hm", "reasoning"), TextDelta("no", "refusal"), Finished())
    async with stage(chat=says) as gateway:
        answer = await gateway.openai.chat.completions.create(model="chat", messages=HELLO)
    message = answer.choices[0].message
    assert (message.content, message.refusal) == (None, "no")
    assert message.model_extra == {"reasoning_content": "hm"}


@pytest.mark.parametrize("stream", [True, False])
async def test_an_openai_shaped_upstream_is_forwarded_as_it_came(stream: bool) -> None:
    async with Upstream("ok") as upstream, stage(chat=forwards(upstream)) as gateway:
        response = await gateway.http.post(
            "/v1/chat/completions", json={"model": "chat", "messages": HELLO, "stream": stream, "odd_field": [1]}
        )
    assert upstream.received[0].json["odd_field"] == [1]
    assert "upstream-model-1" in response.text
    assert ('"usage":{' in response.text) is not stream  # a stream's usage was not asked for
    assert response.text.endswith("data: [DONE]\n\n") is stream


async def test_an_upstreams_usage_chunk_is_forwarded_when_asked_for() -> None:
    async with Upstream("ok") as upstream, stage(chat=forwards(upstream)) as gateway:
        stream = await gateway.openai.chat.completions.create(
            model="chat", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text(20)
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [27]


async def test_the_second_target_answers_when_the_first_is_down_and_nobody_notices() -> None:
    async with Upstream("503") as down, stage(chat=(forwards(down), Chats(*SAYS))) as gateway:
        raw = await gateway.openai.chat.completions.with_raw_response.create(model="chat", messages=HELLO)
        assert raw.parse().choices[0].message.content == "Good day"
    assert raw.headers["x-trunkline-attempts"] == "2"
    assert [sample.outcome for sample in gateway.samples] == ["unavailable", "ok"]


async def test_a_failure_after_the_first_word_ends_in_an_error_and_never_in_done() -> None:
    dies = Chats(TextDelta("Good "), Unavailable("hung up", "chats"))
    async with stage(chat=dies) as gateway:
        stream = await gateway.openai.chat.completions.create(model="chat", messages=HELLO, stream=True)
        assert (await anext(aiter(stream))).choices[0].delta.content == "Good "
        with pytest.raises(openai.APIError, match="hung up"):
            [chunk async for chunk in stream]
        response = await gateway.http.post(
            "/v1/chat/completions", json={"model": "chat", "messages": HELLO, "stream": True}
        )
    assert "[DONE]" not in response.text
    assert '"code":"upstream_failed"' in response.text


async def test_a_provider_that_breaks_in_mid_stream_tells_nothing_of_its_insides() -> None:
    async with stage(chat=Chats(TextDelta("Good "), RuntimeError("canary-secret"))) as gateway:
        response = await gateway.http.post(
            "/v1/chat/completions", json={"model": "chat", "messages": HELLO, "stream": True}
        )
    assert "canary" not in response.text
    assert response.headers["x-request-id"] in response.text
    assert "[DONE]" not in response.text


async def test_words_that_are_ready_together_travel_together() -> None:
    words = [TextDelta(f"w{n} ") for n in range(100)]
    async with stage(chat=Chats(*words, Finished())) as gateway:
        async with gateway.http.stream(
            "POST", "/v1/chat/completions", json={"model": "chat", "messages": HELLO, "stream": True}
        ) as response:
            pieces = [piece async for piece in response.aiter_raw()]
    assert b"".join(pieces).count(b"data: ") == 102
    assert len(pieces) <= 4


async def test_a_slow_reader_stops_the_provider() -> None:
    piece = TextDelta("x" * 1000)
    chats = Chats(*[piece] * 20_000, Finished())  # 20 MB
    async with stage(chat=chats) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.served.port, limit=1 << 12)
        body = b'{"model":"chat","messages":[{"role":"user","content":"go"}],"stream":true}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
        await reader.readline()
        before = -1
        while chats.taken != before:  # until it stands still
            before = chats.taken
            await asyncio.sleep(0.2)
        assert chats.taken < 15_000
        writer.close()
        await asyncio.wait_for(chats.closed.wait(), 1.0)


async def test_what_the_caller_wrote_reaches_the_provider_typed() -> None:
    chats = Chats(*SAYS)
    async with stage(chat=chats) as gateway:
        await gateway.openai.chat.completions.create(
            model="chat",
            messages=[
                {"role": "developer", "content": "be brief"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "see"},
                        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
                        {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "42"},
            ],
            tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            max_completion_tokens=5,
            temperature=0.5,
            stop="END",
            seed=7,
        )
    request = chats.asked[0]
    developer, user, assistant, tool = request.messages
    assert developer == Message.of("developer", "be brief")
    assert user.parts[:2] == (Text("see"), Image("https://example.com/a.png", "low"))
    assert isinstance(user.parts[2], Sound)
    assert user.parts[2].audio.samples == 4
    assert assistant.tool_calls == (ToolCall("c1", "f", "{}"),)
    assert (tool.tool_call_id, tool.text) == ("c1", "42")
    assert request.tools == (Tool("f", "", '{"type":"object"}'),)
    assert (request.max_tokens, request.temperature, request.stop, request.seed) == (5, 0.5, ("END",), 7)
    assert request.body is not None
    assert request.body["model"] == "chat"


WAV = "UklGRiwAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQgAAAABAAIAAwAEAA=="
