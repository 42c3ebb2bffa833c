"""Attempt: one target's stream under its route's deadlines. Closing it closes the upstream and samples how it went."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Literal

from gateway.contract.bypass import Bypass
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
from gateway.contract.requests import (
    Cancel,
    ChatRequest,
    Commit,
    ConverseRequest,
    EmbedRequest,
    Input,
    Request,
    Respond,
    TranscribeRequest,
)
from gateway.routing.deadline import Deadline
from gateway.routing.known import Ticket
from gateway.routing.route import Policy, Route, Target
from gateway.routing.stopwatch import FirstWord, Stopwatch
from gateway.telemetry.decisions import Tried
from gateway.telemetry.sample import Outcome, Sample

_UNUSED = Usage()
SILENCE = 1.0
"""Seconds of speech without a sound, where it begins, that are not a pause but a fault."""

_OUTCOMES: tuple[tuple[type[ProviderError], Outcome], ...] = (
    (RateLimited, "rate_limited"),
    (Unauthorized, "unauthorized"),
    (OutOfQuota, "out_of_quota"),
    (ContextTooLong, "context_too_long"),
    (Refused, "refused"),
)


class TooLate(Unavailable):
    """A deadline of ours passed."""


def outcome_of(error: ProviderError, committed: bool) -> Outcome:
    if committed and not isinstance(error, RateLimited | Unauthorized | OutOfQuota):  # true of it whenever it says so
        return "cut"
    if isinstance(error, TooLate):
        return "timeout"
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), "unavailable")


def is_whole(request: Request) -> bool:
    """Whether the answer comes in one piece, or late by nature: nothing tells a slow target from a silent one."""
    if type(request) is ChatRequest:
        return not request.stream
    match request:
        case EmbedRequest():
            return True
        case TranscribeRequest():
            return not request.partials
    return False


def first_within(policy: Policy, request: Request, learned: float | None = None) -> float:
    """Seconds until the first useful event, and until each turn's. `learned`: what the target's own history allows, never more
    than the policy does."""
    if is_whole(request):
        return policy.answer
    return policy.ttft_deadline if learned is None else min(policy.ttft_deadline, learned)


class Attempt:
    """`first`: seconds until the first useful event; `sampled`: told of each turn of a long stream as it ends, and of the
    attempt itself when it is closed. `ticket`, `tried`: how the board and the decision know it, which are its opener's; `bypass`:
    that of the provider's stream, if it has one."""

    __slots__ = (
        "_bypass", "_deadline", "_ends", "_events", "_first", "_flowing", "_idle", "_llm", "_loop", "_passing", "_reading",
        "_sampled", "_turn_began", "_usage", "_watch", "_whole", "error", "finished", "head", "lost", "opened", "request",
        "route", "target", "ticket", "tried", "ttft",
    )  # fmt: skip

    def __init__(
        self,
        route: Route,
        target: Target,
        events: Events,
        request: Request,
        first: float,
        sampled: Callable[[Attempt, Sample], None],
        ticket: Ticket,
        tried: Tried,
        loop: asyncio.AbstractEventLoop,
        bypass: Bypass | None = None,
    ) -> None:
        self.route, self.target, self.request = route, target, request
        self.ticket, self.tried = ticket, tried
        self.head: deque[ProviderEvent] = deque()
        """Events that were read and not yet handed on."""
        self.ttft: float | None = None
        self.finished = False
        self.lost = False
        """Set by whoever closes it because another was faster."""
        self.error: ProviderError | None = None
        self._first, self._events, self._sampled = first, events, sampled
        self._llm, self._whole = route.kind in ("llm", "embed"), is_whole(request)
        self._loop = loop
        self.opened = self._turn_began = opened = loop.time()
        self._ends, self._idle = opened + route.policy.total, route.policy.idle
        self._bypass = bypass
        self._passing: Callable[[TextDelta], bool] | None = None
        self._usage = _UNUSED
        self._reading = self._flowing = False
        self._deadline = Deadline(loop)
        self._watch: Stopwatch | FirstWord
        if self._llm:
            self._watch = FirstWord(opened)
            self._deadline.when = opened + first
        else:
            self._watch = watch = Stopwatch(route.kind, opened, route.kind == "stt" and self._whole)
            if isinstance(request, ConverseRequest):
                watch.converses(request)
            self._set_deadline()

    @property
    def usage(self) -> Usage:
        """What it used, as far as its provider has said."""
        return self._usage

    @property
    def committed(self) -> bool:
        return self._watch.committed

    def pass_to(self, passing: Callable[[TextDelta], bool]) -> None:
        """From now on text may go there while the next event is waited for, instead of being it. `passing`: returns whether it
        has room for more; never raises."""
        if self._bypass is not None:
            self._passing = passing

    def hears(self, dated: Callable[[float], float | None]) -> None:
        """`dated`: when what is at that second of its sound was put."""
        if isinstance(self._watch, Stopwatch):
            self._watch.dated = dated

    def input(self, item: Input, at: float) -> None:
        """Told of every input but sound as it is put (Channel.watch)."""
        owed = self._watch.owed
        self._watch.input(item, at)
        if isinstance(item, Commit | Respond):
            self._turn_began = max(at, self.opened)
        if (not owed and self._watch.owed) or isinstance(item, Cancel):
            self._set_deadline()

    def begin(self) -> Coroutine[None, None, None]:
        """Read up to the event the engine commits at. Raises ProviderError."""
        return self._read(all=False) if self._llm else self._begin()

    async def _begin(self) -> None:
        watch = self._watch
        read: deque[ProviderEvent] = deque()
        while not watch.committed:
            event = await self.next()
            read.append(event)
            if isinstance(event, Finished):
                if self.route.kind == "tts" and not watch.owed and not watch.silent and not watch.worded:
                    break  # nothing to say is no failure
                raise self._failed(Unavailable("finished without content", self.target.provider))
            if watch.silent > SILENCE:
                raise self._failed(Unavailable("its audio is silent", self.target.provider))
        self.head = read

    async def rest(self) -> Sequence[ProviderEvent]:
        """All events that `next` would give, once they are there: of an llm's whole answer."""
        if not self.finished:
            await self._read(all=True)
        rest, self.head = self.head, deque()
        return rest

    async def _read(self, all: bool) -> None:
        """Into `head`, an llm's events up to the last, or to the first that says something. The deadline is the same for all of
        them, so that the clock is looked at once."""
        watch, head, following = self._watch, self.head, self._events.__anext__
        self._deadline.enter()
        self._reading = True
        try:
            while not (self.finished or (watch.committed and not all)):
                event = await following()
                self._seen(event)
                head.append(event)
        except (ProviderError, StopAsyncIteration, asyncio.CancelledError) as error:
            raise self._broken(error) from None
        finally:
            self._deadline.leave()
        self._reading = False
        if not watch.committed:
            raise self._failed(Unavailable("finished without content", self.target.provider))

    async def next(self) -> ProviderEvent:
        """The next event, those read by `begin` first. Raises StopAsyncIteration after Finished, ProviderError on failure."""
        if self.head:
            return self.head.popleft()
        if self.finished:
            raise StopAsyncIteration
        deadline, bypass = self._deadline, None
        # The wait counts from here: a caller who is slow to ask is not the target's silence.
        if self._flowing:
            when = self._loop.time() + self._idle
            deadline.when = when if when < self._ends else self._ends  # noqa: FURB136  for every event
            if self._passing is not None and (bypass := self._bypass) is not None:
                bypass.take = self._pass
        elif not self._llm:  # an llm's first word is due when it was at the opening
            self._set_deadline()
        deadline.enter()
        self._reading = True
        try:
            event = await self._events.__anext__()
        except (ProviderError, StopAsyncIteration, asyncio.CancelledError) as error:
            raise self._broken(error) from None
        finally:
            deadline.leave()
            if bypass is not None:
                bypass.take = None
        self._reading = False
        if not (self._flowing and type(event) is TextDelta):
            self._seen(event)
        return event

    def _pass(self, text: TextDelta) -> None:
        self._deadline.when = min(self._loop.time() + self._idle, self._ends)
        if self._passing is not None and not self._passing(text) and self._bypass is not None:
            self._bypass.take = None  # the next text is waited with until there is room

    async def close(self, error: BaseException | None = None) -> None:
        """Close the upstream and sample how it went. `error`: the exception that passes by, if one does. Again is a no-op."""
        self._deadline.close()
        try:
            await self._events.aclose()
        finally:
            sampled, self._sampled = self._sampled, _nobody
            sampled(self, self._sample(self._outcome(error), self.ttft, self._loop.time() - self.opened, self._usage))

    def _outcome(self, error: BaseException | None) -> Outcome:
        if self.lost:
            return "lost"
        if self.error is not None:
            return outcome_of(self.error, self._watch.committed)
        if self.finished:
            return "ok"
        if self._reading and error is not None and not isinstance(error, asyncio.CancelledError | GeneratorExit):
            return "bug"  # the provider raised what it must not
        return "cancelled"

    def _broken(self, error: ProviderError | StopAsyncIteration | asyncio.CancelledError) -> BaseException:
        """What is raised where a wait for the next event ended so."""
        if isinstance(error, ProviderError):
            return self._failed(error)
        if isinstance(error, StopAsyncIteration):
            return self._failed(Unavailable("the stream ended without finishing", self.target.provider))
        try:
            self._deadline.explain()
        except TimeoutError:
            return self._failed(TooLate(self._late(), self.target.provider))
        return error

    def _seen(self, event: ProviderEvent) -> None:
        watch = self._watch
        if self._llm:
            if watch.asked is not None:
                self.ttft = watch.event(event, self._loop.time())
            if type(event) is Usage:
                self._usage = event
            elif type(event) is Finished:
                self.finished = True
            self._flowing = watch.committed and not self._whole
            return
        now = self._loop.time()
        first = watch.event(event, now)
        if first is not None:
            if self.ttft is None:
                self.ttft = first
            if self.route.kind in ("stt", "s2s"):
                self._sampled(self, self._sample("ok", first, now - self._turn_began, Usage(), turn=True))
        if self.route.kind == "s2s" and (watch.mute or watch.silent > SILENCE):
            raise self._failed(Unavailable("its audio is silent", self.target.provider))
        if isinstance(event, Usage):
            self._usage = event
        elif isinstance(event, Finished):
            if watch.unspoken:
                done = "heard" if self.route.kind == "stt" else "spoken"
                raise self._failed(Unavailable(f"finished before everything was {done}", self.target.provider))
            self.finished = True

    def _sample(
        self, outcome: Outcome, ttft: float | None, duration: float, usage: Usage, turn: bool = False
    ) -> Sample:
        part: Literal["attempt", "turn"] = "turn" if turn else "attempt"
        return Sample(self.route.name, self.route.kind, str(self.target), outcome, ttft, duration, usage, part)

    def _set_deadline(self) -> None:
        """Until the first event, and for whatever is owed; idle between events after it; none while nothing is owed. An llm's
        is set where it changes."""
        watch, first = self._watch, self._first
        idle = self._loop.time() + self.route.policy.idle
        if watch.asked is not None:
            due = watch.asked + first
            # The finals of a long upload come one by one, and only the last ends what was asked.
            self._deadline.when = max(due, idle) if watch.committed and watch.upload else due
        elif not watch.committed and self.route.kind in ("stt", "s2s"):
            self._deadline.when = self.opened + first
        elif watch.owed:
            self._deadline.when = idle
        else:
            self._deadline.when = None

    def _late(self) -> str:
        if self._watch.asked is not None or not self._watch.committed:
            return f"nothing useful within {self._first:g} s"
        if self._llm and self._loop.time() >= self._ends:
            return f"not finished within {self.route.policy.total:g} s"
        return f"silent for {self.route.policy.idle:g} s"

    def _failed(self, error: ProviderError) -> ProviderError:
        self.error, self.finished = error, False
        return error


def _nobody(attempt: Attempt, sample: Sample) -> None:
    pass
