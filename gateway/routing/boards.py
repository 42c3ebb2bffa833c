"""Boards: every route's, by name and by way of asking."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from gateway.routing.board import Board
from gateway.routing.plan import Ejected
from gateway.routing.route import Route


class Boards:
    """Every route's boards: one for streamed answers, one for whole ones, whose waits are another thing."""

    def __init__(self, rng: random.Random, ejected: Callable[[Ejected], None] | None = None) -> None:
        self._rng, self._ejected = rng, ejected
        self._boards: dict[tuple[str, bool], Board] = {}

    def of(self, route: Route, whole: bool, now: float) -> Board:
        key = (route.name, whole)
        if key not in self._boards:
            self._boards[key] = Board(route.name, self._rng, now, route.policy, self._ejected)
        return self._boards[key]

    def all(self) -> Sequence[tuple[str, Board]]:
        """Each with its key, which means the same in every replica."""
        return [(f"{name}{'/whole' if whole else ''}", board) for (name, whole), board in self._boards.items()]
