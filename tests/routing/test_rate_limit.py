"""What 429s teach."""

from __future__ import annotations

from collections import deque

import pytest

from gateway.routing.rate_limit import RateLimit, RateLimitParameters


def a_limit() -> RateLimit:
    return RateLimit(RateLimitParameters())


def test_it_rests_for_as_long_as_the_target_says() -> None:
    limit = a_limit()
    limit.started(10.0)
    limit.limited(10.0, 7.0)
    assert limit.until == 17.0


def test_of_two_such_times_the_later_counts() -> None:
    limit = a_limit()
    limit.limited(10.0, 7.0)
    limit.limited(11.0, 2.0)
    assert limit.until == 17.0


def test_without_such_a_time_it_rests_a_second_and_twice_as_long_each_time() -> None:
    limit, rests, now = a_limit(), [], 0.0
    for _ in range(7):
        limit.started(now)
        limit.limited(now, None)
        rests.append(limit.until - now)
        now = limit.until
    assert rests == pytest.approx([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0])
    limit.succeeded()
    limit.limited(now, None)
    assert limit.until - now == pytest.approx(1.0)


def test_answers_to_attempts_that_were_under_way_together_are_one_lesson() -> None:
    limit = a_limit()
    for _ in range(5):
        limit.limited(0.5, None)
    assert limit.until == pytest.approx(1.5)


def test_a_limit_a_minute_is_learned_and_kept_to() -> None:
    """120 a minute, asked for five times a second for ten minutes: a 429 now and then, and nearly all that it takes is used."""
    limit, admitted, refused, now = a_limit(), deque[float](), 0, 0.0
    served = 0
    for n in range(3000):
        now = n / 5
        if now < limit.until or limit.full(now):
            continue
        limit.started(now)
        while admitted and admitted[0] <= now - 60.0:
            admitted.popleft()
        if len(admitted) < 120:
            admitted.append(now)
            served += 1
            limit.succeeded()
        else:
            refused += 1
            limit.limited(now, None)
    assert served > 0.93 * 1200
    assert refused < 0.04 * served


def test_a_429_out_of_the_blue_is_outgrown() -> None:
    """It was the target's bad moment, not our rate."""
    limit = a_limit()
    for n in range(20):
        limit.started(n * 0.1)
    limit.limited(2.0, None)
    now, started = limit.until, 0
    while now < 602.0:
        if not limit.full(now):
            limit.started(now)
            started += now > 540.0
        now += 0.2
    assert started > 0.9 * 60 * 5


def test_few_attempts_teach_no_limit() -> None:
    limit = a_limit()
    for n in range(5):
        limit.started(float(n))
    limit.limited(5.0, None)
    assert limit.limit is None
    assert not limit.full(limit.until)
