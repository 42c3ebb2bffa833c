"""Sounds for tests, and what can be told of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]


def tone(hertz: float, seconds: float, rate: int, level: float = 8000) -> Samples:
    """A sine of that level (of 32768)."""
    return (np.sin(np.arange(round(seconds * rate)) * hertz * 2 * np.pi / rate) * level).astype(np.int16)


def pitch(samples: npt.NDArray[Any], rate: int) -> float:
    """The strongest frequency, in hertz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / rate)[spectrum.argmax()])
