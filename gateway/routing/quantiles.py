"""Quantiles of waits under decay: a histogram in the log domain."""

from __future__ import annotations

import math

LOWEST = 0.01
"""Upper edge of the first bin, in seconds."""
RATIO = 1.25
"""Width of a bin: each upper edge is this many times the one before. Interpolation makes a quantile good to about 3 %."""
BINS = 44
"""Enough for 0.01 s to 147 s; longer waits fall into the last."""

_LN_LOWEST = math.log(LOWEST)
_LN_RATIO = math.log(RATIO)


class WaitHistogram:
    """Decayed counts of ln(seconds). Decay is one multiplication: bins hold counts divided by a shared scale."""

    __slots__ = ("_bins", "_scale", "_total")

    def __init__(self) -> None:
        self._bins = [0.0] * BINS
        self._scale = 1.0
        self._total = 0.0

    @property
    def weight(self) -> float:
        """Decayed number of samples."""
        return self._total * self._scale

    def decay(self, factor: float) -> None:
        self._scale *= factor
        if self._scale < 1e-9:
            scale, self._scale = self._scale, 1.0
            self._bins = [count * scale for count in self._bins]
            self._total *= scale

    def add(self, ln_seconds: float, weight: float = 1.0) -> None:
        place = min(max(int((ln_seconds - _LN_LOWEST) / _LN_RATIO + 1.0), 0), BINS - 1)
        share = weight / self._scale
        self._bins[place] += share
        self._total += share

    def ln_quantile(self, q: float) -> float | None:
        """ln(seconds) below which a share `q` of the samples lies, 0 < q < 1; None without samples."""
        if self._total <= 0.0:
            return None
        left = self._total * q
        last = BINS - 1
        for place, count in enumerate(self._bins):
            if left <= count and count > 0.0:
                last = place
                break
            left -= count
        inside = min(max(left / self._bins[last], 0.0), 1.0) if self._bins[last] else 1.0
        return _LN_LOWEST + (last - 1 + inside) * _LN_RATIO
