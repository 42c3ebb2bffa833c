"""Transcripts, compared as a person would hear them: no case, no punctuation, digits as words."""

from __future__ import annotations

import re

import jiwer

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SAID = {"mr": "mister", "dr": "doctor"}


def plain(text: str) -> str:
    """ "555-0142, Mr. X" -> "five five five zero one four two mister x"."""
    spelled = re.sub(r"\d", lambda digit: f" {DIGITS[int(digit[0])]} ", text.lower().replace("’", "'"))
    return " ".join(SAID.get(word, word) for word in re.findall(r"[a-z']+", spelled))


def error_rate(reference: str, heard: str) -> float:
    """Words wrong, missing or invented, as a share of the reference's."""
    return float(jiwer.wer(plain(reference), plain(heard)))
