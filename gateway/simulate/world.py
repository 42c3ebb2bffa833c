"""World: what targets do when they are asked. The scenario and the decision log each make one."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.telemetry.sample import Outcome

STREAM = 2.0
"""Seconds that an answer goes on after its first event, where nothing says otherwise."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `at`: seconds after the beginning; `id`: of the decision it was recorded as, if it was."""

    number: int
    at: float
    route: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Fate:
    """What an attempt meets: `ok` or `cut` speaks after `after` seconds and goes on for `stream`; `timeout` never speaks;
    any other outcome is its failure after `after`."""

    outcome: Outcome
    after: float = 0.0
    stream: float = STREAM


@dataclass(frozen=True, slots=True)
class Known:
    """What a world knows of a target. `evidence`: attempts that it was learned from, None where it was written down;
    `assumed`: nothing is known, it is taken to be like the route's others."""

    evidence: int | None = None
    assumed: bool = False


class World(Protocol):
    """`length`: seconds; `targets`: by route, then by name, those that it knows how to play."""

    @property
    def length(self) -> float: ...

    @property
    def targets(self) -> Mapping[str, Mapping[str, Known]]: ...

    def asks(self) -> list[Ask]:
        """In order of time."""

    def fate(self, ask: Ask, target: str, tries: int, now: float, live: int) -> Fate:
        """Of the attempt that begins at `now`, `tries` having been made at this target for the request and `live` being
        under way there."""


def luck(seed: int, ask: Ask, target: str, tries: int) -> random.Random:
    """Draws that depend on the request, the target and the try alone: the same request meets the same fate under every
    policy, so that two runs compare policies rather than luck."""
    return random.Random(f"{seed}/{ask.route}/{ask.number}/{target}/{tries}")
