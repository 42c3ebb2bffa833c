"""What the conformance rules play on: providers, each with its upstream.

An `Entry` is one provider serving one kind, and how to set its stage: the provider built, and a faithful upstream for it
that plays a `Scene` on request. A new provider is one more line in tests/conformance/entries.py; rules that speak of a
scene run on the entries that can play it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.events import AudioDelta, Events, ProviderEvent, TextDelta, ToolCallDelta, Transcript
from gateway.contract.messages import Message
from gateway.contract.provider import (
    LanguageModel,
    Secret,
    Settings,
    SpeechToSpeech,
    SpeechToText,
    TextToSpeech,
    Warmable,
)
from gateway.contract.requests import (
    ChatRequest,
    Commit,
    ConverseRequest,
    Input,
    Kind,
    SpeakRequest,
    TranscribeRequest,
)
from gateway.contract.worker import Worker
from tests.fakes.base import Behaviour, Fake
from tests.upstreams import Script, Upstream

Scene = Literal[
    "answers",  # an ordinary answer
    "endless",  # content without end
    "silent",  # the request is taken, and nothing comes
    "headers-only",  # HTTP: an answer begins, and nothing comes
    "stalls",  # some content, and then nothing comes
    "unauthorized",
    "rate-limited",  # for two seconds
    "no-quota",
    "too-long",
    "refuses",
    "server-error",
    "refused-connection",
    "hangs-up-first",
    "hangs-up-mid",
    "garbage",
    "echoes-key",  # refuses, and repeats the key in body and headers
    "killed",  # the worker, in mid-answer
]
KEY = Secret("canary-0123456789-canary")


class Stage(Protocol):
    """A provider and its upstream. `used`: connections or streams ever opened upstream (a worker: whether it was started)."""

    @property
    def provider(self) -> object: ...

    @property
    def used(self) -> int: ...

    def play(self, scene: Scene) -> None: ...

    def model(self) -> str:
        """Plays the scene last asked for."""

    async def until_asked(self) -> None:
        """A request has come to the upstream. TimeoutError after a second."""

    async def until_free(self) -> None:
        """Nothing is held upstream for a request any more. TimeoutError after a second."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`inputs`: what makes an ordinary turn; `tokens`: of an ordinary llm answer, at most; `warns`: filters for warnings that
    its library gives of itself."""

    name: str
    kind: Kind
    scenes: frozenset[Scene]
    stage: Callable[[], AbstractAsyncContextManager[Stage]]
    mark: Literal["wire", "models", ""] = ""
    inputs: Callable[[], list[Input]] = list
    tokens: int | None = None
    warns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}-{self.kind}"


@dataclass
class Asked:
    """A request under way: its events, and for speech its inputs."""

    events: Events
    inputs: Channel[Input] = field(default_factory=Channel)


def ask(entry: Entry, stage: Stage, stream: bool = True, turn: bool = True) -> Asked:
    """Asks the provider; with `turn`, an ordinary turn and its Commit are put already. Inputs stay open."""
    inputs: Channel[Input] = Channel()
    for item in [*entry.inputs(), Commit()] if turn else []:
        inputs.put(item)
    rate = next((item.rate for item in entry.inputs() if isinstance(item, Audio)), 16_000)
    match entry.kind, stage.provider:
        case "llm", LanguageModel() as provider:
            hello = (Message.of("user", "Count to a thousand."),)
            request = ChatRequest(hello, stream=stream, max_tokens=entry.tokens)
            return Asked(provider.chat(stage.model(), request), inputs)
        case "stt", SpeechToText() as provider:
            return Asked(provider.transcribe(stage.model(), TranscribeRequest(rate), inputs.reader()), inputs)
        case "tts", TextToSpeech() as provider:
            return Asked(provider.speak(stage.model(), SpeakRequest(), inputs.reader()), inputs)
        case "s2s", SpeechToSpeech() as provider:
            converse = ConverseRequest(rate=rate, turns="client")
            return Asked(provider.converse(stage.model(), converse, inputs.reader()), inputs)
    raise TypeError(f"{stage.provider} does not serve {entry.kind}")


async def everything(asked: Asked) -> list[ProviderEvent]:
    """All events, the inputs closed."""
    asked.inputs.close()
    async with aclosing(asked.events):
        return [event async for event in asked.events]


async def until_content(events: AsyncIterator[ProviderEvent]) -> ProviderEvent:
    """The first event with content."""
    async for event in events:
        if content(event) is not None:
            return event
    raise AssertionError("no content came")


def content(event: ProviderEvent) -> int | None:
    """How much content it has (characters, samples); None for events that are not of that sort."""
    match event:
        case TextDelta(text):
            return len(text)
        case ToolCallDelta(_, call_id, name, arguments):
            return len(call_id or "") + len(name or "") + len(arguments)
        case AudioDelta(audio):
            return audio.samples
        case Transcript(text, final=final) if text or not final:
            return len(text)  # a final text may be empty: nothing was said
    return None


class HttpStage:
    """A provider whose upstream is an HTTP server on a socket of this process."""

    def __init__(
        self, provider: object, upstream: Upstream, scripts: Mapping[Scene, Script | str], model: str = "model-1"
    ) -> None:
        self.provider, self._upstream, self._scripts, self._model = provider, upstream, scripts, model

    @property
    def used(self) -> int:
        return self._upstream.opened

    def play(self, scene: Scene) -> None:
        if scene == "refused-connection":
            self._upstream.stop_listening()
        else:
            self._upstream.play(self._scripts[scene])

    def model(self) -> str:
        return self._model

    async def until_asked(self) -> None:
        await self._upstream.until(lambda: self._upstream.busy > 0)

    async def until_free(self) -> None:
        await self._upstream.until_left()


def over_http(
    build: Callable[[Settings], object], scripts: Mapping[Scene, Script | str], model: str = "model-1"
) -> Callable[[], AbstractAsyncContextManager[HttpStage]]:
    """The stage of a provider that is given its upstream's address as base_url, and warmed if it can be."""

    @asynccontextmanager
    async def stage() -> AsyncGenerator[HttpStage]:
        async with Upstream() as upstream:
            async with _closing(build(Settings("acme", upstream.url, KEY))) as provider:
                if isinstance(provider, Warmable):
                    await provider.warm(model, ())
                yield HttpStage(provider, upstream, scripts, model)
            await upstream.until(lambda: upstream.open == 0)  # a provider that is closed keeps no connection

    return stage


class SocketStage:
    """A provider whose upstream is a fake of its WebSocket protocol (tests/fakes). `spare`: connections that the provider may
    keep ready beside those in use."""

    def __init__(
        self, provider: object, fake: Fake, scenes: Mapping[Scene, Behaviour], model: str, spare: int = 0
    ) -> None:
        self.provider, self._fake, self._scenes, self._model, self._spare = provider, fake, scenes, model, spare

    @property
    def used(self) -> int:
        return self._fake.asked

    def play(self, scene: Scene) -> None:
        if scene == "refused-connection":
            self._fake.stop_listening()
        # In place, so that connections that stand ready behave so, too.
        vars(self._fake.behaviour).update(vars(self._scenes[scene]))

    def model(self) -> str:
        return self._model

    async def until_asked(self) -> None:
        await self._fake.until(lambda: self._fake.busy > 0)

    async def until_free(self) -> None:
        fake = self._fake
        await fake.until(lambda: not fake.busy and fake.open <= self._spare)


def over_socket(
    build: Callable[[Settings], object],
    fake: type[Fake],
    scenes: Mapping[Scene, Behaviour],
    model: str,
    spare: int = 0,
    options: Mapping[str, object] | None = None,
) -> Callable[[], AbstractAsyncContextManager[SocketStage]]:
    """The stage of a provider that is given its fake's address as base_url, and every connection closed when it is."""

    @asynccontextmanager
    async def stage() -> AsyncGenerator[SocketStage]:
        upstream = fake()
        async with upstream.running() as url:
            async with _closing(build(Settings("acme", url, KEY, options or {}))) as provider:
                yield SocketStage(provider, upstream, scenes, model, spare)
            await upstream.until_left()

    return stage


class FakeStage:
    """A provider in this process that counts its own streams, as fake.Provider does; scenes are models."""

    def __init__(self, provider: Counts, models: Mapping[Scene, str]) -> None:
        self.provider: Counts = provider
        self._models = models
        self._scene: Scene = "answers"

    @property
    def used(self) -> int:
        return self.provider.opened

    def play(self, scene: Scene) -> None:
        self._scene = scene

    def model(self) -> str:
        return self._models[self._scene]

    async def until_asked(self) -> None:
        await _until(lambda: self.provider.live > 0)

    async def until_free(self) -> None:
        assert self.provider.live == 0


class Counts(Protocol):
    live: int
    opened: int


class WorkerStage:
    """A provider whose upstream is a worker process."""

    def __init__(self, provider: object, model: str) -> None:
        self.provider, self._model = provider, model
        worker = getattr(provider, "_worker")  # noqa: B009 - nothing public tells of its jobs
        assert isinstance(worker, Worker)
        self.worker = worker

    @property
    def used(self) -> int:
        return int(self.worker.pid is not None)

    def play(self, scene: Scene) -> None:
        pass

    def model(self) -> str:
        return self._model

    async def until_asked(self) -> None:
        # A worker that is stopped cannot be asked for its report.
        await _until(lambda: bool(self.worker.pid and getattr(self.worker, "_process").jobs), within=10.0)  # noqa: B009

    async def until_free(self) -> None:
        async with asyncio.timeout(1.0):
            while (report := await self.worker.report()).running or report.waiting:
                pass


def in_worker(
    build: Callable[[Settings], object], model: str
) -> Callable[[], AbstractAsyncContextManager[WorkerStage]]:
    @asynccontextmanager
    async def stage() -> AsyncGenerator[WorkerStage]:
        async with _closing(build(Settings("acme"))) as provider:
            yield WorkerStage(provider, model)

    return stage


async def _until(met: Callable[[], bool], within: float = 1.0) -> None:
    async with asyncio.timeout(within):
        while not met():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0)


@asynccontextmanager
async def _closing(provider: object) -> AsyncGenerator[object]:
    try:
        yield provider
    finally:
        close = getattr(provider, "aclose", None)
        if close is not None:
            await close()
