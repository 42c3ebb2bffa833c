"""What requests ask for and files say of targets: who is left out, with the reason, and who goes first."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from gateway.contract.messages import Message
from gateway.contract.requests import ChatRequest, TranscribeRequest
from gateway.routing.order import by_cost, weighted, with_canary
from gateway.routing.route import Policy, Target
from gateway.routing.wish import Wish, nobody_fits, speaks, why_not, wish_of


@pytest.mark.parametrize(
    ("target", "wish", "policy", "said"),
    [
        (Target("a", "m"), Wish(language="hi", tokens=10**6), Policy(), None),
        (Target("a", "m", region="us"), Wish(region="eu"), Policy(), "it is in us, not in eu"),
        (Target("a", "m"), Wish(region="eu"), Policy(), "it is in no region, not in eu"),
        (Target("a", "m", languages=("en", "hi")), Wish(language="ta"), Policy(), "it does not speak ta"),
        (Target("a", "m", context=100), Wish(tokens=200), Policy(), "its window of 100 tokens is smaller"),
        (Target("a", "m", price=3.0), Wish(), Policy(max_price=2.5), "its price of 3 is above 2.5"),
        (Target("a", "m"), Wish(), Policy(max_price=2.5), None),
    ],
)
def test_a_target_is_left_out_with_the_reason(target: Target, wish: Wish, policy: Policy, said: str | None) -> None:
    why = why_not(target, wish, policy)
    assert why is None if said is None else (why or "").startswith(said)


@pytest.mark.parametrize(
    ("languages", "wanted", "spoken"),
    [
        (("en",), "en-IN", True),
        (("en-IN",), "en", True),
        (("en-US",), "en-IN", False),
        (("hi-IN", "ta-IN"), "TA_in", True),
        (("hi",), "hindi", False),
    ],
)
def test_languages_are_matched_by_tag_and_base(languages: tuple[str, ...], wanted: str, spoken: bool) -> None:
    assert speaks(languages, wanted) is spoken


def test_a_language_nobody_speaks_is_told_with_those_that_are_spoken() -> None:
    targets = [Target("a", "m", languages=("en",)), Target("b", "m", languages=("hi", "ta"))]
    error = nobody_fits("listen", targets, Wish(language="fi"), Policy())
    assert "languages of this route: en, hi, ta" in str(error)
    assert (error.param, error.status) == ("language", 400)


def test_a_request_says_what_it_needs() -> None:
    assert wish_of(TranscribeRequest(16_000, "hi")).language == "hi"
    assert wish_of(ChatRequest((Message.of("user", "x" * 400),)), "eu", "me") == Wish(None, "eu", 100, "me")


def test_weights_are_shares() -> None:
    rng = random.Random(7)
    targets = [Target("a", "m", weight=3), Target("b", "m", weight=1), Target("c", "m", weight=0)]
    orders = [weighted(targets, rng) for _ in range(4000)]
    first = Counter(str(order[0]) for order in orders)
    assert first["a/m"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert {str(order[-1]) for order in orders} == {"c/m"}


def test_the_cheapest_goes_first_and_an_unknown_price_last() -> None:
    targets = [Target("a", "m"), Target("b", "m", price=2), Target("c", "m", price=0.5)]
    assert [target.provider for target in by_cost(targets)] == ["c", "b", "a"]


def test_a_canary_has_its_share_and_no_more() -> None:
    rng = random.Random(7)
    targets = [Target("a", "m"), Target("new", "m", canary=0.05)]
    orders = [with_canary(targets, rng) for _ in range(4000)]
    assert sum(order[0].provider == "new" for order in orders) / 4000 == pytest.approx(0.05, abs=0.015)
    assert all(len(order) == 2 for order in orders)
