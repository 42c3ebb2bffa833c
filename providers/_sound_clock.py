"""The clock of a stream of sound into which silence is put that nobody said, to keep the session alive. Pure.

Providers count seconds from the first sample that they got, callers from the first that they put in.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.contract.audio import SAMPLE_BYTES, Audio


@dataclass(slots=True)
class _Padding:
    """`at`: in the provider's seconds."""

    at: float
    seconds: float


class SoundClock:
    """`put`: seconds that the caller put in; `sent`: seconds that the provider got."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._samples = self._padded = 0
        self._paddings: list[_Padding] = []

    @property
    def put(self) -> float:
        return self._samples / self.rate

    @property
    def sent(self) -> float:
        return (self._samples + self._padded) / self.rate

    def add(self, audio: Audio) -> None:
        self._samples += audio.samples

    def pad(self, seconds: float) -> bytes:
        """Silence to send."""
        last = self._paddings[-1] if self._paddings else None
        samples = round(seconds * self.rate)
        if last is not None and last.at + last.seconds >= self.sent - 1e-6:
            last.seconds += samples / self.rate
        else:
            self._paddings.append(_Padding(self.sent, samples / self.rate))
        self._padded += samples
        return bytes(samples * SAMPLE_BYTES)

    def ours(self, theirs: float) -> float:
        """The caller's second that is this one of the provider's."""
        padded = sum(max(0.0, min(each.seconds, theirs - each.at)) for each in self._paddings)
        return max(0.0, theirs - padded)
