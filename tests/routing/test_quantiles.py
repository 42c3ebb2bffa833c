"""The histogram of waits."""

from __future__ import annotations

import math
import random

import pytest

from gateway.routing.quantiles import WaitHistogram


def filled(waits: list[float]) -> WaitHistogram:
    histogram = WaitHistogram()
    for wait in waits:
        histogram.add(math.log(wait))
    return histogram


def quantile(histogram: WaitHistogram, q: float) -> float:
    ln_seconds = histogram.ln_quantile(q)
    assert ln_seconds is not None
    return math.exp(ln_seconds)


@pytest.mark.parametrize("median", [0.02, 0.4, 30.0])
def test_a_quantile_is_good_to_some_percent(median: float) -> None:
    rng = random.Random(1)
    waits = sorted(median * math.exp(rng.gauss(0.0, 0.5)) for _ in range(4000))
    histogram = filled(waits)
    for q in (0.05, 0.5, 0.95, 0.99):
        assert quantile(histogram, q) == pytest.approx(waits[int(q * len(waits))], rel=0.08)


def test_without_samples_there_is_none() -> None:
    assert WaitHistogram().ln_quantile(0.5) is None


def test_what_faded_counts_less_than_what_came_since() -> None:
    histogram = filled([0.2] * 100)
    histogram.decay(0.01)
    for _ in range(10):
        histogram.add(math.log(2.0))
    assert histogram.weight == pytest.approx(11.0)
    assert quantile(histogram, 0.5) == pytest.approx(2.0, rel=0.15)


def test_fading_for_days_loses_nothing_of_what_comes_after() -> None:
    histogram = filled([0.2] * 100)
    for _ in range(10_000):
        histogram.decay(0.5)
    histogram.add(math.log(2.0))
    assert histogram.weight == pytest.approx(1.0)
    assert quantile(histogram, 0.5) == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("wait", [1e-9, 1e9])
def test_waits_beyond_its_ends_fall_into_them(wait: float) -> None:
    assert 0.005 < quantile(filled([wait]), 0.5) < 200.0
