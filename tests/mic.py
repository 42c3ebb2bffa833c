"""Mic: a caller's mouth, which says sound files at real time and is silent between them. See caller.py."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from tests.heard import WINDOW, voiced
from tests.sounds import Samples

RATE = 48_000
"""What aiortc encodes at: it needs no resampler of its own then, which would hold back a frame."""
_FRAME = 960


@dataclass(frozen=True, slots=True)
class Said:
    """An utterance as it left the mouth; times of the loop's clock."""

    began: float
    samples: Samples

    @property
    def ended(self) -> float:
        return self.began + len(self.samples) / RATE

    @property
    def voice_began(self) -> float:
        return self.began + float(voiced(self.samples, RATE)[0]) * WINDOW

    @property
    def voice_ended(self) -> float:
        return self.began + float(voiced(self.samples, RATE)[-1] + 1) * WINDOW


def load(path: Path, rate: int = RATE) -> Samples:
    """A sound file as mono at `rate`."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    pieces: list[npt.NDArray[Any]] = []
    with av.open(str(path)) as container:
        for frame in [*container.decode(audio=0), None]:
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    return np.concatenate(pieces).astype(np.int16)


class Mic(MediaStreamTrack):
    """Utterances at real time, silence between them."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._clock = asyncio.get_running_loop().time
        self.start: float | None = None
        self.frames = 0
        """How many were spoken, 20 ms each."""
        self._said: list[tuple[int, Samples]] = []
        self.lateness = 0.0
        """The worst a frame was late, in seconds: how far the times of `Said` can be trusted."""

    def say(self, samples: Samples, at: float | None = None) -> Said:
        """`at`: not before the frame after next."""
        assert self.start is not None, "the call is not connected"
        soonest = (self.frames + 1) * _FRAME
        first = soonest if at is None else max(soonest, round((at - self.start) * RATE))
        self._said.append((first, samples))
        return Said(self.start + first / RATE, samples)

    async def recv(self) -> av.AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        if self.start is None:
            self.start = self._clock()
        # The frame's last sample is spoken now: no microphone gives a frame before.
        ahead = self.start + (self.frames + 1) * _FRAME / RATE - self._clock()
        self.lateness = max(self.lateness, -ahead)
        if ahead > 0:
            await asyncio.sleep(ahead)
        frame = av.AudioFrame(format="s16", layout="mono", samples=_FRAME)
        frame.planes[0].update(self._cut(self.frames * _FRAME).tobytes())
        frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
        frame.pts = self.frames * _FRAME
        self.frames += 1
        return frame

    def _cut(self, start: int) -> Samples:
        frame = np.zeros(_FRAME, np.int16)
        for first, samples in self._said:
            piece = samples[max(0, start - first) : max(0, start + _FRAME - first)]
            offset = max(0, first - start)
            frame[offset : offset + len(piece)] = piece
        self._said = [(first, samples) for first, samples in self._said if first + len(samples) > start + _FRAME]
        return frame
