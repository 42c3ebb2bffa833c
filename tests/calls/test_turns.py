"""When the caller's turn begins, pauses and ends."""

from __future__ import annotations

from dataclasses import replace

from gateway.calls.turns import Ended, Paused, Resumed, Sign, Started, TurnDetector, TurnRules

FRAME = 0.032


def hear(
    detector: TurnDetector, confidence: float, seconds: float, over: bool = False, thinking: bool = False
) -> list[tuple[float, Sign]]:
    """The signs, each with when it came."""
    signs = []
    for _ in range(round(seconds / FRAME)):
        sign = detector.hear(confidence, FRAME, over, thinking)
        if sign is not None:
            signs.append((round(detector.heard, 3), replace(sign, at=round(sign.at, 3))))
    return signs


def test_speech_starts_a_turn_after_two_frames_and_says_where_it_began() -> None:
    detector = TurnDetector()
    assert hear(detector, 0.1, 0.32) == []
    assert hear(detector, 0.9, 0.32) == [(0.384, Started(0.32))]
    assert detector.speaking


def test_one_loud_frame_is_nothing() -> None:
    detector = TurnDetector()
    for _ in range(20):
        assert hear(detector, 0.9, 0.032) + hear(detector, 0.1, 0.096) == []


def test_over_an_answer_it_takes_more_and_surer_speech() -> None:
    for confidence, starts in [(0.9, 0.16), (0.7, None)]:
        detector = TurnDetector()
        signs = hear(detector, confidence, 2.0, over=True)
        assert signs == ([] if starts is None else [(starts, Started(0.0))])


def test_over_an_answer_doubtful_frames_in_between_do_not_start_it_again() -> None:
    detector = TurnDetector()
    signs = []
    for confidence in [0.9, 0.9, 0.4, 0.9, 0.9, 0.9]:
        signs += hear(detector, confidence, FRAME, over=True)
    assert signs == [(0.192, Started(0.0))]


def test_a_pause_asks_once_and_the_verdict_decides() -> None:
    for finished, silence in [(0.9, 0.19), (0.1, 1.2), (None, 0.6)]:
        detector = TurnDetector()
        hear(detector, 0.9, 0.64)
        ((_, paused),) = hear(detector, 0.1, 0.128)
        assert paused == Paused(0.64, 1)
        assert detector.judged(1, finished) is None
        ((ended, sign),) = hear(detector, 0.1, 3.0)
        assert sign == Ended(0.64)
        assert 0.64 + silence <= ended <= 0.64 + silence + FRAME
        assert not detector.speaking


def test_a_late_verdict_ends_the_turn_by_itself_and_one_on_an_old_pause_does_not() -> None:
    detector = TurnDetector()
    hear(detector, 0.9, 0.64)
    hear(detector, 0.1, 0.512)
    assert [sign for _, sign in hear(detector, 0.9, 0.096)] == [Resumed(1.184)]
    hear(detector, 0.1, 0.512)
    assert detector.judged(1, 0.9) is None
    assert isinstance(detector.judged(2, 0.9), Ended)


def test_between_the_thresholds_a_frame_is_what_the_one_before_was() -> None:
    detector = TurnDetector()
    assert hear(detector, 0.4, 0.32) == []
    hear(detector, 0.9, 0.32)
    assert hear(detector, 0.4, 2.0) == []
    assert detector.in_speech


def test_no_turn_is_longer_than_the_longest() -> None:
    detector = TurnDetector(TurnRules(longest=1.0))
    signs = [sign for _, sign in hear(detector, 0.9, 2.5)]
    assert [type(sign) for sign in signs] == [Started, Ended, Started, Ended, Started]


def test_an_ended_turn_needs_new_speech() -> None:
    detector = TurnDetector()
    hear(detector, 0.9, 0.32)
    detector.end()
    assert hear(detector, 0.1, 2.0) == []
    assert detector.judged(1, 0.9) is None
