"""OpenAI's recorded traffic through OpenAI's own provider: chats as openai_compatible reads them, and the Responses."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from gateway.contract.errors import OutOfQuota, ProviderError, Refused, Unauthorized, Unavailable
from gateway.contract.events import Finished, TextDelta, Usage
from providers.openai import Provider
from tests.conformance.test_recordings import ERRORS, STREAMS, Recording, calls, http, raws, recorded, replay, texts
from tests.upstreams import Upstream

pytestmark = pytest.mark.wire

CHATS = [name for name in (*STREAMS, *ERRORS) if name.startswith("openai_")]
RESPONSES = {
    "openai_responses_stream.1.http": ("", [("get_capital", '{"country":"France"}')], "tool_calls"),
    "openai_responses_stream.2.http": ("The capital of France is Paris.", [], "stop"),
}
QUOTA = "openai_responses_stream_insufficient_quota.chunks.jsonl"


@pytest.fixture
async def upstream() -> AsyncGenerator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


def response(shared: Path, name: str) -> Recording:
    file = shared / "recordings" / "llm" / name
    if name.endswith(".http"):
        return http(file)
    lines = [line for line in file.read_bytes().splitlines() if line]
    body = b"".join(b"event: %b\ndata: %b\n\n" % (orjson.loads(line)["type"].encode(), line) for line in lines)
    asked = {"input": "hello", "model": "gpt-5-nano", "stream": True}
    return Recording("/v1/responses", asked, 200, {"content-type": "text/event-stream; charset=utf-8"}, body)


@pytest.mark.parametrize("name", CHATS)
async def test_a_chat_is_read_as_by_openai_compatible(shared: Path, upstream: Upstream, name: str) -> None:
    recording = recorded(shared, name)
    recording = replace(recording, path="/v1/chat/completions", asked={"messages": [], **recording.asked})
    events, error = await replay(upstream, recording, build=Provider)
    others, other = await replay(upstream, recording)
    assert events == others
    assert repr(error) == repr(other)
    assert upstream.received[0].json == upstream.received[1].json


@pytest.mark.parametrize("piece", [0, 1000, 13])
@pytest.mark.parametrize("name", RESPONSES)
async def test_a_recorded_response_is_forwarded_whole(shared: Path, upstream: Upstream, name: str, piece: int) -> None:
    recording = response(shared, name)
    events, error = await replay(upstream, recording, piece, Provider)
    assert error is None
    assert raws(events) == recording.chunks
    assert (texts(events), calls(events), events[-1]) == (*RESPONSES[name][:2], Finished(RESPONSES[name][2]))  # type: ignore[arg-type]
    told = recording.chunks[-1]["response"]["usage"]
    used = next(event for event in events if isinstance(event, Usage))
    assert (used.input_tokens, used.output_tokens) == (told["input_tokens"], told["output_tokens"])
    [received] = upstream.received
    assert (received.path, received.json) == (recording.path, recording.asked)


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("left", [0.3, 0.6, 0.99])
async def test_a_recorded_response_cut_short_is_never_finished(
    shared: Path, upstream: Upstream, name: str, left: float
) -> None:
    whole = response(shared, name)
    kept = whole.body[: round(whole.body.rindex(b"event: response.completed") * left)]
    events, error = await replay(upstream, replace(whole, body=kept), build=Provider)
    assert type(error) is Unavailable
    assert not any(isinstance(event, Finished) for event in events)
    assert raws(events) == whole.chunks[: len(raws(events))]


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("openai_responses_400.http", Refused, "decimal_below_min_value"),
        ("openai_401_invalid_api_key.http", Unauthorized, "invalid_api_key"),
        (QUOTA, OutOfQuota, "insufficient_quota"),
    ],
)
async def test_a_recorded_failure(
    shared: Path, upstream: Upstream, name: str, kind: type[ProviderError], code: str
) -> None:
    recording = replace(response(shared, name), path="/v1/responses")
    events, error = await replay(upstream, recording, build=Provider)
    assert type(error) is kind
    assert error.code == code
    assert not any(isinstance(event, TextDelta | Finished) for event in events)  # nothing that a caller has seen
    if kind is Refused:
        assert (error.param, error.detail) == ("temperature", orjson.loads(recording.body)["error"]["message"])


def test_no_recording_of_openai_is_left_out(shared: Path) -> None:
    there = {file.name for file in (shared / "recordings" / "llm").iterdir() if file.name.startswith("openai_")}
    assert there == {*CHATS, *RESPONSES, QUOTA, "openai_responses_400.http", "openai_error_insufficient_quota.json"}
