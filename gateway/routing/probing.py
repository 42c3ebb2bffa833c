"""Probing: targets that nobody asked for long are asked something small, so that a route of little traffic knows how they
are before it needs them. Off unless a policy says `probe`."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterable

from gateway.routing.boards import Boards
from gateway.routing.engine import Engine
from gateway.routing.route import Probing, Route, Target

LOOK, LOOKS = 1.0, 50
"""Seconds between two looks at who is idle, at least; of the shortest `every`, so many."""
DAY = 86_400.0
STAGGER = 0.5
"""A target waits up to this share longer, by lot: replicas, which hear of each other's probes, then seldom probe at once."""


class Prober:
    """Probes one target at a time. `renewed`: to be called when the engine's routes were."""

    def __init__(self, engine: Engine, rng: random.Random | None = None) -> None:
        self._engine, self._idle = engine, Idle(rng or random.Random())
        self._news = asyncio.Event()

    def renewed(self) -> None:
        self._news.set()

    async def run(self) -> None:
        """Until cancelled. While no policy probes, it sleeps."""
        engine, clock = self._engine, asyncio.get_running_loop().time
        while True:
            self._news.clear()
            probing = [route.policy.probe.every for route in engine.routes.values() if route.policy.probe is not None]
            if probing:
                await asyncio.sleep(max(LOOK, min(probing) / LOOKS))
            else:
                await self._news.wait()
            due = self._idle.due(clock(), engine.routes.values(), engine.boards)
            if due is not None:
                await asyncio.wait({engine.probe(*due)})


class Idle:
    """Who is to be probed. Pure: the clock and the lot are handed in."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._lots: dict[tuple[str, str], tuple[float, float]] = {}
        """By route and target: when it was asked last, and the lot that was drawn then."""
        self._spent: dict[tuple[str, str], deque[float]] = {}
        """When it was probed, of the last day. Outlives every change of routes.yaml."""

    def due(self, now: float, routes: Iterable[Route], boards: Boards) -> tuple[Route, Target] | None:
        """A target that is due, which then counts as probed."""
        for route in routes:
            if (probing := route.policy.probe) is None or boards.in_flight(route, now):
                continue
            for target in route.targets:
                if self._is_due(now, route, target, probing, boards):
                    self._spent.setdefault((route.name, str(target)), deque()).append(now)
                    return route, target
        return None

    def _is_due(self, now: float, route: Route, target: Target, probing: Probing, boards: Boards) -> bool:
        key = (route.name, str(target))
        asked = boards.asked_at(route, target, now)
        if key not in self._lots or self._lots[key][0] != asked:
            self._lots[key] = asked, self._rng.random()
        if now - asked < probing.every * (1.0 + STAGGER * self._lots[key][1]):
            return False
        spent = self._spent.get(key, deque[float]())
        while spent and spent[0] <= now - DAY:
            spent.popleft()
        return len(spent) < probing.daily and boards.of(route, route.kind == "embed", now).resting(now, target) is None
