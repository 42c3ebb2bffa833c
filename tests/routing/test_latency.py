"""What is learned of how soon a target speaks."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import pytest

from gateway.routing.evidence import Evidence
from gateway.routing.latency import LatencyParameters, Pool, TargetLatency


def a_pool(rate: float = 5.0) -> Pool:
    """Of a route that was asked for a minute, so many times a second."""
    pool = Pool(LatencyParameters())
    for n in range(int(60 * rate)):
        pool.arrived(n / rate - 60.0)
    return pool


def a_target(
    waits: Iterable[float] = (), pool: Pool | None = None, every: float = 0.2, load: float = 0.0
) -> TargetLatency:
    latency = TargetLatency(pool or a_pool(), 0.0)
    for n, wait in enumerate(waits):
        latency.observe(n * every, wait, load)
    return latency


def about(median: float, count: int, spread: float = 0.35, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [median * math.exp(rng.gauss(0.0, spread)) for _ in range(count)]


def expected(latency: TargetLatency, now: float, load: float = 0.0) -> float:
    """Seconds."""
    return math.exp(latency.outlook(now, load)[0])


@pytest.mark.parametrize(("rate", "half_life"), [(0.05, 300.0), (1.0, 200.0), (5.0, 40.0), (100.0, 15.0)])
def test_evidence_of_about_200_requests_counts(rate: float, half_life: float) -> None:
    pool = Pool(LatencyParameters())
    for n in range(max(20, int(120 * rate))):
        pool.arrived(n / rate)
    assert pool.half_life == pytest.approx(half_life, rel=0.1)


def test_what_was_seen_outweighs_the_prior_within_a_few_samples() -> None:
    assert expected(a_target(), 0.0) == pytest.approx(0.6)
    assert expected(a_target([2.0] * 10), 2.0) == pytest.approx(2.0, rel=0.2)


def test_the_mean_counts_what_a_caller_waits_not_what_is_usual() -> None:
    """Two in three at once and one in three after 2 s is worse than 0.5 s each time, though its median is better."""
    bimodal = a_target([0.2, 0.2, 2.0] * 60)
    assert expected(bimodal, 36.0) > expected(a_target([0.5] * 180), 36.0)


def test_an_outlier_moves_it_less_than_it_moves_the_arithmetic_mean() -> None:
    waits = ([0.4] * 9 + [8.0]) * 10
    assert expected(a_target(waits), 20.0) < 0.75 < sum(waits) / len(waits)


def test_evidence_fades_and_uncertainty_grows_back() -> None:
    latency = a_target(about(2.0, 100))
    sure, unsure = latency.outlook(20.0, 0.0), latency.outlook(20.0 + 8 * 40.0, 0.0)
    assert unsure[1] > 4 * sure[1]
    assert unsure[0] < sure[0]  # towards the prior


def test_a_sudden_change_is_believed_at_once_and_one_odd_sample_is_not() -> None:
    latency = a_target(about(0.3, 300))
    now = 60.0
    latency.observe(now, 1.5, 0.0)
    assert expected(latency, now) == pytest.approx(0.32, rel=0.15)
    for n in range(8):
        latency.observe(now + n, 1.5, 0.0)
    assert expected(latency, now + 8) > 0.9


def test_a_change_for_the_better_is_believed_as_fast() -> None:
    latency = a_target(about(1.5, 300))
    for n in range(8):
        latency.observe(60.0 + n, 0.3, 0.0)
    assert expected(latency, 68.0) < 0.75


def test_a_wait_that_was_cut_off_counts_as_longer_than_that() -> None:
    usual = about(0.3, 20)
    lost = a_target(usual)
    for n in range(10):
        lost.censored(4.0 + n, 1.0, 0.0)
    assert expected(lost, 14.0) > 0.6
    given_up = a_target(usual)
    for n in range(10):
        given_up.censored(4.0 + n, 6.0, 0.0, lost=False)
    assert expected(given_up, 14.0) > expected(lost, 14.0)


def test_a_caller_who_leaves_early_says_next_to_nothing() -> None:
    latency = a_target(about(1.0, 50))
    before = latency.outlook(10.0, 0.0)
    for _ in range(50):
        latency.censored(10.0, 0.05, 0.0)
    assert latency.outlook(10.0, 0.0) == pytest.approx(before, rel=0.02, abs=0.02)


def test_what_its_own_load_does_is_learned() -> None:
    rng = random.Random(3)
    latency = a_target()
    for n in range(300):
        in_flight = rng.randrange(0, 40)
        wait = 0.3 * (1 + (in_flight / 20) ** 2) * math.exp(rng.gauss(0.0, 0.3))
        latency.observe(n * 0.1, wait, math.log1p(in_flight))
    idle, busy = (expected(latency, 30.0, math.log1p(n)) for n in (1, 30))
    assert busy > 2.5 * idle


def test_a_level_that_changes_is_not_taken_for_the_load() -> None:
    latency = a_target(about(0.3, 100), load=math.log1p(2))
    for n, wait in enumerate(about(1.2, 100, seed=2)):
        latency.observe(20.0 + n * 0.2, wait, math.log1p(6))
    assert latency.slope < 0.6  # through both levels it would be 1.6


def test_what_the_size_of_the_prompt_does_is_learned() -> None:
    rng = random.Random(5)
    latency = a_target()
    for n in range(200):
        thousands = rng.choice([0.2, 1.0, 4.0, 10.0])
        latency.observe(n * 0.2, 0.3 * math.exp(rng.gauss(0.0, 0.3)) + 0.15 * thousands, 0.0, thousands)
    assert latency.prompt == pytest.approx(0.15, rel=0.2)
    assert expected(latency, 40.0) == pytest.approx(0.33, rel=0.25)
    assert latency.quantile(40.0, 0.5, 0.0, 10.0) == pytest.approx(1.8, rel=0.25)


def test_prompts_that_do_not_matter_are_not_charged_for() -> None:
    rng = random.Random(5)
    latency = a_target()
    for n in range(200):
        latency.observe(n * 0.2, 0.4 * math.exp(rng.gauss(0.0, 0.4)), 0.0, rng.choice([0.2, 1.0, 4.0, 10.0]))
    assert latency.prompt < 0.02


def test_quantiles_are_those_of_the_waits_seen() -> None:
    waits = [0.2] * 376 + [3.0] * 24
    random.Random(1).shuffle(waits)
    latency = a_target(waits, every=0.05)
    assert latency.quantile(20.0, 0.5, 0.0) == pytest.approx(0.2, rel=0.2)
    assert latency.quantile(20.0, 0.9, 0.0) < 0.4
    assert latency.quantile(20.0, 0.99, 0.0) == pytest.approx(3.0, rel=0.3)


def test_silence_does_not_put_off_hedges() -> None:
    """One in five is given up at 6 s: the others are late when they always were."""
    latency, now = a_target(about(0.3, 300)), 60.0
    before = latency.quantile(now, 0.95, 0.0)
    for n, wait in enumerate(about(0.3, 100, seed=2)):
        now += 0.2
        latency.observe(now, wait, 0.0)
        if n % 4 == 0:
            latency.censored(now, 6.0, 0.0, lost=False)
    assert latency.quantile(now, 0.95, 0.0) < 1.6 * before


def test_of_a_target_never_asked_quantiles_are_wide() -> None:
    assert a_target().quantile(0.0, 0.95, 0.0) > 1.5


def test_deadlines_are_outgrown_when_everything_becomes_ten_times_slower() -> None:
    """Every attempt is given up at four times the p99 of old: that must not go on for ever."""
    latency = a_target(about(0.4, 300))
    needed, now, given_up = 4.0 * math.exp(2.33 * 0.35), 60.0, 0
    while 4.0 * latency.quantile(now, 0.99, 0.0) < needed:
        latency.censored(now, 4.0 * latency.quantile(now, 0.99, 0.0), 0.0, lost=False)
        now, given_up = now + 1.0, given_up + 1
    assert given_up <= 15


def test_sums_of_others_count_like_our_own_and_apart_from_them() -> None:
    pool = a_pool()
    there, here = a_target(about(2.0, 100), pool), a_target(pool=pool)
    here.heard("there", Evidence.of(20.0, there.own.values()))
    assert expected(here, 20.0) == pytest.approx(expected(there, 20.0), rel=0.01)
    assert here.own.values() == Evidence(20.0).values()
    here.heard("there", None)
    assert expected(here, 20.0) == pytest.approx(0.6)


def test_what_others_knew_before_a_change_counts_no_more_than_what_we_knew() -> None:
    pool = a_pool()
    here = a_target(about(0.3, 300), pool)
    here.heard("there", Evidence.of(60.0, a_target(about(0.3, 300), pool).own.values()))
    for n in range(8):
        here.observe(60.0 + n, 1.5, 0.0)
    assert expected(here, 68.0) > 0.8


@pytest.mark.parametrize("values", [[], [0.0] * 12, [-1.0] * 13, [math.nan] * 13, [math.inf] * 13])
def test_what_cannot_be_sums_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError):
        Evidence.of(0.0, values)


def test_a_newcomer_is_expected_to_be_like_the_others_of_its_route() -> None:
    pool = a_pool()
    pool.learn_prior([math.log(3.0)] * 4)
    assert 1.2 < expected(a_target(pool=pool), 0.0) < 3.0
