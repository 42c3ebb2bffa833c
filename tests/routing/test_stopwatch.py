"""When a turn's TTFT begins: where the caller's speech ended, if the provider says when that was."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.events import Answered, AudioDelta, Ready, SpeechEnded, Transcript
from gateway.contract.requests import Commit, ConverseRequest, Input
from gateway.routing.stopwatch import Stopwatch
from tests.sounds import tone

LOUD = AudioDelta(Audio(tone(300, 0.1, 24_000).tobytes(), 24_000))


def listening(seconds: float) -> Stopwatch:
    """A session that was given so many seconds of sound as it was spoken, from 100 on."""
    watch = Stopwatch("s2s", 100.0, dated=spoken(seconds, 0.02))
    watch.converses(ConverseRequest())
    watch.event(Ready(), 100.0)
    return watch


def spoken(seconds: float, piece: float) -> Callable[[float], float | None]:
    """When each second of sound was put, in pieces, from 100 on."""
    now = 100.0
    inputs: Channel[Input] = Channel(clock=lambda: now)
    for _ in range(round(seconds / piece)):
        now += piece
        inputs.put(Audio.silence(piece, 16_000))
    return inputs.dated


def test_it_is_from_the_end_of_speech_and_not_from_when_that_was_noticed() -> None:
    watch = listening(3.0)
    watch.event(SpeechEnded(2.0), 102.6)
    assert watch.asked == 102.6  # from which the deadline counts
    assert watch.event(LOUD, 102.9) == pytest.approx(0.9, abs=0.021)


def test_the_next_turn_is_its_own() -> None:
    watch = listening(5.0)
    watch.event(SpeechEnded(1.0), 101.5)
    watch.event(LOUD, 102.0)
    watch.event(Answered(), 102.0)
    watch.event(SpeechEnded(4.0), 104.5)
    assert watch.event(LOUD, 104.7) == pytest.approx(0.7, abs=0.021)


def test_an_end_that_is_not_dated_counts_from_when_it_was_told() -> None:
    watch = listening(3.0)
    watch.event(SpeechEnded(), 102.6)
    assert watch.event(LOUD, 102.9) == pytest.approx(0.3)


def test_a_turn_that_was_committed_counts_from_its_commit() -> None:
    watch = listening(3.0)
    watch.input(Commit(), 103.0)
    watch.event(SpeechEnded(2.0), 103.1)
    assert watch.event(LOUD, 103.4) == pytest.approx(0.4)


def test_a_transcript_too() -> None:
    watch = Stopwatch("stt", 100.0, dated=spoken(1.0, 1.0))
    watch.event(Ready(), 100.0)
    watch.event(SpeechEnded(0.9), 101.5)
    assert watch.event(Transcript("so", final=True, ends_turn=True), 101.6) == pytest.approx(0.6)
