"""Who is out of service, and until when."""

from __future__ import annotations

import random

import pytest

from gateway.routing.outlier import EjectionParameters, TargetHealth


class Patient:
    """A target under a clock."""

    def __init__(self, seed: int = 1, jitter: float = 0.0, **how: float) -> None:
        self.now, self.rng = 0.0, random.Random(seed)
        self.health = TargetHealth(EjectionParameters(jitter=jitter, **how), 0.0)  # type: ignore[arg-type]

    def fail(self, times: int = 1, may_eject: bool = True) -> bool:
        return [self.health.failed(self.now, self.rng, may_eject) for _ in range(times)][-1]

    def serve(self, times: int = 1) -> None:
        for _ in range(times):
            self.health.succeeded(self.now)

    @property
    def out_for(self) -> float:
        return self.health.ejected_until - self.now

    def retry(self, works: bool) -> None:
        """The trial, as soon as it may be."""
        self.now = self.health.ejected_until
        self.health.trial = True
        if works:
            self.serve()
        else:
            self.fail()


def test_three_failures_in_a_row_put_it_out_and_two_do_not() -> None:
    patient = Patient()
    assert not patient.fail(2)
    patient.serve(20)
    assert not patient.fail(2)
    assert patient.fail()
    assert patient.health.out
    assert patient.out_for == pytest.approx(5.0)


def test_failing_every_third_time_puts_it_out_and_every_fifth_does_not() -> None:
    for every, out in ((3, True), (5, False)):
        patient = Patient()
        for n in range(60):
            if n % every == every - 1:
                patient.fail()
            else:
                patient.serve()
            if patient.health.out:
                break
        assert patient.health.out is out


def test_few_attempts_are_no_rate() -> None:
    patient = Patient(consecutive=100)
    assert not patient.fail(4)
    assert patient.fail()


def test_each_failed_trial_doubles_the_time_up_to_the_longest() -> None:
    patient, times = Patient(longest=60.0), []
    patient.fail(3)
    for _ in range(6):
        times.append(patient.out_for)
        patient.retry(works=False)
    assert times == pytest.approx([5.0, 10.0, 20.0, 40.0, 60.0, 60.0])


def test_times_differ_by_a_fifth_so_that_replicas_do_not_come_back_together() -> None:
    times = []
    for seed in range(200):
        patient = Patient(seed, jitter=0.2)
        patient.fail(3)
        times.append(patient.out_for)
    assert 4.0 <= min(times) < 4.2
    assert 5.8 < max(times) <= 6.0


def test_a_success_on_trial_brings_it_back() -> None:
    patient = Patient()
    patient.fail(3)
    patient.retry(works=True)
    assert not patient.health.out
    assert not patient.health.trial
    assert patient.health.rate(patient.now) < 0.2
    assert not patient.fail(2)


def test_after_that_it_begins_with_the_shortest_time_again() -> None:
    patient = Patient()
    patient.fail(3)
    patient.retry(works=False)
    patient.retry(works=True)
    patient.fail(3)
    assert patient.out_for == pytest.approx(5.0)


def test_the_last_target_stays() -> None:
    patient = Patient()
    assert not patient.fail(50, may_eject=False)
    assert not patient.health.out


def test_failures_of_attempts_that_began_before_the_ejection_do_not_prolong_it() -> None:
    patient = Patient()
    patient.fail(3)
    until = patient.health.ejected_until
    patient.now += 1.0
    patient.fail(10)
    assert patient.health.ejected_until == until


def test_of_two_deadlines_the_later_counts() -> None:
    patient = Patient()
    patient.health.eject(0.0, 30.0)
    patient.health.eject(0.0, 10.0)
    assert patient.health.ejected_until == 30.0
    patient.health.eject(40.0, 35.0)
    assert patient.health.ejected_until == 30.0


def test_errors_are_forgotten_by_half_in_30_seconds() -> None:
    patient = Patient()
    patient.fail(1000, may_eject=False)
    assert patient.health.rate(0.0) > 0.98
    patient.now = 30.0
    patient.serve(500)
    assert patient.health.rate(30.0) == pytest.approx(0.5, abs=0.02)
    assert patient.health.rate(600.0) < 0.02


def test_one_error_among_few_attempts_is_not_a_rate_to_act_on() -> None:
    patient = Patient()
    patient.serve(3)
    patient.fail()
    assert patient.health.rate(0.0) < 0.1


def test_errors_seen_by_others_count() -> None:
    patient = Patient()
    patient.health.others["there"] = (50.0, 50.0, 0.0)
    assert patient.health.rate(0.0) > 0.8
    assert patient.health.errors == 0.0


@pytest.mark.parametrize("seed", range(50))
def test_one_that_recovers_after_a_minute_is_back_within_30_seconds(seed: int) -> None:
    """A request every 4 s (S15 of the failover catalogue)."""
    patient = Patient(seed, jitter=0.2)
    for n in range(100):
        patient.now = 4.0 * n
        if patient.health.out and patient.now < patient.health.ejected_until:
            continue
        patient.health.trial = patient.health.out
        if patient.now < 60.0:
            patient.fail()
        else:
            break
    assert patient.now <= 90.0
