"""The points of a sparkline."""

from __future__ import annotations

from gateway.telemetry.sample import Sample
from gateway.telemetry.trend import POINTS, STEP, Trend
from tests.telemetry.happened import FAST, sample


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_point_is_what_was_typical_in_its_step() -> None:
    clock = Clock()
    trend = Trend(clock)
    for ttft in (0.2, 0.2, 0.2, 0.2, 20.0):
        trend.sample(sample(ttft))
    clock.now += STEP
    trend.sample(sample(0.4))
    points = trend.points("chat", FAST)
    assert len(points.ttft) == POINTS
    assert points.ttft[-1] == 0.4
    assert points.ttft[-2] is not None
    assert 0.2 < points.ttft[-2] < 0.6, "one outlier of a hundred times the rest draws the line"


def test_time_without_requests_is_a_gap_and_what_is_old_goes() -> None:
    clock = Clock()
    trend = Trend(clock)
    trend.sample(sample(0.2))
    clock.now += 3 * STEP
    trend.sample(sample(0.3))
    assert trend.points("chat", FAST).ttft[-4:] == [0.2, None, None, 0.3]
    clock.now += (POINTS - 2) * STEP
    assert trend.points("chat", FAST).ttft[:3] == [None, 0.3, None]
    clock.now += 10 * POINTS * STEP
    assert set(trend.points("chat", FAST).ttft) == {None}


def test_failures_are_counted_and_lost_races_are_none() -> None:
    trend = Trend(Clock())
    for outcome in ("unavailable", "timeout", "lost", "cancelled", "refused"):
        trend.sample(sample(None, outcome))
    points = trend.points("chat", FAST)
    assert points.failed[-1] == 2
    assert points.ttft[-1] is None


def test_turns_of_a_stream_count_each_and_the_stream_itself_does_not_again() -> None:
    trend = Trend(Clock())
    for part, ttft in (("turn", 0.3), ("turn", 0.3), ("attempt", 9.0)):
        trend.sample(Sample("listen", "stt", "a/b", "ok", ttft, 9.0, part=part))  # type: ignore[arg-type]
    assert trend.points("listen", "a/b").ttft[-1] == 0.3


def test_targets_are_kept_apart() -> None:
    trend = Trend(Clock())
    trend.sample(sample(0.2))
    assert set(trend.points("chat", "other/target").ttft) == {None}
    assert set(trend.points("other", FAST).ttft) == {None}
