"""A turn: when it is worth transcribing, and when what is known of it is enough."""

import numpy as np
import pytest

from gateway.contract.audio import Audio
from providers._turn import INTERVAL, PAUSE, Turn
from tests.sounds import tone

RATE = 16_000


def voice(seconds: float) -> Audio:
    return Audio(tone(200, seconds, RATE).tobytes(), RATE)


def quiet(seconds: float, level: float = 20.0) -> Audio:
    noise = np.random.default_rng(5).normal(0, level, round(seconds * RATE))
    return Audio(noise.astype(np.int16).tobytes(), RATE)


def turn(*pieces: Audio) -> Turn:
    """Of 20 ms pieces, as a call brings them."""
    found = Turn(RATE)
    for piece in pieces:
        for at in range(0, len(piece.pcm), 640):
            found.add(Audio(piece.pcm[at : at + 640], RATE))
    return found


def test_a_turn_that_goes_on_is_due_at_intervals() -> None:
    speaking = turn(quiet(0.2), voice(1.0))
    assert speaking.due(since=INTERVAL, took=0.05)
    assert not speaking.due(since=INTERVAL - 0.01, took=0.05)
    assert not speaking.due(since=INTERVAL, took=0.2), "slow work is not asked for more often than it can be done"


def test_a_pause_makes_it_due_early() -> None:
    assert turn(voice(1.0), quiet(PAUSE + 0.02)).due(since=PAUSE, took=0.2)
    assert not turn(voice(1.0), quiet(PAUSE - 0.04)).due(since=PAUSE, took=0.2)


def test_nothing_is_due_before_there_is_something_to_hear() -> None:
    assert not turn().due(since=9.0, took=0.0)
    assert not turn(voice(0.1)).due(since=9.0, took=0.0)
    assert not turn(Audio.silence(2.0, RATE)).due(since=9.0, took=0.0)


def test_silence_after_what_is_covered_changes_nothing() -> None:
    spoken = turn(quiet(0.3), voice(1.0), quiet(0.1))
    spoken.text, spoken.covered = "hello", spoken.samples
    assert spoken.known
    spoken.add(quiet(0.4))
    assert spoken.known
    assert not spoken.due(since=9.0, took=0.0)


def test_voice_after_what_is_covered_must_be_heard() -> None:
    spoken = turn(voice(1.0), quiet(0.1))
    spoken.text, spoken.covered = "hello", spoken.samples
    spoken.add(voice(0.04))
    assert not spoken.known
    assert not turn(voice(1.0)).known


def test_a_transcript_made_in_mid_word_does_not_cover_its_end() -> None:
    spoken = turn(voice(1.0))
    spoken.text, spoken.covered = "hel", spoken.samples - 320
    spoken.add(quiet(0.3))
    assert not spoken.known


def test_weak_voice_counts_and_loud_noise_is_taken_for_voice() -> None:
    weak = turn(quiet(0.3), voice(1.0), Audio(tone(200, 0.2, RATE, 900).tobytes(), RATE))
    assert weak.voiced == weak.samples
    noisy = turn(quiet(0.3, 3000), voice(1.0), quiet(0.3, 3000))
    assert noisy.voiced == noisy.samples


def test_a_large_piece_is_voice_but_for_its_quiet_end() -> None:
    whole = Turn(RATE)
    whole.add(Audio(voice(30.0).pcm + Audio.silence(0.3, RATE).pcm, RATE))
    assert whole.voiced / RATE == pytest.approx(30.0, abs=0.03)


def test_what_is_settled_is_forgotten() -> None:
    spoken = turn(voice(2.0))
    spoken.covered = spoken.samples
    spoken.settle(RATE)
    assert (spoken.seconds, spoken.voiced, spoken.covered) == (1.0, RATE, RATE)
