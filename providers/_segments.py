"""Where speech is cut: long recordings into segments a recogniser does well on. By loudness alone; samples are floats at 16 kHz."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

RATE = 16_000
FRAME = RATE // 50
SHORTEST, LONGEST = 4 * RATE, 12 * RATE
MARGIN = RATE * 3 // 10
"""Silence kept around speech: weak consonants lie below any threshold."""
SILENT = 0.0005
"""A frame's root mean square below which nothing can be heard: -66 dB of full scale."""


def cuts(samples: Samples) -> list[int]:
    """Where to cut so that no piece is longer than `LONGEST`: at the quietest moments. The last piece is the remainder."""
    found: list[int] = []
    start = 0
    if len(samples) <= LONGEST:
        return found
    loudness = smoothed(frames(samples))
    while len(samples) - start > LONGEST:
        first, last = (start + SHORTEST) // FRAME, (start + LONGEST) // FRAME
        # Of equally quiet moments the last: fewer pieces.
        quietest = last - 1 - int(np.argmin(loudness[first:last][::-1]))
        start = quietest * FRAME + FRAME // 2
        found.append(start)
    return found


def trimmed(samples: Samples) -> Samples:
    """Without silence at both ends, but for `MARGIN`. Empty if it is all silence."""
    loudness = frames(samples)
    if not len(loudness):
        return samples[:0]
    threshold = max(SILENT, 0.02 * float(loudness.max()))
    loud = np.flatnonzero(loudness > threshold)
    if not len(loud):
        return samples[:0]
    return samples[max(0, loud[0] * FRAME - MARGIN) : (loud[-1] + 1) * FRAME + MARGIN]


def frames(samples: Samples) -> npt.NDArray[Any]:
    """Root mean square of each 20 ms; the last may be shorter."""
    if not len(samples):
        return np.zeros(0, np.float32)
    padded = np.pad(samples, (0, -len(samples) % FRAME)).reshape(-1, FRAME)
    loudness: npt.NDArray[Any] = np.sqrt(np.mean(np.square(padded), axis=1))
    return loudness


def smoothed(loudness: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Over 200 ms, so that a cut lies in a pause and not in a stop consonant."""
    return np.convolve(loudness, np.full(10, 0.1), "same")
