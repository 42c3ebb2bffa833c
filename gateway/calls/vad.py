"""VAD: how likely a frame of a call is speech. By Silero where its weights are, else by loudness alone.

new_voice = open_vad()          # once; reads the weights
voice = new_voice()             # for each call
confidence = voice(frame)       # 512 samples, s16le, 16 kHz: 32 ms
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gateway.calls.silero import CONTEXT, FRAME, Memory, Silero
from gateway.contract.weights import SILERO

LOG = logging.getLogger(__name__)

RENEW_AFTER = 62
"""Frames (2 s) after which what was remembered is forgotten, once it is quiet: music and long silence leave the net deaf to
the speech that follows (found by pipecat, which does the same)."""
QUIET, QUIET_FRAMES = 0.1, 5
INAUDIBLE = 16 / 32768
"""Peak below which a frame (a muted microphone) is not looked at: -66 dB of full scale."""

Samples = npt.NDArray[np.float32]


class Voice:
    """One call's VAD. Call it with each frame, in order."""

    def __init__(self, net: Silero) -> None:
        self._net = net
        self._memory = Memory()
        self._before: Samples = np.zeros(CONTEXT, np.float32)
        self._age = self._quiet = 0

    def __call__(self, frame: bytes) -> float:
        """Probability, 0 to 1, that the frame of 512 samples is speech. ValueError for another length."""
        samples = _floats(frame)
        confidence = 0.0
        if np.abs(samples).max() >= INAUDIBLE:
            confidence = self._net.speech(np.concatenate([self._before, samples]), self._memory)
        self._before = samples[-CONTEXT:]
        self._age += 1
        self._quiet = self._quiet + 1 if confidence < QUIET else 0
        if self._age >= RENEW_AFTER and self._quiet >= QUIET_FRAMES:
            self._memory, self._age = Memory(), 0
        return confidence


class Loudness:
    """Stands in for `Voice` without weights: how far a frame stands out of the noise. Noise that begins is taken for speech."""

    def __init__(self) -> None:
        self._floor = 0.003

    def __call__(self, frame: bytes) -> float:
        loudness = float(np.sqrt(np.mean(np.square(_floats(frame)))))
        # The floor falls at once and rises by 3 dB a second.
        self._floor = max(0.0003, min(self._floor * 1.011, loudness))
        decibels = 20.0 * math.log10(max(loudness, 1e-6) / self._floor)
        return 1.0 / (1.0 + math.exp(-(decibels - 12.0) / 2.0))


def open_vad() -> Callable[[], Callable[[bytes], float]]:
    """Makes a call's VAD. Reads the weights now, once for all calls."""
    try:
        net = Silero(SILERO.path())
    except (OSError, ValueError) as error:
        LOG.warning("no Silero VAD (%s): turns go by loudness; run: trunkline models pull", type(error).__name__)
        return Loudness
    return lambda: Voice(net)


def _floats(frame: bytes) -> Samples:
    samples = np.frombuffer(frame, "<i2")
    if len(samples) != FRAME:
        raise ValueError(f"a frame has {FRAME} samples")
    return samples.astype(np.float32) / 32768.0
