"""A turn as a recogniser without streaming sees it: audio that grows, and how much of it the last transcript covers. Pure."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from operator import mul

from gateway.contract.audio import SAMPLE_BYTES, Audio

FRAME = 0.02
LOOKED_AT = 0.5
"""Seconds at the end of a piece of audio whose loudness is measured; what came before counts as voice."""
MARGIN = 0.06
"""Seconds of quiet that must follow the last voiced frame for a transcript to cover it: weak endings count as quiet."""
PAUSE = 0.1
"""Seconds of quiet after which a turn may be over, and is transcribed on speculation."""
INTERVAL = 0.35
"""Seconds between transcripts of a turn that goes on."""
SHORTEST = 0.3


@dataclass(slots=True)
class Turn:
    """`rate`: samples per second. Positions are samples from the start of `pcm`, which `settle` moves."""

    rate: int
    pcm: bytearray = field(default_factory=bytearray)
    text: str = ""
    covered: int = 0
    """How much of it `text` is the transcript of."""
    voiced: int = 0
    """Where voice was last heard."""
    _peak: float = 0.0
    _floor: float = float("inf")

    @property
    def samples(self) -> int:
        return len(self.pcm) // SAMPLE_BYTES

    @property
    def seconds(self) -> float:
        return self.samples / self.rate

    @property
    def needed(self) -> int:
        """Coverage at which nothing said is missing."""
        return min(self.samples, self.voiced + round(MARGIN * self.rate))

    @property
    def known(self) -> bool:
        """The transcript there is will not change unless more is said."""
        return self.covered > 0 and self.covered >= self.needed

    @property
    def pausing(self) -> bool:
        return self.voiced > 0 and self.samples - self.voiced >= PAUSE * self.rate

    def add(self, audio: Audio) -> None:
        before = self.samples
        self.pcm += audio.pcm
        start = max(before, self.samples - round(LOOKED_AT * self.rate))
        if start > before:
            self.voiced = start
        frame = max(1, round(FRAME * self.rate))
        for at in range(start, self.samples, frame):
            end = min(self.samples, at + frame)
            if self._is_voice(_loudness(self.pcm[at * SAMPLE_BYTES : end * SAMPLE_BYTES])):
                self.voiced = end

    def due(self, since: float, took: float) -> bool:
        """Whether to transcribe it now: `since` seconds after the last transcript was begun, which `took` seconds."""
        if self.known or self.voiced <= 0 or self.seconds < SHORTEST:
            return False
        return since >= (PAUSE / 2 if self.pausing else max(INTERVAL, 3.0 * took))

    def settle(self, until: int) -> None:
        """What lies before `until` is final: forget it."""
        del self.pcm[: until * SAMPLE_BYTES]
        self.voiced, self.covered = max(0, self.voiced - until), max(0, self.covered - until)

    def _is_voice(self, loudness: float) -> bool:
        self._peak = max(self._peak, loudness)
        self._floor = min(self._floor * 1.005, max(loudness, 1.0))
        # Above the noise and near enough to the loudest; in loud noise everything is voice, and nothing is speculated.
        return loudness > min(max(3.0 * self._floor, 0.04 * self._peak, 40.0), 0.15 * self._peak)


def _loudness(pcm: bytes | bytearray) -> float:
    """Root mean square of s16le samples, of every second one."""
    samples = array("h", bytes(pcm))[::2]
    return float((sum(map(mul, samples, samples)) / len(samples)) ** 0.5) if samples else 0.0
