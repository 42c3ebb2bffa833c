"""Trend: what was measured of each target over the last minutes, in steps, for a sparkline. Pure: clocks are parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.telemetry.sample import Outcome, Sample

STEP = 5.0
"""Seconds of one point."""
POINTS = 60

NO_FAULT: frozenset[Outcome] = frozenset({"ok", "lost", "cancelled", "refused", "context_too_long"})
"""Outcomes that say nothing against a target."""


@dataclass(frozen=True, slots=True)
class Points:
    """Oldest first, the last one under way. `ttft`: the typical one of each step in seconds, None where none came;
    `failed`: attempts that failed."""

    ttft: list[float | None]
    failed: list[int]


@dataclass(slots=True)
class _Steps:
    """A ring. `step`: the number of the latest one; sums of logarithms, since one outlier must not draw the line."""

    step: int
    logs: list[float] = field(default_factory=lambda: [0.0] * POINTS)
    counts: list[int] = field(default_factory=lambda: [0] * POINTS)
    failed: list[int] = field(default_factory=lambda: [0] * POINTS)

    def reach(self, step: int) -> None:
        for passed in range(max(self.step + 1, step - POINTS + 1), step + 1):
            at = passed % POINTS
            self.logs[at], self.counts[at], self.failed[at] = 0.0, 0, 0
        self.step = max(self.step, step)


class Trend:
    """`sample` is a sink of the recorder. `clock`: seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._of: dict[tuple[str, str], _Steps] = {}

    def sample(self, sample: Sample) -> None:
        steps = self._now(sample.route, sample.target)
        at = steps.step % POINTS
        # A stream of turns reports each of them, and its first one again with the attempt.
        measured = sample.part == "turn" or sample.kind in ("llm", "tts")
        if sample.ttft is not None and sample.ttft > 0 and measured:
            steps.logs[at] += math.log(sample.ttft)
            steps.counts[at] += 1
        if sample.outcome not in NO_FAULT:
            steps.failed[at] += 1

    def points(self, route: str, target: str) -> Points:
        steps = self._now(route, target)
        order = [(steps.step + 1 + n) % POINTS for n in range(POINTS)]
        return Points(
            [round(math.exp(steps.logs[at] / steps.counts[at]), 4) if steps.counts[at] else None for at in order],
            [steps.failed[at] for at in order],
        )

    def _now(self, route: str, target: str) -> _Steps:
        step = int(self._clock() / STEP)
        steps = self._of.get((route, target))
        if steps is None:
            steps = self._of[route, target] = _Steps(step)
        if steps.step != step:
            steps.reach(step)
        return steps
