"""Sticky: a call, or whoever asks with one key, keeps its target while no other is clearly better. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

BETTER_SHARE, BETTER_SECONDS, TURNS = 0.25, 0.15, 3
"""Another must be this much quicker, by both, for so many requests in a row."""
KEPT = 10_000
"""Keys remembered; the ones asked with longest ago are forgotten."""


@dataclass(slots=True)
class _Held:
    target: str
    outdone: int = 0


class Sticky:
    def __init__(self) -> None:
        self._held: OrderedDict[str, _Held] = OrderedDict()

    def target(self, key: str, best: str, expected: dict[str, float]) -> str | None:
        """Whom to stay with; None to go where it is best. `expected`: seconds, of the targets that may be asked now."""
        held = self._held.get(key)
        if held is None or held.target not in expected:
            return None
        self._held.move_to_end(key)
        now, other = expected[held.target], expected[best]
        outdone = best != held.target and other < (1.0 - BETTER_SHARE) * now and other < now - BETTER_SECONDS
        held.outdone = held.outdone + 1 if outdone else 0
        return None if held.outdone >= TURNS else held.target

    def keep(self, key: str, target: str) -> None:
        """It was served by that one."""
        held = self._held.get(key)
        if held is None or held.target != target:
            self._held[key] = _Held(target)
        self._held.move_to_end(key)
        while len(self._held) > KEPT:
            self._held.popitem(last=False)
