"""Sticky: a call keeps its target between turns, unless another is clearly better for three of them, or it is out."""

from __future__ import annotations

import random

from gateway.routing.board import Board
from gateway.routing.route import Policy, Route, Target
from gateway.routing.wish import Wish

ROUTE = Route("r", "llm", (Target("a", "m"), Target("b", "m")), Policy())
CALL = Wish(sticky="call-1")


class Turns:
    def __init__(self, waits: dict[str, float]) -> None:
        self.board, self.now, self.waits = Board("r", random.Random(3), 0.0, ROUTE.policy), 0.0, waits

    def learn(self, rounds: int = 60) -> None:
        for _ in range(rounds):
            for target in ROUTE.targets:
                self.now += 0.5
                ticket = self.board.started(self.now, target)
                self.board.first(self.now, ticket, self.waits[target.provider])
                self.board.ended(self.now, ticket, "ok")

    def turn(self) -> str:
        self.now += 5.0
        first = self.board.plan(self.now, ROUTE, CALL).targets[0]
        self.board.keep(CALL.sticky, first)
        return first.provider


def test_a_call_keeps_its_target_while_they_are_about_as_good() -> None:
    turns = Turns({"a": 0.40, "b": 0.36})
    turns.learn()
    assert len({turns.turn() for _ in range(40)}) == 1


def test_it_leaves_after_three_turns_for_one_that_is_clearly_better() -> None:
    turns = Turns({"a": 0.3, "b": 0.3})
    turns.learn()
    held = turns.turn()
    other = "b" if held == "a" else "a"
    turns.waits[held] = 2.0
    turns.learn()
    assert [turns.turn() for _ in range(4)] == [held, held, other, other]


def test_it_leaves_a_target_that_is_out() -> None:
    turns = Turns({"a": 0.3, "b": 0.3})
    turns.learn()
    held = turns.turn()
    turns.board.eject(f"{held}/m", turns.now, turns.now + 60.0)
    assert turns.turn() != held
