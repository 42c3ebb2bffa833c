"""Decisions: for each request, who was considered, who was left out and why, who was tried, and how it went."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, overload

from gateway.contract.requests import Kind
from gateway.telemetry.sample import Outcome

Why = Literal["first", "retry", "fallback", "hedge", "continue", "shadow", "probe"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target as the decision saw it. `score`: lower goes first, None where `excluded` says why it was left out;
    `ttft`: what was expected of it, seconds."""

    target: str
    score: float | None = None
    ttft: float | None = None
    excluded: str | None = None


class Candidates(Sequence[Candidate]):
    """Made of what a decision noted down when somebody looks at them, which is rare. `targets`, `drawn`: of those
    that could be asked, each's score and mean, in ln(seconds); `excluded`: the others, with the reason."""

    __slots__ = ("drawn", "excluded", "targets")

    def __init__(
        self,
        targets: Sequence[str],
        drawn: Sequence[tuple[float, float]],
        excluded: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.targets, self.drawn, self.excluded = targets, drawn, excluded

    def __len__(self) -> int:
        return len(self.targets) + len(self.excluded)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Candidate]: ...

    def __getitem__(self, index: int | slice) -> Candidate | Sequence[Candidate]:
        return list(self)[index]

    def __iter__(self) -> Iterator[Candidate]:
        for target, (score, mean) in zip(self.targets, self.drawn):
            yield Candidate(target, score, math.exp(mean))
        for target, reason in self.excluded:
            yield Candidate(target, excluded=reason)


@dataclass(slots=True)
class Tried:
    """One attempt. `at`: seconds after the decision; `outcome`: None while it runs, "lost" when another was faster;
    `error`: the class of what went wrong, and its status; `cost`: US dollars, None where nobody knows."""

    target: str
    why: Why
    at: float
    outcome: Outcome | Literal["lost"] | None = None
    ttft: float | None = None
    duration: float | None = None
    error: str | None = None
    cost: float | None = None


@dataclass(slots=True)
class Decision:
    """One request's, or one probe's (`order` is then "probe"). It is recorded when it is made and filled in as the request
    and its shadow copies go on. `at`: Unix seconds."""

    id: str
    at: float
    route: str
    kind: Kind
    order: str
    candidates: Sequence[Candidate]
    tried: list[Tried] = field(default_factory=list)
    chosen: str | None = None
    done: bool = False

    @property
    def targets(self) -> Sequence[str]:
        """Of the candidates."""
        found = self.candidates
        if isinstance(found, Candidates):
            return [*found.targets, *(target for target, _ in found.excluded)] if found.excluded else found.targets
        return [each.target for each in found]
