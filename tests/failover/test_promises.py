"""The six promises of the router, where the common rule has a defect: through Engine.open, in virtual time, `order: ttft`.

The rule broken: the lowest mean of the last ten TTFTs, unseen targets first (reproduced with the most used gateway).
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable

import pytest

from gateway.contract.errors import Unavailable
from gateway.contract.events import Events, Finished, TextDelta
from gateway.contract.messages import Message
from gateway.contract.requests import ChatRequest
from gateway.routing.engine import Engine
from gateway.routing.route import Eject, Policy, Route, Target
from gateway.telemetry.recorder import Recorder
from tests.virtual_time import virtual

HELLO = ChatRequest((Message.of("user", "hello"),))
NEVER = 1e9
"""Seconds to the first token of a target that is silent."""
UNEJECTED = Policy(hedge=0.0, retries=0, eject=Eject(consecutive=1000, base=0.001, longest=0.001))
"""So that what is seen is the score's doing alone."""
FAIR = math.ceil(200 / 3) + 1
"""Of 200 requests to one of three targets, and one for rounding."""
seeds = pytest.mark.parametrize("seed", range(3))


class Paced:
    """A target. `ttft`: seconds of its n-th request (from 0); an error is raised. `opened`: how many it got."""

    def __init__(self, ttft: Callable[[int], float | Exception]) -> None:
        self.ttft = ttft
        self.opened = 0

    async def chat(self, model: str, request: ChatRequest) -> Events:
        n, self.opened = self.opened, self.opened + 1
        wait = self.ttft(n)
        if isinstance(wait, Exception):
            raise wait
        await asyncio.sleep(wait)
        yield TextDelta("hello")
        yield Finished()


def steady(seconds: float) -> Paced:
    return Paced(lambda _: seconds)


class Traffic:
    """Requests to a route "r" of those targets, one `every` so many seconds whether or not earlier ones were answered."""

    def __init__(self, seed: int, policy: Policy = Policy(), **targets: Paced) -> None:  # noqa: B008 - it is frozen
        self._policy, self.targets = policy, targets
        self.engine = Engine({"r": self._route()}, targets, Recorder(), random.Random(seed))
        self.answered: list[tuple[float, str]] = []
        """When each was asked, and who answered it."""

    def add(self, name: str, target: Paced) -> None:
        """As a changed configuration does."""
        self.targets[name] = target
        self.engine.routes = {"r": self._route()}

    def _route(self) -> Route:
        return Route("r", "llm", tuple(Target(name, "m") for name in self.targets), self._policy)

    async def run(self, count: int, every: float = 0.1) -> dict[str, float]:
        """Returns the share that each target answered."""
        began, before = asyncio.get_running_loop().time(), len(self.answered)
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._ask())
                await asyncio.sleep(every)
        assert len(self.answered) == before + count
        return self.shares(began)

    def shares(self, since: float, until: float = math.inf) -> dict[str, float]:
        """Of what was asked then."""
        names = [name for at, name in self.answered if since <= at < until]
        return {name: names.count(name) / len(names) for name in self.targets}

    async def _ask(self) -> None:
        at = asyncio.get_running_loop().time()
        async with self.engine.open("r", HELLO) as answer:
            async for _ in answer:
                pass
            self.answered.append((at, answer.target.provider))


@seeds
def test_a_recovered_target_regains_half_of_what_it_deserves_within_two_half_lives(seed: int) -> None:
    """At ten requests a second the half-life is 200 / 10 = 20 s."""
    half_life, every = 20.0, 0.1

    @virtual
    async def run() -> None:
        noise, slow = random.Random(seed), False

        def wait(_: int) -> float:
            return (3.0 if slow else 0.2) * math.exp(noise.gauss(0.0, 0.2))

        traffic = Traffic(seed, a=Paced(wait), b=Paced(lambda _: 0.6 * math.exp(noise.gauss(0.0, 0.2))))
        await traffic.run(400, every)
        deserved = (await traffic.run(200, every))["a"]
        slow = True
        await traffic.run(400, every)
        assert (await traffic.run(200, every))["a"] < 0.2
        slow, recovered = False, asyncio.get_running_loop().time()
        await traffic.run(round(2 * half_life / every), every)
        regained = traffic.shares(recovered + 1.5 * half_life, recovered + 2 * half_life)
        assert regained["a"] >= deserved / 2

    run()


@pytest.mark.parametrize("known", [40, 600])
@seeds
def test_an_unseen_target_gets_at_most_its_fair_share_until_three_samples(seed: int, known: int) -> None:
    @virtual
    async def run() -> None:
        traffic = Traffic(seed, a=steady(0.3), b=steady(0.5))
        await traffic.run(known)
        traffic.add("c", new := steady(0.1))
        await traffic.run(200, every=0.0)  # all of them before it gave its first token
        assert new.opened <= FAIR
        fresh = Traffic(seed, a=steady(0.3), b=steady(0.3), c=steady(0.3))
        await fresh.run(200, every=0.0)
        assert max(target.opened for target in fresh.targets.values()) <= FAIR

    run()


@seeds
def test_timeouts_count_against_a_target(seed: int) -> None:
    @virtual
    async def run() -> None:
        silent = False
        quick = Paced(lambda _: NEVER if silent else 0.3)
        traffic = Traffic(seed, UNEJECTED, a=quick, b=steady(0.6))
        await traffic.run(40, every=1.0)
        before = await traffic.run(30, every=1.0)
        silent, until = True, quick.opened + 10
        while quick.opened < until:
            await traffic.run(1, every=1.0)
        silent = False
        after = await traffic.run(30, every=1.0)
        assert before["a"] > 0.5
        assert after["a"] < before["a"] / 2

    run()


@seeds
def test_lost_races_count_against_a_target(seed: int) -> None:
    """It is never heard to the end, so nothing but the races that it lost speaks against it."""

    @virtual
    async def run() -> None:
        traffic = Traffic(seed, a=steady(5.0), b=steady(0.3))
        await traffic.run(40, every=1.0)
        asked = traffic.targets["a"].opened
        shares = await traffic.run(40, every=1.0)
        assert shares["b"] == 1.0
        assert traffic.targets["a"].opened - asked <= 4

    run()


@seeds
def test_lost_races_count_against_a_target_that_was_the_best(seed: int) -> None:
    """It became slow; hedges win before its deadline passes, so that it never fails."""

    @virtual
    async def run() -> None:
        slow = False
        best = Paced(lambda _: 0.9 if slow else 0.2)
        traffic = Traffic(seed, a=best, b=steady(0.3))
        before = (await traffic.run(40, every=1.0))["a"]
        slow = True
        await traffic.run(6, every=1.0)
        asked = best.opened
        await traffic.run(6, every=1.0)
        assert before > 0.6
        assert best.opened - asked <= 3

    run()


@seeds
def test_the_error_rate_counts_against_a_target(seed: int) -> None:
    """It is the quicker one, and fails at once one time in four, which its TTFT does not show."""

    @virtual
    async def run() -> None:
        failing = Paced(lambda n: Unavailable("http 500", "a", 500) if n % 4 == 3 and n >= 12 else 0.3)
        traffic = Traffic(seed, UNEJECTED, a=failing, b=steady(0.36))
        before = await traffic.run(40)
        asked = failing.opened
        await traffic.run(400)
        asked, begun = failing.opened, len(traffic.answered)
        await traffic.run(200)
        assert len(traffic.answered) - begun == 200
        assert before["a"] > 0.3
        assert (failing.opened - asked) / 200 < 0.3

    run()


@seeds
def test_an_outlier_of_8_s_in_ten_does_not_flip_the_choice(seed: int) -> None:
    """Its mean is worse than the other's; what is usual is three times better."""

    @virtual
    async def run() -> None:
        traffic = Traffic(seed, a=Paced(lambda n: 8.0 if n % 10 == 9 else 0.25), b=steady(0.75))
        await traffic.run(100, every=0.5)
        quick = traffic.targets["a"]
        asked = quick.opened
        await traffic.run(200, every=0.5)
        assert (quick.opened - asked) / 200 > 0.7

    run()


@pytest.mark.parametrize("spread", [0.0, 0.3, 0.5])
@seeds
def test_of_three_equal_targets_none_gets_45_of_100(seed: int, spread: float) -> None:
    """However unlike their waits are: the luck of a target's first ones is not its quality."""

    @virtual
    async def run() -> None:
        noise = random.Random(seed)

        def wait(_: int) -> float:
            return 0.4 * math.exp(noise.gauss(0.0, spread))

        traffic = Traffic(seed, a=Paced(wait), b=Paced(wait), c=Paced(wait))
        shares = await traffic.run(300)
        assert max(shares.values()) < 0.45

    run()
