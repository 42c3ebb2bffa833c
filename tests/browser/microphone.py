"""What Chromium's fake microphone says: utterances one after the other, as one 48 kHz WAV."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

RATE = 48_000


def write(path: Path, utterances: Sequence[Path], lead: float, gaps: Sequence[float]) -> float:
    """`lead`: seconds of silence first; `gaps`: after each utterance. Returns the seconds of it all."""
    parts = [_silence(lead)]
    for utterance, gap in zip(utterances, gaps):
        parts += [_at_48_khz(utterance), _silence(gap)]
    samples = np.concatenate(parts)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return len(samples) / RATE


def _silence(seconds: float) -> npt.NDArray[np.int16]:
    return np.zeros(round(seconds * RATE), np.int16)


def _at_48_khz(path: Path) -> npt.NDArray[np.int16]:
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        times = RATE // file.getframerate()
    longer = np.fft.irfft(np.fft.rfft(samples), len(samples) * times) * times
    whole: npt.NDArray[np.int16] = np.clip(np.round(longer), -32768, 32767).astype(np.int16)
    return whole
