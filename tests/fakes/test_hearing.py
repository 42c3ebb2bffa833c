"""The ears of the fakes: what they hear is what was said, however it was cut."""

import wave
from itertools import pairwise

import pytest

from tests.fakes.hearing import Hearing
from tests.fakes.speaking import spoken
from tests.needs import ROOT

SPEECH = ROOT / "tests" / "data" / "speech"


def pcm(name: str) -> bytes:
    with wave.open(str(SPEECH / f"{name}.wav")) as file:
        return bytes(file.readframes(file.getnframes()))


def text(name: str) -> list[str]:
    return (SPEECH / f"{name}.txt").read_text().split()


@pytest.mark.parametrize("size", [320, 640, 1000, 3200, 50_000])
def test_known_utterances_are_heard_word_for_word(size: int) -> None:
    data = pcm("k01_kokoro_af_heart") + bytes(9_000) + pcm("k02_kokoro_am_michael") + bytes(16_000)
    hearing = Hearing()
    words = [word for at in range(0, len(data), size) for word in hearing.hear(data[at : at + size])] + hearing.rest()
    assert [word.text for word in words] == text("k01_kokoro_af_heart") + text("k02_kokoro_am_michael")
    assert all(a.end <= b.start + 0.05 for a, b in pairwise(words))


def test_what_is_lost_is_missing_and_what_comes_again_is_heard_again() -> None:
    data = pcm("k01_kokoro_af_heart")
    half = len(data) // 2 & ~1
    hearing = Hearing()
    words = hearing.hear(data[:half]) + hearing.hear(data[half - 20_000 :]) + hearing.hear(bytes(6400)) + hearing.rest()
    assert len(words) > len(text("k01_kokoro_af_heart"))
    hearing = Hearing()
    words = hearing.hear(data[: half - 40_000]) + hearing.hear(data[half:]) + hearing.hear(bytes(6400)) + hearing.rest()
    assert len(words) < len(text("k01_kokoro_af_heart"))


def test_anything_else_is_a_word_for_each_half_second() -> None:
    data = b"".join(audio for _, audio in spoken("hello hello hello", 16_000))
    assert [word.text for word in Hearing().hear(data)] == ["one"]
