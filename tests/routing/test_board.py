"""What one route makes of what it learned: plans, under a clock that tests turn by hand."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping

import pytest

from gateway.routing.board import Board
from gateway.routing.plan import Ejected, Plan
from gateway.routing.route import Order, Policy, Route, Target
from gateway.routing.wish import Wish
from gateway.telemetry.sample import Outcome

Wait = Callable[[], float | Outcome]
"""What an attempt does: the seconds to its first event, or how it fails, after 0.1 s."""
seeds = pytest.mark.parametrize("seed", range(5))


class World:
    """A route's board, targets "a", "b", ... and a clock."""

    def __init__(
        self,
        seed: int = 1,
        order: Order = "ttft",
        hedge: float = 0.05,
        waits: Mapping[str, Wait] | None = None,
        **more: Wait,
    ) -> None:
        self.waits, self.now, self.rng = {**(waits or {}), **more}, 0.0, random.Random(seed)
        self.targets = {name: Target(name, "m") for name in self.waits}
        self.route = Route("r", "llm", tuple(self.targets.values()), Policy(order=order, hedge=hedge))
        self.out: list[Ejected] = []
        self.board = Board("r", self.rng, 0.0, self.route.policy, self.out.append)
        self.firsts: Counter[str] = Counter()
        self.board.plan(0.0, self.route)

    def plan(self, wish: Wish | None = None) -> Plan:
        plan = self.board.plan(self.now, self.route, wish) if wish else self.board.plan(self.now, self.route)
        self.firsts[plan.targets[0].provider] += 1
        return plan

    def attempt(self, name: str) -> float | None:
        """One, to its end; the clock does not move. Returns its wait, None if it failed."""
        ticket, wait = self.board.started(self.now, self.targets[name]), self.waits[name]()
        if isinstance(wait, str):
            self.board.ended(self.now + 0.1, ticket, wait)
            return None
        self.board.first(self.now + wait, ticket, wait)
        self.board.ended(self.now + wait, ticket, "ok")
        return wait

    def request(self) -> Plan:
        """Races as planned, falls back as planned; without other hedges."""
        plan = self.plan()
        first = self.attempt(plan.targets[0].provider)
        if plan.raced and self.board.take_hedge(self.now):
            loser = self.board.started(self.now, plan.targets[1])
            wait = self.waits[plan.targets[1].provider]()
            if isinstance(wait, float) and (first is None or wait < first):
                self.board.first(self.now + wait, loser, wait)
                self.board.ended(self.now + wait, loser, "ok")
            else:
                self.board.ended(self.now + (first or 0.1), loser, "lost")
        elif first is None:
            next((t for t in plan.targets[1:] if self.attempt(t.provider) is not None), None)
        return plan

    def run(self, requests: int, every: float = 0.2) -> Counter[str]:
        """How often each was the first choice."""
        before = Counter(self.firsts)
        for _ in range(requests):
            self.now += every
            self.request()
        return self.firsts - before

    def excluded(self) -> dict[str, str]:
        plan = self.board.plan(self.now, self.route)
        return {each.target[0]: each.excluded for each in plan.candidates if each.excluded is not None}


def steady(seconds: float) -> Wait:
    return lambda: seconds


def about(median: float, spread: float = 0.35, seed: int = 1) -> Wait:
    rng = random.Random(seed)
    return lambda: median * math.exp(rng.gauss(0.0, spread))


@seeds
def test_most_requests_go_to_who_speaks_first(seed: int) -> None:
    world = World(seed, a=about(0.3), b=about(0.5, seed=2), c=about(0.9, seed=3))
    world.run(100)
    assert world.run(300)["a"] > 270


def regained(seed: int, slow: float, others: int) -> float:
    """Share of what it deserves that the quickest target has two half-lives after it recovered. At five requests a second
    the half-life is 40 s: 200 requests."""
    median, noise = 0.3, random.Random(seed)
    rest: dict[str, Wait] = {name: about(0.5 + 0.1 * n, seed=n) for n, name in enumerate("bcdefgh"[:others])}
    world = World(seed, waits={"a": lambda: median * math.exp(noise.gauss(0.0, 0.35)), **rest})
    world.run(400)
    deserved = world.run(200)["a"] / 200
    median = slow
    world.run(1000)
    assert world.run(200)["a"] < 20
    median = 0.3
    world.run(300)
    return world.run(100)["a"] / 100 / deserved


@seeds
@pytest.mark.parametrize("slow", [1.0, 3.0])
def test_a_target_that_recovered_regains_half_of_what_it_deserves_within_two_half_lives(seed: int, slow: float) -> None:
    assert regained(seed, slow, others=2) > 0.5


def test_so_it_does_among_eight() -> None:
    """Nearly always: seven that are not used take turns to be tried."""
    assert sum(regained(seed, 3.0, others=7) > 0.5 for seed in range(10)) >= 8


@pytest.mark.parametrize("started", [True, False])
@seeds
def test_an_unseen_target_gets_at_most_its_fair_share_of_a_burst(seed: int, started: bool) -> None:
    world = World(seed, a=steady(0.3), b=steady(0.5))
    world.run(100)
    world.targets["c"] = Target("c", "m")
    world.route = Route("r", "llm", tuple(world.targets.values()), world.route.policy)
    world.firsts.clear()
    for _ in range(200):
        plan = world.plan()
        if started:
            world.board.started(world.now, plan.targets[0])
    assert world.firsts["c"] <= 67


@seeds
def test_a_burst_is_not_all_sent_to_one_who_promises_more_than_those_that_are_known(seed: int) -> None:
    world = World(seed, hedge=0.0, a=about(4.0, 0.1), b=about(5.0, 0.1, seed=2))
    world.run(100)
    world.targets["c"] = Target("c", "m")
    world.route = Route("r", "llm", tuple(world.targets.values()), world.route.policy)
    world.firsts.clear()
    for _ in range(200):
        world.board.started(world.now, world.plan().targets[0])
    assert 10 < world.firsts["c"] <= 67


@seeds
def test_of_unseen_targets_none_gets_more_than_its_share_of_a_burst(seed: int) -> None:
    world = World(seed, waits={name: steady(0.3) for name in "abcde"})
    for _ in range(200):
        world.board.started(world.now, world.plan().targets[0])
    assert max(world.firsts.values()) <= 41
    assert len(world.firsts) == 5


@seeds
def test_timeouts_count_as_long_waits_beside_counting_as_errors(seed: int) -> None:
    means = {}
    outcomes: tuple[Outcome, ...] = ("timeout", "unavailable")
    for outcome in outcomes:
        world = World(seed, hedge=0.0, a=about(0.3), b=about(0.6, seed=2))
        world.run(60)
        for _ in range(10):
            world.board.ended(world.now + 6.0, world.board.started(world.now, world.targets["a"]), outcome)
        world.now += 6.0
        means[outcome] = world.board.known("a/m", world.now).latency.outlook(world.now, 0.0)[0]
    assert means["timeout"] > means["unavailable"] + math.log(2.0)


@seeds
def test_lost_races_change_the_rank(seed: int) -> None:
    world = World(seed, a=about(0.3), b=about(0.6, seed=2))
    world.run(60)
    before = world.run(20)["a"]
    for _ in range(10):
        ticket = world.board.started(world.now, world.targets["a"])
        world.board.ended(world.now + 1.2, ticket, "lost")
    world.firsts.clear()
    for _ in range(20):
        world.plan()
    assert before > 15
    assert world.firsts["b"] > 15


@seeds
def test_an_error_rate_changes_the_rank(seed: int) -> None:
    """A quarter of them fails, never three in a row, which ejects nobody."""
    world = World(seed, a=about(0.3), b=about(0.4, seed=2))
    world.run(100)
    count = 0

    def flaky() -> float | Outcome:
        nonlocal count
        count += 1
        return "unavailable" if count % 4 == 0 else 0.3

    world.waits["a"] = flaky
    world.run(100)
    shares = world.run(200)
    assert not world.out
    assert shares["b"] > 120


@seeds
def test_an_outlier_of_8_s_in_ten_flips_nothing(seed: int) -> None:
    count = 0

    def mostly() -> float:
        nonlocal count
        count += 1
        return 8.0 if count % 10 == 0 else 0.3

    world = World(seed, a=mostly, b=steady(0.9))
    world.run(100, every=0.5)
    assert world.run(200, every=0.5)["a"] > 140


@seeds
@pytest.mark.parametrize("spread", [0.0, 0.35])
def test_of_three_equals_none_gets_45_of_100(seed: int, spread: float) -> None:
    world = World(seed, waits={name: about(0.4, spread, seed + n) for n, name in enumerate("abc")})
    assert max(world.run(300).values()) < 135


@seeds
def test_requests_in_flight_count_against_a_target_once_that_is_known_to_matter(seed: int) -> None:
    world = World(seed, a=steady(0.3), b=steady(0.4))
    rng = random.Random(seed)
    for name, median in (("a", 0.3), ("b", 0.4)):
        for _ in range(100):
            world.now += 0.2
            streams = [world.board.started(world.now, world.targets[name]) for _ in range(rng.randrange(1, 12))]
            for load, ticket in enumerate(streams):
                wait = median * (1 + (load / 4) ** 2)
                world.board.first(world.now + wait, ticket, wait)
            for ticket in streams:
                world.board.ended(world.now + 1.0, ticket, "ok")
    world.firsts.clear()
    for _ in range(12):
        world.board.started(world.now, world.plan().targets[0])
    assert world.firsts["b"] >= 4
    assert world.firsts["a"] >= 4


def test_the_size_of_the_prompt_decides_between_one_that_starts_and_one_that_reads_fast() -> None:
    world = World(a=steady(0.2), b=steady(0.5))
    rng = random.Random(1)
    for n in range(400):
        tokens, name = rng.choice([200, 1000, 8000]), "ab"[n % 2]
        wait = (0.2 + 0.25 * tokens / 1000 if name == "a" else 0.5) * math.exp(rng.gauss(0.0, 0.2))
        world.now += 0.1
        ticket = world.board.started(world.now, world.targets[name], tokens)
        world.board.first(world.now + wait, ticket, wait)
        world.board.ended(world.now + wait, ticket, "ok")
    assert world.plan(Wish(tokens=200)).targets[0].provider == "a"
    assert world.plan(Wish(tokens=8000)).targets[0].provider == "b"


@pytest.mark.parametrize("order", ["ttft", "priority", "weighted", "cost"])
def test_one_that_failed_three_times_is_left_out_with_the_reason_and_stays_the_last_resort(order: Order) -> None:
    world = World(order=order, a=lambda: "unavailable", b=steady(0.5))
    for _ in range(3):
        world.attempt("a")
    plan = world.plan()
    assert [target.provider for target in plan.targets] == ["b", "a"]
    assert world.excluded()["a"].startswith("ejected for ")
    assert [each.target for each in world.out] == ["a/m"]


def test_the_last_target_is_not_ejected() -> None:
    world = World(a=lambda: "unavailable", b=lambda: "unavailable")
    for _ in range(10):
        world.now += 0.2
        world.attempt("a")
        world.attempt("b")
    assert [each.target for each in world.out] == ["a/m"]
    assert set(world.excluded()) == {"a"}


@pytest.mark.parametrize("order", ["ttft", "priority"])
def test_one_request_at_a_time_tries_one_that_was_ejected(order: Order) -> None:
    world = World(order=order, a=steady(0.3), b=steady(0.9))
    world.run(50)
    for _ in range(3):
        world.board.ended(world.now, world.board.started(world.now, world.targets["a"]), "unavailable")
    world.now = world.board.known("a/m", world.now).health.ejected_until + 0.01
    trial = world.board.started(world.now, world.targets["a"])
    assert world.excluded() == {"a": "on trial: one request at a time"}
    world.board.first(world.now + 0.3, trial, 0.3)
    world.now += 0.3
    assert world.excluded() == {}


@pytest.mark.parametrize("outcome", ["lost", "cancelled", "refused", "rate_limited", "unavailable", "context_too_long"])
def test_a_trial_ends_however_it_ends(outcome: Outcome) -> None:
    world = World(a=steady(0.3), b=steady(0.9))
    for _ in range(3):
        world.board.ended(world.now, world.board.started(world.now, world.targets["a"]), "unavailable")
    world.now = world.board.known("a/m", world.now).health.ejected_until + 0.01
    world.board.ended(world.now + 0.2, world.board.started(world.now, world.targets["a"]), outcome)
    world.now += 60.0
    assert world.excluded() == {}


def test_a_trial_is_late_when_the_others_would_have_spoken() -> None:
    world = World(a=about(3.0), b=about(0.3, seed=2))
    for _ in range(30):
        world.now += 0.2
        world.attempt("a")
        world.attempt("b")
    usual = world.board.started(world.now, world.targets["a"]).hedge_at
    for _ in range(3):
        world.board.ended(world.now, world.board.started(world.now, world.targets["a"]), "unavailable")
    world.now = world.board.known("a/m", world.now).health.ejected_until + 0.01
    world.plan()
    assert world.board.started(world.now, world.targets["a"]).hedge_at < 1.0 < usual


def test_a_429_is_no_ill_health() -> None:
    world = World(a=steady(0.3), b=steady(0.5))
    world.run(20)
    before = world.board.known("a/m", world.now).health.rate(world.now)
    for _ in range(5):
        world.board.ended(world.now, world.board.started(world.now, world.targets["a"]), "rate_limited", 4.0)
    assert not world.out
    assert world.board.known("a/m", world.now).health.rate(world.now) == before
    assert world.excluded()["a"].startswith("rate limited for 4.0 s")
    world.now += 4.01
    assert world.excluded() == {}


@pytest.mark.parametrize("outcome", ["unauthorized", "out_of_quota"])
def test_a_key_that_does_not_work_leaves_it_out_until_the_configuration_changes(outcome: Outcome) -> None:
    world = World(a=lambda: outcome, b=steady(0.5))
    world.attempt("a")
    world.now += 86_400.0
    assert world.excluded()["a"].startswith(outcome)
    world.board.forget_blocks()
    assert world.excluded() == {}


@pytest.mark.parametrize("outcome", ["refused", "context_too_long"])
def test_the_requests_fault_is_not_the_targets(outcome: Outcome) -> None:
    world = World(a=lambda: outcome, b=steady(0.5))
    before = world.board.known("a/m", 0.0).health.rate(0.0)
    for _ in range(20):
        world.attempt("a")
    assert not world.out
    assert world.board.known("a/m", world.now).health.rate(world.now) == before


def test_what_is_tried_to_learn_from_is_asked_beside_the_best() -> None:
    """So that the caller does not wait for the lesson."""
    world = World(a=about(0.3), b=about(3.0, seed=2), c=about(4.0, seed=3))
    world.run(200)
    firsts, raced = Counter[str](), Counter[str]()
    for _ in range(1000):
        world.now += 0.2
        plan = world.request()
        firsts[plan.targets[0].provider] += 1
        if plan.raced:
            raced[plan.targets[1].provider] += 1
    assert firsts["a"] > 990
    assert raced["b"] >= 2
    assert raced["c"] >= 2
    assert raced.total() < 40


def test_without_hedges_what_is_stale_is_tried_in_its_own_right_and_rarely() -> None:
    world = World(hedge=0.0, a=about(0.3), b=about(1.5, seed=2))
    world.run(200)
    world.board._hedges.tokens = 0.0
    firsts = world.run(1000)
    assert 2 <= firsts["b"] <= 30


def test_hedges_are_a_twentieth_of_the_requests_and_some_saved_up() -> None:
    world = World(a=steady(0.3), b=steady(0.5))
    taken = 0
    for _ in range(2000):
        world.now += 0.05
        world.plan()
        taken += world.board.take_hedge(world.now)
    assert 100 <= taken <= 120


def test_a_quiet_route_has_hedges_too() -> None:
    world = World(a=steady(0.3), b=steady(0.5))
    while world.board.take_hedge(world.now):
        pass
    for _ in range(200):
        world.now += 60.0
        world.plan()
    assert world.board.hedges == pytest.approx(10.0)


def test_there_are_no_hedges_while_everything_is_slow() -> None:
    world = World(a=about(0.3, 0.1), b=about(0.4, 0.1, seed=2))
    for _ in range(60):
        world.now += 0.2
        world.attempt("a")
        world.attempt("b")

    def all_late(name: str) -> None:
        for ticket in [world.board.started(world.now, world.targets[name]) for _ in range(10)]:
            world.board.first(world.now + 3.0, ticket, 3.0)
            world.board.ended(world.now + 3.0, ticket, "ok")

    world.now += 30.0
    all_late("a")
    one_is_slow = world.board.take_hedge(world.now + 3.0)
    all_late("b")
    world.now += 3.0
    assert one_is_slow
    assert not world.board.take_hedge(world.now)


def test_a_deadline_is_four_times_what_hardly_any_exceeds() -> None:
    world = World(a=about(0.5, 0.2), b=steady(0.05))
    assert world.board.deadline(0.0, world.board.started(0.0, world.targets["a"])) is None
    for _ in range(200):
        world.now += 0.2
        world.attempt("a")
        world.attempt("b")
    p99 = 0.5 * math.exp(2.33 * 0.2)
    deadline = world.board.deadline(world.now, world.board.started(world.now, world.targets["a"]))
    assert deadline == pytest.approx(4 * p99, rel=0.25)
    assert world.board.deadline(world.now, world.board.started(world.now, world.targets["b"])) == 1.0


def test_it_goes_on_through_hours_of_silence_and_bursts() -> None:
    world = World(a=about(0.3), b=about(0.5, seed=2), c=lambda: "timeout")
    for _ in range(30):
        world.run(50, every=0.001)
        world.now += 7200.0
    assert world.run(100)["a"] > 60
