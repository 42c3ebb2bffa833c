"""The decision log, and how a request ended."""

from __future__ import annotations

import pytest

from gateway.telemetry.decision_log import DecisionLog, Filter, ending_of
from gateway.telemetry.decisions import Decision, Tried
from tests.telemetry.happened import FAST, OUT, SLOW, failed, fell_back, hedged, made, served


def kept(*decisions: Decision, most: int = 100) -> DecisionLog:
    log = DecisionLog(most)
    for decision in decisions:
        log.decided(decision)
    return log


@pytest.mark.parametrize(
    ("decision", "ending"),
    [
        (served(), "ok"),
        (fell_back(), "ok"),
        (hedged(won=True), "ok"),
        (hedged(won=False), "ok"),
        (failed(), "rate_limited"),
        (made(), "untried"),
        (made(Tried(FAST, "first", 0.0), done=False), "open"),
        (made(Tried(FAST, "first", 0.0, "cancelled", None, 0.3)), "cancelled"),
        (made(Tried(FAST, "first", 0.0, "cut", 0.2, 0.3), chosen=FAST), "cut"),
        # The hedge failed, and the first one answered after all.
        (made(Tried(SLOW, "first", 0.0, "ok", 0.9, 1.0), Tried(FAST, "hedge", 0.5, "unavailable", None, 0.1)), "ok"),
        # Broken off and gone on with elsewhere; whoever was chosen first, the last part counts.
        (
            made(Tried(FAST, "first", 0, "cut", 0.2, 0.3), Tried(SLOW, "continue", 0.3, "ok", 0.1, 1), chosen=FAST),
            "ok",
        ),
        # Nobody saw the copy's answer.
        (
            made(Tried(FAST, "first", 0, "ok", 0.2, 1), Tried(SLOW, "shadow", 0, "unavailable", None, 2), chosen=FAST),
            "ok",
        ),
    ],
)
def test_a_request_ended_as_the_attempt_that_served_it(decision: Decision, ending: str) -> None:
    assert ending_of(decision) == ending


def test_the_newest_comes_first_and_the_oldest_goes() -> None:
    decisions = [served(at=float(n)) for n in range(5)]
    log = kept(*decisions, most=3)
    assert [each.at for each in log.latest(Filter(), 10)] == [4.0, 3.0, 2.0]
    assert [each.at for each in log.latest(Filter(), 2)] == [4.0, 3.0]


def test_a_decision_is_there_while_its_request_runs_and_shows_what_came_of_it() -> None:
    decision = made(done=False)
    log = kept(decision)
    assert log.latest(Filter(outcome="open"), 10) == [decision]
    decision.tried.append(Tried(FAST, "first", 0.0, "ok", 0.2, 1.0))
    decision.chosen, decision.done = FAST, True
    assert log.latest(Filter(outcome="open"), 10) == []
    assert log.latest(Filter(outcome="ok"), 10) == [decision]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (Filter(route="other"), ["other"]),
        (Filter(target=FAST), ["failed", "hedged", "fell back"]),
        (Filter(target=OUT), []),
        (Filter(outcome="ok"), ["other", "hedged", "fell back"]),
        (Filter(outcome="rate_limited"), ["failed"]),
        (Filter(outcome="failed"), ["failed"]),
        (Filter(hedged=True), ["hedged"]),
        (Filter(hedged=False, route="chat"), ["failed", "fell back"]),
        (Filter(since=2.0), ["other", "failed"]),
    ],
)
def test_it_gives_what_is_asked_for(asked: Filter, found: list[str]) -> None:
    names = {1.0: "fell back", 2.0: "hedged", 3.0: "failed", 4.0: "other"}
    log = kept(fell_back(1.0), hedged(2.0), failed(3.0), served(4.0, SLOW, "other"))
    assert [names[each.at] for each in log.latest(asked, 10)] == found
