"""Plan: what a board decides for one request. Ejected: what it says of a target that it puts out."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.routing.route import Target
from gateway.telemetry.decisions import Candidates


@dataclass(slots=True)  # not frozen, though nothing changes one: every request makes one
class Plan:
    """`targets`: best first, never empty; `raced`: the second is worth asking at the same time as the first."""

    targets: tuple[Target, ...]
    candidates: Candidates
    raced: bool = False


@dataclass(slots=True)
class Ejected:
    """Said of a target that was put out. `until`: by the clock handed in."""

    route: str
    target: str
    until: float
    reason: str
