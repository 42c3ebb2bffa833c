"""Ledger: which words of an answer had been spoken by which of its samples. Pure.

By the provider's word times where it gives them; else by the voiced proportion of each clause's sound, and then it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gateway.contract.events import Word

Samples = npt.NDArray[np.int16]
WINDOW = 0.02
"""Seconds of sound whose loudness is kept as one number."""
CHARACTERS_A_SECOND = 15.0
"""How fast speech goes, for a clause whose sound has not all come; ordinary English."""


@dataclass(frozen=True, slots=True)
class Heard:
    """`text`: the words whose sound ended; `seconds`: of the answer's sound; `estimated`: cut without word times;
    `whole`: nothing of the answer was missed."""

    text: str
    seconds: float
    estimated: bool = False
    whole: bool = False


@dataclass(slots=True, eq=False)
class Spoken:
    """A clause and where its sound lies in the answer, in samples. A clause spoken again, by another voice, is another."""

    text: str
    index: int
    start: int | None = None
    end: int | None = None
    loud: list[float] = field(default_factory=list)
    words: list[tuple[str, int]] = field(default_factory=list)  # and the sample where each ends
    cut_off: bool = False

    def upto(self, sample: int, rate: int) -> tuple[str, bool]:
        """Its text up to the last word that ended by `sample`, and whether that is an estimate."""
        if self.start is None or sample < self.start:
            return "", False
        if self.end is not None and sample >= self.end and not self.cut_off:
            return self.text, False
        if self.words:
            return _words(self.text, [word for word, end in self.words if end <= sample]), False
        return _share(self.text, self._share(sample - self.start, rate)), True

    def _share(self, samples: int, rate: int) -> float:
        """How much of the clause's voiced sound lies in its first `samples`."""
        loud = np.asarray(self.loud)
        if not len(loud):
            return 0.0
        voiced = loud > max(60.0, 0.08 * float(loud.max()))
        heard = float(voiced[: int(samples / rate / WINDOW)].sum())
        whole = float(voiced.sum())
        if self.end is None or self.cut_off:
            whole = max(whole, len(self.text) / CHARACTERS_A_SECOND / WINDOW)
        return heard / whole if whole else 0.0


class Ledger:
    """One answer: clauses as they are sent to be spoken, sound as it comes, in the same order."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._spoken: list[Spoken] = []
        self._now = 0  # the clause whose sound is coming
        self._clauses = 0
        self._window: Samples = np.zeros(0, np.int16)
        self.samples = 0

    def clause(self, text: str) -> None:
        self._spoken.append(Spoken(text, self._clauses))
        self._clauses += 1

    def grow(self, text: str) -> None:
        """More words of the clause that was begun last."""
        self._spoken[-1].text += text

    def sound(self, samples: Samples, words: Sequence[tuple[Word, int]] = ()) -> None:
        """The next sound. `words`: each with the answer's sample where it ends."""
        if self._now < len(self._spoken):
            spoken = self._spoken[self._now]
            if spoken.start is None:
                spoken.start = self.samples
                self._window = samples[:0]
            spoken.words += [(word.text, end) for word, end in words]
            spoken.loud += self._loudness(samples)
        self.samples += len(samples)

    def flushed(self) -> None:
        """All sound of the clause has come."""
        if self._now < len(self._spoken):
            spoken = self._spoken[self._now]
            spoken.start = self.samples if spoken.start is None else spoken.start
            spoken.end = self.samples
            self._now += 1

    def retract(self, kept: int) -> None:
        """The clause whose sound was coming will be spoken anew: of its sound, nothing beyond sample `kept` will be heard."""
        self.samples = min(self.samples, max(kept, 0))
        if self._now >= len(self._spoken):
            return
        spoken = self._spoken[self._now]
        if spoken.start is None or spoken.start >= self.samples:
            spoken.start, spoken.loud, spoken.words = None, [], []
            return
        spoken.end, spoken.cut_off = self.samples, True
        self._now += 1
        self._spoken.insert(self._now, Spoken(spoken.text, spoken.index))

    @property
    def open_start(self) -> int | None:
        """The sample where the clause began whose sound is coming; None if none of it has."""
        return self._spoken[self._now].start if self._now < len(self._spoken) else None

    def heard(self, sample: int) -> Heard:
        """What had been heard when `sample` samples had."""
        parts: dict[int, str] = {}
        estimated = False
        for spoken in self._spoken:
            text, guessed = spoken.upto(sample, self._rate)
            estimated |= guessed
            # Spoken twice, by a voice that failed and by the next: what reached further counts.
            parts[spoken.index] = max(parts.get(spoken.index, ""), text, key=len)
        text = "".join(parts.values())
        whole = self._now == len(self._spoken) and sample >= self.samples
        return Heard(text.strip(), min(sample, self.samples) / self._rate, estimated and not whole, whole)

    def _loudness(self, samples: Samples) -> list[float]:
        size = int(self._rate * WINDOW)
        samples = np.concatenate((self._window, samples)) if len(self._window) else samples
        whole = len(samples) // size
        self._window = samples[whole * size :].copy()
        if not whole:
            return []
        blocks = samples[: whole * size].reshape(whole, size).astype(np.float32)
        return [float(each) for each in np.sqrt(np.mean(blocks * blocks, axis=1))]


def _words(text: str, said: Sequence[str]) -> str:
    """`text` up to the last of `said`. Providers spell words their own way, so one that is not found is passed over."""
    at, lower = 0, text.lower()
    for word in said:
        core = word.strip(" \t\n.,;:!?…\"'()[]*_").lower()
        found = lower.find(core, at) if core else -1
        if 0 <= found <= at + 40:
            at = found + len(core)
    if at == 0:
        return _share(text, len(said) / max(1, len(text.split())))
    while at < len(text) and not text[at].isspace():
        at += 1
    return text[:at]


def _share(text: str, share: float) -> str:
    """`text` up to the last word that ends within `share` of its characters."""
    ends = [
        at for at in range(1, len(text) + 1) if not text[at - 1].isspace() and (at == len(text) or text[at].isspace())
    ]
    if not ends:
        return ""
    return text[: max((end for end in ends if end <= share * ends[-1] + 1e-6), default=0)]
