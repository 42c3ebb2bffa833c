"""The simulator's policy, through the objects that production decides with.

python ../shared/routing_sim/run.py loadtests.routing_policy:make
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from gateway.routing.board import Board
from gateway.routing.known import Ticket
from gateway.routing.route import Policy, Route, Target
from gateway.telemetry.sample import Outcome

_OUTCOMES: dict[str, Outcome] = {"error": "unavailable", "rate_limited": "rate_limited", "timeout": "timeout"}


class Simulated:
    """One route's board, driven by the simulator's calls: it knows targets by name and attempts by when they began."""

    def __init__(self, names: Sequence[str], seed: int) -> None:
        self._targets = {name: Target(name, "m") for name in names}
        self._route = Route("r", "llm", tuple(self._targets.values()), Policy())
        self._board = Board("r", random.Random(seed), 0.0, self._route.policy)
        self._open: dict[str, list[Ticket]] = {name: [] for name in names}
        self._streaming: dict[str, list[Ticket]] = {name: [] for name in names}
        self._raced = False
        self._expected = False  # the next start is a first attempt or a fallback, not a hedge
        self._newest: Ticket | None = None

    def rank(self, now: float) -> list[str]:
        plan = self._board.plan(now, self._route)
        self._raced, self._expected = plan.raced, True
        return [target.provider for target in plan.targets]

    def start(self, now: float, target: str) -> None:
        if not self._expected:
            self._board.take_hedge(now)
        self._expected = False
        self._newest = self._board.started(now, self._targets[target])
        self._open[target].append(self._newest)

    def hedge_after(self, now: float, target: str) -> float | None:
        assert self._newest is not None
        raced, self._raced = self._raced, False
        deadline = self._board.deadline(now, self._newest)
        given_up = min(self._route.policy.ttft_deadline, deadline or math.inf)  # when the next would be asked instead
        if self._board.hedges < 1.0:
            return given_up
        hedge = 0.0 if raced else self._board.hedge_after(now, self._newest)
        return given_up if hedge is None else min(hedge, given_up)

    def first(self, now: float, target: str, ttft: float) -> None:
        ticket = self._take(target, now - ttft)
        self._board.first(now, ticket, ttft)
        self._streaming[target].append(ticket)

    def fail(self, now: float, target: str, elapsed: float, kind: str) -> None:
        self._board.ended(now, self._take(target, now - elapsed), _OUTCOMES[kind])
        self._expected = True

    def cancel(self, now: float, target: str, elapsed: float) -> None:
        self._board.ended(now, self._take(target, now - elapsed), "lost")

    def done(self, now: float, target: str) -> None:
        self._board.ended(now, self._streaming[target].pop(0), "ok")

    def _take(self, target: str, began: float) -> Ticket:
        open_ = self._open[target]
        return open_.pop(min(range(len(open_)), key=lambda at: abs(open_[at].began - began)))


def make(names: Sequence[str], seed: int) -> Simulated:
    return Simulated(names, seed)
