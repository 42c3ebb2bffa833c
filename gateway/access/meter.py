"""Meter: what one key has used, as this replica knows it, and whether it may go on. Pure: moments are handed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from gateway.access.key import Budget, Limits, Period
from gateway.access.window import Window
from gateway.contract.errors import BudgetSpent, GatewayError, LimitReached

BUSY = 1.0
"""Seconds of Retry-After where the key has as many requests under way as it may."""


def period_of(per: Period, unix: float) -> str:
    """The day or month, of UTC, that a moment is in: 2030-01-31, 2030-01."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d" if per == "day" else "%Y-%m")


def until_next(per: Period, unix: float) -> float:
    """Seconds until the next day or month of UTC begins."""
    now = datetime.fromtimestamp(unix, UTC)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    first = day + timedelta(days=1) if per == "day" else (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return (first - now).total_seconds()


@dataclass(frozen=True, slots=True)
class Left:
    """How much is left of a limit, and in how many seconds more comes back: what the x-ratelimit headers tell."""

    limit: int
    remaining: int
    reset: float


@dataclass(slots=True)
class Meter:
    """`open`: under way now; `reserved`: tokens that those may still use; `spent`: US dollars by day and by month.
    `owed_`: used and not told to the other replicas; `others_`: what they used, as last told (of tokens: until when that counts)."""

    requests: Window = field(default_factory=Window)
    tokens: Window = field(default_factory=Window)
    open: int = 0
    reserved: int = 0
    spent: dict[str, float] = field(default_factory=dict)
    owed_requests: Window = field(default_factory=Window)
    owed_tokens: Window = field(default_factory=Window)
    others_tokens: tuple[int, float] = (0, 0.0)
    others_spent: dict[str, float] = field(default_factory=dict)
    told_left: tuple[Left | None, Left | None, float] = (None, None, 0.0)

    def refusal(self, limits: Limits, now: float, unix: float) -> GatewayError | None:
        """Why one more request is refused. What is refused counts for nothing."""
        budget = limits.budget
        if budget is not None and self.spent_in(budget, unix) >= budget.usd:
            return budget_spent(budget, unix)
        if limits.requests is not None and self.requests.used(now) >= limits.requests:
            return LimitReached(f"{limits.requests} requests a minute", self.requests.frees(now))
        if limits.tokens is not None and self.tokens_used(now) >= limits.tokens:
            return LimitReached(f"{limits.tokens} tokens a minute", self.tokens.frees(now) or BUSY)
        if limits.streams is not None and self.open >= limits.streams:
            return LimitReached(f"{limits.streams} requests at once", BUSY)
        return None

    def take(self, limits: Limits, now: float, unix: float) -> None:
        """One more request is under way, until `open` is counted down. Raises what `refusal` says."""
        refused = self.refusal(limits, now, unix)
        if refused is not None:
            raise refused
        self.requests.add(1, now)
        self.open += 1

    def reserve(self, tokens: int, limits: Limits, now: float) -> None:
        """Raises LimitReached where they do not fit beside what was used and what others reserved."""
        if limits.tokens is None:
            return
        if tokens > limits.tokens:
            raise LimitReached(f"{limits.tokens} tokens a minute, and the request asks for {tokens}", None)
        if self.tokens_used(now) + tokens > limits.tokens:
            raise LimitReached(f"{limits.tokens} tokens a minute", self.tokens.frees(now) or BUSY)
        self.reserved += tokens

    def charge(self, usd: float, unix: float) -> None:
        for per in ("day", "month"):
            period = period_of(per, unix)
            if period not in self.spent:
                self.spent = {name: usd for name, usd in self.spent.items() if len(name) != len(period)}
            self.spent[period] = self.spent.get(period, 0.0) + usd

    def spent_in(self, budget: Budget, unix: float) -> float:
        period = period_of(budget.per, unix)
        return self.spent.get(period, 0.0) + self.others_spent.get(period, 0.0)

    def tokens_used(self, now: float) -> int:
        """By all replicas, as far as is known here, and what is set aside."""
        others, until = self.others_tokens
        return self.tokens.used(now) + self.reserved + (others if now < until else 0)

    def left(self, limits: Limits, now: float) -> tuple[Left | None, Left | None]:
        """Of requests, and of tokens."""
        requests = tokens = None
        if limits.requests is not None:
            used = self.requests.used(now)
            requests = Left(limits.requests, max(0, limits.requests - used), self.requests.frees(now))
        if limits.tokens is not None:
            used = self.tokens_used(now)
            tokens = Left(limits.tokens, max(0, limits.tokens - used), self.tokens.frees(now))
        return requests, tokens


def budget_spent(budget: Budget, unix: float) -> BudgetSpent:
    return BudgetSpent(str(budget), until_next(budget.per, unix))
