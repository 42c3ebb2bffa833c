"""Summary: what decisions come to. The same for those of a log and for those that were played. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from gateway.simulate.play import Out
from gateway.telemetry.decision_log import NOT_FAILED, ending_of
from gateway.telemetry.decisions import Decision, Tried

WELL = frozenset({None, "ok", "lost", "cancelled", "refused", "context_too_long", "rate_limited"})
"""How an attempt may end that is no failure of its target."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds. None where there was none."""

    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    @staticmethod
    def of(seconds: Iterable[float]) -> Waits:
        waits = sorted(seconds)
        if not waits:
            return Waits()
        p50, p95, p99 = (waits[min(len(waits) - 1, int(q * len(waits)))] for q in (0.5, 0.95, 0.99))
        return Waits(fmean(waits), p50, p95, p99)


@dataclass(frozen=True, slots=True)
class TargetSummary:
    """`served`: requests that it gave its first event to; `attempts` at it, of which `hedges` raced another; `ttft`: of the
    attempts that spoke; `ejected_for`: seconds."""

    target: str
    served: int = 0
    share: float = 0.0
    attempts: int = 0
    hedges: int = 0
    ttft: Waits = field(default_factory=Waits)
    failures: int = 0
    rate_limited: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    ejections: int = 0
    ejected_for: float = 0.0


@dataclass(frozen=True, slots=True)
class RouteSummary:
    """`wait`: what callers waited for the first event, whoever gave it; `failed`: requests that ended in an error or with
    half an answer; `endings`: of requests, in the decision log's words."""

    requests: int
    attempts: int
    hedges: int
    failed: int
    wait: Waits
    endings: Mapping[str, int]
    targets: Sequence[TargetSummary]


def summary(decisions: Sequence[Decision], targets: Iterable[str], ejections: Iterable[Out] = ()) -> RouteSummary:
    """Of one route. `targets`: in the order in which they are told; others that were tried follow."""
    tried: dict[str, list[Tried]] = {name: [] for name in targets}
    served: Counter[str] = Counter()
    waits = []
    for decision in decisions:
        for each in decision.tried:
            tried.setdefault(each.target, []).append(each)
        first = first_of(decision)
        if first is not None and first.ttft is not None:
            served[first.target] += 1
            waits.append(first.at + first.ttft)
    out: dict[str, list[Out]] = {}
    for each_out in ejections:
        out.setdefault(each_out.target, []).append(each_out)
    rows = [_target(name, rows, served[name], served.total(), out.get(name, ())) for name, rows in tried.items()]
    endings = Counter[str](ending_of(decision) for decision in decisions)
    return RouteSummary(
        len(decisions),
        sum(row.attempts for row in rows),
        sum(row.hedges for row in rows),
        sum(count for ending, count in endings.items() if ending not in NOT_FAILED),
        Waits.of(waits),
        dict(endings),
        rows,
    )


def first_of(decision: Decision) -> Tried | None:
    """The attempt that gave the caller its first event."""
    return next((tried for tried in decision.tried if tried.ttft is not None and tried.outcome != "lost"), None)


def _target(name: str, tried: Sequence[Tried], served: int, total: int, out: Sequence[Out]) -> TargetSummary:
    outcomes = Counter[str](each.outcome for each in tried if each.outcome is not None)
    return TargetSummary(
        name,
        served,
        served / total if total else 0.0,
        len(tried),
        sum(each.why == "hedge" for each in tried),
        Waits.of(each.ttft for each in tried if each.ttft is not None and each.outcome != "lost"),
        sum(count for outcome, count in outcomes.items() if outcome not in WELL),
        outcomes["rate_limited"],
        dict(outcomes),
        len(out),
        sum(each.seconds for each in out),
    )
