"""Result: what was simulated, as tables for a terminal or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from gateway.routing.route import Route
from gateway.simulate.summary import RouteSummary, TargetSummary, Waits
from gateway.simulate.world import Known

_FIGURES = (
    ("share", 7), ("attempts", 10), ("hedges", 8), ("p50", 8), ("p95", 8), ("p99", 8), ("failed", 8), ("429", 6),
    ("ejected", 14),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RouteResult:
    """`recorded`: what the log says of the same requests; `known`: how the targets' waits are known."""

    route: Route
    played: RouteSummary
    recorded: RouteSummary | None
    known: Mapping[str, Known]
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Result:
    """`source`: the scenario's file, or where the log is from; `seconds`: that it covers."""

    source: str
    seconds: float
    seed: int
    routes: Sequence[RouteResult]
    notes: Sequence[str]


def as_json(result: Result) -> dict[str, object]:
    """Seconds throughout."""
    return {
        "object": "simulation",
        "source": result.source,
        "seconds": result.seconds,
        "seed": result.seed,
        "routes": [
            {
                "route": each.route.name,
                "kind": each.route.kind,
                "order": each.route.policy.order,
                **_summary(each.played, each.known),
                "recorded": None if each.recorded is None else _summary(each.recorded, {}),
                "notes": list(each.notes),
            }
            for each in result.routes
        ],
        "notes": list(result.notes),
    }


def _summary(summary: RouteSummary, known: Mapping[str, Known]) -> dict[str, object]:
    said = asdict(summary)
    for row in said["targets"]:
        if row["target"] in known:
            row |= asdict(known[row["target"]])
    return said


def as_text(result: Result) -> str:
    lines = [f"{result.source}: {_span(result.seconds)}, seed {result.seed}", ""]
    for each in result.routes:
        lines += [*_route(each, result.seconds), ""]
    lines += _notes(result.notes)
    return "\n".join(lines).rstrip() + "\n"


def _route(each: RouteResult, seconds: float) -> Iterator[str]:
    route, played = each.route, each.played
    rate = f", {played.requests / seconds:.3g} a second" if seconds else ""
    yield f"{route.name}  {route.kind}, order {route.policy.order}: {played.requests} requests{rate}"
    width = max(len("waits, all"), *(len(row.target) for row in played.targets)) + 2
    yield "  " + "target".ljust(width) + "".join(name.rjust(room) for name, room in _FIGURES)
    for row in played.targets:
        yield "  " + row.target.ljust(width) + _cells(_figures(row))
    everyone = {"attempts": str(played.attempts), "hedges": str(played.hedges), **_waits(played.wait)}
    yield "  " + "waits, all".ljust(width) + _cells(everyone)
    failed = f"{played.failed} of {played.requests} requests failed"
    calls = f"{played.attempts / max(1, played.requests):.2f} attempts a request"
    yield f"  mean wait {_milliseconds(played.wait.mean)} ms, {calls}, {failed}"
    if each.recorded is not None:
        yield ""
        yield from _compared(each.recorded, played, each.known)
    yield from _notes(each.notes)


def _compared(recorded: RouteSummary, played: RouteSummary, known: Mapping[str, Known]) -> Iterator[str]:
    yield "  " + "of the same requests".ljust(24) + "recorded".rjust(10) + "simulated".rjust(11)
    for name in ("mean", "p50", "p95", "p99"):
        was, now = getattr(recorded.wait, name), getattr(played.wait, name)
        change = f"{now / was - 1.0:+9.0%}" if was and now is not None else ""
        yield f"  {f'wait, {name}, ms':24}{_milliseconds(was):>10}{_milliseconds(now):>11}{change}"
    for told, was, now in (
        ("attempts", recorded.attempts, played.attempts),
        ("hedges", recorded.hedges, played.hedges),
        ("requests that failed", recorded.failed, played.failed),
    ):
        yield f"  {told:24}{was:>10}{now:>11}"
    shares = {row.target: row.share for row in recorded.targets}
    for row in played.targets:
        evidence = f"   known from {known[row.target].evidence} attempts" if row.target in known else ""
        yield f"  {f'share of {row.target}':24}{shares.get(row.target, 0.0):>10.0%}{row.share:>11.0%}{evidence}"


def _notes(notes: Sequence[str]) -> list[str]:
    return [f"  * {note}" for note in notes]


def _figures(row: TargetSummary) -> dict[str, str]:
    return {
        "share": f"{row.share:.0%}",
        "attempts": str(row.attempts),
        "hedges": str(row.hedges),
        **_waits(row.ttft),
        "failed": str(row.failures),
        "429": str(row.rate_limited),
        "ejected": f"{row.ejections}, {row.ejected_for:.0f} s" if row.ejections else "-",
    }


def _waits(waits: Waits) -> dict[str, str]:
    return {name: _milliseconds(getattr(waits, name)) for name in ("p50", "p95", "p99")}


def _cells(values: Mapping[str, str]) -> str:
    return "".join(values.get(name, "").rjust(room) for name, room in _FIGURES).rstrip()


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f}"


def _span(seconds: float) -> str:
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 120 else f"{seconds:.0f} s"
