"""Errors of the gateway.

GatewayError
    NoSuchRoute            the name in `model` is no route's
    WrongKind              the route exists and does something else
    NoTargetAwake          every target of the route is asleep (no key, no weights)
    BadRequest             the request is at fault, whoever answers
    KeyRefused             no key was shown, or none that is known and still good
    RouteNotAllowed        the key is good, and not for this route
    LimitReached           the key has used what it may for now
    BudgetSpent            the key has spent its money for this day or month
    AccessUnknown          what the key may do cannot be found out now
    CallElsewhere          another replica of the gateway holds the call
    ConfigError            routes.yaml is at fault
    AllTargetsFailed       every attempt failed; carries them
    ProviderError          one attempt failed
        Unavailable        refused, reset, 5xx, silent, garbage
        RateLimited        429; `retry_after` in seconds where it was said
        Unauthorized       401, 403
        OutOfQuota         402, or a 429 that says the quota is gone
        ContextTooLong     another target may have a larger window
        Refused            the request is at fault: no other target is tried

A message names providers, statuses and limits; never a key, a prompt, a transcript or a header.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class GatewayError(Exception):
    """Everything the gateway raises on purpose."""


class NoSuchRoute(GatewayError):
    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"no route is named {name!r}; the routes are: {', '.join(known) or '(none)'}")
        self.name, self.known = name, tuple(known)


class WrongKind(GatewayError):
    def __init__(self, name: str, kind: str, wanted: str, fitting: Sequence[str]) -> None:
        fit = f"; routes of kind {wanted}: {', '.join(fitting) or '(none)'}"
        super().__init__(f"route {name!r} is of kind {kind}, and this endpoint needs kind {wanted}{fit}")
        self.name, self.kind, self.wanted = name, kind, wanted


class NoTargetAwake(GatewayError):
    def __init__(self, route: str, reasons: Sequence[str]) -> None:
        super().__init__(f"route {route!r} has no target awake: {'; '.join(reasons) or 'it names none'}")
        self.route, self.reasons = route, tuple(reasons)


class BadRequest(GatewayError):
    """`param`: the field at fault, in the caller's words."""

    def __init__(self, message: str, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param, self.status = param, status


class NoThreads(BadRequest):
    """Asked for a conversation that is kept for the caller."""

    def __init__(self) -> None:
        super().__init__("the gateway keeps no conversations: send all of its messages, and no thread", "thread")


class KeyRefused(GatewayError):
    """Quotes nothing of what was shown."""


class RouteNotAllowed(GatewayError):
    """Says the same of routes that do not exist: a key learns of none but its own."""

    def __init__(self, name: str, allowed: Sequence[str]) -> None:
        super().__init__(f"this key may not use {name!r}; it may use: {', '.join(allowed) or '(none)'}")
        self.name, self.allowed = name, tuple(allowed)


class LimitReached(GatewayError):
    """`retry_after`: seconds; None where waiting is no use."""

    def __init__(self, limit: str, retry_after: float | None) -> None:
        super().__init__(f"this key may make no more requests for now: its limit is {limit}")
        self.limit, self.retry_after = limit, retry_after


class BudgetSpent(GatewayError):
    """`begins_anew`: in so many seconds."""

    def __init__(self, budget: str, begins_anew: float) -> None:
        super().__init__(f"this key has spent its budget of {budget}")
        self.budget, self.begins_anew = budget, begins_anew


class AccessUnknown(GatewayError):
    def __init__(self, what: str) -> None:
        super().__init__(f"what this key {what} cannot be found out now: try again soon")


class CallElsewhere(GatewayError):
    """`replica`: the name of the one that holds the call; `url`: where it is reached, if it says."""

    def __init__(self, replica: str, url: str | None) -> None:
        super().__init__(f"replica {replica} of this gateway holds the call: send it there")
        self.replica, self.url = replica, url


class ConfigError(GatewayError):
    pass


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One target that did not answer: `error` is safe to show."""

    target: str
    error: ProviderError
    seconds: float


class AllTargetsFailed(GatewayError):
    def __init__(self, route: str, attempts: Sequence[FailedAttempt]) -> None:
        told = "; ".join(f"{a.target}: {a.error}" for a in attempts)
        super().__init__(f"every target of route {route!r} failed: {told}")
        self.route, self.attempts = route, tuple(attempts)


class ProviderError(GatewayError):
    """`provider`: its name; `status`: the upstream's HTTP status or WebSocket close code, where there was one;
    `retry_after`: seconds; `code`: the upstream's own machine-readable word for it.

    `detail` and `param`: why the upstream refused, in its own words, and the field it names. They are for the caller whose
    request it was and for nobody else (they may quote it), so neither str nor repr shows them. Set on Refused and
    ContextTooLong only: what an upstream says of a key or of itself is nothing to a caller.
    """

    def __init__(
        self,
        message: str,
        provider: str = "",
        status: int | None = None,
        retry_after: float | None = None,
        code: str | None = None,
        *,
        detail: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.provider, self.status, self.retry_after, self.code = provider, status, retry_after, code
        self.detail, self.param = detail, param


class Unavailable(ProviderError):
    pass


class RateLimited(ProviderError):
    pass


class Unauthorized(ProviderError):
    pass


class OutOfQuota(ProviderError):
    pass


class ContextTooLong(ProviderError):
    pass


class Refused(ProviderError):
    pass
