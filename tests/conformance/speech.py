"""What is said to providers of speech to text."""

from __future__ import annotations

import wave

from gateway.contract.audio import Audio
from gateway.contract.requests import Input
from tests.needs import ROOT

_PIECE = 0.04


def pieces(audio: Audio) -> list[Audio]:
    """As a microphone gives it."""
    size = round(_PIECE * audio.rate) * 2
    return [Audio(audio.pcm[at : at + size], audio.rate) for at in range(0, len(audio.pcm), size)]


def recorded(name: str = "k02_kokoro_am_michael", quiet: float = 0.5) -> Audio:
    """An utterance, and the quiet after it."""
    with wave.open(str(ROOT / "tests" / "data" / "speech" / f"{name}.wav")) as file:
        pcm, rate = file.readframes(file.getnframes()), file.getframerate()
    return Audio(pcm + Audio.silence(quiet, rate).pcm, rate)


def words(name: str = "k02_kokoro_am_michael") -> list[str]:
    """What is said in it."""
    return (ROOT / "tests" / "data" / "speech" / f"{name}.txt").read_text().split()


def spoken() -> list[Input]:
    return [*pieces(recorded())]
