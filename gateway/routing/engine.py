"""The engine: opens a route's targets, one after the other, until one gives its first useful event. One loop for four kinds.

async with engine.open("chat", request) as answer:   # raises before anything was given: AllTargetsFailed, Refused, ...
    async for event in answer:                        # raises ProviderError if the target fails after that
        ...
                                                      # leaving closes the upstream, whatever happened
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from gateway.contract.channel import Channel
from gateway.contract.errors import (
    AllTargetsFailed,
    ContextTooLong,
    FailedAttempt,
    NoSuchRoute,
    NoTargetAwake,
    OutOfQuota,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from gateway.contract.events import Events, Finished, ProviderEvent, Usage
from gateway.contract.provider import LanguageModel, SpeechToSpeech, SpeechToText, TextToSpeech
from gateway.contract.requests import (
    ChatRequest,
    Commit,
    ConverseRequest,
    Input,
    Request,
    SpeakRequest,
    TranscribeRequest,
)
from gateway.routing.deadline import Deadline
from gateway.routing.route import Route, Target
from gateway.routing.stopwatch import Stopwatch
from gateway.telemetry.sample import Outcome, Sample

log = logging.getLogger(__name__)

Record = Callable[[Sample], None]
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


_OUTCOMES: tuple[tuple[type[ProviderError], Outcome], ...] = (
    (RateLimited, "rate_limited"),
    (Unauthorized, "unauthorized"),
    (OutOfQuota, "out_of_quota"),
    (ContextTooLong, "context_too_long"),
    (Refused, "refused"),
)


def outcome_of(error: ProviderError, committed: bool) -> Outcome:
    if committed:
        return "cut"
    if isinstance(error, _TooLate):
        return "timeout"
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), "unavailable")


class _TooLate(Unavailable):
    """A deadline of ours passed."""


class Attempt:
    """One target's stream under the policy's deadlines. Closing it closes the upstream and records the sample."""

    def __init__(self, route: Route, target: Target, events: Events, streams: bool, record: Record) -> None:
        self.route, self.target = route, target
        self.head: deque[ProviderEvent] = deque()
        self.ttft: float | None = None
        self.finished = False
        self._policy = route.policy
        self._first_within = route.policy.ttft_deadline if streams else route.policy.answer
        self._events, self._record = events, record
        self._loop = asyncio.get_running_loop()
        self.opened = self._turn_began = self._loop.time()
        self._watch = Stopwatch(route.kind, self.opened)
        self._deadline = Deadline()
        self._usage = Usage()
        self._error: ProviderError | None = None
        self._reading = False
        self._set_deadline()

    def input(self, item: Input, at: float) -> None:
        """Told of every input as it is put (Channel.watched)."""
        owed = self._watch.owed
        self._watch.input(item, at)
        if isinstance(item, Commit):
            self._turn_began = max(at, self.opened)
        if not owed and self._watch.owed:
            self._set_deadline()

    async def begin(self) -> None:
        """Read up to the event the engine commits at. Raises ProviderError."""
        while not self._watch.committed:
            event = await self._next()
            self.head.append(event)
            if isinstance(event, Finished):
                if self.route.kind == "tts" and not self._watch.owed:
                    return  # nothing to say is no failure
                raise self._failed(Unavailable("finished without content", self.target.provider))

    async def next(self) -> ProviderEvent:
        """The next event, those read by `begin` first. Raises StopAsyncIteration after Finished, ProviderError on failure."""
        if self.head:
            return self.head.popleft()
        if self.finished:
            raise StopAsyncIteration
        return await self._next()

    async def close(self, error: BaseException | None = None) -> None:
        """Close the upstream and record how it went. `error`: the exception that passes by, if one does."""
        self._deadline.close()
        try:
            await self._events.aclose()
        finally:
            outcome: Outcome = "cancelled"
            if self._error is not None:
                outcome = outcome_of(self._error, self._watch.committed)
            elif self.finished:
                outcome = "ok"
            elif self._reading and not isinstance(error, asyncio.CancelledError | GeneratorExit):
                outcome = "bug"  # the provider raised what it must not
            self._sample(outcome, self.ttft, self._loop.time() - self.opened)

    async def _next(self) -> ProviderEvent:
        self._reading = True
        try:
            event = await self._deadline.wait(anext(self._events))
        except StopAsyncIteration:
            raise self._failed(Unavailable("the stream ended without finishing", self.target.provider)) from None
        except TimeoutError as error:
            raise self._failed(_TooLate(self._late(), self.target.provider)) from error
        except ProviderError as error:
            raise self._failed(error) from None
        self._reading = False
        self._seen(event)
        return event

    def _seen(self, event: ProviderEvent) -> None:
        now = self._loop.time()
        first = self._watch.event(event, now)
        if first is not None:
            if self.ttft is None:
                self.ttft = first
            if self.route.kind in ("stt", "s2s"):
                self._sample("ok", first, now - self._turn_began, turn=True)
        if isinstance(event, Usage):
            self._usage = event
        elif isinstance(event, Finished):
            self.finished = True
        self._set_deadline(now)

    def _sample(self, outcome: Outcome, ttft: float | None, duration: float, turn: bool = False) -> None:
        route, usage = self.route, Usage() if turn else self._usage
        self._record(
            Sample(
                route.name, route.kind, str(self.target), outcome, ttft, duration, usage, "turn" if turn else "attempt"
            )
        )

    def _set_deadline(self, now: float | None = None) -> None:
        """TTFT deadline until the commit event, and for whatever is owed; idle between events after it; none while nothing is owed."""
        watch, policy = self._watch, self._policy
        if watch.asked is not None:
            self._deadline.when = watch.asked + self._first_within
        elif not watch.committed and self.route.kind in ("stt", "s2s"):
            self._deadline.when = self.opened + self._first_within
        elif watch.owed:
            when = (self._loop.time() if now is None else now) + policy.idle
            self._deadline.when = min(when, self.opened + policy.total) if self.route.kind == "llm" else when
        else:
            self._deadline.when = None

    def _late(self) -> str:
        if self._watch.asked is not None or not self._watch.committed:
            return f"nothing useful within {self._first_within:g} s"
        if self._loop.time() >= self.opened + self._policy.total:
            return f"not finished within {self._policy.total:g} s"
        return f"silent for {self._policy.idle:g} s"

    def _failed(self, error: ProviderError) -> ProviderError:
        self._error = error
        return error


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

    async def __anext__(self) -> ProviderEvent:
        return await self._attempt.next()

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
