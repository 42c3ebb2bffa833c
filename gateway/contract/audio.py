"""Audio: mono signed 16-bit little-endian samples at a known rate. The only form sound has inside the gateway."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Audio:
    """`pcm`: mono s16le bytes; `rate`: samples per second."""

    pcm: bytes
    rate: int

    @property
    def samples(self) -> int:
        return len(self.pcm) // SAMPLE_BYTES

    @property
    def seconds(self) -> float:
        return len(self.pcm) // SAMPLE_BYTES / self.rate

    def after(self, seconds: float) -> Audio:
        """Without its first so many seconds."""
        return Audio(self.pcm[round(seconds * self.rate) * SAMPLE_BYTES :], self.rate)

    @staticmethod
    def silence(seconds: float, rate: int) -> Audio:
        return Audio(bytes(round(seconds * rate) * SAMPLE_BYTES), rate)
