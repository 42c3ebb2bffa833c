"""Cleared: the stretches of a stream of sound that are to be forgotten, whatever is heard in them. Pure."""

from __future__ import annotations

from gateway.contract.events import Word


class Cleared:
    """Seconds as the provider counts them."""

    def __init__(self) -> None:
        self._stretches: list[tuple[float, float]] = []

    def add(self, start: float, end: float) -> None:
        self._stretches.append((start, end))

    def has(self, word: Word) -> bool:
        """Whether more than half of it is forgotten."""
        middle = (word.start + word.end) / 2
        return any(start <= middle < end for start, end in self._stretches)
