"""Segments: long recordings are cut in pauses, and silence around speech is left out."""

from itertools import pairwise

import numpy as np

from providers._segments import LONGEST, MARGIN, RATE, SHORTEST, Samples, cuts, trimmed
from tests.sounds import tone


def voice(seconds: float) -> Samples:
    return tone(200, seconds, RATE).astype(np.float32) / 32768.0


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.float32)


def test_what_is_short_enough_is_not_cut() -> None:
    assert cuts(voice(12.0)) == []
    assert cuts(silence(0.0)) == []


def test_a_long_recording_is_cut_in_its_pauses() -> None:
    recording = np.concatenate([voice(7.0), silence(0.4), voice(8.0), silence(0.4), voice(6.0)])
    first, second = cuts(recording)
    assert 7.0 < first / RATE < 7.4
    assert 15.4 < second / RATE < 15.8


def test_without_a_pause_no_piece_is_longer_than_allowed() -> None:
    bounds = [0, *cuts(voice(60.0)), 60 * RATE]
    lengths = [end - start for start, end in pairwise(bounds)]
    assert max(lengths) <= LONGEST
    assert min(lengths[:-1]) >= SHORTEST


def test_silence_around_speech_is_left_out_but_for_a_margin() -> None:
    kept = trimmed(np.concatenate([silence(3.0), voice(1.0), silence(5.0)]))
    assert abs(len(kept) - (RATE + 2 * MARGIN)) <= 640
    assert len(trimmed(silence(4.0))) == 0
    assert len(trimmed(silence(0.0))) == 0
