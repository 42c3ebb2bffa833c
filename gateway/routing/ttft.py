"""Order by TTFT: who goes first of the targets that may be asked, and who is worth asking beside them to learn. Pure.

A score is a draw from what is believed of a target's mean (Thompson sampling), so that what is uncertain is tried. A target
that is tried to learn from, rather than for its answer, is asked at the same time as the best while hedges are left: the
caller does not wait for the lesson.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from gateway.routing.known import SHY, Known

_PICKS = attrgetter("picks")
TIE, TIE_LEAST, TIE_MOST, TIE_YOUNG = 2.0, 0.02, 0.25, 0.5
"""Targets whose means differ by less than TIE standard errors (within bounds, in logs) share the traffic evenly."""
RACE_GAP, RACE_RESERVE = 0.25, 4.0
"""A draw that prefers a target whose mean is this much worse (in logs) races it against the best, while so many hedges are
left: those are for requests that turn out slow."""
PROBE_EVERY, STALE, STALE_FIRST = 40, 1.0, 1.5
"""Every so many requests a target untried for STALE half-lives is raced; for STALE_FIRST, tried in its own right."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """`raced`: the first two are to be asked at the same time; `probed`: one is there to learn from."""

    order: list[Known]
    raced: bool = False
    probed: bool = False


def by_ttft(
    now: float, ranked: list[Known], best: Known, half_life: float, since_probe: int, can_race: Callable[[], bool]
) -> Ranking:
    """`ranked`: by score, the lowest first, and ours to reorder; `best`: by what is expected of it; `since_probe`: requests
    since one was last tried to learn from."""
    tied = _tied(ranked, best)
    top = tied[0] if len(tied) == 1 else min(tied, key=_PICKS)
    doubtful = len(tied) == 1 and top.mean > best.mean + RACE_GAP
    explorer = top if doubtful else _stale(now, ranked, top, best, half_life, since_probe)
    if explorer is None:
        return Ranking(_with_first(ranked, top))
    if can_race():
        return Ranking(_with_first(ranked, best, explorer), raced=True, probed=True)
    if now - explorer.tried_at > STALE_FIRST * half_life:
        return Ranking(_with_first(ranked, explorer), probed=True)
    # No hedge is left to try it with, and it need not be tried yet.
    return Ranking(_with_first(ranked, best if explorer is top else top))


def _tied(ranked: Sequence[Known], best: Known) -> Sequence[Known]:
    """Those that are as good as the best, if the draw favours one of them; else its favourite alone."""
    if ranked[-1].score >= SHY / 2.0:
        ranked = [known for known in ranked if known.score < SHY / 2.0] or ranked[:1]
    middle, variance, tie = best.mean, best.variance, TIE * TIE
    tied: list[Known] = []
    for known in ranked:
        gap = known.mean - middle
        if gap > TIE_LEAST and (
            gap > (TIE_YOUNG if known.young else TIE_MOST) or gap * gap > tie * (known.variance + variance)
        ):
            if not tied:
                return ranked[:1]
            continue
        tied.append(known)
    return tied


def _stale(
    now: float, ranked: Sequence[Known], top: Known, best: Known, half_life: float, since_probe: int
) -> Known | None:
    """One that was not asked for so long that it is worth asking to learn from, rather than for its answer."""
    if since_probe < PROBE_EVERY:
        return None
    since = now - STALE * half_life
    stale = [known for known in ranked if known.tried_at < since and known is not top and known is not best]
    return min(stale, key=lambda known: known.tried_at, default=None)


def _with_first(ranked: list[Known], *first: Known) -> list[Known]:
    for known in reversed(first):
        if ranked[0] is not known:
            ranked.remove(known)
            ranked.insert(0, known)
    return ranked
