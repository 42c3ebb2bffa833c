"""How much of an answer was heard, and that nothing of an old one is."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from gateway.calls.playout import Playout, Track
from gateway.calls.transport import PLAYOUT_RATE
from gateway.contract.events import Word
from tests.virtual_time import virtual

FRAME = 480
SECOND = b"\x00\x10" * PLAYOUT_RATE


class Diary:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def sounding(self) -> None:
        self.told.append("sounding")

    def made(self, pcm: bytes) -> None:
        self.told.append("made")

    def audible(self) -> None:
        self.told.append("audible")

    def sounded(self) -> None:
        self.told.append("sounded")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def playing(most: float = 10.0, delay: float = 0.0) -> tuple[Playout, Clock]:
    clock = Clock()
    playout = Playout(clock, most=most)
    playout.client_delay = delay
    return playout, clock


def play(playout: Playout, clock: Clock, seconds: float) -> list[bytes | None]:
    pulled = []
    for _ in range(round(seconds / 0.02)):
        pulled.append(playout.pull(FRAME))
        clock.now += 0.02
    return pulled


def said(track: Track, text: str, seconds: float, words: list[tuple[Word, int]] | None = None) -> None:
    track.ledger.clause(text)
    track.push((4 * SECOND)[: round(seconds * PLAYOUT_RATE) * 2], words or [])
    track.ledger.flushed()


def test_packets_are_whole_and_silence_is_none() -> None:
    playout, _ = playing()
    assert playout.pull(FRAME) is None
    diary = Diary()
    track = playout.track(diary)
    assert playout.pull(FRAME) is None
    track.push(SECOND[: 700 * 2])
    assert playout.pull(FRAME) == SECOND[: FRAME * 2]
    assert playout.pull(FRAME) == SECOND[: 220 * 2] + bytes(260 * 2)
    assert playout.pull(FRAME) is None
    assert diary.told == ["sounding", "audible"]
    track.finish()
    assert diary.told == ["sounding", "audible", "sounded"]
    assert playout.idle


def test_leading_silence_is_left_out_and_words_stay_in_their_places() -> None:
    playout, clock = playing()
    diary = Diary()
    track = playout.track(diary)
    track.ledger.clause("Hello there.")
    track.push(bytes(PLAYOUT_RATE * 2))
    assert playout.pull(FRAME) is None, "a second of nothing is not played"
    hello = Word("Hello", 1.5, 2.0)
    track.push(bytes(PLAYOUT_RATE) + SECOND, [(hello, 2 * PLAYOUT_RATE)])
    assert track.written == round(2.5 * PLAYOUT_RATE)
    assert track.waiting == pytest.approx(1.01), "but for 10 ms, so that the voice does not begin with a click"
    play(playout, clock, 0.02)
    assert diary.told == ["sounding", "audible"]
    assert track.ledger.heard(round(0.50 * PLAYOUT_RATE)).text == ""
    assert track.ledger.heard(round(0.52 * PLAYOUT_RATE)).text == "Hello"


def test_a_flush_silences_at_once_and_what_comes_late_is_dropped() -> None:
    playout, clock = playing()
    diary = Diary()
    track = playout.track(diary)
    said(track, "Hello there friend.", 2.0)
    play(playout, clock, 1.0)
    generation = playout.generation
    ((cut, heard),) = playout.flush()
    assert (cut, playout.generation) == (track, generation + 1)
    assert heard.seconds == pytest.approx(1.0)
    assert playout.pull(FRAME) is None
    track.push(SECOND)
    track.finish()
    assert playout.pull(FRAME) is None
    assert diary.told == ["sounding", "audible"]
    fresh = playout.track(Diary())
    fresh.push(SECOND)
    assert playout.pull(FRAME) is not None


def test_heard_is_what_went_out_before_the_way_to_the_ear() -> None:
    playout, clock = playing(delay=0.06)
    track = playout.track(Diary())
    said(track, "Hello there friend.", 2.0)
    play(playout, clock, 1.0)
    assert track.heard().seconds == pytest.approx(0.94)
    playout.client_delay = 0.5
    assert track.heard().seconds == pytest.approx(0.5)
    slow = Playout(clock, lambda: 0.4)
    slow.client_delay = 0.1
    track = slow.track(Diary())
    said(track, "Hello.", 2.0)
    play(slow, clock, 1.0)
    assert track.heard().seconds == pytest.approx(1.0 - 0.2 - 0.1)


def test_a_gap_in_the_making_is_not_counted_as_heard() -> None:
    playout, clock = playing(delay=0.06)
    track = playout.track(Diary())
    track.ledger.clause("Hello there friend.")
    track.push(SECOND)
    play(playout, clock, 3.0)
    assert track.heard().seconds == pytest.approx(1.0)
    track.push(SECOND)
    play(playout, clock, 0.5)
    assert track.heard().seconds == pytest.approx(1.44)


def test_answers_play_one_after_the_other() -> None:
    playout, clock = playing()
    first, second = Diary(), Diary()
    one, two = playout.track(first), playout.track(second)
    said(two, "Two.", 0.1)
    two.finish()
    assert playout.pull(FRAME) is None, "the first comes first"
    said(one, "One.", 0.1)
    one.finish()
    play(playout, clock, 0.12)
    assert first.told[-1] == "sounded"
    play(playout, clock, 0.1)
    assert second.told == ["sounding", "audible", "sounded"]


@virtual
async def test_a_full_ring_holds_its_writer_back_until_it_is_heard_or_flushed() -> None:
    playout, clock = playing(most=1.0)
    track = playout.track(Diary())
    track.push(SECOND + SECOND)
    waiting = asyncio.create_task(track.room())
    await asyncio.sleep(0)
    play(playout, clock, 0.5)
    await asyncio.sleep(1)
    assert not waiting.done()
    play(playout, clock, 0.6)
    await asyncio.sleep(1)
    assert waiting.done()
    track.push(SECOND + SECOND)
    waiting = asyncio.create_task(track.room())
    await asyncio.sleep(0)
    playout.flush()
    await asyncio.wait_for(waiting, 1.0)


def test_words_are_cut_where_the_provider_says_they_end() -> None:
    playout, _ = playing()
    track = playout.track(Diary())
    ends = [("One", 0.4), ("hundred", 0.9), ("Euros", 1.4)]
    said(track, "One hundred euros! ", 1.5, [(Word(w, 0, end), int(end * PLAYOUT_RATE)) for w, end in ends])
    said(track, "And more.", 1.0)
    for seconds, text in [(0.3, ""), (0.5, "One"), (0.8, "One"), (0.92, "One hundred"), (1.45, "One hundred euros!")]:
        heard = track.ledger.heard(round(seconds * PLAYOUT_RATE))
        assert (heard.text, heard.estimated) == (text, False)
    assert track.ledger.heard(2 * PLAYOUT_RATE).text == "One hundred euros! And"
    assert track.ledger.heard(3 * PLAYOUT_RATE).whole


def test_without_word_times_the_cut_goes_by_voiced_sound() -> None:
    playout, _ = playing()
    track = playout.track(Diary())
    track.ledger.clause("one two four five")
    loud, silent = np.full(PLAYOUT_RATE, 4000, np.int16).tobytes(), bytes(PLAYOUT_RATE * 2)
    track.push(loud + silent + silent + loud)
    track.ledger.flushed()
    heard = {seconds: track.ledger.heard(seconds * PLAYOUT_RATE) for seconds in range(5)}
    assert [heard[seconds].text for seconds in range(5)] == ["", "one two", "one two", "one two", "one two four five"]
    assert heard[1].estimated
    assert not heard[4].estimated, "heard to the end is no guess"


def test_a_clause_still_being_made_is_cut_by_the_usual_pace() -> None:
    playout, _ = playing()
    track = playout.track(Diary())
    track.ledger.clause("this clause has thirty letters")  # 2 s of ordinary speech
    track.push(SECOND)
    heard = track.ledger.heard(PLAYOUT_RATE)
    assert heard.text == "this clause has"
    assert heard.estimated
    assert not heard.whole


def test_a_clause_spoken_again_counts_once() -> None:
    playout, clock = playing()
    track = playout.track(Diary())
    said(track, "First one. ", 1.0)
    track.ledger.clause("Second clause here.")
    track.push(SECOND)
    play(playout, clock, 1.5)
    track.retract()
    assert track.waiting == 0.0, "what had not gone out is taken back"
    track.push(SECOND)
    track.ledger.flushed()
    track.finish()
    assert track.ledger.heard(round(1.5 * PLAYOUT_RATE)).text in ("First one. Second", "First one.")
    assert track.ledger.heard(round(2.5 * PLAYOUT_RATE)).text == "First one. Second clause here."


def test_a_clause_of_which_nothing_went_out_is_spoken_as_if_for_the_first_time() -> None:
    playout, clock = playing()
    track = playout.track(Diary())
    said(track, "First one. ", 1.0)
    track.ledger.clause("Second clause here.")
    track.push(SECOND)
    play(playout, clock, 0.5)
    track.retract()
    assert track.waiting == pytest.approx(0.5)
    track.push(SECOND)
    track.ledger.flushed()
    assert track.ledger.heard(2 * PLAYOUT_RATE).text == "First one. Second clause here."
    assert track.ledger.samples == 2 * PLAYOUT_RATE
