"""Latency: how soon a target is expected to speak, how sure that is, and how both fade. Pure; the clock is handed in.

    ln(TTFT - a * prompt tokens / 1000) = m + b * ln(1 + requests in flight) + noise

m, b and a are learned of decayed sums, beside a prior. Old evidence fades, so that uncertainty grows back and the target is
tried again; evidence that was overtaken by a sudden change is dropped at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

from gateway.routing.evidence import Evidence
from gateway.routing.quantiles import WaitHistogram

SMALLEST = 1e-4
"""Seconds: shorter waits count as this."""
LONE_SAMPLES, LONE_SECONDS = 32, 0.1
"""From so many samples on, what is expected of a route's only target may be so old."""
_NORMAL, _LN2 = NormalDist(), math.log(2)


@dataclass(frozen=True, slots=True)
class LatencyParameters:
    """`prior_*`: what is believed of a target before it was asked: the median in seconds, its standard deviation in logs,
    and how many samples that is worth for the mean and for the spread. `samples_kept`, `half_life_*`: evidence of about so
    many of a route's requests counts, and its half-life is within these seconds. `slope_sd`, `prompt_sd`: standard
    deviations of the priors of b, and of a in seconds per 1000 tokens. `tail_*`: the score is the mean of seconds, each at
    most `tail_most` typical ones, once there are some `tail_strength` samples. `outlier`: no sample counts as further from
    the mean, in logs. `surprise_*`: a change is believed once standardised errors, each at most `surprise_most` and less
    `surprise_drift`, add up to `surprise` (a CUSUM test); then evidence worth `kept` samples remains, and `slope_kept` of
    the slopes. `explore`: how much of the mean's uncertainty a draw uses; `pool_strength`: how many targets' means the
    prior weighs against those of the route. `fit_strength`: samples from which the histogram of waits outweighs the fitted
    log-normal in quantiles.
    """

    prior_seconds: float = 0.6
    prior_sd: float = 0.7
    prior_strength: float = 1.0
    spread_strength: float = 4.0
    samples_kept: float = 200.0
    half_life_min: float = 15.0
    half_life_max: float = 300.0
    slope_sd: float = 0.3
    prompt_sd: float = 0.1
    tail_strength: float = 10.0
    tail_most: float = 4.0
    outlier: float = 2.0
    surprise: float = 6.0
    surprise_drift: float = 0.75
    surprise_most: float = 2.5
    kept: float = 3.0
    slope_kept: float = 0.5
    explore: float = 0.3
    pool_strength: float = 2.0
    fit_strength: float = 30.0


class Pool:
    """What the targets of one route have in common: the request rate, hence the half-life, and the typical wait."""

    __slots__ = ("_at", "_began", "_count", "half_life", "members", "parameters", "prior_mean")

    RATE_HALF_LIFE = 60.0
    """Seconds over which the request rate is taken."""

    def __init__(self, parameters: LatencyParameters) -> None:
        self.parameters = parameters
        self.half_life = parameters.half_life_max
        self.prior_mean = math.log(parameters.prior_seconds)
        self.members = 0
        self._count = 0.0
        self._began: float | None = None
        self._at = 0.0

    def arrived(self, now: float) -> None:
        """A request came."""
        if self._began is None:
            self._began = self._at = now
        elif self.members == 1 and now - self._at < LONE_SECONDS:
            self._count += 1.0
            return
        half_life, p = self.RATE_HALF_LIFE, self.parameters
        self._count = self._count * 2.0 ** ((self._at - now) / half_life) + 1.0
        self._at = now
        window = (1.0 - 2.0 ** ((self._began - now) / half_life)) * half_life / _LN2
        rate = self._count / (max(5.0, window))
        self.half_life = min(max(p.samples_kept / rate, p.half_life_min), p.half_life_max)

    def learn_prior(self, means: list[float]) -> None:
        """`means`: of ln(seconds), of the targets that are known. One that is not is expected to be like them."""
        p = self.parameters
        self.prior_mean = (p.pool_strength * math.log(p.prior_seconds) + sum(means)) / (p.pool_strength + len(means))


class TargetLatency:
    """One target's. `seconds` are those of TTFT, `load` is ln(1 + requests in flight) when the attempt began, `thousands`
    of prompt tokens."""

    __slots__ = (
        "_base", "_down", "_fresh_until", "_load", "_outdated", "_quantiles", "_sd", "_stagger", "_tail", "_up", "_var",
        "_var_slope", "histogram", "others", "own", "pool", "prompt", "samples", "slope",
    )  # fmt: skip

    def __init__(self, pool: Pool, now: float) -> None:
        self.pool = pool
        pool.members += 1
        # Targets that all went stale at once would make one decision pay for all of them.
        self._stagger = 0.5 + pool.members * 0.618 % 1.0
        self.own = Evidence(now)
        self.others: dict[str, Evidence] = {}
        """By replica: what each said last. Kept apart from our own, so that nothing is counted twice."""
        self.histogram = WaitHistogram()
        self.samples = 0
        self._up = self._down = 0.0
        self._outdated: dict[str, tuple[float, float]] = {}
        """By replica: the weight of what it said before the latest change, and when that was."""
        self._fresh_until = -math.inf
        self.slope = self.prompt = 0.0
        """b, and a in seconds per 1000 tokens."""
        self._base = self._load = self._tail = self._sd = self._var = self._var_slope = 0.0
        self._quantiles: dict[float, float] = {}

    # what is expected

    def outlook(self, now: float, load: float) -> tuple[float, float]:
        """Of ln(seconds) without the prompt: the mean that is expected, tail included, and the standard deviation that a
        draw of it should have."""
        if now >= self._fresh_until:
            self._refresh(now)
        d = load - self._load
        variance = self._var + d * d * self._var_slope if d else self._var
        return self._base + self.slope * d + self._tail, self.pool.parameters.explore * math.sqrt(variance)

    def quantile(self, now: float, q: float, load: float, thousands: float = 0.0) -> float:
        """Seconds within which it speaks in a share `q` of cases."""
        if now >= self._fresh_until:
            self._refresh(now)
        ln_base = self._quantiles.get(q)
        if ln_base is None:
            ln_base = self._quantiles[q] = self._quantile(q)
        return math.exp(ln_base + self.slope * (load - self._load)) + self.prompt * thousands

    @property
    def lone(self) -> bool:
        """It is compared with no other, and known well enough to look at it less often."""
        return self.samples > LONE_SAMPLES and self.pool.members == 1

    @property
    def variance(self) -> float:
        """Of the mean of ln(seconds), as it was estimated last."""
        return self._var

    @property
    def seen(self) -> float:
        """Samples, ours and what others' sums weigh."""
        return self.samples + sum(o.load.w for o in self.others.values()) if self.others else self.samples

    def fresh_until(self, now: float) -> float:
        """Until when `outlook` stays the same, unless something is learned."""
        if now >= self._fresh_until:
            self._refresh(now)
        return self._fresh_until

    # what is learned

    def observe(self, now: float, seconds: float, load: float, thousands: float = 0.0) -> None:
        """It spoke after `seconds`."""
        if now >= self._fresh_until:
            self._refresh(now)
        if thousands > 0.0:
            seconds = self._without_prompt(seconds, load, thousands)
        y = math.log(max(seconds, SMALLEST))
        self._learn(now, load, y, 1.0)
        self.histogram.add(y)

    def censored(self, now: float, seconds: float, load: float, thousands: float = 0.0, lost: bool = True) -> None:
        """It had not spoken after `seconds`, and was not waited for any longer. `lost`: to another, rather than given up at
        a deadline: a silence says when it fails, not when it speaks, so that deadlines and hedges do not learn of it."""
        if now >= self._fresh_until:
            self._refresh(now)
        y = math.log(max(seconds - self.prompt * thousands, SMALLEST))
        mean = self._base + self.slope * (load - self._load)
        # What is cut off long before it could be expected says next to nothing.
        weight = _NORMAL.cdf((y - mean) / self._sd)
        if weight < 0.02:
            return
        sd = max(self._sd, self.pool.parameters.prior_sd)
        imputed = max(y, mean + sd * _mean_above((y - mean) / sd))
        self._learn(now, load, imputed, weight)
        if lost:
            self.histogram.add(imputed, weight)

    def heard(self, replica: str, evidence: Evidence | None) -> None:
        """What a replica says of this target; None: it is gone."""
        if evidence is None:
            self.others.pop(replica, None)
            self._outdated.pop(replica, None)
        else:
            self.others[replica] = evidence
        self._fresh_until = -math.inf

    # inside

    def _learn(self, now: float, load: float, y: float, weight: float) -> None:
        p = self.pool.parameters
        d = load - self._load
        mean = self._base + self.slope * d
        error = (y - mean) / math.sqrt(self._sd**2 + self._var + d * d * self._var_slope)
        self._fade(now)
        self._watch(now, error)
        clipped = min(y, mean + max(p.outlier, 3.0 * self._sd))
        self.own.load.add(load, clipped, weight)
        self.own.seconds += weight * min(math.exp(y), p.tail_most * math.exp(mean))
        self.samples += 1
        # A target that is compared with no other is not worth a new estimate for every sample.
        self._fresh_until = min(self._fresh_until, now + LONE_SECONDS) if self.lone else -math.inf

    def _watch(self, now: float, error: float) -> None:
        """Whether what it does has changed, which one odd sample does not tell."""
        p = self.pool.parameters
        error = min(max(error, -p.surprise_most), p.surprise_most)
        self._up = max(0.0, self._up + error - p.surprise_drift)
        self._down = max(0.0, self._down - error - p.surprise_drift)
        if self._up > p.surprise or self._down > p.surprise:
            self._up = self._down = 0.0
            keep = p.kept / max(self.own.load.w, p.kept)
            self.own.forget(keep, p.slope_kept)
            self.histogram.decay(keep)
            self._doubt(now)

    def _doubt(self, now: float) -> None:
        """What others knew before a change is as outdated as what we knew."""
        for replica, other in self.others.items():
            self._outdated[replica] = self._faded(other, now), now

    def _trusted(self, replica: str, weight: float, now: float) -> float:
        """The share of what a replica says that it learned since the latest change. `weight`: faded until now."""
        outdated, at = self._outdated.get(replica, (0.0, now))
        outdated *= 2.0 ** ((at - now) / self.pool.half_life)
        if outdated < 0.01 or weight < 0.5 * outdated:  # it is gone, or that replica dropped it as well
            self._outdated.pop(replica, None)
            return 1.0
        trusted: float = max(0.0, 1.0 - outdated / weight)
        return trusted

    def _faded(self, other: Evidence, now: float) -> float:
        fade: float = 2.0 ** (-max(0.0, now - other.at) / self.pool.half_life)
        return other.load.w * fade

    def _without_prompt(self, seconds: float, load: float, thousands: float) -> float:
        """Learn how the prompt's size tells on this wait, and take its share off."""
        usual = math.exp(self._base + self.slope * (load - self._load)) + self.prompt * thousands
        self.own.prompt.add(thousands, min(seconds, 3.0 * usual), 1.0 / usual**2)
        return max(seconds - self.prompt * thousands, 0.1 * seconds)

    def _fade(self, now: float) -> None:
        gap = now - self.own.at
        if gap > 0.0:
            factor = 2.0 ** (-gap / self.pool.half_life)
            self.own.fade(factor)
            self.histogram.decay(factor)
            self.own.at = now

    def _refresh(self, now: float) -> None:
        self._fade(now)
        p, evidence = self.pool.parameters, self._joined(now) if self.others else self.own
        line = evidence.load
        w, y, strength, sd = line.w, line.y, p.prior_strength, p.prior_sd
        ridge = (sd / p.slope_sd) ** 2
        slope, load, tail = 0.0, 0.0, 0.0
        if line.xy > 0.0:  # never falling
            slope = line.xy / (ridge + line.xx)
        if w > 1e-6:
            load = line.x / w
            tail = math.log(evidence.seconds / w) - y / w
            tail = tail * w / (w + p.tail_strength) if tail > 0.0 else 0.0
        residual = line.yy - 2.0 * slope * line.xy + slope * slope * line.xx
        var = (p.spread_strength * sd * sd + (max(0.0, residual))) / (p.spread_strength + w)
        self.slope, self._load, self._tail = slope, load, tail
        self._base = (strength * (self.pool.prior_mean + slope * load) + y) / (strength + w)
        self._sd = math.sqrt(var)
        self._var, self._var_slope = var / (strength + w), var / (ridge + line.xx)
        if evidence.prompt.w:
            self.prompt = evidence.prompt.slope(var / p.prompt_sd**2)
        self._quantiles.clear()
        self._fresh_until = now + self.pool.half_life / 32.0 * self._stagger

    def _joined(self, now: float) -> Evidence:
        whole = Evidence(now)
        whole.join(self.own, 1.0)
        for replica, other in self.others.items():
            if other.load.w > 0.0:
                faded = self._faded(other, now)
                whole.join(other, faded / other.load.w * self._trusted(replica, faded, now))
        return whole

    def _quantile(self, q: float) -> float:
        """ln(seconds) at the usual load: of the waits seen, and of a log-normal while these are few."""
        fitted = self._base + _deviations(q) * math.sqrt(self._sd**2 + self._var)
        seen = self.histogram.ln_quantile(q)
        if seen is None:
            return fitted
        weight = self.histogram.weight
        share = weight / (weight + self.pool.parameters.fit_strength)
        return share * seen + (1.0 - share) * fitted


@cache
def _deviations(q: float) -> float:
    return _NORMAL.inv_cdf(q)


def _mean_above(z: float) -> float:
    """The mean of a standard normal that is known to be above z."""
    above = 1.0 - _NORMAL.cdf(z) if z < 5.0 else 0.0
    return _NORMAL.pdf(z) / above if above > 1e-9 else z + 1.0 / z
