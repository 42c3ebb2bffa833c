"""Every recorded answer of Anthropic's, through the endpoints to its own official client, and to OpenAI's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from gateway.contract.provider import Secret, Settings
from providers.anthropic import Provider
from tests.api.stage import Gateway, stage
from tests.api.test_messages import ask
from tests.conformance.test_anthropic_recordings import ERRORS, REFUSAL, TOOLS, recorded
from tests.upstream_scripts import bytes_as_they_are
from tests.upstreams import Upstream

pytestmark = pytest.mark.wire
HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@asynccontextmanager
async def replaying(shared: Path, name: str) -> AsyncIterator[Gateway]:
    recording = recorded(shared, name)
    fields = {each.replace("-", "_"): value for each, value in recording.headers.items()}
    async with Upstream(bytes_as_they_are(recording.body, recording.status, 1000, **fields)) as upstream:
        async with stage(chat=Provider(Settings("up", upstream.url, Secret("key")))) as gateway:
            yield gateway


async def test_the_recorded_call(shared: Path) -> None:
    async with replaying(shared, TOOLS) as gateway:
        message = await ask(gateway, True)
        asked: Any = {"model": "chat", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
        chunks = [chunk async for chunk in await gateway.openai.chat.completions.create(**asked)]
    said, call = message.content
    assert (call.name, call.input, message.stop_reason) == (
        "get_weather",
        {"location": "San Francisco, CA"},
        "tool_use",
    )
    assert (message.id, message.usage.input_tokens) == ("msg_01RQXWh4UaLp6wsR9R8i8RZ3", 599)
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == said.text
    calls = [each for delta in deltas for each in delta.tool_calls or []]
    assert (calls[0].id, calls[0].function.name) == (call.id, "get_weather")
    assert "".join(each.function.arguments for each in calls) == '{"location": "San Francisco, CA"}'
    assert [chunk.usage.prompt_tokens for chunk in chunks if chunk.usage] == [599]


async def test_the_recorded_refusal(shared: Path) -> None:
    async with replaying(shared, REFUSAL) as gateway:
        message = await ask(gateway, True)
        asked: Any = {"model": "chat", "messages": HELLO, "stream": True}
        chunks = [chunk async for chunk in await gateway.openai.chat.completions.create(**asked)]
    assert (message.content, message.stop_reason, message.stop_details.category) == ([], "refusal", "cyber")
    told = "".join(choice.delta.refusal or "" for chunk in chunks for choice in chunk.choices)
    assert told == message.stop_details.explanation
    assert chunks[-1].choices[0].finish_reason == "content_filter"


@pytest.mark.parametrize("name", ERRORS)
async def test_a_recorded_error(shared: Path, name: str) -> None:
    at_fault = name == "anthropic_400_invalid_request.http"  # the others are the gateway's own: its key, its model
    async with replaying(shared, name) as gateway:
        with pytest.raises(anthropic.APIStatusError) as theirs:
            await ask(gateway, False)
        with pytest.raises(openai.APIStatusError) as others:
            await gateway.openai.chat.completions.create(model="chat", messages=HELLO)
    assert theirs.value.status_code == others.value.status_code == (400 if at_fault else 503)
    assert ("Input does not match the expected shape" in str(theirs.value)) is at_fault
    said: Any = theirs.value.body
    assert said["error"]["type"] == ("invalid_request_error" if at_fault else "api_error")
    assert "x-api-key" not in str(said)
