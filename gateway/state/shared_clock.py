"""SharedClock: Redis' clock as seen from the loop's, by which hosts with different clocks name the same moment. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

KEPT = 8
"""Samples of which the most exact counts. More would let the clocks drift apart."""
DRIFT = 0.01
"""Seconds by which two good samples may differ."""


@dataclass(frozen=True, slots=True)
class _Sample:
    offset: float
    error: float


class SharedClock:
    """The host's own clock is never asked: it may be wrong, and it may jump."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=KEPT)
        self._best = _Sample(0.0, float("inf"))

    @property
    def error(self) -> float:
        """Seconds by which it may be wrong; infinite before the first sample."""
        return self._best.error

    def sample(self, sent: float, received: float, server: float) -> None:
        """The server said that it was `server` (Unix seconds), asked and answered at these moments of the loop's clock."""
        new = _Sample(server - (sent + received) / 2.0, (received - sent) / 2.0)
        if self._samples and abs(new.offset - self._best.offset) > new.error + self._best.error + DRIFT:
            self._samples.clear()  # it was set, or another server took over
        self._samples.append(new)
        self._best = min(self._samples, key=lambda each: each.error)

    def shared(self, local: float) -> float:
        """Unix seconds by Redis' clock at this moment of the loop's."""
        return local + self._best.offset

    def local(self, shared: float) -> float:
        return shared - self._best.offset
