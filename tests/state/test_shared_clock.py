"""Redis' clock, as seen from the loop's."""

from __future__ import annotations

import pytest

from gateway.state.shared_clock import SharedClock

UNIX = 1_700_000_000.0


def test_the_most_exact_sample_counts() -> None:
    clock = SharedClock()
    clock.sample(0.0, 0.8, UNIX + 0.7)  # a slow answer: up to 0.4 s wrong
    clock.sample(1.0, 1.002, UNIX + 1.001)
    clock.sample(2.0, 2.9, UNIX + 2.1)
    assert clock.error == pytest.approx(0.001)
    assert clock.shared(10.0) == pytest.approx(UNIX + 10.0, abs=1e-3)
    assert clock.local(UNIX + 10.0) == pytest.approx(10.0, abs=1e-3)


def test_a_clock_that_was_set_is_believed_at_once() -> None:
    clock = SharedClock()
    for n in range(8):
        clock.sample(n, n + 0.001, UNIX + n)
    clock.sample(9.0, 9.4, UNIX - 3600.0 + 9.2)
    assert clock.shared(10.0) == pytest.approx(UNIX - 3590.0, abs=0.2)


def test_an_exact_sample_does_not_count_for_ever() -> None:
    clock = SharedClock()
    clock.sample(0.0, 0.0, UNIX)
    for n in range(1, 20):
        clock.sample(n, n + 0.01, UNIX + n + 0.005 + n * 0.0002)  # quartz drifts
    assert clock.shared(20.0) == pytest.approx(UNIX + 20.004, abs=0.002)
