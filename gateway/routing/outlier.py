"""Outlier ejection, in Envoy's words: whether a target is in service, until when it is out, and how often it fails. Pure."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EjectionParameters:
    """`consecutive` failures, or a share of more than `error_rate` of at least `min_attempts`, put a target out for `base`
    seconds, twice as long each time, at most `longest`, give or take the share `jitter`. `longest` bounds how late a
    recovery is noticed. `error_half_life`: seconds; `prior_*`: what is believed before anything was tried."""

    consecutive: int = 3
    error_rate: float = 0.3
    min_attempts: float = 5.0
    base: float = 5.0
    longest: float = 20.0
    jitter: float = 0.2
    error_half_life: float = 30.0
    prior_errors: float = 0.1
    prior_attempts: float = 10.0


class TargetHealth:
    """One target's. Times are those of the clock handed in."""

    __slots__ = (
        "_streak", "_times", "at", "attempts", "blocked", "ejected_until", "errors", "others", "out", "parameters", "trial",
    )  # fmt: skip

    def __init__(self, parameters: EjectionParameters, now: float) -> None:
        self.parameters = parameters
        self.blocked: str | None = None
        """Why it is out until the configuration changes."""
        self.ejected_until = -math.inf
        self.out = False
        """Ejected, and not yet cleared by a success: once the time is over, one request at a time tries it."""
        self.trial = False
        """Such a request is under way."""
        self.errors = self.attempts = 0.0
        self.at = now
        self.others: dict[str, tuple[float, float, float]] = {}
        """By replica: errors, attempts, and when that was."""
        self._streak = self._times = 0

    def fade(self, now: float) -> None:
        gap = now - self.at
        if gap > 0.0:
            if self.attempts:
                factor = 2.0 ** (-gap / self.parameters.error_half_life)
                self.errors *= factor
                self.attempts *= factor
            self.at = now

    def rate(self, now: float) -> float:
        """Share of attempts that failed lately, here and at the other replicas, beside a small prior."""
        self.fade(now)
        errors, attempts = self.errors, self.attempts
        for failed, tried, at in self.others.values():
            faded = 2.0 ** (-max(0.0, now - at) / self.parameters.error_half_life)
            errors += failed * faded
            attempts += tried * faded
        return (errors + self.parameters.prior_errors) / (attempts + self.parameters.prior_attempts)

    def succeeded(self, now: float) -> None:
        self.fade(now)
        self.attempts += 1.0
        self._streak = 0
        if self.out:  # it begins anew
            self.out = self.trial = False
            self._times = 0
            self.errors, self.attempts = 0.0, 1.0

    def failed(self, now: float, rng: random.Random, may_eject: bool) -> bool:
        """Whether that puts it out. `may_eject`: another target could serve instead; the last one stays."""
        self.fade(now)
        self.attempts += 1.0
        self.errors += 1.0
        self._streak += 1
        tried, self.trial = self.trial, False
        if self.out and not tried:
            return False  # it began before the ejection
        p = self.parameters
        often = self.attempts >= p.min_attempts and self.errors > p.error_rate * self.attempts
        if not self.out and not (may_eject and (often or self._streak >= p.consecutive)):
            return False
        seconds = min(p.base * 2.0**self._times, p.longest) * rng.uniform(1.0 - p.jitter, 1.0 + p.jitter)
        self._times = min(self._times + 1, 16)
        self.ejected_until = max(self.ejected_until, now + seconds)
        self.out = True
        return True

    def tell(self, replica: str, errors: float, attempts: float, at: float) -> bool:
        """What a replica says. Whether it made attempts since it last spoke: more than what has faded of them."""
        _, before, then = self.others.get(replica, (0.0, 0.0, at))
        self.others[replica] = (errors, attempts, at)
        faded: float = before * 2.0 ** (-max(0.0, at - then) / self.parameters.error_half_life)
        return attempts > faded + 0.5

    def eject(self, now: float, until: float) -> None:
        """Another replica put it out; the later deadline counts."""
        if until > max(now, self.ejected_until):
            self.ejected_until, self.out = until, True
