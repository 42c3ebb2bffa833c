"""Latency: what is known of how soon a target speaks, how sure that is, and how both fade."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from gateway.routing.quantiles import WaitHistogram, ln_quantile

SMALLEST = 1e-4


@dataclass(frozen=True, slots=True)
class LatencyParameters:
    prior_seconds: float = 0.6
    prior_sd: float = 0.7
    prior_strength: float = 1.0
    spread_strength: float = 4.0
    samples_kept: float = 200.0
    half_life_min: float = 15.0
    half_life_max: float = 300.0
    slope_sd: float = 0.3
    tail_strength: float = 10.0
    tail_weight: float = 1.0
    tail_cap: float = 4.0  # winsorise at this times the log mean
    clip: float = 2.0
    surprise: float = 6.0
    surprise_drift: float = 0.75
    surprise_clip: float = 2.5
    kept_after_surprise: float = 3.0
    hedge_quantile: float = 0.95
    pool_strength: float = 2.0
    slope_kept: float = 0.5
    explore: float = 0.3
    long: float = 0.0


def _about_normal(rng: random.Random) -> float:
    """Mean 0, variance 1, within 3: the sum of three uniforms, at a sixth of gauss's cost."""
    draw = rng.random
    return 2.0 * (draw() + draw() + draw()) - 3.0


class Pool:
    """What the targets of one route have in common: the request rate, hence the half-life, and the typical wait."""

    __slots__ = ("_at", "_began", "_count", "half_life", "members", "parameters", "prior_mean")

    def __init__(self, parameters: LatencyParameters) -> None:
        self.parameters = parameters
        self.half_life = parameters.half_life_max
        self.prior_mean = math.log(parameters.prior_seconds)
        self._count = 0.0
        self._began: float | None = None
        self._at = 0.0
        self.members = 0

    def arrived(self, now: float) -> None:
        if self._began is None:
            self._began = self._at = now
        self._count = self._count * 2.0 ** ((self._at - now) / 60.0) + 1.0
        self._at = now
        window = (1.0 - 2.0 ** ((self._began - now) / 60.0)) * 60.0 / math.log(2)
        rate = self._count / max(window, 5.0)
        p = self.parameters
        self.half_life = min(max(p.samples_kept / rate, p.half_life_min), p.half_life_max)

    def learn_prior(self, means: list[float]) -> None:
        p = self.parameters
        k = p.pool_strength
        self.prior_mean = (k * math.log(p.prior_seconds) + sum(means)) / (k + len(means))


class Sums:
    __slots__ = ("at", "cxx", "cxy", "cyy", "v", "w", "x", "y")

    def __init__(self, at: float) -> None:
        self.at = at
        self.w = self.x = self.y = self.v = self.cxx = self.cxy = self.cyy = 0.0

    def fade(self, f: float) -> None:
        self.w *= f
        self.x *= f
        self.y *= f
        self.v *= f
        self.cxx *= f
        self.cxy *= f
        self.cyy *= f

    def forget(self, f: float, g: float) -> None:
        self.w *= f
        self.x *= f
        self.y *= f
        self.v *= f
        self.cxx *= g
        self.cxy *= g
        self.cyy *= g

    def join(self, other: Sums, fade: float) -> None:
        """Take in another's sums, which have faded by `fade` since they were said."""
        w = other.w * fade
        if w <= 0.0:
            return
        if self.w > 0.0:
            dx, dy = other.x / other.w - self.x / self.w, other.y / other.w - self.y / self.w
            e = self.w * w / (self.w + w)
            self.cxx += e * dx * dx
            self.cxy += e * dx * dy
            self.cyy += e * dy * dy
        self.cxx += other.cxx * fade
        self.cxy += other.cxy * fade
        self.cyy += other.cyy * fade
        self.w += w
        self.x += other.x * fade
        self.y += other.y * fade
        self.v += other.v * fade

    def values(self) -> list[float]:
        return [self.w, self.x, self.y, self.v, self.cxx, self.cxy, self.cyy]

    @staticmethod
    def of(at: float, values: Sequence[float]) -> Sums:
        """Raises ValueError for what cannot be sums."""
        w, x, y, v, cxx, cxy, cyy = values
        if not all(map(math.isfinite, values)) or min(w, v, cxx, cyy) < 0.0 or w > 1e6:
            raise ValueError("these are no sums")
        sums = Sums(at)
        sums.w, sums.x, sums.y, sums.v, sums.cxx, sums.cxy, sums.cyy = w, x, y, v, cxx, cxy, cyy
        return sums

    def add(self, x: float, y: float, v: float, weight: float) -> None:
        w = self.w
        if w > 0.0:
            dx, dy = x - self.x / w, y - self.y / w
            e = weight * w / (w + weight)
            self.cxx += e * dx * dx
            self.cxy += e * dx * dy
            self.cyy += e * dy * dy
        self.w += weight
        self.x += weight * x
        self.y += weight * y
        self.v += weight * v


class TargetLatency:
    def __init__(self, pool: Pool, now: float) -> None:
        self.pool = pool
        pool.members += 1
        # Targets that all went stale at once would make one decision pay for all of them.
        self._stagger = 0.5 + pool.members * 0.618 % 1.0
        self.own = Sums(now)
        self.others: dict[str, Sums] = {}
        """By replica: what each said last. Kept apart from our own, so that nothing is counted twice."""
        self.hist = WaitHistogram()
        self.samples = 0
        self._up = self._down = 0.0
        self._fresh_until = -math.inf
        self.m = self.b = self.mx = 0.0
        self.v0 = self.v2 = self.sd = 0.0
        self.tail = 0.0

    def _fade(self, now: float) -> None:
        gap = now - self.own.at
        if gap > 0.0:
            f = 2.0 ** (-gap / self.pool.half_life)
            self.own.fade(f)
            self.hist.decay(f)
            self.own.at = now

    def refresh(self, now: float) -> None:
        self._fade(now)
        p, s = self.pool.parameters, self.own if not self.others else self._joined(now)
        k0, kb = p.prior_strength, (p.prior_sd / p.slope_sd) ** 2
        m0 = self.pool.prior_mean
        b = max(0.0, s.cxy / (kb + s.cxx))
        mx = s.x / s.w if s.w > 1e-6 else 0.0
        self.b, self.mx = b, mx
        self.m = (k0 * (m0 + b * mx) + s.y) / (k0 + s.w)
        rss = max(0.0, s.cyy - 2 * b * s.cxy + b * b * s.cxx)
        var = (p.spread_strength * p.prior_sd**2 + rss) / (p.spread_strength + s.w)
        self.v0, self.v2 = var / (k0 + s.w), var / (kb + s.cxx)
        self.sd = math.sqrt(var)
        tail = 0.0
        if s.w > 1e-6:
            mean_y = s.y / s.w
            tail = max(0.0, math.log(s.v / s.w) - mean_y) * s.w / (s.w + p.tail_strength)
        self.tail = tail * p.tail_weight
        self._fresh_until = now + self.pool.half_life / 32.0 * self._stagger

    def _joined(self, now: float) -> Sums:
        whole = Sums(now)
        whole.join(self.own, 1.0)
        for other in self.others.values():
            whole.join(other, 2.0 ** (-max(0.0, now - other.at) / self.pool.half_life))
        return whole

    @property
    def seen(self) -> float:
        """Samples, ours and what others' sums weigh."""
        return self.samples + sum(other.w for other in self.others.values()) if self.others else self.samples

    def heard(self, replica: str, sums: Sums | None) -> None:
        """What a replica says of this target; None: it is gone."""
        if sums is None:
            self.others.pop(replica, None)
        else:
            self.others[replica] = sums
        self._fresh_until = -math.inf

    def at_load(self, x: float) -> tuple[float, float]:
        d = x - self.mx
        return self.m + self.b * d, self.v0 + d * d * self.v2

    def draw(self, now: float, x: float, rng: random.Random) -> tuple[float, float]:
        if now >= self._fresh_until:
            self.refresh(now)
        mean, var = self.at_load(x)
        mean += self.tail
        return mean, mean + self.pool.parameters.explore * math.sqrt(var) * _about_normal(rng)

    def observe(self, now: float, seconds: float, x: float) -> None:
        if now >= self._fresh_until:
            self.refresh(now)
        y = math.log(max(seconds, SMALLEST))
        self._fade(now)
        self._add(now, x, y, 1.0)
        self.hist.add(y)
        self.samples += 1

    def censored(self, now: float, seconds: float, x: float, in_hist: bool = True) -> None:
        """It had not spoken after `seconds`."""
        if now >= self._fresh_until:
            self.refresh(now)
        y = math.log(max(seconds, SMALLEST))
        mean, _ = self.at_load(x)
        sd = max(self.sd, self.pool.parameters.prior_sd)
        z = (y - mean) / sd
        weight = 0.5 * math.erfc(-(y - mean) / self.sd / math.sqrt(2))
        if weight < 0.02:
            return
        above = 0.5 * math.erfc(z / math.sqrt(2))
        hazard = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) / above if above > 1e-12 else z + 1.0 / max(z, 1.0)
        y = max(y, mean + sd * hazard)
        self._fade(now)
        self._add(now, x, y, weight)
        if in_hist:
            self.hist.add(y, weight)
        self.samples += 1

    def _add(self, now: float, x: float, y: float, weight: float) -> None:
        p = self.pool.parameters
        mean, var = self.at_load(x)
        z = (y - mean) / math.sqrt(self.sd**2 + var)
        c = p.surprise_clip
        z = min(max(z, -c), c)
        self._up = max(0.0, self._up + z - p.surprise_drift)
        self._down = max(0.0, self._down - z - p.surprise_drift)
        if self._up > p.surprise or self._down > p.surprise:
            self._up = self._down = 0.0
            keep = p.kept_after_surprise / max(self.own.w, p.kept_after_surprise)
            self.own.forget(keep, p.slope_kept)
            self.hist.decay(keep)
        clipped = min(y, mean + max(p.clip, 3 * self.sd))
        v = min(math.exp(y), p.tail_cap * math.exp(mean))
        self.own.add(x, clipped, v, weight)
        self._fresh_until = -math.inf

    def quantile(self, now: float, q: float, x: float) -> float:
        if now >= self._fresh_until:
            self.refresh(now)
        z = NormalDist().inv_cdf(q)
        fit = self.at_load(x)[0] + z * self.sd
        known = ln_quantile([self.hist], q)
        if known is None:
            return math.exp(fit)
        lam = self.hist.weight / (self.hist.weight + 10.0)
        return math.exp(lam * known + (1 - lam) * fit)
