"""Recorded traffic of Gemini's, replayed on a socket through the provider: what we send for what was asked, what comes of the answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import orjson
import pytest

from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import Finished, ProviderEvent, TextDelta, Usage
from gateway.contract.messages import Message
from gateway.contract.provider import Secret, Settings
from gateway.contract.requests import ChatRequest
from providers.gemini import Provider
from tests.conformance.test_recordings import Recording, http
from tests.upstream_scripts import bytes_as_they_are
from tests.upstreams import Upstream

pytestmark = pytest.mark.wire
STREAMS = {
    "gemini_stream.http": Usage(input_tokens=18, output_tokens=80 + 35, reasoning_tokens=35),
    "gemini_stream_short.http": Usage(input_tokens=13, output_tokens=8),
}
ERRORS = {"gemini_404_model.http": (Unavailable, "404 (NOT_FOUND)")}


@pytest.fixture
async def upstream() -> AsyncGenerator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


def recorded(shared: Path, name: str) -> Recording:
    return http(shared / "recordings" / "llm" / name)


def asked(recording: Recording) -> ChatRequest:
    """What was asked then, as our caller would ask it."""
    system = recording.asked.get("systemInstruction", {}).get("parts", ())
    turns = [("system", part["text"]) for part in system]
    turns += [(turn["role"], part["text"]) for turn in recording.asked["contents"] for part in turn["parts"]]
    temperature = recording.asked["generationConfig"].get("temperature")
    messages = tuple(Message.of("system" if role == "system" else "user", text) for role, text in turns)
    return ChatRequest(messages, temperature=temperature, stream=":stream" in recording.path)


async def replay(
    upstream: Upstream, recording: Recording, piece: int = 0
) -> tuple[list[ProviderEvent], ProviderError | None]:
    fields = {name.replace("-", "_"): value for name, value in recording.headers.items()}
    upstream.play(bytes_as_they_are(recording.body, recording.status, piece, **fields))
    modalities = recording.asked["generationConfig"].get("responseModalities")
    options = {"generation": {"responseModalities": modalities}} if modalities else {}
    settings = Settings("acme", upstream.origin, Secret("canary-0123456789"), options)
    model = recording.path.rpartition("/")[2].partition(":")[0]
    events: list[ProviderEvent] = []
    async with aclosing(Provider(settings)) as provider:
        async with aclosing(provider.chat(model, asked(recording))) as answer:
            try:
                async for event in answer:
                    events.append(event)  # noqa: PERF401 - what came before an error counts
            except ProviderError as error:
                return events, error
    return events, None


@pytest.mark.parametrize("piece", [0, 1000, 13])
@pytest.mark.parametrize("name", STREAMS)
async def test_a_recorded_stream_is_told_whole(shared: Path, upstream: Upstream, name: str, piece: int) -> None:
    recording = recorded(shared, name)
    events, error = await replay(upstream, recording, piece)
    assert error is None
    said = [part["text"] for each in recording.chunks for part in each["candidates"][0]["content"]["parts"]]
    assert [event.text for event in events if isinstance(event, TextDelta)] == said
    assert events[-2:] == [STREAMS[name], Finished("stop")]


@pytest.mark.parametrize("name", [*STREAMS, *ERRORS])
async def test_what_was_asked_is_asked_again(shared: Path, upstream: Upstream, name: str) -> None:
    recording = recorded(shared, name)
    await replay(upstream, recording)
    [received] = upstream.received
    assert (received.method, received.path) == ("POST", recording.path)
    told = recording.asked
    told.get("systemInstruction", {}).pop("role", None)  # which the API ignores there
    assert received.json == told
    assert received.headers["x-goog-api-key"] == "canary-0123456789"
    assert "canary" not in received.path


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("left", [0.3, 0.6, 0.9])
async def test_a_recorded_stream_cut_short_is_never_finished(
    shared: Path, upstream: Upstream, name: str, left: float
) -> None:
    whole = recorded(shared, name)
    kept = whole.body[: round(whole.body.rindex(b'"finishReason"') * left)]
    events, error = await replay(upstream, Recording(whole.path, whole.asked, whole.status, whole.headers, kept))
    assert type(error) is Unavailable
    assert not any(isinstance(event, Finished) for event in events)


@pytest.mark.parametrize("name", ERRORS)
async def test_a_recorded_error(shared: Path, upstream: Upstream, name: str) -> None:
    recording = recorded(shared, name)
    kind, told = ERRORS[name]
    for body in (recording.body, b"[" + recording.body + b"]"):
        again = Recording(recording.path, recording.asked, recording.status, recording.headers, body)
        events, error = await replay(upstream, again)
        assert events == []
        assert type(error) is kind
        assert (str(error), error.status, error.detail) == (told, recording.status, None)


async def test_a_recorded_answer_is_read_in_one_piece_too(shared: Path, upstream: Upstream) -> None:
    """What streamGenerateContent gives without alt=sse: a list of the chunks."""
    recording = recorded(shared, "gemini_stream.http")
    whole = orjson.dumps(recording.chunks)
    events, error = await replay(upstream, Recording(recording.path, recording.asked, 200, {}, whole))
    assert error is None
    assert "".join(event.text for event in events if isinstance(event, TextDelta)).split()[-1] == "30"
    assert isinstance(events[-1], Finished)


def test_no_recording_of_geminis_is_left_out(shared: Path) -> None:
    there = {file.name for file in (shared / "recordings" / "llm").iterdir() if file.name.startswith("gemini")}
    assert there == {*STREAMS, *ERRORS}
