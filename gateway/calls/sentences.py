"""Sentences: cuts a model's text, as it is written, into clauses to be spoken. Pure.

Nothing is lost: the clauses, joined, are the text. A cut needs the white space behind it to have come, so `3.5`, `1,000` and
`example.com` stay whole; abbreviations, initials and the numbers of lists end no sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof sr jr st mt rev gen sgt capt lt col hon vs etc approx dept est inc ltd corp jan feb mar apr jun jul aug "  # noqa: SIM905
    "sept sep oct nov dec e.g i.e a.m p.m u.s u.k ph.d al ca cf".split()
)
BEFORE_NUMBERS = frozenset(("no", "nos", "vol", "fig", "p", "pp", "ch", "sec"))
"""Abbreviations only when a number follows."""
_CLOSERS = "\"'”’)]}»"
_END = re.compile(rf"[.!?…।॥؟][{re.escape(_CLOSERS)}*_]*(?=\s)|[。！？][{re.escape(_CLOSERS)}」』]*|\n")
_PAUSE = re.compile(rf"[,;:،、，；：][{re.escape(_CLOSERS)}]*(?=\s)|[、，；：]|\s[—–-]+(?=\s)|—(?=\w)")
_LAST_WORD = re.compile(r"(\S+)$")
_LIST_NUMBER = re.compile(r"(?:^|\n)\s*(?:\d{1,3}|[a-zA-Z])\.$")


@dataclass(frozen=True, slots=True)
class Cuts:
    """Characters. The first clause is cut early, since the caller waits for it; later ones late, since they sound better whole."""

    first: int = 12
    """The first clause may end at a comma from here on."""
    first_most: int = 80
    """Without any punctuation, the first clause ends at a word."""
    sentence: int = 24
    """A later clause ends with a sentence from here on; shorter ones are joined."""
    pause: int = 120
    """A later clause may end at a comma from here on."""
    most: int = 240
    """Whatever it holds, a clause ends at a word."""


class Clauses:
    """Feed it text, get clauses; `flush` at the end. Clauses keep their white space."""

    def __init__(self, cuts: Cuts | None = None) -> None:
        self._cuts = cuts or Cuts()
        self._text = ""
        self._first = True

    def feed(self, text: str) -> list[str]:
        self._text += text
        clauses = []
        while (at := self._cut()) is not None:
            clauses.append(self._take(at))
        return clauses

    def flush(self) -> list[str]:
        """What is left, as it is."""
        return [self._take(len(self._text))] if self._text else []

    def _take(self, at: int) -> str:
        clause, self._text = self._text[:at], self._text[at:]
        self._first = self._first and not speakable(clause)
        return clause

    def _cut(self) -> int | None:
        """Where the next clause ends, white space behind it included."""
        cuts, text = self._cuts, self._text
        least, pause, most = (2, cuts.first, cuts.first_most) if self._first else (cuts.sentence, cuts.pause, cuts.most)
        if len(text) < least:
            return None
        ends = [at for at in _ends(text) if at >= least and speakable(text[:at])]
        pauses = [m.end() for m in _PAUSE.finditer(text) if m.end() >= pause and speakable(text[: m.end()])]
        if (at := min(ends[:1] + pauses[:1], default=None)) is None:
            at = _word_end(text, most) if len(text) > most else None
        return None if at is None else _after_space(text, at)


def _ends(text: str) -> list[int]:
    return [m.end() for m in _END.finditer(text) if not _abbreviated(text[: m.end()], text[m.end() :].lstrip())]


def _abbreviated(text: str, after: str) -> bool:
    """Whether the full stop that ends `text` ends no sentence."""
    if not text.endswith("."):
        return False
    if _LIST_NUMBER.search(text):
        return True
    last = _LAST_WORD.search(text)
    word = last.group(1)[:-1].lstrip("(\"'“‘[") if last else ""
    initial = len(word) == 1 and word.isalpha() and word.isupper() and word != "I"
    numbered = word.lower() in BEFORE_NUMBERS and (not after or after[0].isdigit())
    return initial or numbered or word.lower() in ABBREVIATIONS


def _word_end(text: str, most: int) -> int | None:
    """The last white space before `most` that is not between two digits (`1 000 000`); what follows it has come."""
    for at in range(min(most, len(text) - 2), 0, -1):
        if text[at].isspace() and not (text[at - 1].isdigit() and text[at + 1].isdigit()):
            return at
    return None


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKS = re.compile(r"(?<!\w)[*_`~]+|[*_`~]+(?!\w)|^\s*(?:#+|[-•])\s+", re.MULTILINE)
_PICTURES = re.compile("[\u2190-\u21ff\u2600-\u27bf\u2b00-\u2bff\ufe0f\U0001f000-\U0001faff]")
_SPACE = re.compile(r"\s+")


def speakable(text: str) -> str:
    """The text as a voice should get it: no mark-up, no pictures; empty if there is nothing to say."""
    plain = _LINK.sub(r"\1", text)
    plain = _PICTURES.sub("", _MARKS.sub("", plain))
    plain = _SPACE.sub(" ", plain).strip()
    return plain if any(letter.isalnum() for letter in plain) else ""
