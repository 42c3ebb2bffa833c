"""The engine: opens a route's targets, one after the other, until one gives its first useful event. One loop for four kinds.

async with engine.open("chat", request) as answer:   # raises before anything was given: AllTargetsFailed, Refused, ...
    async for event in answer:                        # raises ProviderError if the target fails after that
        ...
                                                      # leaving closes the upstream, whatever happened
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from gateway.contract.channel import Channel
from gateway.contract.errors import (
    AllTargetsFailed,
    FailedAttempt,
    NoSuchRoute,
    NoTargetAwake,
    ProviderError,
    Refused,
)
from gateway.contract.events import Events, ProviderEvent
from gateway.contract.provider import LanguageModel, SpeechToSpeech, SpeechToText, TextToSpeech
from gateway.contract.requests import (
    ChatRequest,
    ConverseRequest,
    Input,
    Request,
    SpeakRequest,
    TranscribeRequest,
)
from gateway.routing.attempt import Attempt
from gateway.routing.route import Route, Target
from gateway.telemetry.sample import Sample

log = logging.getLogger(__name__)

Providers = Mapping[str, object]
"""Built providers by the name of their row."""


class Recorder(Protocol):
    def record(self, sample: Sample) -> None: ...


def start(provider: object, model: str, request: Request, inputs: Channel[Input]) -> Events:
    """The provider's stream for this request; nothing happens before its first event is awaited."""
    match request, provider:
        case ChatRequest(), LanguageModel():
            return provider.chat(model, request)
        case TranscribeRequest(), SpeechToText():
            return provider.transcribe(model, request, inputs.reader())
        case SpeakRequest(), TextToSpeech():
            return provider.speak(model, request, inputs.reader())
        case ConverseRequest(), SpeechToSpeech():
            return provider.converse(model, request, inputs.reader())
    raise TypeError(f"{type(provider).__module__} does not serve {type(request).__name__}")


class Answer:
    """The stream of the target that answered. `attempts`: those that failed before it."""

    def __init__(self, attempt: Attempt, attempts: list[FailedAttempt]) -> None:
        self._attempt = attempt
        self.attempts = attempts

    @property
    def target(self) -> Target:
        return self._attempt.target

    @property
    def ttft(self) -> float | None:
        """Seconds; of the first turn for stt and s2s."""
        return self._attempt.ttft

    def __aiter__(self) -> AsyncIterator[ProviderEvent]:
        return self

    def __anext__(self) -> Coroutine[None, None, ProviderEvent]:
        return self._attempt.next()

    def ready(self) -> ProviderEvent | None:
        """An event that needs no waiting, if there is one: those read before the answer was given."""
        return self._attempt.head.popleft() if self._attempt.head else None


class Engine:
    """`routes` may be replaced while requests run: each keeps the route it began with."""

    def __init__(self, routes: Mapping[str, Route], providers: Providers, recorder: Recorder) -> None:
        self.routes, self._providers, self._recorder = routes, providers, recorder

    def route(self, name: str) -> Route:
        """Raises NoSuchRoute."""
        try:
            return self.routes[name]
        except KeyError:
            raise NoSuchRoute(name, sorted(self.routes)) from None

    @asynccontextmanager
    async def open(self, route: str, request: Request, inputs: Channel[Input] | None = None) -> AsyncIterator[Answer]:
        """Entering returns once a target gave its first useful event. Raises NoSuchRoute, NoTargetAwake, Refused, AllTargetsFailed."""
        named = self.route(route)
        if not named.targets:
            raise NoTargetAwake(named.name, [f"{target}: {why}" for target, why in named.asleep.items()])
        inputs = inputs if inputs is not None else Channel()
        failed: list[FailedAttempt] = []
        for target in named.targets:
            async with AsyncExitStack() as stack:
                attempt = await self._attempt(stack, named, target, request, inputs)
                try:
                    await attempt.begin()
                except Refused:
                    raise
                except ProviderError as error:
                    failed.append(FailedAttempt(str(target), error, asyncio.get_running_loop().time() - attempt.opened))
                    log.info("route %s: %s failed: %s", named.name, target, type(error).__name__)
                    continue
                yield Answer(attempt, failed)
                return
        raise AllTargetsFailed(named.name, failed)

    async def _attempt(
        self, stack: AsyncExitStack, route: Route, target: Target, request: Request, inputs: Channel[Input]
    ) -> Attempt:
        events = start(self._providers[target.provider], target.model, request, inputs)
        streams = request.stream if isinstance(request, ChatRequest) else True
        attempt = Attempt(route, target, events, streams, self._recorder.record)

        async def close(_: object, error: BaseException | None, __: object) -> bool:
            await attempt.close(error)
            return False

        stack.push_async_exit(close)
        stack.enter_context(inputs.watched(attempt.input))
        return attempt
