"""Board: what a route has learned of its targets, and what follows from it for one request. Pure: clock and rng are handed in.

A decision costs no I/O. Its order is the fallback plan; who is left out is told with the reason.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter

from gateway.routing.known import SHY, SLOW_HALF_LIFE, YOUNG, Bucket, Known, Ticket
from gateway.routing.latency import LONE_SECONDS, LatencyParameters, Pool, TargetLatency
from gateway.routing.order import by_cost, weighted, with_canary
from gateway.routing.outlier import EjectionParameters, TargetHealth
from gateway.routing.plan import Ejected, Plan
from gateway.routing.rate_limit import RateLimit, RateLimitParameters
from gateway.routing.route import Policy, Route, Target
from gateway.routing.sticky import Sticky
from gateway.routing.ttft import PROBE_EVERY, RACE_RESERVE, STALE, by_ttft
from gateway.routing.wish import ANYTHING, Wish, nobody_fits, why_not
from gateway.telemetry.decisions import Candidates
from gateway.telemetry.sample import Outcome
from gateway.telemetry.standing import Standing

NEVER = -1e18
HEDGES, HEDGES_AT_START, HEDGE_EARNED_MOST, HEDGE_FLOOR = 10.0, 10.0, 0.08, 1 / 40
"""The hedge bucket: its size, what is in it at first, what one request adds at most, and what a second of quiet adds."""
HEDGE_AT, DEADLINE_AT, DEADLINE_TIMES, DEADLINE_LEAST = 0.95, 0.99, 4.0, 1.0
LOOKS = 6
"""Targets of which a decision notices that time has passed; it notices at once what was learned, and long times."""
RETRIES, RETRIES_EVERY = 10.0, 10.0
"""The retry bucket's size, and the seconds in which quiet refills one retry."""
LEARN_PRIOR_EVERY = 16
LONE_LEARNS = 0.02
"""Seconds between two waits of a route's only target of which anything is learned, once it is known: a few hundred samples say
all there is to say."""
_SCORE = attrgetter("score")
_NOBODY: dict[str, str] = {}


class Board:
    """One route's, for one way of asking (streamed or whole). `ejected`: told of each ejection."""

    def __init__(
        self,
        route: str,
        rng: random.Random,
        now: float,
        policy: Policy | None = None,
        ejected: Callable[[Ejected], None] | None = None,
    ) -> None:
        policy = policy or Policy()
        self.route, self._rng, self._policy = route, rng, policy
        self._tell = ejected
        self._pool = Pool(LatencyParameters())
        eject = policy.eject
        self._eject = EjectionParameters(consecutive=eject.consecutive, base=eject.base, longest=eject.longest)
        self._known: dict[str, Known] = {}
        self._sticky = Sticky()
        self._best: Known | None = None
        self._planned: Route | None = None
        self._rows: list[Known] = []
        self._names: tuple[str, ...] = ()
        self._windows = self._canaries = False
        self._oldest = -math.inf  # nobody was last asked before
        self._only: Known | None = None
        self._only_plan: Plan | None = None
        self._picks, self._picked, self._picked_at = 0.0, 1.0, now
        self._hedges = Bucket(HEDGES, HEDGES_AT_START, now)
        self._retries = Bucket(RETRIES, RETRIES, now)
        self._since_probe = self._observed = 0

    # deciding

    def plan(self, now: float, route: Route, wish: Wish = ANYTHING) -> Plan:
        """Raises NobodyFits."""
        policy = self._policy = route.policy
        if route is not self._planned:
            self._prepare(now, route)
        only = self._only
        if only is not None and wish.region is None and wish.language is None and not wish.unfit:
            plan = self._plan_only(now, only, wish.tokens)
            if plan is not None:
                return plan
        picked = self._arrived(now, policy)
        unfit = self._unfit(wish, policy)
        ready, out = self._ready(now, wish.tokens / 1000.0, picked, unfit)
        if not ready and not out:
            raise nobody_fits(route.name, route.targets, wish, policy)
        order, raced = self._order(now, ready, policy)
        if wish.sticky is not None and ready:
            order, raced = self._stuck(order, raced, ready, wish.sticky)
        if out:
            # Whoever is out stays the last resort: a route never has nobody to ask.
            out.sort(key=lambda row: row[0])
            order += [known.target for _, known, _ in out]
        self._pick(self._known[str(order[0])], picked)
        names = self._names if len(ready) == len(self._names) else [known.name for known in ready]
        drawn = [(known.score, known.mean) for known in ready]
        excluded = [*((known.name, reason) for _, known, reason in out), *unfit.items()] if out or unfit else ()
        return Plan(tuple(order), Candidates(names, drawn, excluded), raced)

    def _prepare(self, now: float, route: Route) -> None:
        """For requests of this route, from now on."""
        self._planned, self._rows = route, [self._serving(target, now) for target in route.targets]
        self._names, self._oldest = tuple(known.name for known in self._rows), -math.inf
        self._windows = any(target.context is not None for target in route.targets)
        self._canaries = any(target.canary for target in route.targets)
        choice = len(self._rows) > 1 or self._windows or route.policy.max_price is not None
        self._only, self._only_plan = None if choice else self._rows[0], None

    def _plan_only(self, now: float, known: Known, tokens: int) -> Plan | None:
        """Where there is nobody to choose from nothing is drawn or compared, and one plan serves for as long as nothing is learned
        of its target; None if that is not well."""
        if now >= known.good_until:
            known.look(now)
            self._only_plan = None
        if not known.well:
            return None
        self._pool.arrived(now)
        self._earn_retries(now)
        self._best = known
        self._pick(known, self._picked)
        plan, sized = self._only_plan, tokens > 0 and known.prompt > 0.0
        if plan is None or sized:
            known.mean, known.score = known.usual, known.centre
            if sized:
                known.sized(tokens / 1000.0)
            plan = Plan((known.target,), Candidates(self._names, ((known.score, known.mean),)))
            self._only_plan = None if sized else plan
        return plan

    def _arrived(self, now: float, policy: Policy) -> float:
        """A request came. Returns what a pick in `picks` is worth now."""
        self._pool.arrived(now)
        self._since_probe += 1
        self._hedges.earn(now, policy.hedge, HEDGE_EARNED_MOST, HEDGE_FLOOR if policy.hedge else 0.0)
        self._earn_retries(now)
        return self._fade_picks(now)

    def _earn_retries(self, now: float) -> None:
        share = self._policy.retry_budget
        self._retries.earn(now, share, share + 1.0, 1.0 / RETRIES_EVERY)

    def _unfit(self, wish: Wish, policy: Policy) -> dict[str, str]:
        """Who cannot serve it, and why."""
        asks = wish.region is not None or wish.language is not None or bool(wish.unfit)
        if not (asks or self._windows or policy.max_price is not None):
            return _NOBODY
        rows = ((known.name, why_not(known.target, wish, policy)) for known in self._rows)
        return {name: why for name, why in rows if why is not None}

    def _ready(
        self, now: float, thousands: float, picked: float, unfit: Mapping[str, str]
    ) -> tuple[list[Known], list[tuple[float, Known, str]]]:
        """Those that may be asked, each with a score drawn; and those that are out, with until when and why."""
        fair, draw = max(1.0, (self._picks * picked + 1.0) / len(self._rows)), self._rng.random
        looks, overdue = LOOKS, now - self._pool.half_life / 4.0
        best, least = None, math.inf
        ready: list[Known] = []
        out: list[tuple[float, Known, str]] = []
        for known in self._rows:
            shy = False
            if unfit or now >= known.plain_until:
                if known.name in unfit:
                    continue
                if now >= known.good_until and (looks > 0 or overdue > known.good_until):
                    known.look(now)
                    looks -= 1
                if not known.well:
                    until, reason = self._resting(known, now)
                    if reason is not None:
                        out.append((until, known, reason))
                        continue
                shy = known.shy and known.picks * picked + 1.0 > fair
            mean = known.mean = known.usual
            score = known.lowest + known.reach * (draw() + draw() + draw())
            if thousands:
                longer = math.log1p(known.prompt * thousands)
                mean = known.mean = mean + longer
                score += longer
            ready.append(known)
            if shy:
                score += SHY
            elif mean < least:
                best, least = known, mean
            known.score = score
        self._best = best
        return ready, out

    def _serving(self, target: Target, now: float) -> Known:
        known = self.known(str(target), now)
        known.target = target
        return known

    def _order(self, now: float, ready: list[Known], policy: Policy) -> tuple[list[Target], bool]:
        if policy.order == "ttft" and len(ready) > 1:
            ranked, raced = self._by_ttft(now, sorted(ready, key=_SCORE))
            order = [known.target for known in ranked]
            if self._canaries:
                order = with_canary(order, self._rng)
            return order, raced and order[0] is ranked[0].target
        targets = [known.target for known in ready]
        if policy.order == "weighted":
            return with_canary(weighted(targets, self._rng), self._rng), False
        if policy.order == "cost":
            return with_canary(by_cost(targets), self._rng), False
        return with_canary(targets, self._rng), False

    def _stuck(self, order: list[Target], raced: bool, ready: list[Known], key: str) -> tuple[list[Target], bool]:
        expected = {known.name: math.exp(known.mean) for known in ready}
        best = min(expected, key=expected.__getitem__) if self._policy.order == "ttft" else str(order[0])
        held = self._sticky.target(key, best, expected)
        if held is None or str(order[0]) == held:
            return order, raced and held is None
        return sorted(order, key=lambda target: str(target) != held), False

    def keep(self, key: str | None, target: Target) -> None:
        """A request with that sticky key was served by it."""
        if key is not None:
            self._sticky.keep(key, str(target))

    def _by_ttft(self, now: float, ranked: list[Known]) -> tuple[list[Known], bool]:
        """The order, and whether its first two are to be raced."""
        best = self._best or ranked[0]
        half_life = self._pool.half_life
        look = self._since_probe >= PROBE_EVERY and self._someone_stale(now - STALE * half_life)
        ranking = by_ttft(now, ranked, best, half_life, look, lambda: self._can_race(now))
        if ranking.probed:
            self._since_probe = 0
        return ranking.order, ranking.raced

    def _someone_stale(self, since: float) -> bool:
        """Whether any target was not asked since then. All become younger only by being asked, so that it is seldom looked."""
        if self._oldest < since:
            self._oldest = min(known.tried_at for known in self._rows)
        return self._oldest < since

    def _can_race(self, now: float) -> bool:
        return self._hedges.tokens >= RACE_RESERVE and not self._all_slow(now)

    def _resting(self, known: Known, now: float) -> tuple[float, str | None]:
        """Until when it is not asked, and why; (_, None) if it is."""
        health, limit = known.health, known.limit
        if health.blocked is not None:
            return math.inf, health.blocked
        if health.ejected_until > now:
            return health.ejected_until + 1e6, f"ejected for {health.ejected_until - now:.1f} s more"
        if health.out and health.trial:
            return health.ejected_until + 1e6, "on trial: one request at a time"
        if limit.until > now:
            return limit.until, f"rate limited for {limit.until - now:.1f} s more"
        if limit.full(now):
            return now, "at the rate at which it was limited before"
        return 0.0, None

    def _fade_picks(self, now: float) -> float:
        """What a pick in `picks` is worth now: all fade together, so that only this changes."""
        self._picked *= 2.0 ** ((self._picked_at - now) / self._pool.half_life)
        self._picked_at = now
        if self._picked < 1e-9:
            for known in self._known.values():
                known.picks *= self._picked
            self._picks *= self._picked
            self._picked = 1.0
        return self._picked

    def _pick(self, known: Known, picked: float) -> None:
        known.picks += 1.0 / picked
        self._picks += 1.0 / picked

    # while attempts run

    def started(self, now: float, target: Target, tokens: int = 0) -> Ticket:
        """`tokens`: of the prompt, about."""
        only = self._only
        known = only if only is not None and only.target is target else self.known(str(target), now)
        load = math.log1p(known.live) if known.live else 0.0
        trial = known.health.out and now >= known.health.ejected_until
        if trial:
            known.health.trial = True
        known.live += 1
        known.limit.started(now)
        known.tried_at = now
        thousands = tokens / 1000.0
        if known is only and known.latency.lone:
            return Ticket(known, now, load, thousands, trial, math.inf)  # for nobody could hedge it
        known.changed()
        late = known.latency.quantile(now, HEDGE_AT, load, thousands)
        if trial and self._best is not None and self._best is not known:
            # Its history is of no use now; whether it is late is seen by who would have been asked without the trial.
            late = min(late, self._best.latency.quantile(now, HEDGE_AT, math.log1p(self._best.live), thousands))
        return Ticket(known, now, load, thousands, trial, late)

    def deadline(self, now: float, ticket: Ticket) -> float | None:
        """Seconds until its first event, by its own history; None while that is too short to say."""
        latency = ticket.known.latency
        if latency.seen < YOUNG:
            return None
        return max(DEADLINE_LEAST, DEADLINE_TIMES * latency.quantile(now, DEADLINE_AT, ticket.load, ticket.thousands))

    def hedge_after(self, now: float, ticket: Ticket) -> float | None:
        if self._policy.order != "ttft" or not self._policy.hedge or self._all_slow(now):
            return None
        return ticket.hedge_at

    def take_hedge(self, now: float) -> bool:
        return not self._all_slow(now) and self._hedges.take()

    @property
    def hedges(self) -> float:
        """How many the budget has left."""
        return self._hedges.tokens

    def take_retry(self, now: float) -> bool:
        return self._retries.take()

    def first(self, now: float, ticket: Ticket, ttft: float | None) -> None:
        """It gave its first event. `ttft`: seconds, None where that is not what is measured."""
        ticket.answered = True
        if ticket.known is self._only and self._only.latency.lone:
            self._first_of_only(now, ticket, ttft)
            return
        known = self._settled(now, ticket, now - ticket.began)
        if ttft is not None:
            known.latency.observe(now, ttft, ticket.load, ticket.thousands)
        known.health.succeeded(now)
        known.limit.succeeded()
        known.changed()

    def _first_of_only(self, now: float, ticket: Ticket, ttft: float | None) -> None:
        """The same for a target that is compared with no other."""
        known = ticket.known
        known.health.succeeded(now)
        known.limit.succeeded()
        if not known.well:
            known.changed()
        if ttft is not None and now >= known.learns_at:
            known.learns_at = now + LONE_LEARNS
            known.latency.observe(now, ttft, ticket.load, ticket.thousands)
            known.look_by(now + LONE_SECONDS)
            self._learn_prior()

    def turn(self, now: float, ticket: Ticket, ttft: float) -> None:
        """A turn of a long stream."""
        ticket.known.latency.observe(now, ttft, ticket.load, ticket.thousands)
        ticket.known.health.succeeded(now)
        ticket.known.changed()

    def ended(self, now: float, ticket: Ticket, outcome: Outcome, retry_after: float | None = None) -> None:
        """It is over, well or not."""
        if ticket.over:
            return
        ticket.over = True
        known, elapsed = ticket.known, now - ticket.began
        known.live -= 1
        if outcome == "ok" and known is self._only and known.latency.lone:
            return
        known.changed()
        match outcome:
            case "rate_limited":
                known.limit.limited(now, retry_after)
                self._untried(ticket)
            case "unavailable" | "timeout" | "bug":
                self._settled(now, ticket, elapsed)
                self._failed(now, known, outcome)
                if outcome == "timeout":
                    known.latency.censored(now, elapsed, ticket.load, ticket.thousands, lost=False)
            case "cut":
                self._failed(now, known, outcome)
            case "unauthorized" | "out_of_quota":
                known.health.blocked = f"{outcome}: until the configuration changes"
                self._untried(ticket)
            case "lost" | "cancelled" if not ticket.answered:
                self._settled(now, ticket, elapsed)
                known.latency.censored(now, elapsed, ticket.load, ticket.thousands)
                self._untried(ticket)
            case "refused" | "context_too_long":
                self._untried(ticket)

    def _failed(self, now: float, known: Known, outcome: Outcome) -> None:
        others = any(o is not known and self._resting(o, now)[1] is None for o in self._known.values())
        if known.health.failed(now, self._rng, others) and self._tell is not None:
            self._tell(
                Ejected(self.route, known.name, known.health.ejected_until, f"too many failures, last {outcome}")
            )

    def _untried(self, ticket: Ticket) -> None:
        if ticket.trial:
            ticket.known.health.trial = False

    def _settled(self, now: float, ticket: Ticket, elapsed: float) -> Known:
        known = ticket.known
        fade = 2.0 ** ((known.seen_at - now) / SLOW_HALF_LIFE)
        known.seen = known.seen * fade + 1.0
        known.late = known.late * fade + (elapsed > ticket.hedge_at)
        known.seen_at = now
        self._learn_prior()
        return known

    def _learn_prior(self) -> None:
        self._observed += 1
        if self._observed % LEARN_PRIOR_EVERY == 0:
            lines = [o.latency.own.load for o in self._known.values()]
            self._pool.learn_prior([line.y / line.w for line in lines if line.w > 1.0])

    def _all_slow(self, now: float) -> bool:
        lately = [slow for known in self._known.values() if (slow := known.slow(now)) is not None]
        return bool(lately) and all(lately)

    # what others look at

    def known(self, target: str, now: float) -> Known:
        """What is known of a target, from now on."""
        found = self._known.get(target)
        if found is None:
            # One that comes later has nothing to catch up on: it begins as if it had had its share.
            share = self._picks / max(1, len(self._known))
            self._picks += share
            provider, _, model = target.partition("/")
            found = self._known[target] = Known(
                target,
                Target(provider, model),
                TargetLatency(self._pool, now),
                TargetHealth(self._eject, now),
                RateLimit(RateLimitParameters()),
                picks=share,
                tried_at=now,
                seen_at=now,
            )
        return found

    def resting(self, now: float, target: Target) -> str | None:
        """Why it is not to be asked now; None if it may be."""
        return self._resting(self.known(str(target), now), now)[1]

    def asked_at(self, now: float, target: Target) -> float:
        """When it was last asked, here or at a replica that told; when it became known, if never."""
        known = self.known(str(target), now)
        return max(known.tried_at, known.heard_at)

    def in_flight(self) -> int:
        """Attempts under way."""
        return sum(known.live for known in self._known.values())

    def standing(self, now: float, route: Route) -> list[Standing]:
        """How its targets stand, in the file's order, the sleeping ones last."""
        total = self._picks
        rows = []
        for target in route.targets:
            known = self.known(str(target), now)
            until, why = self._resting(known, now)
            rows.append(known.standing(route, now, known.picks / total if total else 0.0, until, why))
        return rows + [Standing(route.name, route.kind, name, asleep=why) for name, why in route.asleep.items()]

    def export(self, now: float) -> dict[str, list[float]]:
        """Our own sums by target, with the age that all of them have: for other replicas."""
        said = ((known.name, known.said(now)) for known in self._known.values())
        return {name: values for name, values in said if values is not None}

    def merge(self, replica: str, target: str, values: Sequence[float], age: float, now: float) -> None:
        """What another replica exported `age` seconds ago. Raises ValueError for what no replica says."""
        self.known(target, now).hear(replica, values, now - age)

    def forget(self, replica: str) -> None:
        """It is gone, and so is what it said."""
        for known in self._known.values():
            known.forget(replica)

    def forget_blocks(self) -> None:
        """The configuration changed: keys and quotas may be well again."""
        for known in self._known.values():
            known.health.blocked = None
            known.changed()

    def eject(self, target: str, now: float, until: float) -> None:
        """Another replica put it out."""
        known = self.known(target, now)
        known.health.eject(now, until)
        known.changed()
