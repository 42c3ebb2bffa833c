"""A gateway of the API alone: the real engine and routers on a real socket, on providers that do what a test says.

async with stage(chat=Chats(TextDelta("hi"), Finished())) as gateway:       # route "chat", target "chats/m"
    await gateway.openai.chat.completions.create(model="chat", ...)
    gateway.samples, gateway.metrics
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import openai
from fastapi import FastAPI

from gateway.api import (
    chat,
    completions,
    embeddings,
    errors,
    health,
    messages,
    models,
    responses,
    speech,
    transcriptions,
)
from gateway.api.exchange import CLIENT_LEFT
from gateway.api.front import front
from gateway.contract.audio import Audio
from gateway.contract.events import Events, Finished, Flushed, ProviderEvent, Ready, Transcript
from gateway.contract.provider import Closable
from gateway.contract.requests import KINDS, ChatRequest, Commit, Input, Kind, SpeakRequest, TranscribeRequest
from gateway.routing.engine import Engine
from gateway.routing.route import CallRoute, Policy, Route, Target
from gateway.telemetry.prometheus import Metrics
from gateway.telemetry.recorder import Recorder
from gateway.telemetry.sample import Sample
from tests.serving import Served, client, plain_http, serving

POLICY = Policy("priority", retries=0, mid_stream="error", ttft_deadline=5.0, answer=10.0, idle=5.0, total=60.0)
Step = ProviderEvent | float | Exception
"""An event is given, a number waited for, an error raised."""


class Plays:
    """What all of them do: play steps, and know whether they were closed."""

    def __init__(self, *steps: Step) -> None:
        self.steps = steps
        self.started = asyncio.Event()
        self.closed = asyncio.Event()
        self.taken = 0

    async def play(self) -> Events:
        self.started.set()
        try:
            for step in self.steps:
                if isinstance(step, float | int):
                    await asyncio.sleep(step)
                elif isinstance(step, Exception):
                    raise step
                else:
                    self.taken += 1
                    yield step
        finally:
            self.closed.set()


class Chats(Plays):
    """An llm. `asked`: the requests it got."""

    kind: Kind = "llm"

    def __init__(self, *steps: Step) -> None:
        super().__init__(*steps)
        self.asked: list[ChatRequest] = []

    async def chat(self, model: str, request: ChatRequest) -> Events:
        self.asked.append(request)
        async for event in self.play():
            yield event


class Speaks(Plays):
    """A tts. Reads all of its inputs, then plays, then flushes what was committed. `said`: the texts."""

    kind: Kind = "tts"

    def __init__(self, *steps: Step) -> None:
        super().__init__(*steps)
        self.asked: list[SpeakRequest] = []
        self.said: list[str] = []

    async def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        self.asked.append(request)
        commits = 0
        async for item in inputs:
            if isinstance(item, str):
                self.said.append(item)
            commits += isinstance(item, Commit)
        async for event in self.play():
            yield event
        for _ in range(commits):
            yield Flushed()
        yield Finished()


class Hears(Plays):
    """An stt. Reads all of its inputs, then plays. `heard`: the audio."""

    kind: Kind = "stt"

    def __init__(self, *steps: Step) -> None:
        super().__init__(*(steps or (Transcript("hello", final=True, ends_turn=True), Finished())))
        self.asked: list[TranscribeRequest] = []
        self.heard: list[Audio] = []

    async def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        self.asked.append(request)
        yield Ready()
        async for item in inputs:
            if isinstance(item, Audio):
                self.heard.append(item)
        async for event in self.play():
            yield event

    @property
    def seconds(self) -> float:
        return sum(each.seconds for each in self.heard)


class Watched(Metrics):
    """Metrics that can be waited for. `left`: set once a client left."""

    def __init__(self) -> None:
        super().__init__()
        self.left = asyncio.Event()
        self.open = 0

    def began(self, endpoint: str) -> None:
        super().began(endpoint)
        self.open += 1

    def ended(self, endpoint: str, status: int) -> None:
        super().ended(endpoint, status)
        self.open -= 1
        if status == CLIENT_LEFT:
            self.left.set()


@dataclass
class Gateway:
    served: Served
    openai: openai.AsyncOpenAI
    http: httpx.AsyncClient
    metrics: Watched
    recorder: Recorder
    readiness: list[health.Readiness] = field(default_factory=lambda: [health.Readiness(True)])

    @property
    def samples(self) -> list[Sample]:
        return list(self.recorder.recent)


def kind_of(provider: object) -> Kind:
    verbs = {"llm": "chat", "stt": "transcribe", "tts": "speak", "s2s": "converse", "embed": "embed"}
    return next(kind for kind in KINDS if hasattr(provider, verbs[kind]))


@asynccontextmanager
async def stage(
    calls: Mapping[str, CallRoute] | None = None,
    asleep: Mapping[str, Mapping[str, str]] | None = None,
    policy: Policy = POLICY,
    straight: bool = True,
    **routes: object,
) -> AsyncIterator[Gateway]:
    """`routes`: name = a provider, or a tuple of them as targets in order. `asleep`: llm routes without any target awake.
    `straight`: as the program serves its endpoints; False: over ASGI, as any server would."""
    providers: dict[str, object] = {}
    table: dict[str, Route] = {}
    for name, given in routes.items():
        targets = given if isinstance(given, tuple) else (given,)
        rows = {type(each).__name__.lower() + (str(n) if n else ""): each for n, each in enumerate(targets)}
        providers |= {f"{name}-{row}": each for row, each in rows.items()}
        table[name] = Route(name, kind_of(targets[0]), tuple(Target(f"{name}-{row}", "m") for row in rows), policy)
    for name, why in (asleep or {}).items():
        table[name] = Route(name, "llm", (), policy, why)
    metrics = Watched()
    recorder = Recorder([metrics.sample])
    readiness = [health.Readiness(True)]
    app = application(Engine(table, providers, recorder), metrics, readiness, calls or {})
    settings = {} if straight else {"http": "httptools"}
    async with serving(app, **settings) as served, client(served) as official, plain_http(base_url=served.url) as http:
        try:
            yield Gateway(served, official, http, metrics, recorder, readiness)
        finally:
            for provider in providers.values():
                if isinstance(provider, Closable):
                    await provider.aclose()


def application(
    engine: Engine, metrics: Metrics, readiness: list[health.Readiness], calls: Mapping[str, CallRoute]
) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    errors.install(app)
    routers = (
        chat.router(engine, metrics),
        messages.router(engine, metrics),
        completions.router(engine, metrics),
        embeddings.router(engine, metrics),
        speech.router(engine, metrics),
        transcriptions.router(engine, metrics),
        models.router(engine, lambda: calls),
        health.router(lambda: readiness[-1], metrics),
    )
    for router in routers:
        app.include_router(router)
    app.state.front = front(route for router in routers for route in router.routes)
    app.include_router(chat.router(engine, metrics))
    app.include_router(responses.router(engine, metrics))
    app.include_router(speech.router(engine, metrics))
    app.include_router(transcriptions.router(engine, metrics))
    app.include_router(models.router(engine, lambda: calls))
    app.include_router(health.router(lambda: readiness[-1], metrics))

    @app.get("/breaks")
    async def breaks() -> None:
        raise RuntimeError("canary-secret")

    return app
