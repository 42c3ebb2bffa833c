"""A window of a minute: no 60 seconds hold more than the limit, whenever they begin."""

from __future__ import annotations

import random

from gateway.access.window import Window


def test_no_sixty_seconds_ever_hold_more_than_was_let_in() -> None:
    rng, limit = random.Random(4), 20
    window, now, taken = Window(), 100.0, list[float]()
    for _ in range(5_000):
        now += rng.choice((0.0, 0.01, 0.4, 3.0, 30.0))
        if window.used(now) < limit:
            window.add(1, now)
            taken.append(now)
    for first, last in zip(taken, taken[limit:]):
        assert last - first >= 60.0
    assert len(taken) > 1_000


def test_what_was_used_comes_back_within_sixty_one_seconds() -> None:
    window = Window()
    window.add(5, 10.9)
    assert window.frees(10.9) == 60.1
    assert window.used(70.9) == 5
    assert window.used(71.0) == 0
    assert window.frees(71.0) == 0.0


def test_a_clock_that_steps_back_loses_nothing() -> None:
    window = Window()
    window.add(1, 100.0)
    window.add(1, 90.0)
    assert window.used(160.0) == 2
