"""Grant: what one request may do, and what it used. `paying()` is the one of the request, or call, that runs.

    paying().check(route)               # raises RouteNotAllowed
    paying().tokens(n); paying().charge(usd)        # at once, and never waits: other replicas hear of it later

A context variable, since attempts run in tasks of their own, some for as long as a call: whatever a request starts pays by its key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar, Token
from dataclasses import dataclass

from gateway.access.key import Key
from gateway.access.meter import Left, Meter
from gateway.contract.errors import RouteNotAllowed


@dataclass(frozen=True, slots=True)
class Clocks:
    """`now`: seconds that only go forward; `unix`: Unix seconds."""

    now: Callable[[], float]
    unix: Callable[[], float]


Changed = Callable[[Key, Meter], None]
"""Told that something was used, or is over."""


def _nobody(key: Key, meter: Meter) -> None:
    """Keys without limits, and gateways alone, have nobody to tell."""


class Grant:
    """Of no key: everything is allowed and nothing is counted. `hold` and `end` come in pairs: the last `end` gives back what
    the request had reserved, and its place among the key's `streams`."""

    __slots__ = ("_changed", "_clocks", "_held", "_meter", "_reserved", "key", "left")

    def __init__(
        self,
        key: Key | None = None,
        meter: Meter | None = None,
        clocks: Clocks | None = None,
        changed: Changed = _nobody,
    ) -> None:
        self.key, self._meter, self._clocks, self._changed = key, meter, clocks, changed
        self.left: tuple[Left | None, Left | None] = (None, None)
        self._held, self._reserved = 0, 0

    @property
    def key_id(self) -> str | None:
        """Safe to log."""
        return self.key.id if self.key is not None else None

    @property
    def unlimited(self) -> bool:
        """Every route is allowed."""
        return self.key is None or "*" in self.key.routes

    def allows(self, route: str) -> bool:
        return self.key is None or self.key.allows(route)

    def check(self, route: str, known: Iterable[str] = ()) -> None:
        """Raises RouteNotAllowed, which names those of the `known` routes that are allowed."""
        if self.key is not None and not self.key.allows(route):
            raise RouteNotAllowed(route[:256], self.among(known) or self.key.routes)

    def among(self, routes: Iterable[str]) -> list[str]:
        """Those that are allowed, by name."""
        return sorted(route for route in routes if self.allows(route))

    def reserve(self, tokens: int | None) -> None:
        """Set aside what the request may still use, until it is over. Raises LimitReached where so much is not left."""
        if tokens and self.key is not None and self._meter is not None and self._clocks is not None:
            self._meter.reserve(tokens, self.key.limits, self._clocks.now())
            self._reserved += tokens if self.key.limits.tokens is not None else 0

    def tokens(self, count: int) -> None:
        """So many were used."""
        if count > 0 and self.key is not None and self._meter is not None and self._clocks is not None:
            now = self._clocks.now()
            self._meter.tokens.add(count, now)
            self._meter.owed_tokens.add(count, now)
            self._changed(self.key, self._meter)

    def left_now(self) -> tuple[Left | None, Left | None]:
        """Of requests, and of tokens: of the key's limits, None where it has none."""
        if self.key is None or self._meter is None or self._clocks is None:
            return None, None
        return self._meter.left(self.key.limits, self._clocks.now())

    def charge(self, usd: float) -> None:
        if usd > 0 and self.key is not None and self._meter is not None and self._clocks is not None:
            self._meter.charge(usd, self._clocks.unix())
            self._changed(self.key, self._meter)

    def hold(self) -> None:
        """Something goes on beyond the request: a call does. To be ended as well."""
        self._held += 1

    def end(self) -> None:
        if self._held:
            self._held -= 1
        elif self._meter is not None and self.key is not None:
            self._meter.open -= 1
            self._meter.reserved -= self._reserved
            self._reserved = 0
            self._changed(self.key, self._meter)


OPEN = Grant()
"""Where no key is asked for."""

_paying: ContextVar[Grant] = ContextVar("paying", default=OPEN)


def paying() -> Grant:
    return _paying.get()


def pay(grant: Grant) -> Token[Grant]:
    """What this task, and those that it starts, do from now on goes on this grant."""
    return _paying.set(grant)


def unpay(token: Token[Grant]) -> None:
    _paying.reset(token)
