"""What the fake speaks and hears: a tone for each word, and an ear that knows sound from silence. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.events import AudioDelta, Word

RATE = 24_000
"""Samples per second of its own voice."""

SPOKEN = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
WORDS_PER_SECOND = 2.0
"""As it hears."""

_TONE_PER_LETTER, _PAUSE = 0.05, 0.06
_WINDOW = 0.02
_LOUD = 500.0
"""Root mean square from which a window is speech: 1.5 % of full scale."""

_ENOUGH, _SILENCE = 0.1, 0.5
"""Seconds of sound that are speech, and of silence that end a turn."""


def counted(words: int) -> str:
    """So many words, in sentences of ten: "one two three ... ten. one two." """
    said = [SPOKEN[n % 10] + ("." if n % 10 == 9 or n == words - 1 else "") for n in range(words)]
    return " ".join(said)


def speech(text: str, start: float, silent: bool) -> Iterator[AudioDelta]:
    """A tone for each word, its pitch the word's own, with a pause after it. `start`: seconds of the stream's audio before it."""
    for word in text.split():
        length = len(word) * _TONE_PER_LETTER
        pitch = 200 + zlib.crc32(word.encode()) % 600
        yield AudioDelta(_tone(pitch, length, silent), (Word(word, start, start + length),))
        start += length + _PAUSE


def _tone(pitch: float, seconds: float, silent: bool) -> Audio:
    at = np.arange(round(seconds * RATE)) / RATE
    fade = np.minimum(1.0, np.minimum(at, seconds - at) / 0.005)  # no clicks
    wave = np.sin(2 * np.pi * pitch * at) * fade * (0.0 if silent else 8000.0)
    pause = np.zeros(round(_PAUSE * RATE))
    return Audio(np.concatenate([wave, pause]).astype("<i2").tobytes(), RATE)


def pieces(audio: Audio, seconds: float = 0.1) -> Iterator[Audio]:
    """The same audio, cut."""
    step = round(seconds * audio.rate) * SAMPLE_BYTES
    for at in range(0, len(audio.pcm), step):
        yield Audio(audio.pcm[at : at + step], audio.rate)


class Ear:
    """Tells where speech begins and ends in a stream of audio."""

    def __init__(self) -> None:
        self._at = self._sound = self._quiet = 0.0
        self._speaking = False

    def hear(self, audio: Audio) -> Iterator[tuple[bool, float]]:
        """(True, when) where speech began, (False, when) where it ended; seconds from the first sample ever heard."""
        for piece in pieces(audio, _WINDOW):
            samples = np.frombuffer(piece.pcm, "<i2").astype(np.float64)
            loud = bool(np.sqrt(np.mean(samples**2)) >= _LOUD)
            self._at += piece.seconds
            self._sound = self._sound + piece.seconds if loud else 0.0
            self._quiet = 0.0 if loud else self._quiet + piece.seconds
            if not self._speaking and self._sound >= _ENOUGH - 1e-6:
                self._speaking = True
                yield True, self._at - self._sound
            elif self._speaking and self._quiet >= _SILENCE - 1e-6:
                self._speaking = False
                yield False, self._at - self._quiet
