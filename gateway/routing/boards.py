"""Boards: every route's, by name and by way of asking."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from gateway.routing.board import Board
from gateway.routing.plan import Ejected
from gateway.routing.route import Route, Target


class Boards:
    """Every route's boards: one for streamed answers, one for whole ones, whose waits are another thing."""

    def __init__(self, rng: random.Random, ejected: Callable[[Ejected], None] | None = None) -> None:
        self._rng, self._ejected = rng, ejected
        self._boards: dict[tuple[str, bool, bool], Board] = {}

    def of(self, route: Route, whole: bool, now: float, shadow: bool = False) -> Board:
        """`shadow`: of the targets that serve nobody. What happens there is nobody's concern, and no other target's."""
        key = (route.name, whole, shadow)
        if key not in self._boards:
            told = None if shadow else self._ejected
            self._boards[key] = Board(route.name, self._rng, now, route.policy, told)
        return self._boards[key]

    def in_flight(self, route: Route, now: float) -> int:
        """Attempts of the route that are under way."""
        return sum(self.of(route, whole, now).in_flight() for whole in (False, True))

    def asked_at(self, route: Route, target: Target, now: float) -> float:
        """When the target was last asked in any way, here or, as far as they said, at another replica."""
        return max(self.of(route, whole, now).asked_at(now, target) for whole in (False, True))

    def all(self) -> Sequence[tuple[str, Board]]:
        """Each with its key, which means the same in every replica."""
        return [
            (f"{name}{'/whole' if whole else ''}{'/shadow' if shadow else ''}", board)
            for (name, whole, shadow), board in self._boards.items()
        ]
