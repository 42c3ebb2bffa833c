"""local_llm: an embedded model that streams, stops when told and says what it used."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.contract.errors import ContextTooLong, Refused, Unavailable
from gateway.contract.events import Finished, ProviderEvent, TextDelta, ToolCallDelta, Usage
from gateway.contract.messages import Image, Message, Text, Tool, ToolCall
from gateway.contract.provider import Settings
from gateway.contract.requests import ChatRequest
from gateway.contract.weights import SMOLLM2
from gateway.contract.worker import Piece
from providers.local_llm import Provider
from tests.providers.speaking import closing, stopped, worker_of

PROMPT = "You are a friendly voice assistant on a phone call. Answer in one or two short spoken sentences."


@pytest.fixture
async def llm() -> AsyncGenerator[Provider]:
    async with closing(Provider(Settings("local_llm"))) as provider:
        yield provider


def asked(question: str, system: str = PROMPT) -> ChatRequest:
    return ChatRequest((Message.of("system", system), Message.of("user", question)), temperature=0.0, seed=1)


async def answer(llm: Provider, request: ChatRequest) -> list[ProviderEvent]:
    async with aclosing(llm.chat("smollm2", request)) as events:
        return [event async for event in events]


def text_of(events: list[ProviderEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@pytest.mark.models
async def test_it_answers_in_pieces_and_says_what_it_used(llm: Provider) -> None:
    *pieces, usage, finished = await answer(llm, asked("Hello, how are you?"))
    assert len(pieces) > 3
    assert len(text_of(pieces).split()) > 3
    assert isinstance(usage, Usage)
    assert usage.input_tokens > 20
    assert usage.output_tokens >= len(pieces)
    assert finished == Finished("stop")


@pytest.mark.models
async def test_an_answer_is_no_longer_than_asked_for(llm: Provider) -> None:
    events = await answer(llm, replace(asked("Tell me a long story."), max_tokens=7))
    assert events[-1] == Finished("length")
    assert isinstance(usage := events[-2], Usage)
    assert usage.output_tokens == 7
    stopped_early = await answer(llm, replace(asked("Tell me a long story."), stop=(" ",)))
    assert " " not in text_of(stopped_early).strip()
    assert stopped_early[-1] == Finished("stop")


@pytest.mark.models
async def test_a_seed_repeats_an_answer(llm: Provider) -> None:
    request = replace(asked("Say something surprising."), temperature=1.5, seed=42, max_tokens=20)
    assert text_of(await answer(llm, request)) == text_of(await answer(llm, request))


@pytest.mark.models
async def test_warm_prompts_need_not_be_read_again(llm: Provider) -> None:
    other = "You work for the city library. Be brief, be kind, and do not promise anything that you cannot keep."
    await llm.warm("smollm2", (PROMPT, other))
    for system in (PROMPT, other):
        usage = next(event for event in await answer(llm, asked("Hello?", system)) if isinstance(event, Usage))
        assert usage.cached_tokens > 0.6 * usage.input_tokens


@pytest.mark.models
async def test_what_does_not_fit_is_too_long() -> None:
    async with closing(Provider(Settings("local_llm", options={"context": 512}))) as llm:
        with pytest.raises(ContextTooLong, match="do not fit in 512"):
            await answer(llm, asked("word " * 600))
        assert text_of(await answer(llm, asked("Hello?")))


@pytest.mark.models
@pytest.mark.parametrize("question", ["Tell me a long story.", "word " * 3000], ids=["writing", "reading"])
async def test_leaving_stops_the_model_within_a_second(llm: Provider, question: str) -> None:
    await llm.warm("smollm2", ())
    async with aclosing(llm.chat("smollm2", replace(asked(question), max_tokens=2000))) as events:
        if len(question) < 100:
            await anext(events)
        else:
            await _until_running(llm, events)
    assert (await stopped(llm)).aborted == 1


async def _until_running(llm: Provider, events: AsyncGenerator[ProviderEvent, None]) -> None:
    first = asyncio.ensure_future(anext(events))
    while not (await worker_of(llm).report()).running:
        pass
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


@pytest.mark.models
async def test_a_killed_model_fails_the_answer_and_serves_the_next(llm: Provider) -> None:
    async with aclosing(llm.chat("smollm2", asked("Tell me a long story."))) as events:
        await anext(events)
        pid = worker_of(llm).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match="died"):
            [event async for event in events]
    assert (await answer(llm, asked("Hello?")))[-1] == Finished("stop")


@pytest.mark.models
async def test_requests_it_cannot_serve_are_told_apart(llm: Provider) -> None:
    with pytest.raises(Refused, match="must not be empty"):
        await answer(llm, ChatRequest(()))
    picture = Message("user", (Text("What is this?"), Image("https://example.invalid/cat.png")))
    with pytest.raises(Unavailable, match="text only"):
        await answer(llm, ChatRequest((picture,)))


@pytest.mark.models
async def test_any_gguf_file_serves_under_any_name() -> None:
    async with closing(Provider(Settings("mine", options={"model_path": str(SMOLLM2.path())}))) as llm:
        assert llm.asleep("whatever") is None
        async with aclosing(llm.chat("whatever", asked("Hello?"))) as events:
            assert isinstance(await anext(events), TextDelta)


@pytest.mark.models
async def test_a_file_that_is_no_model_says_so(tmp_path: Path) -> None:
    path = tmp_path / "poem.gguf"
    path.write_text("Not a model.")
    async with closing(Provider(Settings("mine", options={"model_path": str(path)}))) as llm:
        with pytest.raises(Unavailable, match="cannot load the GGUF file"):
            await llm.warm("poem", ())


class Scripted:
    """A worker whose model calls a tool."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    async def run(self, fields: dict[str, Any]) -> AsyncGenerator[Piece, None]:
        self.asked = fields
        first = {"index": 0, "id": "call-1", "function": {"name": "weather", "arguments": ""}}
        yield Piece({"delta": {"tool_calls": [first]}}, b"")
        yield Piece({"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":"Oslo"}'}}]}}, b"")
        yield Piece({"finish": "tool_calls"}, b"")
        yield Piece({"usage": [30, 12, 20]}, b"")


@pytest.mark.models
async def test_a_model_that_can_call_tools_does(monkeypatch: pytest.MonkeyPatch) -> None:
    llm, worker = Provider(Settings("mine", options={"tools": True})), Scripted()
    monkeypatch.setattr(llm, "_worker", worker)
    call = ToolCall("call-0", "weather", '{"city":"Rome"}')
    messages = (
        Message.of("user", "And in Oslo?"),
        Message("assistant", tool_calls=(call,)),
        Message("tool", (Text("Rain."),), tool_call_id="call-0"),
    )
    tool = Tool("weather", "Of a city.", '{"type":"object"}')
    assert await answer(llm, ChatRequest(messages, tools=(tool,))) == [
        ToolCallDelta(0, "call-1", "weather"),
        ToolCallDelta(0, arguments='{"city":"Oslo"}'),
        Usage(30, 12, 20),
        Finished("tool_calls"),
    ]
    function = {"name": "weather", "description": "Of a city.", "parameters": {"type": "object"}}
    assert worker.asked["tools"] == [{"type": "function", "function": function}]
    _, assistant, told = worker.asked["messages"]
    assert assistant["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert told == {"role": "tool", "content": "Rain.", "tool_call_id": "call-0"}


def test_it_says_why_it_sleeps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRUNKLINE_MODELS", str(tmp_path))
    provider = Provider(Settings("local_llm"))
    assert "it has smollm2" in str(provider.asleep("gpt-4o"))
    assert "trunkline" in str(provider.asleep("smollm2"))
    missing = Provider(Settings("local_llm", options={"model_path": str(tmp_path / "no.gguf")}))
    assert "model_path" in str(missing.asleep("any")) or "install" in str(missing.asleep("any"))
    with pytest.raises(ValueError, match="there is no option 'model'"):
        Provider(Settings("local_llm", options={"model": "x"}))
