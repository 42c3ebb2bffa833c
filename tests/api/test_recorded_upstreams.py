"""Every recorded answer of an OpenAI-shaped upstream, through the endpoints to OpenAI's official client.

The upstream replays it on a socket. A chat is asked for as a chat and as a response; a response as a response.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.contract.provider import Secret, Settings
from providers import openai as openai_provider
from providers import openai_compatible
from tests.api.stage import Gateway, stage
from tests.conformance.test_openai_recordings import QUOTA, RESPONSES, response
from tests.conformance.test_recordings import STREAMS, Recording, recorded
from tests.upstream_scripts import bytes_as_they_are
from tests.upstreams import Upstream

pytestmark = pytest.mark.wire
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@asynccontextmanager
async def replaying(name: str, recording: Recording) -> AsyncIterator[Gateway]:
    fields = {each.replace("-", "_"): value for each, value in recording.headers.items()}
    module = openai_provider if name.startswith("openai_") else openai_compatible
    async with Upstream(bytes_as_they_are(recording.body, recording.status, 1000, **fields)) as upstream:
        async with stage(chat=module.Provider(Settings("up", upstream.url, Secret("key")))) as gateway:
            yield gateway


def said(recording: Recording) -> tuple[str, list[tuple[str, str]]]:
    """The text and the calls of a recorded chat."""
    text, calls = "", dict[int, tuple[str, str]]()
    for choice in (each for chunk in recording.chunks for each in chunk["choices"]):
        text += choice["delta"].get("content") or ""
        for call in choice["delta"].get("tool_calls") or []:
            name, arguments = calls.get(call["index"], ("", ""))
            function = call["function"]
            calls[call["index"]] = (function.get("name") or name, arguments + (function.get("arguments") or ""))
    return text, list(calls.values())


@pytest.mark.parametrize("name", STREAMS)
async def test_a_recorded_chat_as_a_chat(shared: Path, name: str) -> None:
    recording = recorded(shared, name)
    async with replaying(name, recording) as gateway:
        stream = await gateway.openai.chat.completions.create(
            model="chat", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    got = Recording("", {}, 200, {}, b"".join(b"data: %b\n" % each.model_dump_json().encode() for each in chunks))
    assert said(got) == said(recording)
    assert [c.finish_reason for each in chunks for c in each.choices if c.finish_reason] == [STREAMS[name][2]]
    if STREAMS[name][0] is not None:
        used = [each.usage for each in chunks if each.usage][-1]
        assert (used.prompt_tokens, used.completion_tokens) == STREAMS[name][:2]


@pytest.mark.parametrize("name", [name for name in STREAMS if not name.startswith("openai_")])
async def test_a_recorded_chat_as_a_response(shared: Path, name: str) -> None:
    recording = recorded(shared, name)
    async with replaying(name, recording) as gateway:
        answer = await gateway.http.post("/v1/responses", json={"model": "chat", "input": "hello", "stream": True})
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    events = [orjson.loads(line) for line in lines]
    for event in events:
        EVENTS.validate_python(event, strict=True)
    final = Response.model_validate(events[-1]["response"], strict=True)
    assert final.status == "completed"
    assert (final.output_text, []) == said(recording)
    assert not any(item.type == "function_call" for item in final.output)
    reasoning = "".join(
        choice["delta"].get("reasoning_content") or "" for chunk in recording.chunks for choice in chunk["choices"]
    )
    assert "".join(part.text for item in final.output if item.type == "reasoning" for part in item.summary) == reasoning
    assert final.usage is not None
    assert (final.usage.input_tokens, final.usage.output_tokens) == STREAMS[name][:2]


@pytest.mark.parametrize("name", RESPONSES)
async def test_a_recorded_response(shared: Path, name: str) -> None:
    text, calls, _ = RESPONSES[name]
    async with replaying(name, response(shared, name)) as gateway:
        async with gateway.openai.responses.stream(model="chat", input="hello") as stream:
            final = await stream.get_final_response()
    assert final.output_text == text
    assert [(each.name, each.arguments) for each in final.output if each.type == "function_call"] == calls


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("openai_responses_400.http", openai.BadRequestError, "decimal below minimum value"),
        ("openai_401_invalid_api_key.http", openai.InternalServerError, "401"),
        ("openai_404_model_not_found.http", openai.InternalServerError, "404"),
        (QUOTA, openai.InternalServerError, "insufficient_quota"),
    ],
)
async def test_a_recorded_failure(shared: Path, name: str, kind: type[openai.APIStatusError], told: str) -> None:
    async with replaying(name, response(shared, name)) as gateway:
        with pytest.raises(kind, match=told) as caught:
            await gateway.openai.responses.create(model="chat", input="hello", stream=True)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert "sk-" not in str(caught.value.body)
