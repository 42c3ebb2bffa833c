"""Decision log: what `GET /v1/telemetry/decisions` answers, read back, and the world that it is evidence of.

An attempt that the log has goes as it went. One that it does not have goes as a recorded attempt at that target did, drawn of
those nearest in time; waits that were cut short by a faster target count as longer than they were seen to be.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import orjson
from pydantic import TypeAdapter, ValidationError

from gateway.contract.errors import ConfigError
from gateway.routing.route import Route
from gateway.simulate.world import STREAM, Ask, Fate, Known, luck
from gateway.telemetry.decision_log import is_probe
from gateway.telemetry.decisions import Decision, Tried
from gateway.yaml_lines import dotted

NEAREST = 20
"""Attempts, by time, of which one is drawn."""
LATEST = 1e11
"""Unix seconds that may be meant as such."""


def parse(text: str | bytes, file: str) -> list[Decision]:
    """Raises ConfigError naming `file`, and the line or the path."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{file}:{error.lineno}: not JSON: {error.msg}") from None
    if isinstance(value, dict) and "error" in value:
        raise ConfigError(f"{file}: it is the answer to a request that failed, not a decision log")
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{file}: not a decision log: save what GET /v1/telemetry/decisions answers")
    try:
        # `outcome` and `hedged` follow from the rest, and a newer gateway may say more: what has no field is passed over.
        decisions = TypeAdapter(list[Decision]).validate_python(rows)
    except ValidationError as error:
        found = error.errors()[0]
        raise ConfigError(f"{file}: {dotted(('data', *found['loc']))}: {found['msg']}") from None
    for index, decision in enumerate(decisions):
        if not 0.0 <= decision.at <= LATEST:
            raise ConfigError(f"{file}: data[{index}].at: not a time in Unix seconds")
    return decisions


@dataclass(frozen=True, slots=True)
class _Seen:
    """An attempt of the log. `fate` None: it was left at `seen` seconds, before it had spoken."""

    at: float
    seen: float
    fate: Fate | None


class LogWorld:
    """Implements world.World. `decisions`: those that are replayed, oldest first; `left_out`: how many are not."""

    def __init__(self, logged: Iterable[Decision], routes: Mapping[str, Route], seed: int) -> None:
        """`routes`: those that are replayed. Raises ConfigError where there is nothing to replay."""
        by_id = {decision.id: decision for decision in logged if decision.route in routes and not is_probe(decision)}
        self.decisions = sorted((d for d in by_id.values() if d.done and d.tried), key=lambda d: d.at)
        self.left_out = len(by_id) - len(self.decisions)
        self.seed = seed
        if not self.decisions:
            raise ConfigError("the log has no finished request for these routes")
        began = self.decisions[0].at
        self.length = self.decisions[-1].at - began
        self._asks = [Ask(n, d.at - began, d.route, d.id) for n, d in enumerate(self.decisions)]
        self._by_id = by_id
        self._seen: dict[tuple[str, str], list[_Seen]] = {}
        self._route_seen: dict[str, list[_Seen]] = {}
        for decision in self.decisions:
            for tried in decision.tried:
                seen = _seen(tried, decision.at - began + tried.at)
                if seen is not None:
                    self._seen.setdefault((decision.route, tried.target), []).append(seen)
                    self._route_seen.setdefault(decision.route, []).append(seen)
        for rows in (*self._seen.values(), *self._route_seen.values()):
            rows.sort(key=lambda seen: seen.at)
        self.targets = {name: self._known(name) for name in dict.fromkeys(d.route for d in self.decisions)}

    def _known(self, route: str) -> dict[str, Known]:
        named: dict[str, Known] = {}
        for decision in self.decisions:
            if decision.route == route:
                for target in (*(t.target for t in decision.tried), *(c.target for c in decision.candidates)):
                    if target not in named:
                        count = len(self._seen.get((route, target), ()))
                        named[target] = Known(count, assumed=not count)
        return named

    def asks(self) -> list[Ask]:
        return self._asks

    def fate(self, ask: Ask, target: str, tries: int, now: float, live: int) -> Fate:
        decision = self._by_id[ask.id]
        rng = luck(self.seed, ask, target, tries)
        recorded = [tried for tried in decision.tried if tried.target == target]
        if (fate := _refusal(decision, recorded)) is not None:
            return fate
        seen = _seen(recorded[tries], now) if tries < len(recorded) else None
        near = self._near(ask.route, target, now)
        if seen is None:
            if not near:
                return Fate("ok", 0.5)
            seen = rng.choice(near)
        return seen.fate if seen.fate is not None else _longer(seen.seen, near, rng)

    def _near(self, route: str, target: str, now: float) -> Sequence[_Seen]:
        rows = self._seen.get((route, target)) or self._route_seen.get(route, [])
        place = bisect_left(rows, now, key=lambda seen: seen.at)
        first = max(0, min(place - NEAREST // 2, len(rows) - NEAREST))
        return rows[first : first + NEAREST]


def _seen(tried: Tried, at: float) -> _Seen | None:
    """None for what says nothing of the target."""
    duration = tried.duration or 0.0
    match tried.outcome:
        case "ok" | "cut" | "cancelled" if tried.ttft is not None:
            rest = max(0.0, duration - tried.ttft)
            return _Seen(at, duration, Fate("cut" if tried.outcome == "cut" else "ok", tried.ttft, rest))
        case "lost" | "cancelled":
            return _Seen(at, duration, None)
        case "unavailable" | "timeout" | "rate_limited" | "unauthorized" | "out_of_quota" | "bug":
            return _Seen(at, duration, Fate(tried.outcome, duration))
    return None  # refusals are the request's


def _refusal(decision: Decision, recorded: Sequence[Tried]) -> Fate | None:
    """What was refused is refused by whoever is asked; what was too long for a target stays so."""
    for tried in decision.tried:
        if tried.outcome == "refused" and tried.why != "shadow":
            return Fate("refused", tried.duration or 0.0)
    for tried in recorded:
        if tried.outcome == "context_too_long":
            return Fate("context_too_long", tried.duration or 0.0)
    return None


def _longer(seen: float, near: Sequence[_Seen], rng: random.Random) -> Fate:
    """It had not spoken after `seen` seconds: as one of those that took longer, or half as long again."""
    spoke = [each.fate for each in near if each.fate is not None and each.fate.outcome in ("ok", "cut")]
    longer = [fate for fate in spoke if fate.after > seen]
    if longer:
        return rng.choice(longer)
    return Fate("ok", 1.5 * seen, median([fate.stream for fate in spoke]) if spoke else STREAM)
