"""Recorder: takes every sample to everything that wants it, and lets none of these disturb a request."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

from gateway.telemetry.sample import Sample

log = logging.getLogger(__name__)

KEPT = 1_000
"""Samples that can still be looked at."""

Sink = Callable[[Sample], None]
"""Given a sample on the event loop: it keeps what it needs and returns at once."""


class Recorder:
    """`recent`: the latest samples, oldest first, for whoever asks how it went."""

    def __init__(self, sinks: Sequence[Sink] = (), kept: int = KEPT) -> None:
        self._sinks = tuple(sinks)
        self.recent: deque[Sample] = deque(maxlen=kept)

    def record(self, sample: Sample) -> None:
        self.recent.append(sample)
        for sink in self._sinks:
            try:
                sink(sample)
            except Exception as error:  # noqa: BLE001  counting must not cost a request
                log.error("a sample of %s was lost: %s", sample.target, type(error).__name__)
