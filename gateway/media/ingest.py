"""Ingest: a caller's track as 16 kHz mono pieces of 20 ms, in order, in a mic.

On aiortc's own receive path, but for its jitter buffer (`rtc_port.InOrder`). What is kept here is time: lost packets and a
caller that sends nothing leave silence of the same length, so that whoever counts samples knows the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import av
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.channel import Channel

RATE = 16_000
"""Samples per second, mono, of the mic."""
PIECE = 320
"""Samples of a piece of 20 ms."""
STALL = 0.25
"""Seconds without a frame before silence is put in its place. Longer than the hole that waiting for a lost packet leaves."""
LONGEST_GAP = 2.0
"""Seconds: a larger jump of the sender's timestamps is a new beginning, not a loss."""


class Ingest:
    """`silence`: seconds of it put where packets were missing."""

    def __init__(self, mic: Channel[Audio], clock: Callable[[], float] | None = None) -> None:
        self._mic = mic
        self._clock = clock or asyncio.get_running_loop().time
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        self._rest = bytearray()
        self._primed = False
        self._taken = 0  # samples resampled or filled in since `_origin`
        self._origin: float | None = None  # the sender's time of the first of them, in seconds
        self.silence = 0.0

    async def run(self, track: MediaStreamTrack) -> None:
        """Until the track ends. Cancel it to stop."""
        last, patience = 0.0, None
        while True:
            try:
                async with asyncio.timeout(patience):
                    frame = await track.recv()
            except MediaStreamError:
                return
            except TimeoutError:
                last, patience = self._fill_since(last), PIECE / RATE
            else:
                last, patience = self._clock(), STALL
                if isinstance(frame, av.AudioFrame):
                    self.take(frame)

    def take(self, frame: av.AudioFrame) -> None:
        """One decoded frame, at any rate and layout."""
        if frame.pts is not None and frame.time_base is not None:
            self._mend(float(frame.pts * frame.time_base))
        for piece in self._resampler.resample(frame):
            self._put(bytes(piece.planes[0])[: piece.samples * SAMPLE_BYTES])
        self._taken += round(frame.samples * RATE / frame.sample_rate)

    def _mend(self, at: float) -> None:
        """Silence for what lies between the last frame and one of time `at`, if anything does."""
        if self._origin is None:
            self._origin = at
        gap = at - self._origin - self._taken / RATE
        if gap < -PIECE / RATE or gap > LONGEST_GAP:
            self._origin = at - self._taken / RATE
        elif gap >= PIECE / RATE / 2:
            self._silence(round(gap * RATE))

    def _fill_since(self, last: float) -> float:
        now = self._clock()
        self._silence(round((now - last) * RATE))
        return now

    def _silence(self, samples: int) -> None:
        self._put(bytes(samples * SAMPLE_BYTES))
        self._taken += samples
        self.silence += samples / RATE

    def _put(self, pcm: bytes) -> None:
        size = PIECE * SAMPLE_BYTES
        if not self._primed:
            # The resampler holds back its first samples. Without as many zeros, every piece would wait for the frame after it.
            self._primed = True
            self._rest.extend(bytes(-len(pcm) % size))
        self._rest.extend(pcm)
        while len(self._rest) >= size:
            piece = bytes(self._rest[:size])
            del self._rest[:size]
            if self._mic.closed:
                return
            self._mic.put(Audio(piece, RATE))
