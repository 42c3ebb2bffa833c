"""What a target's 429s teach: how long it rests, and how many attempts a minute it takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimitParameters:
    rest: float = 1.0
    rest_longest: float = 30.0
    window: float = 60.0
    least: float = 10.0
    growth: float = 0.04
    growth_after: float = 30.0


BUCKETS = 60


class RateLimit:
    __slots__ = ("_admitted", "_bucket", "_buckets", "_learned_at", "_limit", "_streak", "parameters", "until")

    def __init__(self, p: RateLimitParameters) -> None:
        self.parameters = p
        self.until = -1e18
        self._streak = 0
        self._limit: float | None = None
        self._learned_at = 0.0
        self._buckets = [0] * BUCKETS
        self._bucket = 0
        self._admitted = 0

    def _roll(self, now: float) -> None:
        place = int(now / self.parameters.window * BUCKETS)
        gap = place - self._bucket
        if gap <= 0:
            return
        if gap >= BUCKETS:
            self._buckets = [0] * BUCKETS
            self._admitted = 0
        else:
            for k in range(self._bucket + 1, place + 1):
                self._admitted -= self._buckets[k % BUCKETS]
                self._buckets[k % BUCKETS] = 0
        self._bucket = place

    def started(self, now: float) -> None:
        self._roll(now)
        self._buckets[self._bucket % BUCKETS] += 1
        self._admitted += 1

    def limited(self, now: float, retry_after: float | None) -> None:
        p = self.parameters
        self._roll(now)
        # the attempt that was turned away was not admitted
        for k in range(self._bucket, self._bucket - BUCKETS, -1):
            if self._buckets[k % BUCKETS]:
                self._buckets[k % BUCKETS] -= 1
                self._admitted -= 1
                break
        if retry_after is not None:
            self.until = max(self.until, now + retry_after)
            return
        if now >= self.until:
            self.until = now + min(p.rest * 2.0**self._streak, p.rest_longest)
            self._streak += 1
        if self._admitted >= p.least:
            self._limit, self._learned_at = float(self._admitted), now

    def succeeded(self) -> None:
        self._streak = 0

    def full(self, now: float) -> bool:
        if self._limit is None:
            return False
        p = self.parameters
        allowed = self._limit * (1.0 + p.growth * ((now - self._learned_at) / p.growth_after) ** 2)
        self._roll(now)
        return self._admitted + 1 > allowed
