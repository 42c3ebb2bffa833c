"""What a fake hears: the words of known utterances, sample for sample, else a word for each half second of sound.

Known are the files of tests/data/speech and, where it is there, ../shared/speech, with their transcripts; when each word is
said is estimated by its letters. Lost or repeated audio shows as lost or repeated words, which is what tests are after.
"""

from __future__ import annotations

import functools
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.needs import ROOT, SHARED

RATE = 16_000
_WINDOW = 320
_LOUD = 500.0
_KEY = 64
"""Bytes by which a known utterance is recognised."""
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True, slots=True)
class Said:
    """A word, and when: seconds from the start of the stream."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class _Known:
    pcm: bytes
    words: tuple[Said, ...]


class Hearing:
    """One stream of mono s16le. `seconds`: of audio so far; `speaking`: whether the end of it is sound; `quiet`: seconds since."""

    def __init__(self, rate: int = RATE) -> None:
        self._rate = rate
        self._rest = b""
        self._at = 0  # samples looked at
        self._known: _Known | None = None
        self._file = 0  # the byte of the known utterance that the next window should be
        self._told = 0
        self._sound = 0.0
        self._counted = 0
        self.quiet = 0.0
        self.heard = False
        """Whether there was any sound."""

    @property
    def seconds(self) -> float:
        return (self._at + len(self._rest) // 2) / self._rate

    @property
    def speaking(self) -> bool:
        return self.heard and self.quiet == 0.0

    def hear(self, pcm: bytes) -> list[Said]:
        """The words that have been said by now and were not told yet."""
        data = self._rest + pcm
        size = _WINDOW * 2
        words: list[Said] = []
        for at in range(0, len(data) - size + 1, size):
            words += self._look(data[at : at + size])
            self._at += _WINDOW
        self._rest = data[len(data) - len(data) % size :]
        return words

    def rest(self) -> list[Said]:
        """Of the utterance that is over now, what was said and not told."""
        return self._until(float("inf")) if self._known is not None and self.quiet else []

    def _look(self, window: bytes) -> list[Said]:
        samples = np.frombuffer(window, "<i2").astype(np.float64)
        loud = bool(np.sqrt(np.mean(samples**2)) >= _LOUD)
        self.heard |= loud
        self.quiet = 0.0 if loud else self.quiet + _WINDOW / self._rate
        if self._known is not None and self._known.pcm[self._file : self._file + len(window)] == window:
            self._file += len(window)
            return self._until(self._file / 2 / RATE)
        if not loud:
            return []
        found = _find(window)
        if found is None:
            self._known = None
            return self._count()
        self._told = sum(word.end <= found[1] / 2 / RATE + 1e-3 for word in found[0].words)  # the last of it is no word
        self._known, self._file = found[0], found[1] + len(window)
        return self._until(self._file / 2 / RATE)

    def _until(self, seconds: float) -> list[Said]:
        """Words of the known utterance that end by then."""
        assert self._known is not None
        offset = (self._at + _WINDOW) / self._rate - self._file / 2 / RATE
        words = []
        while self._told < len(self._known.words) and self._known.words[self._told].end <= seconds:
            word = self._known.words[self._told]
            words.append(Said(word.text, word.start + offset, word.end + offset))
            self._told += 1
        return words

    def _count(self) -> list[Said]:
        self._sound += _WINDOW / self._rate
        if int(self._sound / 0.5 + 1e-6) <= self._counted:
            return []
        end = (self._at + _WINDOW) / self._rate
        self._counted += 1
        return [Said(_NUMBERS[(self._counted - 1) % 10], max(0.0, end - 0.5), end)]


def _find(window: bytes) -> tuple[_Known, int] | None:
    """The known utterance that has this, and where."""
    loudest = int(np.abs(np.frombuffer(window, "<i2")).argmax()) * 2
    begin = min(max(0, loudest - _KEY // 2) & ~1, len(window) - _KEY)
    key = window[begin : begin + _KEY]
    for known in _library():
        at = known.pcm.find(key)
        while at >= 0:
            if at % 2 == 0 and at >= begin:
                return known, at - begin
            at = known.pcm.find(key, at + 1)
    return None


@functools.cache
def _library() -> tuple[_Known, ...]:
    files: dict[str, Path] = {}
    for folder in (SHARED / "speech", ROOT / "tests" / "data" / "speech"):
        files |= {path.name: path for path in sorted(folder.glob("*.wav")) if path.with_suffix(".txt").is_file()}
    return tuple(_load(path) for path in files.values())


def _load(path: Path) -> _Known:
    with wave.open(str(path)) as file:
        pcm = file.readframes(file.getnframes())
    samples = np.abs(np.frombuffer(pcm, "<i2").astype(np.int32))
    loud = np.flatnonzero(samples > 800)
    begin, end = float(loud[0]) / RATE, float(loud[-1]) / RATE
    words = path.with_suffix(".txt").read_text().split()
    letters = sum(map(len, words))
    placed, at = [], begin
    for word in words:
        until = at + (end - begin) * len(word) / letters
        placed.append(Said(word, at, until - 0.02))
        at = until
    return _Known(pcm, tuple(placed))
