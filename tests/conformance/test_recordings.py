"""Recorded traffic of OpenAI-shaped providers, replayed on a socket through openai_compatible (OpenAI's own: also in
test_openai_recordings.py).

`../shared/recordings/llm` (its MANIFEST.md says where each comes from). `.http`: a request and its answer; `.chunks.jsonl`:
one chunk a line. What is checked: what we send for the request that was recorded, and what comes of the answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Unauthorized, Unavailable
from gateway.contract.events import JOINT, Finished, ProviderEvent, TextDelta, ToolCallDelta, Usage
from gateway.contract.provider import Secret, Settings
from gateway.contract.requests import ChatRequest, Dialect
from providers import openai, openai_compatible
from tests.upstream_scripts import bytes_as_they_are
from tests.upstreams import Upstream

pytestmark = pytest.mark.wire
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding"}


@dataclass(frozen=True)
class Recording:
    """`path`: of the request. `asked`: its body."""

    path: str
    asked: dict[str, Any]
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def chunks(self) -> list[Any]:
        """What a client of the provider itself would have read."""
        lines = [line.removeprefix(b"data: ") for line in self.body.splitlines() if line.startswith(b"data: ")]
        return [orjson.loads(line) for line in lines if line != b"[DONE]"]


def http(file: Path) -> Recording:
    request, _, answer = file.read_bytes().partition(b"### RESPONSE")
    asked_head, _, asked = request.partition(b"\n\n")
    head, _, body = answer.partition(b"\n\n")
    _, status, *fields = head.decode().split("\n")
    headers = dict(field.lower().split(": ", 1) for field in fields)
    return Recording(
        path=asked_head.decode().split("\n")[1].split(" ")[1],
        asked=orjson.loads(asked),
        status=int(status.split(" ")[1]),
        headers={name: value for name, value in headers.items() if name not in HOP_BY_HOP},
        body=body,
    )


def chunks(file: Path) -> Recording:
    """Recorded without its framing, and without [DONE]."""
    body = b"".join(b"data: " + line + b"\n\n" for line in file.read_bytes().splitlines() if line)
    asked = {"messages": [{"role": "user", "content": "hello"}], "model": "grok-3-mini", "stream": True}
    return Recording("/v1/chat/completions", asked, 200, {"content-type": "text/event-stream"}, body)


@pytest.fixture
async def upstream() -> AsyncGenerator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


async def replay(
    upstream: Upstream,
    recording: Recording,
    piece: int = 0,
    build: Callable[[Settings], openai.Provider | openai_compatible.Provider] = openai_compatible.Provider,
) -> tuple[list[ProviderEvent], ProviderError | None]:
    """What the caller gets who asks what was asked then; `piece`: bytes of the answer in each write."""
    fields = {name.replace("-", "_"): value for name, value in recording.headers.items()}
    upstream.play(bytes_as_they_are(recording.body, recording.status, piece, **fields))
    dialect: Dialect = "responses" if recording.path.endswith("/responses") else "chat"
    base_url = upstream.origin + recording.path.removesuffix("/chat/completions").removesuffix("/responses")
    body = {**recording.asked, "model": "our-route"}
    request = ChatRequest((), stream=bool(recording.asked["stream"]), body=body, dialect=dialect)
    events: list[ProviderEvent] = []
    async with aclosing(build(Settings("acme", base_url, Secret("key")))) as provider:
        async with aclosing(provider.chat(recording.asked["model"], request)) as answer:
            try:
                async for event in answer:
                    events.append(event)  # noqa: PERF401 - what came before an error counts
            except ProviderError as error:
                return events, error
    return events, None


def raws(events: list[ProviderEvent]) -> list[Any]:
    told = [raw for event in events if (raw := getattr(event, "raw", None)) is not None]
    return [orjson.loads(chunk) for raw in told for chunk in raw.split(JOINT)]


def texts(events: list[ProviderEvent], kind: str = "text") -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta) and event.kind == kind)


def calls(events: list[ProviderEvent]) -> list[tuple[str | None, str]]:
    """Each call's name and arguments."""
    made: dict[int, tuple[str | None, str]] = {}
    for event in events:
        if isinstance(event, ToolCallDelta):
            name, arguments = made.get(event.index, (None, ""))
            made[event.index] = (event.name or name, arguments + event.arguments)
    return [made[index] for index in sorted(made)]


STREAMS = {
    "groq_stream.http": (18, 73, "stop"),
    "mistral_stream.http": (11, 80, "stop"),
    "openai_chat_stream_2025_headers.http": (None, None, "tool_calls"),
    "openai_chat_stream_ratelimit_headers.http": (None, None, "tool_calls"),
    "openai_chat_stream_tools_usage.1.http": (None, None, "tool_calls"),
    "openai_chat_stream_tools_usage.2.http": (None, None, "stop"),
    "xai_chat.chunks.jsonl": (12, 1, "stop"),
}
"""Tokens in and out where they were told, and how it ended."""


def recorded(shared: Path, name: str) -> Recording:
    file = shared / "recordings" / "llm" / name
    return chunks(file) if name.endswith(".jsonl") else http(file)


@pytest.mark.parametrize("piece", [0, 1000, 13])
@pytest.mark.parametrize("name", STREAMS)
async def test_a_recorded_stream_is_forwarded_whole(shared: Path, upstream: Upstream, name: str, piece: int) -> None:
    recording = recorded(shared, name)
    events, error = await replay(upstream, recording, piece)
    assert error is None
    assert raws(events) == recording.chunks
    choices = [choice for chunk in recording.chunks for choice in chunk["choices"]]
    assert texts(events) == "".join(choice["delta"].get("content") or "" for choice in choices)
    assert texts(events, "reasoning") == "".join(choice["delta"].get("reasoning_content") or "" for choice in choices)
    taken, given, reason = STREAMS[name]
    assert [event.reason for event in events if isinstance(event, Finished)] == [reason]
    assert isinstance(events[-1], Finished)
    used = [(event.input_tokens, event.output_tokens) for event in events if isinstance(event, Usage)]
    told = [chunk["usage"] for chunk in recording.chunks if chunk.get("usage")]
    if taken is not None or told:
        assert used == [(taken or told[-1]["prompt_tokens"], given or told[-1]["completion_tokens"])]


@pytest.mark.parametrize("name", STREAMS)
async def test_what_was_asked_is_asked_again(shared: Path, upstream: Upstream, name: str) -> None:
    recording = recorded(shared, name)
    await replay(upstream, recording)
    [received] = upstream.received
    assert (received.method, received.path) == ("POST", recording.path)
    assert received.json == {**recording.asked, "stream_options": {"include_usage": True}}
    assert received.headers["authorization"] == "Bearer key"


async def test_recorded_tool_calls(shared: Path, upstream: Upstream) -> None:
    made = {}
    for name in (each for each, (_, _, reason) in STREAMS.items() if reason == "tool_calls"):
        events, _ = await replay(upstream, recorded(shared, name))
        made[name] = calls(events)
        assert all(event.id for event in events if isinstance(event, ToolCallDelta) and event.name)
        for called, arguments in made[name]:
            assert called
            assert isinstance(orjson.loads(arguments), dict)
    assert made["openai_chat_stream_tools_usage.1.http"] == [("get_capital", '{"country":"UK"}')]


async def test_xais_reasoning_is_counted(shared: Path, upstream: Upstream) -> None:
    events, _ = await replay(upstream, recorded(shared, "xai_chat.chunks.jsonl"))
    [used] = [event for event in events if isinstance(event, Usage)]
    assert (used.cached_tokens, used.reasoning_tokens) == (11, 290)
    assert isinstance(events[0], TextDelta)
    assert events[0].kind == "reasoning"


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("left", [0.3, 0.6, 0.9])
async def test_a_recorded_stream_cut_short_is_never_finished(
    shared: Path, upstream: Upstream, name: str, left: float
) -> None:
    whole = recorded(shared, name)
    kept = whole.body[: round(whole.body.rindex(b'"finish_reason":"') * left)]
    recording = Recording(whole.path, whole.asked, whole.status, whole.headers, kept)
    events, error = await replay(upstream, recording)
    assert type(error) is Unavailable
    assert not any(isinstance(event, Finished) for event in events)
    assert raws(events) == whole.chunks[: len(raws(events))]


ERRORS = {
    "openai_401_invalid_api_key.http": (Unauthorized, "invalid_api_key"),
    "openai_404_model_not_found.http": (Unavailable, "model_not_found"),
    "groq_400_tool_use_failed.1.http": (Unavailable, "tool_use_failed"),
    "openrouter_429.1.http": (RateLimited, "429"),
    "openrouter_429.2.http": (RateLimited, "429"),
    "openrouter_429.3.http": (RateLimited, "429"),
}


@pytest.mark.parametrize("name", ERRORS)
async def test_a_recorded_error(shared: Path, upstream: Upstream, name: str) -> None:
    recording = recorded(shared, name)
    events, error = await replay(upstream, Recording("/v1/chat/completions", *_rest(recording)))
    kind, code = ERRORS[name]
    assert events == []
    assert type(error) is kind
    assert (error.status, error.code) == (recording.status, code)
    assert (error.detail, str(error)) == (None, f"{recording.status} ({code})")


def _rest(recording: Recording) -> tuple[dict[str, Any], int, dict[str, str], bytes]:
    # The recorded 401 answered /v1/completions, and answers every path of OpenAI's in the same words.
    return {"messages": [], **recording.asked}, recording.status, recording.headers, recording.body


@pytest.mark.parametrize("name", ["groq_400_tool_use_failed.2.http", "groq_400_tool_use_failed.3.http"])
async def test_a_recorded_answer_in_one_piece(shared: Path, upstream: Upstream, name: str) -> None:
    recording = recorded(shared, name)
    events, error = await replay(upstream, recording)
    said = orjson.loads(recording.body)
    message = said["choices"][0]["message"]
    assert error is None
    assert raws(events) == [said]
    assert texts(events) == (message.get("content") or "")
    assert texts(events, "reasoning") == (message.get("reasoning") or "")
    assert calls(events) == [
        (call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or []
    ]
    assert [event for event in events if isinstance(event, Usage)] == [
        Usage(
            said["usage"]["prompt_tokens"],
            said["usage"]["completion_tokens"],
            said["usage"].get("prompt_tokens_details", {}).get("cached_tokens", 0),
            said["usage"].get("completion_tokens_details", {}).get("reasoning_tokens", 0),
        )
    ]


async def test_the_recorded_exhausted_quota(shared: Path, upstream: Upstream) -> None:
    body = (shared / "recordings" / "llm" / "openai_error_insufficient_quota.json").read_bytes()
    asked = {"messages": [], "model": "m", "stream": True}
    for status, kind in ((429, OutOfQuota), (200, OutOfQuota)):
        recording = Recording("/v1/chat/completions", asked, status, {"content-type": "application/json"}, body)
        _, error = await replay(upstream, recording)
        assert type(error) is kind
        assert error.code == "insufficient_quota"


def test_no_openai_shaped_recording_is_left_out(shared: Path) -> None:
    families = ("openai_chat", "openai_4", "openai_error", "groq", "mistral", "openrouter", "xai")
    there = {file.name for file in (shared / "recordings" / "llm").iterdir() if file.name.startswith(families)}
    others = {f"groq_400_tool_use_failed.{n}.http" for n in (2, 3)} | {"openai_error_insufficient_quota.json"}
    assert there == {*STREAMS, *ERRORS, *others}
