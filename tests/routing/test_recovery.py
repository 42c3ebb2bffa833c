"""Recovery and races: what a request lives through before and after its first content, through the engine's door."""

from __future__ import annotations

import asyncio

import pytest

from gateway.contract.errors import AllTargetsFailed, ContextTooLong, ProviderError, RateLimited, Unavailable
from gateway.contract.events import Finished, Rerouted, TextDelta, ToolCallDelta, Usage
from gateway.contract.messages import Message
from gateway.contract.requests import ChatRequest
from gateway.routing.continuation import GO_ON
from gateway.routing.engine import Answer, Engine
from gateway.routing.route import Policy, Route, Target
from tests.routing.test_engine import HELLO, OK, Samples, Scripted, Step, outcomes
from tests.virtual_time import virtual

WORDS = [TextDelta(f"word{number} ") for number in range(10)]
WHOLE = "".join(word.text for word in WORDS)


def gateway(
    policy: Policy | None = None, targets: tuple[Target, ...] = (), **providers: Scripted
) -> tuple[Engine, Samples]:
    samples = Samples()
    targets = targets or tuple(Target(name, "m") for name in providers)
    route = Route("r", "llm", targets, policy or Policy("priority"))
    return Engine({"r": route}, providers, samples), samples


async def text_of(answer: Answer) -> str:
    return "".join([event.text async for event in answer if isinstance(event, TextDelta)])


@virtual
async def test_a_stream_that_dies_is_gone_on_with_and_nothing_is_said_twice() -> None:
    second = Scripted(*WORDS, Usage(output_tokens=10), Finished())
    engine, samples = gateway(a=Scripted(*WORDS[:4], Unavailable("reset", "a")), b=second)
    async with engine.open("r", HELLO) as answer:
        events = [event async for event in answer]
        assert str(answer.target) == "b/m"
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == WHOLE
    assert [event for event in events if isinstance(event, Rerouted)] == [Rerouted("a/m", "b/m", "reset")]
    assert isinstance(events[-1], Finished)
    assert outcomes(samples) == [("a/m", "cut"), ("b/m", "ok")]
    assert second.asked is not None
    assert [message.text for message in second.asked.messages] == ["hello", "word0 word1 word2 word3 ", GO_ON]


@virtual
async def test_the_real_error_is_never_hidden_by_the_fallback_s() -> None:
    engine, samples = gateway(
        Policy("priority", retries=0),
        a=Scripted(*WORDS[:4], Unavailable("reset", "a")),
        b=Scripted(Unavailable("no prefill here", "b", 400)),
    )
    async with engine.open("r", HELLO) as answer:
        with pytest.raises(Unavailable, match="reset"):
            await text_of(answer)
    assert outcomes(samples) == [("a/m", "cut"), ("b/m", "unavailable")]


@virtual
async def test_a_second_beginning_ends_the_stream_with_the_first_failure() -> None:
    other = Scripted(TextDelta("Certainly! Here is what you asked for, from the start."), Finished())
    engine, _ = gateway(a=Scripted(TextDelta("The answer to it is that"), Unavailable("reset", "a")), b=other)
    async with engine.open("r", HELLO) as answer:
        with pytest.raises(Unavailable, match="reset"):
            await text_of(answer)
    assert other.open == 0


@virtual
async def test_who_could_not_go_on_is_not_asked_again_when_the_next_one_dies() -> None:
    dies, dead = Scripted(*WORDS[:4], Unavailable("reset", "a")), Scripted(Unavailable("503", "b", 503))
    engine, _ = gateway(a=dies, b=dead)
    async with engine.open("r", HELLO) as answer:
        with pytest.raises(Unavailable, match="reset"):
            await text_of(answer)
    assert dead.opened == 2  # and once more where it happened: that may have been a hiccup
    assert dies.opened <= 3


@virtual
async def test_where_nobody_may_go_on_the_failure_is_told() -> None:
    engine, samples = gateway(Policy("priority", retries=0), a=Scripted(*WORDS[:4], Unavailable("reset", "a")))
    async with engine.open("r", HELLO) as answer:
        with pytest.raises(Unavailable, match="reset"):
            await text_of(answer)
    assert outcomes(samples) == [("a/m", "cut")]


@pytest.mark.parametrize("delivered", [[TextDelta("half")], [ToolCallDelta(0, "id", "f", "{")]])
def test_what_was_seen_is_not_begun_again(delivered: list[Step]) -> None:
    @virtual
    async def run() -> None:
        second = Scripted(*OK)
        policy = Policy("priority", mid_stream="restart")
        engine, _ = gateway(policy, a=Scripted(*delivered, Unavailable("reset", "a")), b=second)
        async with engine.open("r", HELLO) as answer:
            with pytest.raises(ProviderError):
                [event async for event in answer]
        assert second.opened == 0

    run()


@virtual
async def test_an_answer_of_which_nothing_was_seen_begins_again() -> None:
    thinking = TextDelta("hmm", "reasoning")
    policy = Policy("priority", mid_stream="restart")
    engine, _ = gateway(policy, a=Scripted(thinking, Unavailable("reset", "a")), b=Scripted(*WORDS, Finished()))
    async with engine.open("r", HELLO) as answer:
        assert (await text_of(answer)).endswith(WHOLE)


@virtual
async def test_one_hiccup_is_tried_again_where_it_happened() -> None:
    first = Scripted(*OK, failing=[Unavailable("500", "a", 500)])
    second = Scripted(*OK)
    engine, samples = gateway(a=first, b=second)
    async with engine.open("r", HELLO) as answer:
        assert str(answer.target) == "a/m"
        await text_of(answer)
    assert (first.opened, second.opened) == (2, 0)
    assert outcomes(samples) == [("a/m", "unavailable"), ("a/m", "ok")]


@virtual
async def test_a_target_that_was_silent_is_not_asked_twice() -> None:
    silent = Scripted(100.0)
    engine, _ = gateway(Policy("priority", retries=3), a=silent, b=Scripted(*OK))
    async with engine.open("r", HELLO) as answer:
        assert str(answer.target) == "b/m"
    assert silent.opened == 1


@virtual
async def test_retry_after_is_waited_for_where_nobody_else_could_answer() -> None:
    engine, _ = gateway(a=Scripted(*OK, failing=[RateLimited("429", "a", 429, retry_after=2.0)]))
    async with engine.open("r", HELLO):
        assert asyncio.get_running_loop().time() >= 2.0


@virtual
async def test_a_retry_after_that_is_too_long_is_not() -> None:
    limited = Scripted(RateLimited("429", "a", 429, retry_after=60.0))
    engine, _ = gateway(a=limited)
    with pytest.raises(AllTargetsFailed):
        async with engine.open("r", HELLO):
            pass
    assert (limited.opened, asyncio.get_running_loop().time()) == (1, 0.0)


@virtual
async def test_what_is_too_long_goes_only_where_it_may_fit() -> None:
    small = Scripted(ContextTooLong("too long", "a", 400))
    same, large = Scripted(*OK), Scripted(*OK)
    targets = (Target("a", "m", context=8000), Target("b", "m", context=8000), Target("c", "m", context=128_000))
    engine, _ = gateway(targets=targets, a=small, b=same, c=large)
    async with engine.open("r", HELLO) as answer:
        assert str(answer.target) == "c/m"
    assert (small.opened, same.opened) == (1, 0)
    engine, _ = gateway(a=small, b=same)
    with pytest.raises(ContextTooLong):
        async with engine.open("r", HELLO):
            pass
    assert (small.opened, same.opened) == (2, 0)


@virtual
async def test_a_slow_answer_in_one_piece_is_raced_and_not_given_up() -> None:
    slow, quick = Scripted(50.0, TextDelta("slow"), Finished()), Scripted(1.0, TextDelta("quick"), Finished())
    engine, samples = gateway(a=slow, b=quick)
    request = ChatRequest((Message.of("user", "hello"),), stream=False)
    async with engine.open("r", request) as answer:
        assert asyncio.get_running_loop().time() == pytest.approx(7.0)
        assert await text_of(answer) == "quick"
    assert slow.open == 0
    assert outcomes(samples) == [("a/m", "lost"), ("b/m", "ok")]


@virtual
async def test_a_caller_who_leaves_during_a_retry_pause_causes_no_further_attempt() -> None:
    limited = Scripted(RateLimited("429", "a", 429, retry_after=3.0))
    engine, _ = gateway(a=limited)

    async def call() -> None:
        async with engine.open("r", HELLO):
            pass

    task = asyncio.create_task(call())
    await asyncio.sleep(1.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(60.0)
    assert limited.opened == 1
