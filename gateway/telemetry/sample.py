"""Sample: how one attempt went, or one turn of a long stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway.contract.events import Usage
from gateway.contract.requests import Kind

Outcome = Literal[
    "ok",
    "lost",
    "cancelled",
    "unavailable",
    "timeout",
    "rate_limited",
    "unauthorized",
    "out_of_quota",
    "context_too_long",
    "refused",
    "cut",
    "bug",
]

Purpose = Literal["serve", "probe", "shadow"]
"""For a caller; or beside all of them, with the answer thrown away: to learn of an idle target, or to watch a new one."""


@dataclass(slots=True)  # not frozen: every attempt makes one, and that would cost it three times as much
class Sample:
    """`ttft`: seconds from asked to first (stopwatch.py), None if it never came; `duration`: seconds it took; `outcome`:
    `lost` a race to a faster target, `cut` is a failure after first content; `part`: a turn is one of many in a stream."""

    route: str
    kind: Kind
    target: str
    outcome: Outcome
    ttft: float | None
    duration: float
    usage: Usage = field(default_factory=Usage)
    part: Literal["attempt", "turn"] = "attempt"
    cost: float | None = None
    """US dollars; None where nobody knows."""
    payer: str | None = None
    """The id of the key that asked."""
    purpose: Purpose = "serve"
