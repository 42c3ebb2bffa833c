"""Known: what a route knows of one of its targets. Ticket: an attempt at it. Bucket: what a budget has left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.routing.evidence import Evidence
from gateway.routing.latency import TargetLatency
from gateway.routing.outlier import TargetHealth
from gateway.routing.rate_limit import RateLimit
from gateway.routing.route import Route, Target
from gateway.telemetry.standing import Standing

SLOW_HALF_LIFE, SLOW_SHARE, SLOW_SEEN = 10.0, 0.5, 3.0
"""Everything is slow when, of every target seen lately, more than this share came later than its own hedge point."""
ERROR_WEIGHT = 4.0
"""An error rate of 1 weighs as much as a wait e^4 times longer."""
LOAD = 0.7
"""How much of the learned slope the next request on a loaded target is charged for slowing the others."""
UNSEEN, SHY = 3, 50.0
"""Until this many samples a target gets at most its fair share; beyond that its score is worse by this."""
TIE, TIE_MOST, TIE_YOUNG = 2.0, 0.25, 0.5
"""Targets whose means differ by less than TIE standard errors share the traffic evenly, if they differ by less than these too."""
YOUNG = 16
"""Samples below which little is made of a target's history."""
LOOK_EVERY = 1.0
"""Seconds after which error rates are looked at again."""


@dataclass(eq=False, slots=True)
class Ticket:
    """An attempt under way. `load`: ln(1 + requests in flight) when it began; `thousands`: of prompt tokens; `trial`: of a
    target that was ejected; `hedge_at`: seconds after which it is late for this target."""

    known: Known
    began: float
    load: float
    thousands: float
    trial: bool
    hedge_at: float
    answered: bool = False
    over: bool = False


@dataclass(eq=False, slots=True)
class Known:
    """One target: what is known, and what it does now. `target`: as the route has it; `picks`: how often it came first, faded
    and scaled as the board does; `heard_at`: when another replica was last seen to ask it; `mean`, `score`: of the latest
    decision, in ln(seconds). `learns_at`: of a route's only target, see Board.

    What one decision makes of it serves the next ones, until `good_until`: `look` again then, and `changed` whenever anything
    was learned. For a prompt of no size `usual` is the mean, and a score is `lowest` and up to three times `reach`; `prompt`: by how
    much 1000 tokens of it lengthen the wait, as a share of it; `tie`, `leeway`: its mean ties with another's up to that
    difference, and up to that squared; `plain_until`: until when that is all there is to say of it."""

    name: str
    target: Target
    latency: TargetLatency
    health: TargetHealth
    limit: RateLimit
    live: int = 0
    picks: float = 0.0
    tried_at: float = 0.0
    mean: float = 0.0
    score: float = 0.0
    late: float = 0.0
    seen: float = 0.0
    seen_at: float = 0.0
    heard_at: float = -math.inf
    well: bool = False
    shy: bool = True
    tie: float = 0.0
    leeway: float = 0.0
    good_until: float = -math.inf
    usual: float = 0.0
    centre: float = 0.0
    lowest: float = 0.0
    reach: float = 0.0
    prompt: float = 0.0
    plain_until: float = -math.inf
    learns_at: float = -math.inf

    def look(self, now: float) -> None:
        """Make of it what the next decisions need."""
        health, limit, latency, live = self.health, self.limit, self.latency, self.live
        expected, deviation = latency.outlook(now, math.log1p(live) if live else 0.0)
        errors = ERROR_WEIGHT * health.rate(now)
        slowing = math.log1p(LOAD * latency.slope * live / (1 + live)) if live else 0.0
        self.usual = expected + (slowing + errors)
        self.prompt = latency.prompt * math.exp(-expected) if latency.prompt else 0.0
        # One that is on trial is tried for what it is when it works.
        self.centre = self.usual - errors if health.out else self.usual
        # The sum of three uniforms is about normal (mean 1.5, variance 1/4), within 3 deviations, and cheap.
        self.lowest, self.reach = self.centre - 3.0 * deviation, 2.0 * deviation
        seen = latency.seen
        self.shy, self.tie, self.leeway = (
            seen < UNSEEN,
            TIE_YOUNG if seen < YOUNG else TIE_MOST,
            TIE * TIE * latency.variance,
        )
        self.well = not health.out and health.blocked is None and limit.limit is None and limit.until <= now
        self.good_until = min(latency.fresh_until(now), now + LOOK_EVERY)
        self.plain_until = self.good_until if self.well and not self.shy else -math.inf

    def changed(self) -> None:
        self.good_until = self.plain_until = -math.inf

    def look_by(self, at: float) -> None:
        self.good_until, self.plain_until = min(self.good_until, at), min(self.plain_until, at)

    def sized(self, thousands: float) -> None:
        """After a draw: for a prompt of this size, which adds to the mean and the score."""
        more = math.log1p(self.prompt * thousands)
        self.mean += more
        self.score += more

    def slow(self, now: float) -> bool | None:
        """Whether it is, of late; None if it was not asked enough to say."""
        fade = 2.0 ** ((self.seen_at - now) / SLOW_HALF_LIFE)
        return self.late > SLOW_SHARE * self.seen if self.seen * fade >= SLOW_SEEN else None

    def standing(self, route: Route, now: float, share: float, until: float, why: str | None) -> Standing:
        """`share`: of the route's recent requests; `until`, `why`: when and why it is left out now, if it is."""
        health, latency, load = self.health, self.latency, math.log1p(self.live)
        ejected = health.ejected_until - now if health.ejected_until > now else None
        resting = until - now if why is not None and ejected is None and now < until < now + 1e6 else None
        seen = latency.seen > 0
        health.fade(now)
        return Standing(
            route.name,
            route.kind,
            self.name,
            latency.quantile(now, 0.5, load) if seen else None,
            latency.quantile(now, 0.95, load) if seen else None,
            health.errors / health.attempts if health.attempts > 0.01 else 0.0,
            self.live,
            share,
            ejected,
            resting,
            why,
            latency.own.load.w,
        )

    def said(self, now: float) -> list[float] | None:
        """Our own sums, their age in seconds first: for other replicas. None while there are none."""
        health, own = self.health, self.latency.own
        health.fade(now)
        if own.load.w <= 0.01 and health.attempts <= 0.01:
            return None
        return [max(0.0, now - own.at), *own.values(), health.errors, health.attempts]

    def hear(self, replica: str, values: Sequence[float], at: float) -> None:
        """What another replica said at that moment. Raises ValueError for what no replica says."""
        since, *sums, errors, attempts = values
        if not (0.0 <= since < 1e9 and 0.0 <= errors <= attempts < 1e6):
            raise ValueError("these are no sums")
        self.latency.heard(replica, Evidence.of(at - since, sums))
        if self.health.tell(replica, errors, attempts, at):
            self.heard_at = max(self.heard_at, at)
        self.changed()

    def forget(self, replica: str) -> None:
        self.latency.heard(replica, None)
        self.health.others.pop(replica, None)
        self.changed()


@dataclass(slots=True)
class Bucket:
    """Tokens earned by requests and by time."""

    most: float
    tokens: float
    at: float

    def earn(self, now: float, share: float, most: float, floor: float) -> None:
        earned = share + (now - self.at) * floor
        tokens = self.tokens + (min(most, earned))
        self.tokens = min(self.most, tokens)
        self.at = now

    def take(self) -> bool:
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
