"""Order by TTFT: who goes first of the targets that may be asked, and who is worth asking beside them to learn. Pure.

A score is a draw from what is believed of a target's mean (Thompson sampling), so that what is uncertain is tried. A target
that is tried to learn from, rather than for its answer, is asked at the same time as the best while hedges are left: the
caller does not wait for the lesson.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.routing.known import SHY, Known

TIE_LEAST = 0.02
"""Targets whose means differ by no more (in logs) share the traffic evenly, whatever is known of them."""
RACE_GAP, RACE_RESERVE = 0.25, 4.0
"""A draw that prefers a target whose mean is this much worse (in logs) races it against the best, while so many hedges are
left: those are for requests that turn out slow."""
PROBE_EVERY, STALE, STALE_FIRST = 40, 1.0, 1.5
"""Every so many requests a target untried for STALE half-lives is raced; for STALE_FIRST, tried in its own right."""


@dataclass(slots=True)  # not frozen, though nothing changes one: every decision makes one
class Ranking:
    """`raced`: the first two are to be asked at the same time; `probed`: one is there to learn from."""

    order: list[Known]
    raced: bool = False
    probed: bool = False


def by_ttft(
    now: float, ranked: list[Known], best: Known, half_life: float, look: bool, can_race: Callable[[], bool]
) -> Ranking:
    """`ranked`: by score, the lowest first, and ours to reorder; `best`: by what is expected of it; `look`: whether to look for
    one to learn from."""
    top, tied = _favourite(ranked, best)
    doubtful = tied == 1 and top.mean > best.mean + RACE_GAP
    explorer = top if doubtful else _stale(now, ranked, top, best, half_life) if look else None
    if explorer is None:
        return Ranking(_with_first(ranked, top))
    if can_race():
        return Ranking(_with_first(ranked, best, explorer), raced=True, probed=True)
    if now - explorer.tried_at > STALE_FIRST * half_life:
        return Ranking(_with_first(ranked, explorer), probed=True)
    # No hedge is left to try it with, and it need not be tried yet.
    return Ranking(_with_first(ranked, best if explorer is top else top))


def _favourite(ranked: Sequence[Known], best: Known) -> tuple[Known, int]:
    """Whom the draw favours and, if that one is as good as the best, rather the least asked of all that are; and how many are."""
    if ranked[-1].score >= SHY / 2.0:
        ranked = [known for known in ranked if known.score < SHY / 2.0] or ranked[:1]
    middle, leeway = best.mean, best.leeway
    near = middle + TIE_LEAST
    least, fewest, tied = ranked[0], math.inf, 0
    for known in ranked:
        mean = known.mean
        if mean > near:
            gap = mean - middle
            if gap > known.tie or gap * gap > known.leeway + leeway:
                if not tied:
                    return known, 1
                continue
        tied += 1
        picks = known.picks
        if picks < fewest:
            least, fewest = known, picks
    return least, tied


def _stale(now: float, ranked: Sequence[Known], top: Known, best: Known, half_life: float) -> Known | None:
    """One that was not asked for so long that it is worth asking to learn from, rather than for its answer."""
    since = now - STALE * half_life
    stale = [known for known in ranked if known.tried_at < since and known is not top and known is not best]
    return min(stale, key=lambda known: known.tried_at, default=None)


def _with_first(ranked: list[Known], *first: Known) -> list[Known]:
    for known in reversed(first):
        if ranked[0] is not known:
            ranked.remove(known)
            ranked.insert(0, known)
    return ranked
