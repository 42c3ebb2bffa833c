"""Unspoken: what of a tts stream's text was not heard yet, read off its inputs and events passing by. Pure.

With the times of words it is what follows the last one that was heard whole; without, an estimate by how fast the voice spoke before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.contract.channel import Reader
from gateway.contract.events import Word
from gateway.contract.requests import Cancel, Clear, Commit, Input

CHARACTERS_A_SECOND = 15.0
"""Of ordinary speech, where nothing was heard yet to tell by."""
ASTRAY = 40
"""Characters: a word that is found farther on than this is another one of that spelling."""


@dataclass(slots=True)
class _Clause:
    text: str = ""
    committed: bool = False


class Unspoken:
    """`inputs`: from the first on; a reader of its own."""

    def __init__(self, inputs: Reader[Input]) -> None:
        self._inputs = inputs
        self._clauses: deque[_Clause] = deque()
        self._words: list[str] = []
        self._seconds = 0.0  # of the first clause's sound
        self._pace = CHARACTERS_A_SECOND

    def heard(self, seconds: float, words: Sequence[Word]) -> None:
        """More sound of the first clause, and the words that ended in it."""
        self._seconds += seconds
        self._words += [word.text for word in words]

    def flushed(self) -> None:
        """All of the first clause was heard."""
        self._read()
        if self._clauses and self._clauses[0].committed:
            text = self._clauses.popleft().text
            if self._seconds > 0.5 and len(text) > 10:
                self._pace = len(text) / self._seconds
        self._words, self._seconds = [], 0.0

    def rest(self) -> tuple[list[Input], int]:
        """The inputs that say what is left, and the place after those that they stand for."""
        self._read()
        said: list[Input] = []
        for number, clause in enumerate(self._clauses):
            text = clause.text if number else self._left(clause.text)
            if any(map(str.isalnum, text)):
                said.append(text)
            if clause.committed:
                said.append(Commit())
        if self._clauses:
            self._clauses[0].text = self._left(self._clauses[0].text)
        self._words, self._seconds = [], 0.0
        return said, self._inputs.index

    def _read(self) -> None:
        while True:
            try:
                item = self._inputs.take()
            except LookupError:
                return
            if not self._clauses or self._clauses[-1].committed:
                self._clauses.append(_Clause())
            match item:
                case str():
                    self._clauses[-1].text += item
                case Commit():
                    self._clauses[-1].committed = True
                case Cancel() | Clear():
                    for clause in self._clauses:
                        clause.text = ""

    def _left(self, text: str) -> str:
        if self._words:
            return text[_after(text, self._words) :].lstrip()
        return text[_estimated(text, self._seconds * self._pace) :].lstrip()


def _after(text: str, words: Sequence[str]) -> int:
    """Behind the last of the words, and what belongs to it. Providers spell words their own way: one not found is passed over."""
    at, low = 0, text.lower()
    for word in words:
        bare = word.strip(" \t\n.,;:!?…।\"'()").lower()
        found = low.find(bare, at) if bare else -1
        if 0 <= found - at <= ASTRAY:
            at = found + len(bare)
    while 0 < at < len(text) and not text[at].isspace() and not text[at].isalnum():
        at += 1
    return at


def _estimated(text: str, characters: float) -> int:
    """The beginning of the word in which so many characters end."""
    at = min(int(characters), len(text))
    if at >= len(text):
        return text.rstrip().rfind(" ") + 1  # there was more to come, or it would have ended well
    space = max(text.rfind(" ", 0, at + 1), text.rfind("\n", 0, at + 1))
    return space + 1 if space >= 0 or text[:at].isascii() else at
