"""What is sent: the caller's body with three fields set, or one built from typed messages."""

import base64
import io
import wave
from typing import Any

import orjson
import pytest

from gateway.contract.audio import Audio
from gateway.contract.errors import Refused
from gateway.contract.messages import Image, Message, Sound, Text, Tool, ToolCall
from gateway.contract.requests import ChatRequest
from providers._openai_body import Quirks, encode


def sent(request: ChatRequest, include_usage: bool = True) -> dict[str, Any]:
    body = orjson.loads(encode("m", request, Quirks(include_usage)))
    assert isinstance(body, dict)
    return body


def test_the_callers_body_survives_but_for_model_stream_and_usage() -> None:
    body = {"model": "route", "messages": [{"role": "user", "content": "hi"}], "logit_bias": {"1": 2}, "new": [None]}
    assert sent(ChatRequest((), body=body)) == body | {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert body["model"] == "route"


def test_the_callers_other_stream_options_survive() -> None:
    body = {"messages": [], "stream_options": {"include_obfuscation": False, "include_usage": False}}
    assert sent(ChatRequest((), body=body))["stream_options"] == {"include_obfuscation": False, "include_usage": True}


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
def test_an_answer_in_one_piece_is_asked_for_without_stream_options(options: dict[str, Any]) -> None:
    body = {"messages": [], "stream": True, **options}
    assert sent(ChatRequest((), stream=False, body=body)) == {"messages": [], "model": "m", "stream": False}


def test_usage_is_not_asked_of_those_who_refuse_to_be_asked() -> None:
    assert "stream_options" not in sent(ChatRequest((Message.of("user", "hi"),)), include_usage=False)


def test_typed_messages_become_openais() -> None:
    request = ChatRequest(
        (
            Message.of("system", "Be brief."),
            Message("user", (Text("What is "), Text("this?"))),
            Message("assistant", tool_calls=(ToolCall("c1", "look", '{"at": 1}'),)),
            Message("tool", (Text("a cat"),), tool_call_id="c1"),
            Message.of("assistant", ""),
        ),
        tools=(Tool("look", "Looks.", '{"type": "object", "properties": {}}'),),
        max_tokens=5,
        temperature=0.0,
        top_p=0.5,
        stop=("\n",),
        seed=7,
    )
    assert sent(request) == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is this?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
                ],
            },
            {"role": "tool", "content": "a cat", "tool_call_id": "c1"},
            {"role": "assistant", "content": ""},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "look",
                    "description": "Looks.",
                    "parameters": {"type": "object", "properties": {}},
                },
            }
        ],
        "max_tokens": 5,
        "temperature": 0.0,
        "top_p": 0.5,
        "stop": ["\n"],
        "seed": 7,
    }


def test_what_was_not_said_is_not_sent() -> None:
    assert sent(ChatRequest((Message.of("user", "hi"),), stream=False)) == {
        "model": "m",
        "stream": False,
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_images_and_sound_are_parts() -> None:
    parts = (
        Text("look"),
        Image("https://x/y.png"),
        Image("data:image/png;base64,AA", "low"),
        Sound(Audio(b"\1\0", 8000)),
    )
    text, image, small, sound = sent(ChatRequest((Message("user", parts),)))["messages"][0]["content"]
    assert text == {"type": "text", "text": "look"}
    assert image == {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    assert small == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}}
    assert (sound["type"], sound["input_audio"]["format"]) == ("input_audio", "wav")
    with wave.open(io.BytesIO(base64.b64decode(sound["input_audio"]["data"]))) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.readframes(9)) == (8000, 1, b"\1\0")


@pytest.mark.parametrize("said", ["\ud800", 2**70, object()])
def test_what_json_cannot_say_is_refused_without_quoting_it(said: object) -> None:
    with pytest.raises(Refused, match="cannot be written") as caught:
        encode("m", ChatRequest((), body={"messages": [], "x": said}), Quirks())
    assert caught.value.__cause__ is None


def test_a_tool_whose_parameters_are_no_json_is_refused() -> None:
    with pytest.raises(Refused, match="parameters"):
        encode("m", ChatRequest((), tools=(Tool("f", parameters="{"),)), Quirks())
