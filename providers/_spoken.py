"""Spoken: audio as it comes from a provider, and the words that are heard in it. Pure.

Word times may come before, with or after their audio. A little of the newest audio is held back, so that words which come when a
clause is over still have some to go with.
"""

from __future__ import annotations

from collections import deque

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.events import AudioDelta, Word
from providers._pcm import Samples

HELD = 0.01
"""Seconds."""


class Spoken:
    """One stream at `rate` samples per second. `seconds`: of audio that came; of it, so much was given less what is held."""

    def __init__(self, provider: str, rate: int) -> None:
        self._samples, self._rate = Samples(provider, rate), rate
        self._held = b""
        self._words: deque[Word] = deque()
        self._given = 0
        self._most = round(HELD * rate) * SAMPLE_BYTES

    @property
    def seconds(self) -> float:
        return (self._given + len(self._held) // SAMPLE_BYTES) / self._rate

    def say(self, word: Word) -> None:
        """A word is heard then: seconds from the start of the stream's audio. Words come in order."""
        self._words.append(word)

    def take_base64(self, text: object) -> AudioDelta | None:
        """What can be given of it. Raises Unavailable for what is no audio."""
        data = self._held + self._samples.take_base64(text)
        kept = max(0, len(data) - self._most)
        data, self._held = data[:kept], data[kept:]
        return self._delta(data, whole=False)

    def rest(self) -> AudioDelta | None:
        """What is held, with all the words that came."""
        data, self._held = self._held, b""
        return self._delta(data, whole=True)

    def forget(self) -> None:
        """What is held is not to be heard."""
        self._held = b""
        self._words.clear()

    def _delta(self, data: bytes, *, whole: bool) -> AudioDelta | None:
        if not data:
            return None
        audio = Audio(data, self._rate)
        self._given += audio.samples
        until = self._given / self._rate
        words = []
        while self._words and (whole or self._words[0].end <= until):
            words.append(self._words.popleft())
        return AudioDelta(audio, tuple(words))
