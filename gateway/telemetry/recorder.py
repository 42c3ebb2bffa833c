"""Recorder: takes what happened to everything that wants it, and lets none of these disturb a request."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from gateway.telemetry.decisions import Decision
from gateway.telemetry.sample import Sample
from gateway.telemetry.standing import Ejection

log = logging.getLogger(__name__)

KEPT = 1_000
"""Samples that can still be looked at."""

Told = TypeVar("Told", Sample, Decision, Ejection)
Sink = Callable[[Told], None]
"""Called on the event loop: it keeps what it needs and returns at once."""


class Recorder:
    """`recent`: the latest samples, oldest first, for whoever asks how it went."""

    def __init__(
        self,
        sinks: Sequence[Sink[Sample]] = (),
        kept: int = KEPT,
        *,
        decided: Sequence[Sink[Decision]] = (),
        settled: Sequence[Sink[Decision]] = (),
        ejected: Sequence[Sink[Ejection]] = (),
    ) -> None:
        self._sinks, self._decided, self._settled, self._ejected = tuple(sinks), decided, settled, ejected
        self.recent: deque[Sample] = deque(maxlen=kept)

    def record(self, sample: Sample) -> None:
        self.recent.append(sample)
        _tell(self._sinks, sample, sample.target)

    def decided(self, decision: Decision) -> None:
        """A request was decided; it is filled in as it goes on."""
        _tell(self._decided, decision, decision.route)

    def settled(self, decision: Decision) -> None:
        """That request and its copies are over: the decision changes no more."""
        _tell(self._settled, decision, decision.route)

    def ejected(self, ejection: Ejection) -> None:
        """A target was left out."""
        _tell(self._ejected, ejection, ejection.target)


def _tell(sinks: Iterable[Sink[Told]], told: Told, of: str) -> None:
    for sink in sinks:
        try:
            sink(told)
        except Exception as error:  # noqa: BLE001  counting must not cost a request
            log.error("a %s of %s was lost: %s", type(told).__name__.lower(), of, type(error).__name__)
