"""Board: what is known of a route's targets, and what follows from it for one request. (In order; learning comes next.)"""

from __future__ import annotations

import random
from dataclasses import dataclass

from gateway.routing.route import Route, Target
from gateway.telemetry.decisions import Candidate
from gateway.telemetry.sample import Outcome


@dataclass(frozen=True, slots=True)
class Ticket:
    target: Target


@dataclass(frozen=True, slots=True)
class Plan:
    targets: tuple[Target, ...]
    candidates: tuple[Candidate, ...]


class Board:
    def __init__(self, route: Route) -> None:
        self.route = route

    def plan(self, now: float, route: Route) -> Plan:
        return Plan(route.targets, tuple(Candidate(str(t), float(i)) for i, t in enumerate(route.targets)))

    def started(self, now: float, target: Target) -> Ticket:
        return Ticket(target)

    def deadline(self, now: float, ticket: Ticket) -> float | None:
        return None

    def hedge_after(self, now: float, ticket: Ticket) -> float | None:
        return None

    def take_hedge(self, now: float) -> bool:
        return True

    def take_retry(self, now: float) -> bool:
        return True

    def first(self, now: float, ticket: Ticket, ttft: float | None) -> None:
        pass

    def turn(self, now: float, ticket: Ticket, ttft: float) -> None:
        pass

    def ended(self, now: float, ticket: Ticket, outcome: Outcome, retry_after: float | None) -> None:
        pass


class Boards:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._boards: dict[tuple[str, bool], Board] = {}

    def of(self, route: Route, whole: bool) -> Board:
        key = (route.name, whole)
        if key not in self._boards:
            self._boards[key] = Board(route)
        return self._boards[key]
