"""Heard: what came by RTP, tapped before any jitter buffer and placed by RTP timestamp. See caller.py.

What counts as voiced, for what is heard and for what is said, is here too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import av
import numpy as np
import numpy.typing as npt
from aiortc.rtp import RtpPacket

from tests.sounds import Samples

RATE = 24_000
"""Samples per second of what is heard."""
WINDOW = 0.01
VOICED = 250.0
"""RMS of 10 ms, of 32768, from which it counts as voiced (about -42 dBFS)."""


def voiced(samples: Samples, rate: int) -> npt.NDArray[np.intp]:
    """Indices of the 10 ms windows that are voiced."""
    return np.flatnonzero(loudness(samples, rate) >= VOICED)


def loudness(samples: Samples, rate: int) -> npt.NDArray[np.float64]:
    """RMS of each whole 10 ms window."""
    size = round(rate * WINDOW)
    whole = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    rms: npt.NDArray[np.float64] = np.sqrt((whole**2).mean(axis=1))
    return rms


class Heard:
    """What came by RTP."""

    def __init__(self) -> None:
        self._decoder = av.CodecContext.create("libopus", "r")
        self._decoder.sample_rate, self._decoder.layout, self._decoder.format = 48_000, "mono", "s16"
        self._first: int | None = None
        self._pieces: list[tuple[int, Samples]] = []
        self._origin = float("inf")
        self.packets: list[tuple[float, int, int]] = []
        """(arrival, RTP timestamp, bytes of payload) of each packet."""
        self._news = asyncio.Event()

    def take(self, packet: RtpPacket, at: float) -> None:
        if self._first is None:
            self._first = packet.timestamp
        ahead = (packet.timestamp - self._first + 2**31) % 2**32 - 2**31
        index = ahead * RATE // 48_000
        self.packets.append((at, packet.timestamp, len(packet.payload)))
        self._origin = min(self._origin, at - index / RATE)
        for frame in self._decoder.decode(av.Packet(packet.payload)):
            wide = frame.to_ndarray().reshape(-1).astype(np.int32)
            self._pieces.append((index, ((wide[0::2] + wide[1::2]) // 2).astype(np.int16)))
        self._news.set()

    @property
    def origin(self) -> float:
        """When the first sample came, by the packet that was delayed least."""
        return self._origin

    def samples(self) -> Samples:
        """The whole recording; zeros where nothing came."""
        if not self._pieces:
            return np.zeros(0, np.int16)
        recording = np.zeros(max(index + len(piece) for index, piece in self._pieces), np.int16)
        for index, piece in self._pieces:
            recording[index : index + len(piece)] = piece
        return recording

    def time_of(self, index: int) -> float:
        return self._origin + index / RATE

    def index_at(self, time: float) -> int:
        return max(0, round((time - self._origin) * RATE))

    def between(self, start: float, end: float) -> Samples:
        return self.samples()[self.index_at(start) : self.index_at(end)]

    def voice_after(self, time: float) -> float:
        """LookupError if there is none yet."""
        start = self.index_at(time)
        found = voiced(self.samples()[start:], RATE)
        if not len(found):
            raise LookupError
        return self.time_of(start) + float(found[0]) * WINDOW

    def voice_before(self, time: float) -> float:
        """When the last voiced 10 ms that began before t ended. LookupError if there is none."""
        end = self.index_at(time)
        found = voiced(self.samples()[:end], RATE)
        if not len(found):
            raise LookupError
        return self.time_of(0) + float(found[-1] + 1) * WINDOW

    def silence_after(self, time: float, lasting: float = 0.2) -> float:
        """LookupError if there is none yet."""
        start, run = self.index_at(time), round(lasting / WINDOW)
        quiet = loudness(self.samples()[start:], RATE) < VOICED
        for first in range(len(quiet) - run + 1):
            if quiet[first : first + run].all():
                return self.time_of(start) + first * WINDOW
        raise LookupError

    async def until(self, found: Callable[[], float], within: float = 10.0) -> float:
        """`found()` as soon as it no longer raises LookupError, tried at every packet."""
        async with asyncio.timeout(within):
            while True:
                self._news.clear()
                try:
                    return found()
                except LookupError:
                    await self._news.wait()
