"""Outlier ejection, in Envoy's words: which targets are out of service, until when and why."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EjectionParameters:
    consecutive: int = 3
    error_rate: float = 0.3
    min_samples: float = 5.0
    base: float = 5.0
    longest: float = 20.0
    jitter: float = 0.2
    error_half_life: float = 30.0
    rest: float = 1.0
    rest_longest: float = 30.0
    prior_errors: float = 0.1
    prior_attempts: float = 10.0


class TargetHealth:
    def __init__(self, parameters: EjectionParameters, now: float) -> None:
        self.p = parameters
        self.ejected_until = -1e18
        self.returned_at = -1e18
        self.last_out = 0.0
        self.resting_until = -1e18
        self.times = 0
        self.rests = 0
        self.streak = 0
        self.errors = self.attempts = 0.0
        self.at = now
        self.trial = False
        self.out = False  # ejected and not yet cleared by a success
        self.blocked: str | None = None
        self.others: dict[str, tuple[float, float, float]] = {}
        """By replica: errors, attempts, and when that was."""

    def fade(self, now: float) -> None:
        gap = now - self.at
        if gap > 0:
            if self.attempts:
                f = 2.0 ** (-gap / self.p.error_half_life)
                self.errors *= f
                self.attempts *= f
            self.at = now

    def rate(self, now: float) -> float:
        """Share of attempts that failed lately, here and at the other replicas, beside a small prior."""
        self.fade(now)
        errors, attempts = self.errors, self.attempts
        for failed, tried, at in self.others.values():
            faded = 2.0 ** (-max(0.0, now - at) / self.p.error_half_life)
            errors += failed * faded
            attempts += tried * faded
        return (errors + self.p.prior_errors) / (attempts + self.p.prior_attempts)

    def succeeded(self, now: float) -> None:
        self.fade(now)
        self.attempts += 1
        self.streak = 0
        self.rests = max(0, self.rests - 1) if self.rests else 0
        if self.out:
            self.out = False
            self.trial = False
            self.returned_at = now
            self.errors *= 0.3
        elif self.times and now - self.returned_at > 2 * self.last_out:
            self.times = 0

    def failed(self, now: float, rng: random.Random, may_eject: bool) -> None:
        self.fade(now)
        self.attempts += 1
        self.errors += 1
        self.streak += 1
        trial_failed = self.out and self.trial
        self.trial = False
        if self.out and not trial_failed:
            return
        p = self.p
        bad = self.streak >= p.consecutive or (
            self.attempts >= p.min_samples and self.errors > p.error_rate * self.attempts
        )
        if trial_failed or (bad and may_eject):
            self.times += 1
            out = min(p.base * 2.0 ** (self.times - 1), p.longest) * rng.uniform(1 - p.jitter, 1 + p.jitter)
            self.last_out = out
            self.ejected_until = max(self.ejected_until, now + out)
            self.out = True

    def rate_limited(self, now: float, retry_after: float | None) -> None:
        if now < self.resting_until and retry_after is None:
            return
        rest = retry_after if retry_after is not None else min(self.p.rest * 2.0**self.rests, self.p.rest_longest)
        self.rests += 1
        self.resting_until = max(self.resting_until, now + rest)
