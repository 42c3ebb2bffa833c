"""Where in a stream speech began and ended, by its loudness: for providers that do not tell. Pure.

It decides nothing: that somebody spoke is known from elsewhere, and this says roughly when.
"""

from __future__ import annotations

import sys
from array import array

from gateway.contract.audio import Audio

QUIET = 0.5
"""Seconds without a sound after which the next one is the beginning of something."""
_LOUD, _ABOVE = 600, 3.0
"""What counts as sound: a peak of at least this, and so many times the noise."""


class SpeechGate:
    """`began`, `ended`: seconds of the stream, of the last stretch of sound; `heard`: of all of it."""

    def __init__(self) -> None:
        self.began = self.ended = self.heard = 0.0
        self._noise = float(_LOUD)

    def hear(self, audio: Audio) -> None:
        start, self.heard = self.heard, self.heard + audio.seconds
        peak = _peak(audio)
        loud = peak >= max(_LOUD, _ABOVE * self._noise)
        # Down at once and up slowly: speech is not noise, even where it lasts.
        self._noise = peak if peak < self._noise else self._noise + 0.005 * (peak - self._noise)
        if loud:
            if start - self.ended > QUIET or not self.ended:
                self.began = start
            self.ended = self.heard


def _peak(audio: Audio) -> int:
    if not audio.samples:
        return 0
    samples = array("h", audio.pcm[: audio.samples * 2])
    if sys.byteorder == "big":
        samples.byteswap()
    return max(max(samples), -min(samples))
