"""Play: a world's requests through the engine that production runs, with its boards, races, budgets and deadlines, in virtual
time. Only the providers are made up."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.errors import (
    ContextTooLong,
    GatewayError,
    OutOfQuota,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from gateway.contract.events import (
    Answered,
    AudioDelta,
    Embedded,
    Events,
    Finished,
    Flushed,
    ProviderEvent,
    Ready,
    TextDelta,
    Transcript,
)
from gateway.contract.messages import Message
from gateway.contract.requests import (
    ChatRequest,
    Commit,
    ConverseRequest,
    EmbedRequest,
    Input,
    Kind,
    Request,
    SpeakRequest,
    TranscribeRequest,
)
from gateway.routing.engine import Engine
from gateway.routing.plan import Ejected
from gateway.routing.route import Route
from gateway.simulate.clock import VirtualLoop
from gateway.simulate.world import Ask, World
from gateway.telemetry.decisions import Decision
from gateway.telemetry.recorder import Recorder
from gateway.telemetry.sample import Outcome

_SOUND = AudioDelta(Audio(b"\x00\x40" * 160, 16_000))
_REQUESTS: Mapping[Kind, Request] = {
    "llm": ChatRequest((Message.of("user", "?"),)),
    "embed": EmbedRequest(("?",)),
    "stt": TranscribeRequest(16_000, partials=False),
    "tts": SpeakRequest(),
    "s2s": ConverseRequest(turns="client"),
}
_INPUTS: Mapping[Kind, Sequence[Input]] = {
    "stt": (Commit(),),
    "tts": ("a", Commit()),
    "s2s": (Commit(),),
}
_ERRORS: Mapping[Outcome, type[ProviderError]] = {
    "unavailable": Unavailable,
    "bug": Unavailable,
    "rate_limited": RateLimited,
    "unauthorized": Unauthorized,
    "out_of_quota": OutOfQuota,
    "context_too_long": ContextTooLong,
    "refused": Refused,
}

_asking: ContextVar[Ask] = ContextVar("_asking")
"""The request in whose name a provider is called."""


@dataclass(frozen=True, slots=True)
class Out:
    """A target was ejected at `at` for `seconds`."""

    route: str
    target: str
    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Played:
    """What happened: each request's decision, in the order in which they ended, and each ejection."""

    decisions: list[Decision] = field(default_factory=list)
    ejections: list[Out] = field(default_factory=list)


def play(routes: Mapping[str, Route], world: World, seed: int) -> Played:
    """`routes`: with the targets that take part. The same arguments give the same result."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_play(routes, world, seed))


async def _play(routes: Mapping[str, Route], world: World, seed: int) -> Played:
    loop, played = asyncio.get_running_loop(), Played()

    def ejected(told: Ejected) -> None:
        now = loop.time()
        played.ejections.append(Out(told.route, told.target, now, told.until - now))

    names = {target.provider for route in routes.values() for target in route.targets}
    engine = Engine(
        routes,
        {name: _Provider(name, world) for name in names},
        Recorder(settled=[played.decisions.append]),
        random.Random(seed),
        loop.time,
        ejected,
    )
    under_way: set[asyncio.Task[None]] = set()
    try:
        for ask in world.asks():
            if ask.at > loop.time():
                await asyncio.sleep(ask.at - loop.time())
            task = asyncio.create_task(_ask(engine, routes[ask.route], ask))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
    return played


async def _ask(engine: Engine, route: Route, ask: Ask) -> None:
    """A caller who stays to the end."""
    _asking.set(ask)
    inputs: Channel[Input] = Channel()
    for item in _INPUTS.get(route.kind, ()):
        inputs.put(item)
    inputs.close()
    try:
        async with engine.open(route.name, _REQUESTS[route.kind], inputs) as answer:
            async for _ in answer:
                pass
    except GatewayError:
        pass  # the decision says which


class _Provider:
    """Every provider there is: it does what the world says of its targets."""

    def __init__(self, name: str, world: World) -> None:
        self._name, self._world = name, world
        self._live: Counter[tuple[str, str]] = Counter()
        self._tries: dict[tuple[int, str], int] = {}

    def chat(self, model: str, request: ChatRequest) -> Events:
        # A target that goes on with another's answer says what was not said before.
        return self._answer(model, (TextDelta("a"),), (Finished(),))

    def embed(self, model: str, request: EmbedRequest) -> Events:
        return self._answer(model, (Embedded(((0.0,),)),), (Finished(),))

    def transcribe(self, model: str, request: TranscribeRequest, inputs: object) -> Events:
        return self._answer(model, (Transcript("a", final=True, ends_turn=True),), (Finished(),))

    def speak(self, model: str, request: SpeakRequest, inputs: object) -> Events:
        return self._answer(model, (_SOUND,), (Flushed(), Finished()))

    def converse(self, model: str, request: ConverseRequest, inputs: object) -> Events:
        return self._answer(model, (Ready(), _SOUND), (Answered(), Finished()))

    async def _answer(self, model: str, first: Sequence[ProviderEvent], last: Sequence[ProviderEvent]) -> Events:
        ask, target = _asking.get(), f"{self._name}/{model}"
        place, tried = (ask.route, target), (ask.number, target)
        tries = self._tries.get(tried, 0)
        self._tries[tried] = tries + 1
        fate = self._world.fate(ask, target, tries, asyncio.get_running_loop().time(), self._live[place])
        self._live[place] += 1
        try:
            if fate.outcome == "timeout":
                await asyncio.Event().wait()
            await asyncio.sleep(fate.after)
            if fate.outcome in _ERRORS:
                raise _ERRORS[fate.outcome]("as recorded", self._name)
            for event in first:
                yield event
            await asyncio.sleep(fate.stream)
            if fate.outcome == "cut":
                raise Unavailable("it died in the middle", self._name)
            for event in last:
                yield event
        finally:
            self._live[place] -= 1
