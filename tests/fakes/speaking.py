"""What a fake says: a tone for each word, with the times at which it is said. Mono s16le."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from tests.fakes.hearing import Said

_A_LETTER, _PAUSE = 0.05, 0.06
"""Seconds of a word's letter, and after a word."""


def spoken(text: str, rate: int, start: float = 0.0) -> Iterator[tuple[Said, bytes]]:
    """Each word with its audio, the pause after it included. `start`: seconds of audio before it. What has no letter is silent."""
    for word in text.split():
        length = len(word) * _A_LETTER
        level = 8000.0 if any(map(str.isalnum, word)) else 0.0
        yield Said(word, start, start + length), _tone(200 + zlib.crc32(word.encode()) % 600, length, rate, level)
        start += length + _PAUSE


def _tone(pitch: float, seconds: float, rate: int, level: float) -> bytes:
    at = np.arange(round(seconds * rate)) / rate
    fade = np.minimum(1.0, np.minimum(at, seconds - at) / 0.005)
    wave = np.sin(2 * np.pi * pitch * at) * fade * level
    return bytes(np.concatenate([wave, np.zeros(round(_PAUSE * rate))]).astype("<i2").tobytes())
