"""Resampling of mono floats, for the engines' worker processes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]


def resample(samples: Samples, source: int, target: int) -> Samples:
    """The same sound at another rate (samples per second), by libswresample."""
    if source == target or not len(samples):
        return samples
    from av import AudioFrame, AudioResampler  # 0.1 s and 15 MB, for those who need it

    frame = AudioFrame.from_ndarray(samples[np.newaxis], format="flt", layout="mono")
    frame.sample_rate = source
    resampler = AudioResampler(format="flt", layout="mono", rate=target)
    parts = [part.to_ndarray()[0] for part in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate(parts).astype(np.float32, copy=False) if parts else samples[:0]


def from_pcm(pcm: bytes) -> Samples:
    return np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2").astype(np.float32) / 32768.0


def to_pcm(samples: Samples) -> bytes:
    return (np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()
