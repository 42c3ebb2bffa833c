"""What is sent to Anthropic for typed messages. Every body is held against the types of its own client."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import orjson
import pytest
from anthropic.lib._parse._transform import transform_schema
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming

from gateway.contract.audio import Audio
from gateway.contract.messages import File, Image, Message, Sound, Text, Thought, Tool, ToolCall
from gateway.contract.requests import AnswerFormat, ChatRequest, Thinking, ToolChoice
from providers._anthropic_body import Defaults, cannot, encode
from providers._anthropic_schema import supported
from tests.typed_dicts import fits

ADAPTIVE, BUDGET, SAMPLING = Defaults(), Defaults(thinking="budget"), Defaults(sampling=True)
HELLO = Message.of("user", "hello")
WEATHER = Tool("weather", "Tells the weather.", '{"type":"object","properties":{"city":{"type":"string"}}}')
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def sent(request: ChatRequest, defaults: Defaults = ADAPTIVE) -> dict[str, Any]:
    assert cannot(request, defaults) is None
    body = orjson.loads(encode("m", request, defaults))
    assert fits(body, MessageCreateParamsStreaming if request.stream else MessageCreateParamsNonStreaming)
    return dict(body)


def test_a_plain_question() -> None:
    assert sent(ChatRequest((Message.of("system", "Be brief."), HELLO))) == {
        "model": "m",
        "stream": True,
        "max_tokens": 8192,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "hello"}],
    }


def test_what_limits_the_answer() -> None:
    body = sent(ChatRequest((HELLO,), max_tokens=5, stop=("END", "\n"), user="someone", seed=7))
    assert body["max_tokens"] == 5
    assert body["stop_sequences"] == ["END"]  # white space alone is refused
    assert body["metadata"] == {"user_id": "someone"}
    assert "seed" not in body


def test_only_older_models_are_told_a_temperature() -> None:
    names = ("temperature", "top_p", "top_k")
    asked = ChatRequest((HELLO,), temperature=0.0, top_p=0.5, top_k=3)
    assert not sent(asked).keys() & set(names)
    old = orjson.loads(encode("m", asked, SAMPLING))
    assert [old[name] for name in names] == [0.0, 0.5, 3]
    assert "top_p" not in orjson.loads(encode("m", replace(asked, top_p=1.0), SAMPLING))
    thinks = orjson.loads(encode("m", replace(asked, thinking=Thinking("low")), SAMPLING))
    assert not thinks.keys() & set(names)


def test_system_prompts_stand_apart_and_marks_are_kept() -> None:
    said = (
        Message("system", (Text("Long rules.", "1h"),)),
        Message.of("developer", "Be brief."),
        Message("user", (Text("hello", "5m"),)),
    )
    body = sent(ChatRequest(said))
    assert body["system"] == [
        {"type": "text", "text": "Long rules.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "Be brief."},
    ]
    assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}


def test_turns_alternate_and_empty_text_is_left_out() -> None:
    said = (
        Message.of("user", "one"),
        Message.of("user", ""),
        Message.of("user", "two"),
        Message.of("assistant", " "),
        Message.of("user", "three"),
        Message.of("assistant", "so far \n"),
    )
    assert sent(ChatRequest(said))["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": each} for each in ("one", "two", "three")]},
        {"role": "assistant", "content": "so far"},
    ]


def test_a_conversation_that_the_assistant_began_begins_with_the_user() -> None:
    said = (Message.of("assistant", "Good day!"), HELLO)
    assert [turn["role"] for turn in sent(ChatRequest(said))["messages"]] == ["user", "assistant", "user"]


def test_tools_calls_and_results() -> None:
    calls = (ToolCall("functions.weather:0", "weather", '{"city":"Oslo"}'), ToolCall("c2", "weather", ""))
    said = (
        HELLO,
        Message("assistant", (Text("I look."),), calls),
        Message("tool", (Text("rain"), Image(PIXEL)), tool_call_id="functions.weather:0"),
        Message("tool", (Text("no such city", "5m"),), tool_call_id="c2", failed=True),
        Message.of("user", "and?"),
    )
    body = sent(ChatRequest(said, tools=(WEATHER, Tool("now", strict=True, cache="5m"))))
    assert body["tools"] == [
        {
            "name": "weather",
            "description": "Tells the weather.",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
        {
            "name": "now",
            "input_schema": {"type": "object", "additionalProperties": False},
            "strict": True,
            "cache_control": {"type": "ephemeral"},
        },
    ]
    assert body["messages"][1]["content"] == [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "functions_weather_0", "name": "weather", "input": {"city": "Oslo"}},
        {"type": "tool_use", "id": "c2", "name": "weather", "input": {}},
    ]
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    assert body["messages"][2:] == [
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "functions_weather_0",
                    "content": [{"type": "text", "text": "rain"}, picture],
                },
                {
                    "type": "tool_result",
                    "tool_use_id": "c2",
                    "content": "no such city",
                    "is_error": True,
                    "cache_control": {"type": "ephemeral"},
                },
                {"type": "text", "text": "and?"},
            ],
        }
    ]


@pytest.mark.parametrize("arguments", ["[1", '"text"', "[1]"])
def test_arguments_that_are_no_object_do_not_end_the_conversation(arguments: str) -> None:
    said = (HELLO, Message("assistant", (), (ToolCall("c", "weather", arguments),)), Message("tool", tool_call_id="c"))
    [call] = sent(ChatRequest(said, tools=(WEATHER,)))["messages"][1]["content"]
    assert set(call["input"]) == {"arguments"}


@pytest.mark.parametrize(
    ("choice", "parallel", "told"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("auto"), None, {"type": "auto"}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice("function", "weather"), None, {"type": "tool", "name": "weather"}),
    ],
)
def test_which_tool_is_to_be_called(
    choice: ToolChoice | None, parallel: bool | None, told: dict[str, Any] | None
) -> None:
    asked = ChatRequest((HELLO,), tools=(WEATHER,), tool_choice=choice, parallel_tool_calls=parallel)
    assert sent(asked).get("tool_choice") == told


def test_pictures_and_files() -> None:
    plain = "data:text/plain;base64," + base64.b64encode("Grüße".encode()).decode()
    parts = (
        Image("https://example.com/a.png", "high"),
        Image("data:image/jpeg;base64,AAAA", cache="5m"),
        File("data:application/pdf;base64,JVBERi0=", "paper.pdf"),
        File("https://example.com/b.pdf"),
        File(plain),
    )
    blocks = sent(ChatRequest((Message("user", parts),)))["messages"][0]["content"]
    assert [block["source"] for block in blocks] == [
        {"type": "url", "url": "https://example.com/a.png"},
        {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"},
        {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
        {"type": "url", "url": "https://example.com/b.pdf"},
        {"type": "text", "media_type": "text/plain", "data": "Grüße"},
    ]
    assert [block["type"] for block in blocks] == ["image", "image", "document", "document", "document"]
    assert blocks[2]["title"] == "paper.pdf"
    assert blocks[1]["cache_control"] == {"type": "ephemeral"}


def test_a_schema_for_the_answer() -> None:
    schema = '{"type":"object","properties":{},"additionalProperties":false}'
    body = sent(ChatRequest((HELLO,), format=AnswerFormat(schema, "answer", strict=True)))
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": orjson.loads(schema)}}


def test_a_schema_holds_only_what_the_model_can_be_held_to() -> None:
    given = {
        "type": "object",
        "$schema": "x",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "description": "In years."},
            "pet": {"oneOf": [{"$ref": "#/$defs/Cat"}, {"type": "null"}]},
            "mail": {"type": "string", "format": "email"},
            "code": {"type": "string", "format": "odd"},
            "tags": {"type": "array", "items": {"type": "object", "properties": {}}, "minItems": 2},
        },
        "required": ["age"],
        "additionalProperties": True,
        "$defs": {"Cat": {"type": "object", "properties": {"name": {"type": "string"}}}},
    }
    assert supported(given) == {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "description": 'In years.\n\n{"minimum":0}'},
            "pet": {"anyOf": [{"$ref": "#/$defs/Cat"}, {"type": "null"}]},
            "mail": {"type": "string", "format": "email"},
            "code": {"type": "string", "description": '{"format":"odd"}'},
            "tags": {
                "type": "array",
                "items": {"type": "object", "properties": {}, "additionalProperties": False},
                "description": '{"minItems":2}',
            },
        },
        "required": ["age"],
        "additionalProperties": False,
        "$defs": {"Cat": {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": False}},
    }
    ours, theirs = supported(given), transform_schema(given)
    for schema in (ours, theirs):  # both say the rest in words, each in its own
        schema.pop("description", None)
        for each in schema["properties"].values():
            each.pop("description", None)
    assert ours == theirs


@pytest.mark.parametrize(
    ("thinking", "defaults", "told", "effort"),
    [
        (Thinking("none"), ADAPTIVE, {"type": "disabled"}, None),
        (Thinking("minimal"), ADAPTIVE, {"type": "adaptive"}, "low"),
        (Thinking("xhigh", shown=True), ADAPTIVE, {"type": "adaptive", "display": "summarized"}, "xhigh"),
        (Thinking(adaptive=True, shown=False), ADAPTIVE, {"type": "adaptive", "display": "omitted"}, None),
        (Thinking(budget=1500), ADAPTIVE, {"type": "adaptive"}, "low"),
        (Thinking(budget=60_000), ADAPTIVE, {"type": "adaptive"}, "xhigh"),
        (Thinking("medium"), BUDGET, {"type": "enabled", "budget_tokens": 8192}, None),
        (Thinking(budget=3000), BUDGET, {"type": "enabled", "budget_tokens": 3000}, None),
    ],
)
def test_thinking(thinking: Thinking, defaults: Defaults, told: dict[str, Any], effort: str | None) -> None:
    body = sent(ChatRequest((HELLO,), thinking=thinking), defaults)
    assert body["thinking"] == told
    assert body.get("output_config", {}).get("effort") == effort
    if budget := told.get("budget_tokens"):
        assert body["max_tokens"] == budget + 8192


@pytest.mark.parametrize(("limit", "budget"), [(9000, 8192), (3000, 2999), (1024, None), (10, None)])
def test_a_budget_has_its_place_below_the_limit(limit: int, budget: int | None) -> None:
    body = sent(ChatRequest((HELLO,), thinking=Thinking("medium"), max_tokens=limit), BUDGET)
    assert body["max_tokens"] == limit
    assert body.get("thinking", {}).get("budget_tokens") == budget


def test_a_forced_tool_is_not_thought_about() -> None:
    asked = ChatRequest((HELLO,), tools=(WEATHER,), tool_choice=ToolChoice("required"), thinking=Thinking("high"))
    assert "thinking" not in sent(asked)


@pytest.mark.parametrize("sealed", [True, False])
def test_thoughts_are_handed_back_if_they_are_sealed(sealed: bool) -> None:
    thoughts = (Thought("hm", "seal" if sealed else None), Thought("", "dark" if sealed else None, redacted=True))
    call = Message("assistant", (*thoughts, Text("I look.")), (ToolCall("c", "weather", "{}"),))
    said = (HELLO, call, Message("tool", (Text("rain"),), tool_call_id="c"))
    body = sent(ChatRequest(said, tools=(WEATHER,), thinking=Thinking("low")), BUDGET)
    kinds = [block["type"] for block in body["messages"][1]["content"]]
    assert kinds == [*(["thinking", "redacted_thinking"] if sealed else []), "text", "tool_use"]
    assert ("thinking" in body) is sealed  # it cannot go on in a turn that did not begin with a thought
    if sealed:
        assert body["messages"][1]["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "seal"}


@pytest.mark.parametrize("seal", ["gemini:abc", "gAAAAABo"])
def test_thoughts_that_another_sealed_are_left_out(seal: str) -> None:
    said = (HELLO, Message("assistant", (Thought("hm", seal), Text("yes"))), HELLO)
    assert sent(ChatRequest(said, thinking=Thinking("low")))["messages"][1]["content"] == "yes"


def test_a_callers_own_body_survives_but_for_model_and_stream() -> None:
    own = {
        "model": "route",
        "max_tokens": 0,
        "messages": [],
        "container": "c",
        "tools": [{"type": "web_search_20250305"}],
    }
    request = ChatRequest((), stream=False, body=own, dialect="messages", untyped=("container",))
    assert cannot(request, ADAPTIVE) is None
    assert orjson.loads(encode("m", request, ADAPTIVE)) == {**own, "model": "m", "stream": False}
    assert own["model"] == "route"


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (ChatRequest((HELLO,), untyped=("tools[0].type",)), "it cannot be told 'tools[0].type'"),
        (ChatRequest((HELLO,), n=2), "it gives one answer at a time (n)"),
        (ChatRequest((HELLO,), logprobs=True), "it does not tell logprobs"),
        (ChatRequest((HELLO,), presence_penalty=1.0), "it has no presence_penalty and no frequency_penalty"),
        (ChatRequest((HELLO,), temperature=1.5), "its temperature ends at 1"),
        (
            ChatRequest((HELLO,), format=AnswerFormat()),
            "it promises JSON only by a schema (response_format json_schema)",
        ),
        (ChatRequest((Message("user", (Sound(Audio(b"", 16_000)),)),)), "it does not hear audio"),
        (
            ChatRequest((Message("assistant", (Image(PIXEL),)),)),
            "it takes no pictures or files in a message of the assistant's",
        ),
        (
            ChatRequest((Message("user", (Image("data:image/tiff;base64,AA"),)),)),
            "it takes pictures by https, or as JPEG, PNG, GIF or WebP in a data URL",
        ),
        (
            ChatRequest((Message("user", (File("data:text/csv;base64,AA"),)),)),
            "it takes files by https, or as PDF or plain text in a data URL",
        ),
        (ChatRequest((Message.of("system", "x"),)), "it needs a message that is not the system's"),
    ],
)
def test_what_it_cannot_do_is_said_before_it_is_asked(request_: ChatRequest, why: str) -> None:
    assert cannot(request_, SAMPLING) == why


def test_zero_penalties_are_nothing() -> None:
    assert cannot(ChatRequest((HELLO,), presence_penalty=0.0, frequency_penalty=0.0, temperature=1.0), SAMPLING) is None
