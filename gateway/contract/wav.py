"""WAV: the header, written and read. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

UNKNOWN = 0xFFFFFFFF
"""Length of what is still being made."""
_PCM, _EXTENSIBLE = 1, 0xFFFE


def wav_header(rate: int, samples: int | None = None) -> bytes:
    """Of mono s16le at `rate` samples per second; without `samples`, of a stream whose length nobody knows."""
    length = UNKNOWN if samples is None else samples * 2
    whole = UNKNOWN if samples is None else length + 36
    form = struct.pack("<HHIIHH", _PCM, 1, rate, rate * 2, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", whole)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", length)
    )


@dataclass(frozen=True, slots=True)
class Wav:
    """What a header says. `start`, `end`: the samples' place in the file, whole samples of it that are really there."""

    rate: int
    channels: int
    bits: int
    coding: int
    start: int
    end: int

    @property
    def plain(self) -> bool:
        """Whether the samples are mono s16le as they stand."""
        return self.coding == _PCM and self.channels == 1 and self.bits == 16

    @staticmethod
    def parse(data: bytes) -> Wav | None:
        """None for what is no WAV, or has no samples."""
        if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
            return None
        form: tuple[int, int, int, int] | None = None
        at = 12
        while at + 8 <= len(data):
            name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
            at += 8
            if name == b"fmt " and length >= 16 and at + 16 <= len(data):
                coding, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, at)
                if coding == _EXTENSIBLE and length >= 26 and at + 26 <= len(data):
                    coding = int.from_bytes(data[at + 24 : at + 26], "little")
                form = (rate, channels, bits, coding)
            elif name == b"data" and form is not None:
                rate, channels, bits, coding = form
                block = max(1, channels * bits // 8)
                held = min(length, len(data) - at)
                return Wav(rate, channels, bits, coding, at, at + held - held % block)
            at += length + length % 2
        return None
