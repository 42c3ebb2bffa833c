"""Responses through the official client, on providers that speak only chat and on one that speaks Responses itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import openai
import orjson
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.contract.errors import Unavailable
from gateway.contract.events import Finished, TextDelta, ThoughtSealed, ToolCallDelta, Usage
from gateway.contract.messages import File, Image, Message, Text, Thought, Tool, ToolCall
from gateway.contract.provider import Settings
from gateway.contract.requests import AnswerFormat, Thinking, ToolChoice
from providers.openai import Provider as OpenAI
from tests import responses_scripts as responses
from tests.api.stage import POLICY, Chats, Gateway, stage
from tests.upstream_scripts import text
from tests.upstreams import Exchange, Upstream

pytestmark = pytest.mark.wire

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
USED = Usage(input_tokens=7, output_tokens=5, cached_tokens=3, reasoning_tokens=2)
HELLO: dict[str, Any] = {"model": "chat", "input": "hello"}


async def streamed(gateway: Gateway, **fields: Any) -> list[dict[str, Any]]:
    """The events of a stream, each checked against the official client's types and against its own name."""
    answer = await gateway.http.post("/v1/responses", json={**HELLO, "stream": True, **fields})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "[DONE]" not in answer.text
    events = []
    for block in answer.text.split("\n\n"):
        if not block or block.startswith(":"):
            continue
        name, data = block.split("\n")
        event = orjson.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        EVENTS.validate_python(event, strict=True)
        events.append(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


BEGIN = ["created", "in_progress"]


async def test_a_text_has_the_events_of_the_protocol_in_their_order() -> None:
    async with stage(chat=Chats(TextDelta("Good "), TextDelta("day"), USED, Finished())) as gateway:
        events = await streamed(gateway, metadata={"a": "b"}, temperature=0.5, instructions="Be brief.")
    assert kinds(events) == [
        *BEGIN,
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    response = events[-1]["response"]
    assert response["output"] == [events[-2]["item"]]
    assert response["output"][0]["content"][0]["text"] == "Good day"
    assert response["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 12,
    }
    assert (response["status"], response["model"], response["store"]) == ("completed", "chat-chats/m", False)
    assert (response["metadata"], response["temperature"]) == ({"a": "b"}, 0.5)
    assert response["instructions"] == "Be brief."
    assert {event["response"]["id"] for event in events if "response" in event} == {response["id"]}
    assert response["id"].startswith("resp_")
    assert events[0]["response"]["output"] == []
    assert {event["item_id"] for event in events if "item_id" in event} == {response["output"][0]["id"]}


async def test_reasoning_calls_and_refusals_are_items_of_their_own() -> None:
    says = (
        TextDelta("hm", "reasoning"),
        TextDelta("m", "reasoning"),
        ThoughtSealed("seal"),
        ThoughtSealed("hidden", redacted=True),
        TextDelta("Let me look"),
        ToolCallDelta(0, "call_1", "weather", '{"city":'),
        ToolCallDelta(0, arguments='"Oslo"}'),
        ToolCallDelta(1, "call_2", "time"),
        Finished("tool_calls"),
    )
    async with stage(chat=Chats(*says)) as gateway:
        events = await streamed(gateway)
        one = Response.model_validate((await gateway.http.post("/v1/responses", json=HELLO)).json(), strict=True)
    assert kinds(events) == [
        *BEGIN,
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert [event["output_index"] for event in events if "item" in event] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    told = events[-1]["response"]["output"]
    assert [item["type"] for item in told] == ["reasoning", "reasoning", "message", "function_call", "function_call"]
    assert [item.get("encrypted_content") for item in told[:2]] == ["seal", "hidden"]
    calls = [(item["call_id"], item["name"], item["arguments"]) for item in told[3:]]
    assert calls == [("call_1", "weather", '{"city":"Oslo"}'), ("call_2", "time", "{}")]
    assert [item.type for item in one.output] == [item["type"] for item in told]
    assert one.output_text == "Let me look"


async def test_pieces_of_several_calls_may_come_in_turns() -> None:
    says = (
        ToolCallDelta(0, "call_1", "f", '{"a"'),
        ToolCallDelta(1, "call_2", "g", '{"b"'),
        ToolCallDelta(0, arguments=":1}"),
        ToolCallDelta(1, arguments=":2}"),
        Finished("tool_calls"),
    )
    async with stage(chat=Chats(*says)) as gateway:
        events = await streamed(gateway)
    assert [item["arguments"] for item in events[-1]["response"]["output"]] == ['{"a":1}', '{"b":2}']
    done = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert [(event["output_index"], event["arguments"]) for event in done] == [(0, '{"a":1}'), (1, '{"b":2}')]


async def test_a_refusal_is_a_part_of_its_message() -> None:
    async with stage(chat=Chats(TextDelta("I"), TextDelta("no", "refusal"), Finished())) as gateway:
        events = await streamed(gateway)
    assert kinds(events)[4:-2] == [
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "content_part.added",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
    ]
    assert [part["type"] for part in events[-1]["response"]["output"][0]["content"]] == ["output_text", "refusal"]


@pytest.mark.parametrize(("reason", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_what_was_cut_by_a_limit_is_incomplete(reason: Any, why: str) -> None:
    says = (TextDelta("Go"), ToolCallDelta(0, "call_1", "f", '{"a'), Finished(reason))
    async with stage(chat=Chats(*says)) as gateway:
        events = await streamed(gateway)
        one = await gateway.openai.responses.create(**HELLO)
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": why}
    assert [item["status"] for item in events[-1]["response"]["output"]] == ["completed", "incomplete"]
    assert one.status == "incomplete"
    assert one.incomplete_details is not None
    assert one.incomplete_details.reason == why


ITEMS: list[Any] = [
    {"role": "user", "content": "Look"},
    {
        "type": "message",
        "role": "user",
        "content": [
            {"type": "input_text", "text": "at"},
            {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "low"},
            {"type": "input_file", "file_data": "JVBERi0=", "filename": "a.pdf"},
        ],
    },
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": "s",
    },
    {"type": "reasoning", "id": "rs_redacted_1", "summary": [], "encrypted_content": "r"},
    {"type": "reasoning", "id": "rs_kept", "summary": []},
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "1"},
    {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
    {
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Done", "annotations": []}],
        "id": "msg_1",
        "status": "completed",
        "type": "message",
    },
    {"role": "assistant", "content": "Well done"},
]


SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS: Any = [{"type": "function", "name": "f", "description": "does", "parameters": SCHEMA, "strict": True}]


async def test_what_is_asked_is_told_in_types() -> None:
    chats = Chats(TextDelta("hi"), Finished())
    async with stage(chat=chats) as gateway:
        await gateway.openai.responses.create(
            model="chat",
            instructions="Be brief.",
            input=ITEMS,
            tools=TOOLS,
            tool_choice={"type": "function", "name": "f"},
            parallel_tool_calls=False,
            max_output_tokens=9,
            temperature=0.5,
            top_p=0.9,
            reasoning={"effort": "low", "summary": "auto"},
            text={"format": {"type": "json_schema", "name": "out", "schema": SCHEMA, "strict": True}},
            user="me",
        )
    [asked] = chats.asked
    assert asked.messages == (
        Message.of("system", "Be brief."),
        Message.of("user", "Look"),
        Message(
            "user",
            (Text("at"), Image("https://x.test/a.png", "low"), File("data:application/pdf;base64,JVBERi0=", "a.pdf")),
        ),
        Message(
            "assistant",
            (Thought("hm", "s"), Thought("", "r", redacted=True)),
            (ToolCall("c1", "f", "{}"), ToolCall("c2", "g", "{}")),
        ),
        Message("tool", (Text("1"),), (), "c1"),
        Message("tool", (Text("2"),), (), "c2"),
        Message.of("assistant", "Done"),
        Message.of("assistant", "Well done"),
    )
    assert asked.tools == (Tool("f", "does", orjson.dumps(SCHEMA).decode(), True),)
    assert (asked.tool_choice, asked.parallel_tool_calls) == (ToolChoice("function", "f"), False)
    assert (asked.max_tokens, asked.temperature, asked.top_p, asked.user) == (9, 0.5, 0.9, "me")
    assert asked.thinking == Thinking("low", shown=True)
    assert asked.format == AnswerFormat(orjson.dumps(SCHEMA).decode(), "out", "", True)
    assert (asked.dialect, asked.untyped, asked.stream) == ("responses", (), False)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1", "input": None}, "conversation"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
        ),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"include": ["message.output_text.logprobs"]}, "top_logprobs"),
    ],
    ids=str,
)
async def test_what_only_a_speaker_of_the_dialect_can_do_is_left_to_it(fields: dict[str, Any], param: str) -> None:
    chats = Chats(TextDelta("hi"), Finished())
    async with Upstream(responses.ok(3)) as upstream:
        native = OpenAI(Settings("up", upstream.url))
        async with stage(chat=chats, both=(Chats(), native)) as gateway:
            refused = await gateway.http.post("/v1/responses", json={**HELLO, **fields})
            served = await gateway.http.post("/v1/responses", json={**HELLO, "model": "both", **fields})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param
    assert param in refused.json()["error"]["message"]
    assert chats.asked == []
    assert served.status_code == 200
    assert upstream.received[0].json == {**HELLO, **fields, "model": "m", "stream": False}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 1}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].arguments"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://10.0.0.1/"}]}]},
            "input[0].content[0].image_url",
        ),
        ({"tools": [{"type": "mcp", "server_url": "http://localhost/"}]}, "tools[0].server_url"),
        ({"tool_choice": 1}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"metadata": "x"}, "metadata"),
        ({"temperature": -1}, "temperature"),
        ({"api_key": "x"}, "api_key"),
    ],
    ids=str,
)
async def test_a_mistake_is_told_by_the_name_of_its_field(fields: dict[str, Any], param: str) -> None:
    async with stage(chat=Chats(TextDelta("hi"), Finished())) as gateway:
        answer = await gateway.http.post("/v1/responses", json={**HELLO, **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_nothing_is_stored() -> None:
    async with stage(chat=Chats()) as gateway:
        for ask in (
            gateway.openai.responses.retrieve,
            gateway.openai.responses.delete,
            gateway.openai.responses.cancel,
        ):
            with pytest.raises(openai.NotFoundError, match="stores no responses"):
                await ask("resp_1")


@asynccontextmanager
async def native(*scripts: Any, **settings: Any) -> AsyncIterator[tuple[Gateway, Upstream]]:
    async with Upstream(*scripts) as upstream:
        async with stage(chat=OpenAI(Settings("up", upstream.url)), **settings) as gateway:
            yield gateway, upstream


async def test_a_stream_of_who_speaks_it_is_forwarded_as_it_came() -> None:
    async with native(responses.ok(3)) as (gateway, upstream):
        answer = await gateway.http.post("/v1/responses", json={**HELLO, "stream": True, "odd": [1]})
    sent = responses.begins() + b"".join(responses.words(3)) + responses.ends(text(3), 7, 3)
    forwarded = b"".join(block + b"\n\n" for block in answer.content.split(b"\n\n") if block and block[:1] != b":")
    assert forwarded == sent
    assert upstream.received[0].json == {**HELLO, "model": "m", "stream": True, "odd": [1]}


async def test_so_is_a_whole_one() -> None:
    async with native(responses.ok(3)) as (gateway, _):
        answer = await gateway.http.post("/v1/responses", json=HELLO)
    assert answer.json() == responses.response("completed", [responses.message(text(3))], usage=responses.usage(3))


NO = {"type": "server_error", "code": "server_error", "message": "no", "param": None}


async def test_a_failure_before_content_is_left_for_the_next_target() -> None:
    quota = {"type": "insufficient_quota", "code": "insufficient_quota", "message": "You exceeded", "param": None}
    async with Upstream(responses.fails(quota)) as bad:
        targets = (OpenAI(Settings("up", bad.url)), Chats(TextDelta("hi"), Finished()))
        async with stage(chat=targets) as gateway:
            events = await streamed(gateway)
    assert events[-1]["type"] == "response.completed"
    assert events[0]["response"]["id"] != "resp_upstream"
    assert bad.received


@pytest.mark.parametrize("script", [responses.dies(2), responses.fails(NO, after=2)], ids=["cut", "failed"])
async def test_a_stream_that_dies_is_ended_by_an_error(script: Any) -> None:
    async with native(script) as (gateway, _):
        events = await streamed(gateway)
        with pytest.raises(openai.APIError, match="up"):
            async for _event in await gateway.openai.responses.create(**HELLO, stream=True):
                pass
    assert kinds(events)[-2:] == ["error", "failed"]
    error, failed = events[-2:]
    assert (error["code"], error["error"]["code"], error["error"]["type"]) == (
        "upstream_failed",
        "upstream_failed",
        "server_error",
    )
    assert error["message"] == error["error"]["message"]
    assert failed["response"]["id"] == "resp_upstream"
    assert (failed["response"]["status"], failed["response"]["error"]["code"]) == ("failed", "server_error")
    [item] = failed["response"]["output"]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "w1 w2")


async def test_so_is_one_that_was_made_here() -> None:
    async with stage(chat=Chats(TextDelta("Go"), Unavailable("reset", "up"))) as gateway:
        events = await streamed(gateway)
    assert kinds(events)[-3:] == ["output_text.delta", "error", "failed"]
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "Go"


CONTINUE = replace(POLICY, mid_stream="continue")


async def test_a_forwarded_stream_that_dies_is_gone_on_with_by_another_target() -> None:
    async with Upstream(responses.dies(3)) as bad:
        second = Chats(TextDelta(" w4 and then the rest of it"), USED, Finished())
        async with stage(chat=(OpenAI(Settings("up", bad.url)), second), policy=CONTINUE) as gateway:
            events = await streamed(gateway)
    assert kinds(events)[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    response = events[-1]["response"]
    assert (response["id"], response["model"]) == ("resp_upstream", "chat-chats1/m")
    assert response["output"][0]["content"][0]["text"] == "w1 w2 w3 w4 and then the rest of it"
    assert response["usage"]["output_tokens"] == 5
    assert {event["item_id"] for event in events if "item_id" in event} == {responses.ITEM}
    assert second.asked[0].messages[-2].text == "w1 w2 w3"


async def test_one_that_was_made_here_is_gone_on_with_too() -> None:
    first = Chats(TextDelta("Going "), Unavailable("reset", "up"))
    async with stage(chat=(first, Chats(TextDelta("on and on and on and on"), Finished())), policy=CONTINUE) as gateway:
        events = await streamed(gateway)
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "Going on and on and on and on"


async def test_one_that_depends_on_what_only_its_upstream_knows_is_not() -> None:
    async with Upstream(responses.dies(3)) as bad:
        both = (OpenAI(Settings("up", bad.url)), OpenAI(Settings("up", bad.url)))
        async with stage(chat=both, policy=CONTINUE) as gateway:
            events = await streamed(gateway, previous_response_id="resp_0")
    assert kinds(events)[-2:] == ["error", "failed"]
    assert len(bad.received) == 1


async def test_a_caller_that_leaves_closes_the_upstream() -> None:
    async with native("endless") as (gateway, upstream):
        upstream.play(responses_endless)
        stream = await gateway.openai.responses.create(**HELLO, stream=True)
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
        await stream.close()
        await upstream.until_left()
        assert upstream.exchanges[0].outcome == "left"


async def responses_endless(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.send(responses.begins())
    for number in range(4, 10_000):
        await exchange.send(responses.word(" w", number))
        await asyncio.sleep(0.01)


async def test_a_caller_that_leaves_with_the_last_event_had_the_whole_answer() -> None:
    """Though the upstream keeps its connection open."""

    async def lingers(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(responses.begins() + b"".join(responses.words(2)) + responses.ends(text(2), 6, 2))
        await exchange.gone()

    async with native(lingers) as (gateway, upstream):
        stream = await gateway.openai.responses.create(**HELLO, stream=True)
        async for event in stream:
            if event.type == "response.completed":
                break
        await stream.close()
        await upstream.until_left()
        assert [sample.outcome for sample in gateway.samples] == ["ok"]
