"""Decisions: for each request, who was considered, who was left out and why, who was tried, and how it went."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway.contract.requests import Kind
from gateway.telemetry.sample import Outcome

Why = Literal["first", "retry", "fallback", "hedge", "continue", "shadow"]


@dataclass(slots=True)  # not frozen: a decision makes one for every target, and that would cost it twice as much
class Candidate:
    """A target as the decision saw it. `score`: lower goes first, None where `excluded` says why it was left out;
    `ttft`: what was expected of it, seconds."""

    target: str
    score: float | None = None
    ttft: float | None = None
    excluded: str | None = None


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
    """One request's. It is recorded when it is made and filled in as the request goes on. `at`: Unix seconds."""

    id: str
    at: float
    route: str
    kind: Kind
    order: str
    candidates: tuple[Candidate, ...]
    tried: list[Tried] = field(default_factory=list)
    chosen: str | None = None
    done: bool = False
