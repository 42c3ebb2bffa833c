"""Rate limits: what a target's 429s teach, which are no ill health. How long it rests, and how many attempts it takes. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

BUCKETS = 60
"""Parts of the window in which attempts are counted."""


@dataclass(frozen=True, slots=True)
class RateLimitParameters:
    """A 429 that does not say for how long rests a target for `rest` seconds, twice as long each time, at most
    `rest_longest`. If `least` attempts or more were admitted within the last `window` seconds, that number is taken for the
    limit from then on; it grows by the share `growth` in `growth_after` seconds without a 429, then faster and faster."""

    rest: float = 1.0
    rest_longest: float = 30.0
    window: float = 60.0
    least: int = 10
    growth: float = 0.04
    growth_after: float = 30.0


class RateLimit:
    """One target's. `until`: it rests until then."""

    __slots__ = ("_admitted", "_bucket", "_buckets", "_learned_at", "_streak", "limit", "parameters", "until")

    def __init__(self, parameters: RateLimitParameters) -> None:
        self.parameters = parameters
        self.until = -math.inf
        self.limit: float | None = None
        """Attempts within a window, as learned."""
        self._learned_at = 0.0
        self._streak = 0
        self._buckets = [0] * BUCKETS
        self._bucket = 0
        self._admitted = 0

    def started(self, now: float) -> None:
        """An attempt began."""
        self._roll(now)
        self._buckets[self._bucket % BUCKETS] += 1
        self._admitted += 1

    def limited(self, now: float, retry_after: float | None) -> None:
        """An attempt was answered 429. `retry_after`: seconds, where it says so."""
        self._roll(now)
        self._uncount()
        if retry_after is not None:
            self.until = max(self.until, now + retry_after)
            return
        p = self.parameters
        if now >= self.until:  # those that were under way together are one lesson
            self.until = now + min(p.rest * 2.0**self._streak, p.rest_longest)
            self._streak = min(self._streak + 1, 16)
        if self._admitted >= p.least:
            self.limit, self._learned_at = float(self._admitted), now

    def succeeded(self) -> None:
        self._streak = 0

    def full(self, now: float) -> bool:
        """Whether one more would be above the limit, as far as it is known."""
        if self.limit is None:
            return False
        p = self.parameters
        quiet = (now - self._learned_at) / p.growth_after
        self._roll(now)
        return self._admitted + 1 > self.limit * (1.0 + p.growth * quiet * quiet)

    def _roll(self, now: float) -> None:
        place = int(now / self.parameters.window * BUCKETS)
        if place - self._bucket >= BUCKETS:
            self._buckets = [0] * BUCKETS
            self._admitted = 0
            self._bucket = place
        while self._bucket < place:
            self._bucket += 1
            self._admitted -= self._buckets[self._bucket % BUCKETS]
            self._buckets[self._bucket % BUCKETS] = 0

    def _uncount(self) -> None:
        """What was turned away was not admitted."""
        for bucket in range(self._bucket, self._bucket - BUCKETS, -1):
            if self._buckets[bucket % BUCKETS]:
                self._buckets[bucket % BUCKETS] -= 1
                self._admitted -= 1
                return
