"""What replicas tell each other of targets, board to board."""

from __future__ import annotations

import random

import pytest

from gateway.routing.boards import Boards
from gateway.routing.plan import Ejected
from gateway.routing.route import Route, Target
from gateway.routing.sharing import replica_of
from gateway.state.store import Ejection, Replica

A, B = Target("fake", "a"), Target("fake", "b")
CHAT = Route("chat", "llm", (A, B))


class Gateway:
    def __init__(self, name: str, began: float = 0.0, routes: dict[str, Route] | None = None) -> None:
        self.name, self.began, self.time = name, began, 0.0
        self.routes = routes if routes is not None else {"chat": CHAT}
        self.out: list[Ejected] = []
        self.boards = Boards(random.Random(7), self.out.append)
        self.replica: Replica = replica_of(self.boards, self.routes, self.now)

    def now(self) -> float:
        return self.began + self.time

    def serve(self, target: Target, ttft: float | None, whole: bool = False) -> None:
        """One request to this target; None fails it."""
        board = self.boards.of(CHAT, whole, self.now())
        board.plan(self.now(), CHAT)
        ticket = board.started(self.now(), target)
        self.time += ttft or 0.1
        if ttft is not None:
            board.first(self.now(), ticket, ttft)
        board.ended(self.now(), ticket, "unavailable" if ttft is None else "ok")

    def first_choices(self, requests: int = 20) -> list[Target]:
        board = self.boards.of(CHAT, False, self.now())
        return [board.plan(self.now(), CHAT).targets[0] for _ in range(requests)]

    def expects(self, target: Target, whole: bool = False) -> float | None:
        plan = self.boards.of(CHAT, whole, self.now()).plan(self.now(), CHAT)
        return next(each.ttft for each in plan.candidates if each.target == str(target))

    def tell(self, other: Gateway, age: float = 0.5) -> None:
        other.replica.merge(self.name, self.replica.export(), age)


def learned() -> Gateway:
    one = Gateway("one")
    for _ in range(20):
        one.serve(A, 1.5)
        one.serve(B, 0.15)
    return one


def test_what_one_learned_serves_the_other_from_its_first_request_on() -> None:
    two = Gateway("two", began=9000.0)  # clocks of loops have nothing in common
    learned().tell(two)
    assert set(two.first_choices()) == {B}
    assert two.expects(A) == pytest.approx(1.5, rel=0.4)
    assert two.expects(B) == pytest.approx(0.15, rel=0.4)


def test_the_same_words_again_weigh_no_more() -> None:
    one, two, three = learned(), Gateway("two"), Gateway("three")
    one.tell(two)
    for _ in range(50):
        one.tell(three)
    assert three.expects(A) == pytest.approx(two.expects(A))


def test_what_was_heard_of_others_is_not_passed_on() -> None:
    two = Gateway("two")
    learned().tell(two)
    assert two.replica.export() == {}


def test_who_was_asked_at_another_replica_is_not_idle_here() -> None:
    one, two = Gateway("one"), Gateway("two", began=9000.0)

    def idle(target: Target) -> float:
        return two.now() - two.boards.asked_at(CHAT, target, two.now())

    for each in (A, B):
        idle(each)  # known from now on
    for seconds in range(1, 101):
        one.time = two.time = float(seconds)
        if seconds in (20, 70):
            one.serve(A, 0.15)
        one.tell(two, age=0.5)
    assert idle(A) == pytest.approx(30.0, abs=1.0)
    assert idle(B) == pytest.approx(100.0, abs=1.0)


def test_streamed_and_whole_answers_are_two_things() -> None:
    one, two = Gateway("one"), Gateway("two")
    for _ in range(20):
        one.serve(A, 0.15)
        one.serve(A, 4.0, whole=True)
    one.tell(two)
    assert (two.expects(A) or 0.0) < 0.4
    assert (two.expects(A, whole=True) or 0.0) > 1.5


def test_a_replica_that_is_gone_is_forgotten() -> None:
    two = Gateway("two")
    fresh = two.expects(A)
    learned().tell(two)
    two.replica.forget("one")
    assert two.expects(A) == pytest.approx(fresh)


def test_a_target_that_one_ejects_is_out_at_the_other_until_then_and_not_longer() -> None:
    one, two = Gateway("one"), Gateway("two", began=9000.0)
    for _ in range(3):
        one.serve(A, None)
    (out,) = one.out
    left = out.until - one.now()
    two.replica.ejected(Ejection(out.route, out.target, two.now() + left, out.reason))
    assert set(two.first_choices()) == {B}
    assert two.out == []  # not told back
    for whole in (False, True):
        assert two.expects(A, whole) is None
    two.time += left + 0.01
    assert two.expects(A) is not None


def test_of_two_deadlines_the_later_counts() -> None:
    two = Gateway("two")
    for seconds in (10.0, 5.0):
        two.replica.ejected(Ejection("chat", "fake/a", seconds, "3 failures"))
    two.time = 7.0
    assert two.expects(A) is None


def test_routes_and_targets_that_are_not_ours_leave_no_trace() -> None:
    one, two = learned(), Gateway("two", routes={"chat": Route("chat", "llm", (B,))})
    one.tell(two)
    two.replica.ejected(Ejection("chat", "fake/a", 60.0, "3 failures"))
    two.replica.ejected(Ejection("other", "fake/a", 60.0, "3 failures"))
    assert two.replica.export() == {}
    assert two.expects(A) == pytest.approx(Gateway("three").expects(A))  # as if it came with the next routes.yaml


@pytest.mark.parametrize(
    "row", [[], [0.0] * 3, [0.0] * 60, [-1.0] * 10, [1e9] * 10], ids=["none", "few", "many", "negative", "huge"]
)
def test_what_no_replica_says_is_refused(row: list[float]) -> None:
    two = Gateway("two")
    with pytest.raises(ValueError):
        two.replica.merge("one", {"chat\x1ffake/a\x1f": row}, 0.5)
    with pytest.raises(ValueError):
        two.replica.merge("one", {"chat\x1ffake/a": [1.0] * 10}, 0.5)


def test_what_is_wrong_with_one_target_costs_nothing_of_the_others() -> None:
    two = Gateway("two")
    said = dict(learned().replica.export())
    said = {"chat\x1ffake/a\x1f": [-1.0]} | {key: row for key, row in said.items() if "fake/b" in key}
    with pytest.raises(ValueError):
        two.replica.merge("one", said, 0.5)
    assert two.expects(B) == pytest.approx(0.15, rel=0.4)
