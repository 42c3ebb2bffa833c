"""Opening: one request on its way through a route. Opens its attempts, and tells the board, the decision and the recorder
how each went."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

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
from gateway.routing.attempt import Attempt, Limits, is_whole
from gateway.routing.board import Board
from gateway.routing.known import Ticket
from gateway.routing.race import Race
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


@dataclass(slots=True)
class _Entry:
    ticket: Ticket
    tried: Tried


class Opening:
    """Implements race.Course. `decision` is filled in as attempts go; `tokens`: of the prompt, about."""

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
    ) -> None:
        self.route, self.request = route, request
        self._inputs: Channel[Input] | None = inputs
        self._said_first: list[Input] = []
        self._purpose, self._copies = purpose, 0
        self.decision = decision
        self.board, self._providers, self._recorder, self._rng = board, providers, recorder, rng
        self._ledger = ledger
        self.costs: list[float | None] = []
        """Of the attempts that are over, US dollars; None for one of which nobody knows."""
        self._whole, self._tokens = is_whole(request), tokens
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._entries: dict[Attempt, _Entry] = {}
        self._why: Why | None = None
        self._raced = self._alone = False

    async def race(
        self, targets: Sequence[Target], why: Why | None = None, raced: bool = False
    ) -> tuple[Attempt, list[FailedAttempt]]:
        """The first of `targets` to give something useful, and those that failed before. `why`: what its attempts are, if
        not what a race calls them; `raced`: the first two are asked at the same time."""
        self._why, self._raced = why, raced and self.route.kind in HEDGED
        self._alone = len(targets) == 1
        race = Race(self.route, targets, self, self._rng)
        attempt = await race.run()
        now = self._loop.time()
        measured = attempt.ttft if self.route.kind in ("llm", "embed", "tts") else None
        self.board.first(now, self._entries[attempt].ticket, measured)
        if self._purpose == "serve":
            self.decision.chosen = str(attempt.target)
        return attempt, race.failed

    @property
    def inputs(self) -> Channel[Input] | None:
        return self._inputs

    def go_on(self, said: list[Input], index: int) -> None:
        """From now on, attempts are given these instead of what was put before `index`."""
        assert self._inputs is not None
        self._said_first = said
        self._inputs.mark(index)

    def launch(self, target: Target, why: Why) -> Attempt:
        now = self._loop.time()
        ticket = self.board.started(now, target, self._tokens)
        verb = getattr(self._providers[target.provider], VERBS[type(self.request)])
        inputs = self._inputs
        if self.route.kind in ("llm", "embed"):
            events = verb(target.model, self.request)
        else:
            inputs = self._inputs = inputs if inputs is not None else Channel()
            reader = Begun(self._said_first, inputs.reader()) if self._said_first else inputs.reader()
            events = verb(target.model, self._spoken(target), reader)
        # Where nobody else can be asked, to wait longer than usual beats to fail.
        hurried = not self._whole and not self._alone
        limits = Limits.of(self.route.policy, self.request, self.board.deadline(now, ticket) if hurried else None)
        attempt = Attempt(self.route, target, events, self.request, limits, self._sampled)
        if inputs is not None:
            for item in self._said_first:
                attempt.input(item, now)
            inputs.watch(attempt.input)
        tried = Tried(str(target), self._why or why, now - self._began)
        self.decision.tried.append(tried)
        self._entries[attempt] = _Entry(ticket, tried)
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
        after = self.board.hedge_after(self._loop.time(), self._entries[attempt].ticket)
        # Where the answer comes whole, no deadline can tell slow from silent: another target races it instead.
        return min(self.route.policy.ttft_deadline, after or 1e9) if self._whole else after

    def take_hedge(self) -> bool:
        return self.board.take_hedge(self._loop.time())

    def take_retry(self) -> bool:
        return self.board.take_retry(self._loop.time())

    def cost(self, attempt: Attempt) -> float | None:
        """US dollars of the attempts that are over and of this one so far; None if that of one is not known."""
        so_far = self._ledger.cost(str(attempt.target), attempt.usage) if self._ledger is not None else None
        known = [each for each in (*self.costs, so_far) if each is not None]
        return sum(known) if len(known) == len(self.costs) + 1 else None

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
        now, entry = self._loop.time(), self._entries[attempt]
        if sample.part == "turn":
            self.board.turn(now, entry.ticket, sample.ttft or 0.0)
        else:
            if self._ledger is not None:
                sample = self._ledger.priced(sample)
            self.costs.append(sample.cost)
            if self._inputs is not None:
                self._inputs.unwatch(attempt.input)
            error = attempt.error
            self.board.ended(now, entry.ticket, sample.outcome, error.retry_after if error else None)
            tried = entry.tried
            tried.outcome, tried.ttft, tried.duration = sample.outcome, sample.ttft, sample.duration
            tried.cost = sample.cost
            if error is not None:
                status = f" {error.status}" if error.status is not None else ""
                tried.error = type(error).__name__ + status
        self._recorder.record(sample if self._purpose == "serve" else replace(sample, purpose=self._purpose))
