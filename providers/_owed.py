"""Owed: the turns that a provider was asked to end, in the order of its answers. Pure; for speech to text."""

from __future__ import annotations

from collections import deque
from typing import Literal

_Turn = Literal["asked", "void", "empty"]


class Owed:
    """`asked`: the provider has it and will answer; `void`: it will answer, and nobody wants to hear it; `empty`: there was
    nothing to ask about, and the answer is ours."""

    def __init__(self) -> None:
        self._turns: deque[_Turn] = deque()
        self.fresh = False
        """Whether there is audio that was not committed."""

    def __len__(self) -> int:
        return len(self._turns)

    @property
    def void(self) -> bool:
        """Whether what comes now is of a turn that was forgotten."""
        return bool(self._turns) and self._turns[0] == "void"

    @property
    def ours(self) -> bool:
        """Whether the next answer is ours."""
        return bool(self._turns) and self._turns[0] == "empty"

    def commit(self) -> bool:
        """Whether the provider is to be asked."""
        fresh, self.fresh = self.fresh, False
        self._turns.append("asked" if fresh else "empty")
        return fresh

    def clear(self) -> bool:
        """Whether the provider is to be asked, for nobody."""
        fresh, self.fresh = self.fresh, False
        if fresh:
            self._turns.append("void")
        return fresh

    def answered(self) -> bool:
        """The provider ended a turn: whether somebody is to hear of it."""
        return bool(self._turns) and self._turns.popleft() == "asked"

    def empties(self) -> int:
        """How many answers are ours now; they count as given."""
        count = 0
        while self.ours:
            self._turns.popleft()
            count += 1
        return count

    def rest(self) -> int:
        """How many answers somebody waits for, when there will be none any more."""
        waiting = sum(turn != "void" for turn in self._turns)
        self._turns.clear()
        return waiting
