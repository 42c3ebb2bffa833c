"""Headers that requests and answers have in common."""

from __future__ import annotations

from functools import lru_cache
from typing import TypedDict

from gateway.api.exchange import Exchange
from gateway.contract.errors import BadRequest
from gateway.routing.engine import Answer
from gateway.routing.route import Target

LONGEST = 256

SSE = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the stream back
)


def answered_by(answer: Answer) -> tuple[tuple[bytes, bytes], ...]:
    """Who answered, and after how many attempts, this one included."""
    return (
        target_header(answer.target),
        (b"x-trunkline-attempts", b"%d" % (len(answer.attempts) + 1)),
    )


def target_header(target: Target) -> tuple[bytes, bytes]:
    return _target_header(str(target))


@lru_cache(1024)
def _target_header(name: str) -> tuple[bytes, bytes]:
    return (b"x-trunkline-target", name.encode("ascii", "backslashreplace"))


def paid(answer: Answer) -> tuple[bytes, bytes]:
    """What a whole answer cost, with the attempts that failed before it."""
    return (b"x-trunkline-cost-usd", dollars(answer.cost).encode())


def dollars(cost: float | None) -> str:
    return "unknown" if cost is None else f"{cost:.10f}".rstrip("0").rstrip(".")


class Asked(TypedDict):
    region: str | None
    sticky: str | None


_NOTHING: Asked = {"region": None, "sticky": None}


def asked_for(exchange: Exchange) -> Asked:
    """`x-trunkline-region`: only targets of that region; `x-trunkline-sticky`: the same key stays with its target."""
    if exchange.header(b"x-trunkline-region") is None and exchange.header(b"x-trunkline-sticky") is None:
        return _NOTHING
    return {"region": _told(exchange, "x-trunkline-region"), "sticky": _told(exchange, "x-trunkline-sticky")}


def _told(exchange: Exchange, name: str) -> str | None:
    value = exchange.header(name.encode())
    if value is None:
        return None
    if not 0 < len(value) <= LONGEST or not value.isascii():
        raise BadRequest(f"{name} must have 1 to {LONGEST} ASCII characters", name)
    return value.decode()
