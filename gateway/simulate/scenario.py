"""Scenario: a YAML file that says what targets do, when, and how often they are asked. docs/operations.md has the keys."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gateway.config import BadConfig, Config, Problem, Seconds, Share, row_of
from gateway.contract.errors import ConfigError
from gateway.routing.route import Route
from gateway.simulate.world import STREAM, Ask, Fate, Known, luck
from gateway.yaml_lines import read

MOST = 200_000
"""Requests in one scenario."""
TURNED_AWAY = 0.05
"""Seconds that a 429 takes."""
WINDOW = 60.0
"""Seconds over which a limit is counted."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RegimeRow(_Row):
    """How a target behaves from `at` on. What a later one does not say is as in the first."""

    at: Seconds = 0.0
    ttft: Seconds = 0.5
    spread: Annotated[float, Field(ge=0, le=3, strict=False)] = 0.35
    slow: Share = 0.01
    slow_times: Annotated[float, Field(ge=1, le=1000, strict=False)] = 8.0
    errors: Share = 0.0
    error_after: Seconds = 0.15
    silent: Share = 0.0
    cut: Share = 0.0
    knee: Annotated[float, Field(gt=0, strict=False)] | None = None
    limit: Annotated[float, Field(gt=0, strict=False)] | None = None


class RateRow(_Row):
    """`rate`: requests a second from `at` on."""

    at: Seconds = 0.0
    rate: Annotated[float, Field(ge=0, le=100_000, strict=False)]


def _listed(value: object) -> object:
    return [{} if value is None else value] if isinstance(value, dict | None) else value


def _rates(value: object) -> object:
    return [{"rate": value}] if isinstance(value, int | float) and not isinstance(value, bool) else value


Regimes = Annotated[list[RegimeRow], BeforeValidator(_listed), Field(min_length=1)]


class TrafficRow(_Row):
    rate: Annotated[list[RateRow], BeforeValidator(_rates), Field(min_length=1)]
    stream: Seconds = STREAM
    targets: Annotated[dict[str, Regimes], Field(min_length=1)]


class ScenarioRow(_Row):
    duration: Seconds
    seed: int = 1
    routes: Annotated[dict[str, TrafficRow], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the file says; `where` gives the line of a path."""

    row: ScenarioRow
    where: Config


def parse(text: str, file: str) -> Scenario:
    """Raises BadConfig with every mistake that can be seen without the routes; ConfigError if it is no YAML."""
    document = read(text, file)
    where = Config(file, document)
    if not isinstance(document.value, dict):
        raise BadConfig([Problem(file, 1, "", "a scenario is a mapping with duration and routes")])
    row = row_of(where, document.value, (), ScenarioRow)
    if problems := sorted(_order(row, where), key=lambda problem: problem.line):
        raise BadConfig(problems)
    return Scenario(row, where)


def _order(row: ScenarioRow, where: Config) -> Iterator[Problem]:
    if row.duration <= 0.0:
        yield where.problem(("duration",), "must be more than nothing")
    for name, traffic in row.routes.items():
        path = ("routes", name)
        yield from _rising(where, (*path, "rate"), [each.at for each in traffic.rate])
        for target, regimes in traffic.targets.items():
            yield from _rising(where, (*path, "targets", target), [each.at for each in regimes])
    count = sum(_count(traffic, row.duration) for traffic in row.routes.values())
    if count > MOST:
        yield where.problem(("duration",), f"that makes about {count:.0f} requests; at most {MOST}")


def _rising(where: Config, path: tuple[str | int, ...], times: list[float]) -> Iterator[Problem]:
    for index, (before, at) in enumerate(pairwise(times), start=1):
        if at <= before:
            yield where.problem((*path, index), "`at` must be later than that of the one before")


def _count(traffic: TrafficRow, duration: float) -> float:
    return sum(each.rate * (until - since) for each, since, until in _phases(traffic, duration))


def _phases(traffic: TrafficRow, duration: float) -> Iterator[tuple[RateRow, float, float]]:
    ends = [*(each.at for each in traffic.rate[1:]), duration]
    for each, until in zip(traffic.rate, ends):
        if each.at < duration:
            yield each, each.at, min(until, duration)


@dataclass(slots=True)
class _Played:
    """A target as it goes: `sent`: when it took attempts, within the window."""

    regimes: list[RegimeRow]
    stream: float
    sent: deque[float] = field(default_factory=deque)

    def regime(self, now: float) -> RegimeRow:
        current = self.regimes[0]
        for regime in self.regimes:
            if regime.at <= now:
                current = regime
        return current

    def admits(self, now: float, limit: float | None) -> bool:
        while self.sent and self.sent[0] <= now - WINDOW:
            self.sent.popleft()
        if limit is not None and len(self.sent) >= limit:
            return False
        self.sent.append(now)
        return True


class ScenarioWorld:
    """Implements world.World. Poisson arrivals, log-normal waits."""

    def __init__(
        self, scenario: Scenario, routes: Mapping[str, Route], seed: int | None = None, only: str | None = None
    ) -> None:
        """`routes`: of routes.yaml, with sleeping targets; `only`: the one to play. Raises BadConfig for routes and targets
        that there are not."""
        row, self._file = scenario.row, scenario.where.file
        self.seed = row.seed if seed is None else seed
        self.length = row.duration
        if problems := list(_unknown(scenario, routes)):
            raise BadConfig(problems)
        self._traffic = {name: traffic for name, traffic in row.routes.items() if only in (None, name)}
        if not self._traffic:
            raise ConfigError(f"{self._file}: it has nothing of route {only}")
        self.targets = {name: dict.fromkeys(each.targets, Known()) for name, each in self._traffic.items()}
        self._played = {
            (name, target): _Played([_filled(regimes[0], each) for each in regimes], traffic.stream)
            for name, traffic in self._traffic.items()
            for target, regimes in traffic.targets.items()
        }

    def asks(self) -> list[Ask]:
        times: list[tuple[float, str]] = []
        for name, traffic in self._traffic.items():
            rng = random.Random(f"{self.seed}/{name}")
            for each, since, until in _phases(traffic, self.length):
                now = since
                while each.rate and (now := now + rng.expovariate(each.rate)) < until:
                    times.append((now, name))
        if not times:
            raise ConfigError(f"{self._file}: no request comes in so short a time")
        return [Ask(number, at, name) for number, (at, name) in enumerate(sorted(times))]

    def fate(self, ask: Ask, target: str, tries: int, now: float, live: int) -> Fate:
        played = self._played[ask.route, target]
        regime, rng = played.regime(now), luck(self.seed, ask, target, tries)
        if not played.admits(now, regime.limit):
            return Fate("rate_limited", TURNED_AWAY)
        drawn = rng.random()
        if drawn < regime.silent:
            return Fate("timeout")
        if drawn < regime.silent + regime.errors:
            return Fate("unavailable", regime.error_after)
        wait = regime.ttft * math.exp(rng.gauss(0.0, regime.spread))
        if rng.random() < regime.slow:
            wait *= regime.slow_times
        if regime.knee is not None:
            wait *= 1.0 + (live / regime.knee) ** 2
        if rng.random() < regime.cut:
            return Fate("cut", wait, played.stream / 2.0)
        return Fate("ok", wait, played.stream)


def _filled(first: RegimeRow, later: RegimeRow) -> RegimeRow:
    return first.model_copy(update={name: getattr(later, name) for name in later.model_fields_set})


def _unknown(scenario: Scenario, routes: Mapping[str, Route]) -> Iterator[Problem]:
    where = scenario.where
    for name, traffic in scenario.row.routes.items():
        if name not in routes:
            yield where.problem(("routes", name), f"routes.yaml has no such route; it has {', '.join(routes)}")
            continue
        known = [str(target) for target in routes[name].targets]
        for target in traffic.targets:
            if target not in known:
                path = ("routes", name, "targets", target)
                yield where.problem(path, f"is no target of route {name}; it has {', '.join(known)}")
