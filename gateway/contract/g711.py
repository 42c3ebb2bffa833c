"""G.711: telephone speech, one byte a sample at 8 kHz. Pure.

pcm = decode(data, "ulaw")          # s16le
data = encode(pcm, "ulaw")
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

Law = Literal["ulaw", "alaw"]
RATE = 8_000


def decode(data: bytes, law: Law) -> bytes:
    return _levels(law)[np.frombuffer(data, np.uint8)].tobytes()


def encode(pcm: bytes, law: Law) -> bytes:
    samples = np.frombuffer(pcm, np.int16).astype(np.int32)
    return _codes(law)[samples + 32768].tobytes()


@cache
def _levels(law: Law) -> npt.NDArray[np.int16]:
    """The sample that each byte stands for."""
    codes = np.arange(256, dtype=np.int32)
    codes = codes ^ (0xFF if law == "ulaw" else 0x55)
    segment, step, top = (codes >> 4) & 7, codes & 15, (codes & 0x80) != 0
    if law == "ulaw":
        size = (((step << 3) + 0x84) << segment) - 0x84
        negative = top
    else:
        size = np.where(segment == 0, (step << 4) + 8, ((step << 4) + 0x108) << np.maximum(segment - 1, 0))
        negative = ~top
    return np.where(negative, -size, size).astype(np.int16)


@cache
def _codes(law: Law) -> npt.NDArray[np.uint8]:
    """The byte of each sample from -32768 on: that of the nearest level, and of two as near the upper: silence is the positive zero."""
    levels = _levels(law).astype(np.int32)
    order = np.argsort(levels, kind="stable")
    sorted_levels = levels[order]
    between = (sorted_levels[1:] + sorted_levels[:-1]) / 2
    return order[np.searchsorted(between, np.arange(-32768, 32768), side="right")].astype(np.uint8)
