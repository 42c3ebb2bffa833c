"""Order: who is asked first where the policy does not go by TTFT, and canaries whatever it goes by. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gateway.routing.route import Target


def weighted(targets: Sequence[Target], rng: random.Random) -> list[Target]:
    """A draw without replacement by `weight`; those of weight 0 come last, as written."""
    # Efraimidis and Spirakis: the largest u^(1/w) first is a weighted draw.
    keyed = [(rng.random() ** (1.0 / t.weight) if t.weight > 0 else 0.0, -at, t) for at, t in enumerate(targets)]
    return [target for _, _, target in sorted(keyed, key=lambda key: key[:2], reverse=True)]


def by_cost(targets: Sequence[Target]) -> list[Target]:
    """The cheapest first; an unknown price is not cheap."""
    return sorted(targets, key=lambda target: float("inf") if target.price is None else target.price)


def with_canary(targets: list[Target], rng: random.Random) -> list[Target]:
    """A canary goes first for its share of the requests, and last for the others."""
    canaries = [target for target in targets if target.canary]
    if not canaries:
        return targets
    rest = [target for target in targets if not target.canary]
    draw = rng.random()
    for canary in canaries:
        if draw < (canary.canary or 0.0):
            return [canary, *rest, *(other for other in canaries if other is not canary)]
        draw -= canary.canary or 0.0
    return [*rest, *canaries]
