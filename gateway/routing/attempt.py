"""Attempt: one target's stream under its route's deadlines. Closing it closes the upstream and records the sample."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from gateway.contract.errors import (
    ContextTooLong,
    OutOfQuota,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from gateway.contract.events import Events, Finished, ProviderEvent, TextDelta, Usage
from gateway.contract.requests import Commit, Input
from gateway.routing.deadline import Deadline
from gateway.routing.route import Route, Target
from gateway.routing.stopwatch import Stopwatch
from gateway.telemetry.sample import Outcome, Sample

Record = Callable[[Sample], None]
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
        self._reading = self._flowing = False
        self._ends = self.opened + route.policy.total
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
        read: deque[ProviderEvent] = deque()
        while not self._watch.committed:
            event = await self.next()
            read.append(event)
            if isinstance(event, Finished):
                if self.route.kind == "tts" and not self._watch.owed:
                    break  # nothing to say is no failure
                self.finished = False
                raise self._failed(Unavailable("finished without content", self.target.provider))
        self.head = read

    async def next(self) -> ProviderEvent:
        """The next event, those read by `begin` first. Raises StopAsyncIteration after Finished, ProviderError on failure."""
        if self.head:
            return self.head.popleft()
        if self.finished:
            raise StopAsyncIteration
        deadline = self._deadline
        deadline.enter()
        self._reading = True
        try:
            event = await anext(self._events)
        except asyncio.CancelledError:
            self._explain()
            raise
        except StopAsyncIteration:
            raise self._failed(Unavailable("the stream ended without finishing", self.target.provider)) from None
        except ProviderError as error:
            raise self._failed(error) from None
        finally:
            deadline.leave()
        self._reading = False
        if type(event) is TextDelta and self._flowing:
            deadline.when = min(self._loop.time() + self._policy.idle, self._ends)
        else:
            self._seen(event)
        return event

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

    def _explain(self) -> None:
        try:
            self._deadline.explain()
        except TimeoutError as error:
            raise self._failed(_TooLate(self._late(), self.target.provider)) from error

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
        self._flowing = self.route.kind == "llm" and self._watch.committed
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
        if self._loop.time() >= self._ends:
            return f"not finished within {self._policy.total:g} s"
        return f"silent for {self._policy.idle:g} s"

    def _failed(self, error: ProviderError) -> ProviderError:
        self._error = error
        return error
