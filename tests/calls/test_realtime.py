"""The codec: what happens in a call, in OpenAI's words. And transcripts that may only grow."""

from __future__ import annotations

import random

from gateway.calls.events import PartialHeard, Problem, SessionStarted, TurnTranscribed
from gateway.calls.realtime import Growing, RealtimeCodec
from gateway.calls.session import Session, Settings
from tests.calls.scene import validated


def codec() -> RealtimeCodec:
    return RealtimeCodec(Session("sess_1", Settings(type="realtime"), 1_800_000_000, "conv_1"))


def test_only_what_two_partials_agree_on_is_told() -> None:
    growing = Growing()
    assert growing.partial("I want") == ""
    assert growing.partial("I want two") == "I want"
    assert growing.partial("I want to go") == "", "the revised word had not been told"
    assert growing.partial("I want to go home") == " to go"
    assert growing.final("I want to go home.") == " home."


def test_what_was_told_and_turned_out_wrong_is_left_to_the_completed_event() -> None:
    growing = Growing()
    growing.partial("eye want to")
    assert growing.partial("eye want to go") == "eye want to"
    assert growing.partial("I want to go now") == ""
    assert growing.final("I want to go now.") == ""


def test_deltas_always_join_to_a_beginning_of_something_that_was_said() -> None:
    rng = random.Random(3)
    words = ["I", "think", "that", "we", "should", "not", "go", "there", "today", "because", "it", "rains"]
    for _ in range(300):
        growing, told, seen = Growing(), "", []
        for end in range(1, len(words) + 1):
            guess = [w if rng.random() > 0.15 else w.upper() for w in words[:end]]
            seen.append(" ".join(guess))
            told += growing.partial(seen[-1])
            assert any(text.startswith(told) for text in seen)
        rest = growing.final(" ".join(words))
        assert told + rest == " ".join(words) or not rest


def test_partials_of_two_turns_do_not_mix() -> None:
    told = codec()
    for text in ("one", "one two", "one two three"):
        told.encode(PartialHeard("a", text))
    assert told.encode(PartialHeard("b", "x y")) == []
    frames = [validated(frame) for frame in told.encode(TurnTranscribed("a", "one two three", 1.5))]
    assert [frame["type"].rpartition(".")[2] for frame in frames] == ["delta", "completed"]
    assert frames[0]["delta"] == " three"


def test_every_event_has_an_id_of_its_own() -> None:
    told = codec()
    session = Session("sess_1", Settings(type="realtime"))
    frames = told.encode(SessionStarted(session)) + told.encode(Problem("server_error", "x", "y"))
    ids = [validated(frame)["event_id"] for frame in frames]
    assert len(set(ids)) == len(ids) == 2
