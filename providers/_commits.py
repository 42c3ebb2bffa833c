"""Commits that wait for their answer. Pure.

A provider's verb for the end of a turn (Finalize, ForceEndTurn) is answered sooner or later, and some say nothing at all where
there was nothing to end. So every commit has a Wait (gateway.contract.duplex.Patient): what is not answered by then is over.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gateway.contract.duplex import Wait

SLACK = 0.1
"""Seconds by which a provider may say that more was heard than it got."""


@dataclass(slots=True)
class Asked:
    """`at`: the provider's seconds of sound when it was told; `turn`: a Commit, which is owed an event, and no Clear."""

    at: float
    turn: bool
    wait: Wait


@dataclass(slots=True)
class Commits:
    """`patience`: seconds."""

    patience: float
    waiting: deque[Asked] = field(default_factory=deque)
    _given_up: float | None = None

    def __len__(self) -> int:
        return len(self.waiting)

    @property
    def wait(self) -> Wait | None:
        return self.waiting[0].wait if self.waiting else None

    def add(self, at: float, turn: bool = True, told: bool = True) -> None:
        """`told`: the provider, who will answer; else there was nothing to tell, and it is over as soon as it is its turn."""
        self.waiting.append(Asked(at, turn, Wait(self.patience if told else 0.0)))

    def heard(self, end: float) -> None:
        """The provider works, and has not come to the first of them yet: it may take longer."""
        if self.waiting and self.waiting[0].wait.seconds and end < self.waiting[0].at - 0.5:
            self.waiting[0].wait = Wait(self.patience)

    def answered(self, end: float) -> list[bool]:
        """The provider ended what it heard up to `end` since it was told to: those that are over now, and whether an event is
        owed for each. The last of them is the one that it answered; it has passed over those before."""
        if self._given_up is not None and end <= self._given_up:
            self._given_up = None  # late: nobody waits for it any more
            return []
        self._given_up = None
        over = []
        while len(self.waiting) > 1 and end > self.waiting[0].at + SLACK:
            over.append(self.waiting.popleft().turn)
        if self.waiting:
            over.append(self.waiting.popleft().turn)
        return over

    def give_up(self) -> bool:
        """The first of them is over, whatever comes. Whether an event is owed for it."""
        asked = self.waiting.popleft()
        if asked.wait.seconds:
            self._given_up = asked.at
        return asked.turn
