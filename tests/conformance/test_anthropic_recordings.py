"""Recorded traffic of Anthropic's, replayed on a socket through its provider, for callers of its own protocol and of others."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.contract.errors import ProviderError, Refused, Unauthorized, Unavailable
from gateway.contract.events import Finished, ProviderEvent, TextDelta, Usage
from gateway.contract.messages import Message, Tool
from gateway.contract.provider import Secret, Settings
from gateway.contract.requests import ChatRequest
from providers.anthropic import Provider
from tests.conformance.test_recordings import Recording, calls, http, raws, texts
from tests.upstream_scripts import bytes_as_they_are
from tests.upstreams import Upstream

pytestmark = pytest.mark.wire

TOOLS, REFUSAL = "anthropic_stream_tools_ratelimit_headers.http", "anthropic_refusal.chunks.jsonl"
ERRORS = {
    "anthropic_400_invalid_request.http": (Refused, "invalid_request_error"),
    "anthropic_401.http": (Unauthorized, "authentication_error"),
    "anthropic_404_model.http": (Unavailable, "not_found_error"),
}


def recorded(shared: Path, name: str) -> Recording:
    file = shared / "recordings" / "llm" / name
    if name.endswith(".http"):
        return http(file)
    events = [line for line in file.read_bytes().splitlines() if line]  # recorded without their framing
    body = b"".join(b"event: %b\ndata: %b\n\n" % (orjson.loads(each)["type"].encode(), each) for each in events)
    asked = {"messages": [{"role": "user", "content": "hello"}], "model": "m", "stream": True, "max_tokens": 9}
    return Recording("/v1/messages", asked, 200, {"content-type": "text/event-stream"}, body)


@pytest.fixture
async def upstream() -> AsyncGenerator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


async def replay(
    upstream: Upstream, recording: Recording, request: ChatRequest | None = None, piece: int = 0
) -> tuple[list[ProviderEvent], ProviderError | None]:
    """What the caller gets. `request`: instead of the recorded body, as a caller of this protocol sends it."""
    fields = {name.replace("-", "_"): value for name, value in recording.headers.items()}
    upstream.play(bytes_as_they_are(recording.body, recording.status, piece, **fields))
    body = {**recording.asked, "model": "our-route"}
    own = ChatRequest((), stream=bool(recording.asked.get("stream")), body=body, dialect="messages")
    events: list[ProviderEvent] = []
    async with aclosing(Provider(Settings("acme", upstream.origin, Secret("key")))) as provider:
        async with aclosing(provider.chat(recording.asked["model"], request or own)) as answer:
            try:
                async for event in answer:
                    events.append(event)  # noqa: PERF401 - what came before an error counts
            except ProviderError as error:
                return events, error
    return events, None


def typed(stream: bool = True) -> ChatRequest:
    return ChatRequest((Message.of("user", "hello"),), stream=stream, tools=(Tool("get_weather"),))


@pytest.mark.parametrize("piece", [0, 1000, 13])
@pytest.mark.parametrize("name", [TOOLS, REFUSAL])
async def test_a_recorded_stream_is_forwarded_whole(shared: Path, upstream: Upstream, name: str, piece: int) -> None:
    recording = recorded(shared, name)
    events, error = await replay(upstream, recording, piece=piece)
    assert error is None
    assert raws(events) == recording.chunks
    assert isinstance(events[-1], Finished)


@pytest.mark.parametrize("piece", [0, 13])
async def test_a_recorded_tool_call_in_typed_form(shared: Path, upstream: Upstream, piece: int) -> None:
    recording = recorded(shared, TOOLS)
    events, error = await replay(upstream, recording, typed(), piece)
    assert error is None
    assert raws(events) == []
    deltas = [chunk["delta"] for chunk in recording.chunks if chunk["type"] == "content_block_delta"]
    assert texts(events) == "".join(delta.get("text", "") for delta in deltas)
    assert [(name, orjson.loads(arguments)) for name, arguments in calls(events)] == [
        ("get_weather", {"location": "San Francisco, CA"})
    ]
    [used] = [event for event in events if isinstance(event, Usage)]
    told = recording.chunks[-2]["usage"]
    assert (used.input_tokens, used.output_tokens) == (599, told["output_tokens"])
    assert events[-1] == Finished("tool_calls")


async def test_the_recorded_refusal_in_typed_form(shared: Path, upstream: Upstream) -> None:
    events, error = await replay(upstream, recorded(shared, REFUSAL), typed())
    assert error is None
    assert "blocked under Anthropic's Usage Policy" in texts(events, "refusal")
    assert events[1:] == [Usage(18, 5), Finished("content_filter")]


@pytest.mark.parametrize("name", [TOOLS, REFUSAL, *ERRORS])
async def test_what_was_asked_is_asked_again(shared: Path, upstream: Upstream, name: str) -> None:
    recording = recorded(shared, name)
    await replay(upstream, recording)
    [received] = upstream.received
    assert (received.method, received.path) == ("POST", "/v1/messages")
    assert received.json == {"stream": False, **recording.asked}
    assert received.headers["x-api-key"] == "key"
    assert received.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in received.headers


@pytest.mark.parametrize("left", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", [TOOLS, REFUSAL])
async def test_a_recorded_stream_cut_short_is_never_finished(
    shared: Path, upstream: Upstream, name: str, left: float
) -> None:
    whole = recorded(shared, name)
    kept = whole.body[: round(whole.body.rindex(b'"stop_reason":"') * left)]
    for request in (None, typed()):
        events, error = await replay(upstream, replace(whole, body=kept), request)
        assert type(error) is Unavailable
        assert not any(isinstance(event, Finished) for event in events)
        assert raws(events) == whole.chunks[: len(raws(events))]


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("name", ERRORS)
async def test_a_recorded_error(shared: Path, upstream: Upstream, name: str, own: bool) -> None:
    recording = recorded(shared, name)
    events, error = await replay(upstream, recording, None if own else typed(stream=False))
    kind, code = ERRORS[name]
    assert events == []
    assert type(error) is kind
    assert (error.status, error.code, str(error)) == (recording.status, code, f"{recording.status} ({code})")
    said: dict[str, Any] = orjson.loads(recording.body)["error"]
    assert (error.detail, error.param) == ((said["message"], "messages.0") if kind is Refused else (None, None))


async def test_text_is_streamed_as_it_came(shared: Path, upstream: Upstream) -> None:
    events, _ = await replay(upstream, recorded(shared, TOOLS), typed())
    assert sum(isinstance(event, TextDelta) for event in events) > 10


def test_no_recording_of_anthropics_is_left_out(shared: Path) -> None:
    there = {file.name for file in (shared / "recordings" / "llm").glob("anthropic*")}
    assert there == {TOOLS, REFUSAL, *ERRORS}
