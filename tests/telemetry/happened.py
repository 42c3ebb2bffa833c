"""Decisions, samples and standings as the engine would make them, for whoever shows them."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from gateway.telemetry.decisions import Candidate, Decision, Tried
from gateway.telemetry.sample import Outcome, Sample
from gateway.telemetry.standing import Standing

FAST, SLOW, OUT = "groq/llama", "openai/mini", "local_llm/smollm2"
CANDIDATES = (
    Candidate(FAST, 0.21, 0.2),
    Candidate(SLOW, 0.44, 0.4),
    Candidate(OUT, excluded="ejected: 3 failures in a row"),
)
_numbers = count(1)


def made(
    *tried: Tried, chosen: str | None = None, route: str = "chat", at: float = 1000.0, done: bool = True
) -> Decision:
    """A decision of the route of three targets. `chosen`: by default the last that was tried and ended well."""
    well = [each.target for each in tried if each.outcome == "ok"]
    picked = chosen or (well[-1] if well else None)
    return Decision(f"d{next(_numbers)}", at, route, "llm", "ttft", CANDIDATES, list(tried), picked, done)


def served(at: float = 1000.0, target: str = FAST, route: str = "chat") -> Decision:
    return made(Tried(target, "first", 0.0, "ok", 0.2, 1.0), at=at, route=route)


def fell_back(at: float = 1000.0) -> Decision:
    return made(
        Tried(SLOW, "first", 0.0, "unavailable", None, 0.1, "Unavailable 503"),
        Tried(SLOW, "retry", 0.3, "unavailable", None, 0.1, "Unavailable 503"),
        Tried(FAST, "fallback", 0.4, "ok", 0.2, 0.9),
        at=at,
    )


def hedged(at: float = 1000.0, won: bool = True) -> Decision:
    first, hedge = ("lost", "ok") if won else ("ok", "lost")
    tried = (
        Tried(SLOW, "first", 0.0, first, None if won else 0.9, 0.7),  # type: ignore[arg-type]
        Tried(FAST, "hedge", 0.5, hedge, 0.2 if won else None, 0.4),  # type: ignore[arg-type]
    )
    return made(*tried, at=at)


def failed(at: float = 1000.0) -> Decision:
    return made(
        Tried(FAST, "first", 0.0, "timeout", None, 2.0, "Unavailable"),
        Tried(SLOW, "fallback", 2.0, "rate_limited", None, 0.1, "RateLimited 429"),
        at=at,
    )


def shadowed(at: float = 1000.0) -> Decision:
    return made(
        Tried(SLOW, "first", 0.0, "lost", None, 0.7),
        Tried(OUT, "shadow", 0.0, "timeout", None, 6.0, "TooLate"),
        Tried(FAST, "hedge", 0.5, "ok", 0.2, 0.4),
        at=at,
    )


def probed(at: float = 1000.0) -> Decision:
    decision = made(Tried(FAST, "probe", 0.0, "ok", 0.2, 0.3), at=at)
    return replace(decision, order="probe", candidates=(Candidate(FAST),), chosen=None)


def sample(ttft: float | None = 0.2, outcome: Outcome = "ok", target: str = FAST) -> Sample:
    return Sample("chat", "llm", target, outcome, ttft, 1.0)


def standings() -> list[Standing]:
    return [
        Standing("chat", "llm", FAST, 0.2, 0.31, 0.01, 3, 0.75, samples=40.0),
        Standing("chat", "llm", SLOW, 0.4, 0.9, 0.4, 0, 0.25, ejected_for=7.5, why="3 failures in a row", samples=12.0),
        Standing("chat", "llm", OUT, asleep="weights are missing"),
    ]
