"""Opening: one request on its way through a route. Opens its attempts, and tells the board, the decision and the recorder
how each went."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from gateway.contract.bypass import Bypass
from gateway.contract.channel import Channel, Reader
from gateway.contract.errors import FailedAttempt
from gateway.contract.events import Events
from gateway.contract.requests import (
    ChatRequest,
    ConverseRequest,
    EmbedRequest,
    Input,
    Kind,
    Request,
    SpeakRequest,
    TranscribeRequest,
)
from gateway.routing.attempt import Attempt, first_within, is_whole
from gateway.routing.board import Board
from gateway.routing.race import race
from gateway.routing.route import Route, Target
from gateway.telemetry.decisions import Decision, Tried, Why
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.sample import Purpose, Sample

Verb = Callable[..., Events]


class Begun:
    """Inputs that begin with some others. A cancelled read loses nothing."""

    def __init__(self, first: Sequence[Input], then: Reader[Input]) -> None:
        self._first, self._then = deque(first), then

    def __aiter__(self) -> Begun:
        return self

    async def __anext__(self) -> Input:
        return self._first.popleft() if self._first else await anext(self._then)


VERBS: Mapping[type[Request], str] = {
    ChatRequest: "chat",
    EmbedRequest: "embed",
    TranscribeRequest: "transcribe",
    SpeakRequest: "speak",
    ConverseRequest: "converse",
}
HEDGED: frozenset[Kind] = frozenset({"llm", "embed", "stt", "tts"})
"""A second speech-to-speech session may act (its tools do); the others only compute."""


class Recorder(Protocol):
    def record(self, sample: Sample) -> None: ...

    def decided(self, decision: Decision) -> None: ...

    def settled(self, decision: Decision) -> None: ...


class Opening:
    """Implements race.Course. `decision` is filled in as attempts go; `tokens`: of the prompt, about."""

    __slots__ = (
        "_alone", "_began", "_copies", "_inputs", "_ledger", "_loop", "_providers", "_purpose", "_raced", "_recorder",
        "_rng", "_said_first", "_skip", "_tokens", "_whole", "_why", "board", "costs", "decision", "request", "route",
    )  # fmt: skip

    def __init__(
        self,
        route: Route,
        request: Request,
        inputs: Channel[Input] | None,
        board: Board,
        providers: Mapping[str, object],
        decision: Decision,
        recorder: Recorder,
        rng: random.Random,
        ledger: Ledger | None = None,
        tokens: int = 0,
        purpose: Purpose = "serve",
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.route, self.request = route, request
        self._inputs: Channel[Input] | None = inputs
        self._said_first: list[Input] = []
        self._skip = 0.0
        self._purpose, self._copies = purpose, 0
        self.decision = decision
        self.board, self._providers, self._recorder, self._rng = board, providers, recorder, rng
        self._ledger = ledger
        self.costs: list[float | None] = []
        """Of the attempts that are over, US dollars; None for one of which nobody knows."""
        self._whole, self._tokens = is_whole(request), tokens
        self._loop = loop or asyncio.get_running_loop()
        self._began = self._loop.time()
        self._why: Why | None = None
        self._raced = self._alone = False

    async def race(
        self, targets: Sequence[Target], why: Why | None = None, raced: bool = False
    ) -> tuple[Attempt, list[FailedAttempt]]:
        """The first of `targets` to give something useful, and those that failed before. `why`: what its attempts are, if
        not what a race calls them; `raced`: the first two are asked at the same time."""
        self._why, self._raced = why, raced and self.route.kind in HEDGED
        self._alone = len(targets) == 1
        attempt, failed = await race(self.route, targets, self, self._rng)
        measured = attempt.ttft if self.route.kind in ("llm", "embed", "tts") else None
        self.board.first(self._loop.time(), attempt.ticket, measured)
        if self._purpose == "serve":
            self.decision.chosen = attempt.tried.target
        return attempt, failed

    @property
    def inputs(self) -> Channel[Input] | None:
        return self._inputs

    def go_on(self, said: list[Input], index: int, skip: float = 0.0) -> None:
        """From now on, attempts are given these instead of what was put before `index`, and `skip` seconds less of that."""
        assert self._inputs is not None
        self._said_first, self._skip = said, skip
        self._inputs.mark(index)

    def launch(self, target: Target, why: Why) -> Attempt:
        now, route, request = self._loop.time(), self.route, self.request
        ticket = self.board.started(now, target, self._tokens)
        provider, inputs = self._providers[target.provider], self._inputs
        verb, bypass = getattr(provider, VERBS[type(request)]), None
        if route.kind in ("llm", "embed"):
            by = None if self._whole else getattr(provider, "chat_with_bypass", None)
            if by is None:
                events = verb(target.model, request)
            else:
                bypass = Bypass()
                events = by(target.model, request, bypass)
            zero = 0.0
        else:
            inputs = self._inputs = inputs if inputs is not None else Channel()
            reader = inputs.reader(skip=self._skip)
            zero = inputs.before(reader.index) + self._skip
            given = Begun(self._said_first, reader) if self._said_first else reader
            events = verb(target.model, self._spoken(target), given)
        # Where nobody else can be asked, to wait longer than usual beats to fail.
        hurried = not self._whole and not self._alone
        first = first_within(route.policy, request, self.board.deadline(now, ticket) if hurried else None)
        tried = Tried(str(target), self._why or why, now - self._began)
        attempt = Attempt(route, target, events, request, first, self._sampled, ticket, tried, self._loop, bypass)
        if inputs is not None:
            attempt.hears(lambda second: inputs.dated(zero + second))
            for item in self._said_first:
                attempt.input(item, now)
            inputs.watch(attempt.input)
        self.decision.tried.append(tried)
        return attempt

    def _spoken(self, target: Target) -> Request:
        """The request, with the voice as the target calls it."""
        request = self.request
        if self.route.voices and isinstance(request, SpeakRequest | ConverseRequest):
            return replace(request, voice=self.route.voice(request.voice, target))
        return request

    def hedge_after(self, attempt: Attempt) -> float | None:
        if self.route.kind not in HEDGED:
            return None
        if self._raced:
            self._raced = False
            return 0.0
        after = self.board.hedge_after(self._loop.time(), attempt.ticket)
        # Where the answer comes whole, no deadline can tell slow from silent: another target races it instead.
        return min(self.route.policy.ttft_deadline, after or 1e9) if self._whole else after

    def take_hedge(self) -> bool:
        return self.board.take_hedge(self._loop.time())

    def take_retry(self) -> bool:
        return self.board.take_retry(self._loop.time())

    def cost(self, attempt: Attempt) -> float | None:
        """US dollars of the attempts that are over and of this one so far; None if that of one is not known."""
        so_far = self._ledger.cost(attempt.tried.target, attempt.usage) if self._ledger is not None else None
        if so_far is None or not self.costs:
            return so_far
        known = [each for each in self.costs if each is not None]
        return sum(known, so_far) if len(known) == len(self.costs) else None

    def settle(self) -> None:
        """The request is over. It is told once its copies are, too."""
        self.decision.done = True
        self._tell()

    def copied(self) -> None:
        """A shadow copy of it was sent."""
        self._copies += 1

    def copy_over(self) -> None:
        self._copies -= 1
        self._tell()

    def _tell(self) -> None:
        if self.decision.done and not self._copies:
            self._recorder.settled(self.decision)

    def _sampled(self, attempt: Attempt, sample: Sample) -> None:
        now, tried = self._loop.time(), attempt.tried
        if sample.part == "turn":
            self.board.turn(now, attempt.ticket, sample.ttft or 0.0)
        else:
            if self._ledger is not None:
                sample = self._ledger.priced(sample)
            self.costs.append(sample.cost)
            if self._inputs is not None:
                self._inputs.unwatch(attempt.input)
            error = attempt.error
            self.board.ended(now, attempt.ticket, sample.outcome, error.retry_after if error else None)
            tried.outcome, tried.ttft, tried.duration = sample.outcome, sample.ttft, sample.duration
            tried.cost = sample.cost
            if error is not None:
                status = f" {error.status}" if error.status is not None else ""
                tried.error = type(error).__name__ + status
        if self._purpose != "serve":
            sample.purpose = self._purpose
        self._recorder.record(sample)
