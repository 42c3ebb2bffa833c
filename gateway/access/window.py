"""Window: how much was let in during the last minute. Pure: the moment is handed in.

Kept in slices of one second. A slice counts until all of it is a minute old: so no 60 s, wherever they begin, ever hold
more than was let in by these counts, and what was used comes back 60 to 61 seconds later.
"""

from __future__ import annotations

from collections import deque

SPAN = 60
"""Seconds."""


class Window:
    __slots__ = ("_slices", "_used")

    def __init__(self) -> None:
        self._slices: deque[list[int]] = deque()  # [second, amount], oldest first
        self._used = 0

    def used(self, now: float) -> int:
        first = int(now) - SPAN
        while self._slices and self._slices[0][0] < first:
            self._used -= self._slices.popleft()[1]
        return self._used

    def add(self, amount: int, now: float) -> None:
        second = int(now)
        if self._slices and self._slices[-1][0] >= second:
            self._slices[-1][1] += amount
        else:
            self._slices.append([second, amount])
        self._used += amount
        if len(self._slices) > SPAN + 2:
            self.used(now)

    def put_back(self, other: Window) -> None:
        """What another has counted, as long ago as it did."""
        merged: dict[int, int] = {}
        for second, amount in (*self._slices, *other._slices):
            merged[second] = merged.get(second, 0) + amount
        self._slices = deque([second, amount] for second, amount in sorted(merged.items()))
        self._used = sum(merged.values())

    def frees(self, now: float) -> float:
        """Seconds until the oldest of it comes back; 0 where nothing was used."""
        return max(0.0, self._slices[0][0] + SPAN + 1 - now) if self.used(now) and self._slices else 0.0
