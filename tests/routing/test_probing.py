"""Probes of idle targets: who is probed, when, how often, and what comes of it."""

from __future__ import annotations

import asyncio
import random
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import pairwise

import pytest

from gateway.contract.audio import Audio
from gateway.contract.errors import ProviderError, RateLimited, Unauthorized, Unavailable
from gateway.contract.events import AudioDelta, Finished, Flushed, Ready, TextDelta, Transcript, Usage
from gateway.contract.requests import ChatRequest, Commit, Input, Kind
from gateway.routing.board import Board
from gateway.routing.engine import Engine
from gateway.routing.probing import DAY, LOOKS, STAGGER, Prober
from gateway.routing.route import Policy, Probing, Route, Target
from tests.routing.test_engine import HELLO, OK, Scripted, Step, outcomes
from tests.routing.test_shadow import Told
from tests.virtual_time import virtual

EVERY = 600.0
PROBED = Policy("priority", ttft_deadline=2.0, retries=3, probe=Probing(EVERY, daily=3))
SOON = EVERY * (1 + STAGGER + 2 / LOOKS) + 5.0
"""By then an idle target was probed."""


def route_of(kind: Kind, policy: Policy, *names: str) -> Route:
    return Route("r", kind, tuple(Target(name, "m") for name in names), policy)


@asynccontextmanager
async def gateway(
    kind: Kind = "llm", policy: Policy = PROBED, **providers: Scripted
) -> AsyncIterator[tuple[Engine, Told, Prober]]:
    told = Told()
    engine = Engine({"r": route_of(kind, policy, *providers)}, providers, told, random.Random(1))
    prober = Prober(engine, random.Random(1))
    running = asyncio.create_task(prober.run())
    try:
        yield engine, told, prober
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await engine.aclose()


def board_of(engine: Engine) -> Board:
    return engine.boards.of(engine.routes["r"], False, asyncio.get_running_loop().time())


async def ask(engine: Engine, request: ChatRequest = HELLO) -> None:
    async with engine.open("r", request) as answer:
        [event async for event in answer]


async def opened(provider: Scripted) -> None:
    for _ in range(int(SOON)):
        if provider.open:
            return
        await asyncio.sleep(1.0)
    raise AssertionError("it was not probed")


def hears(item: Input) -> list[Step]:
    return [0.2, Transcript("", final=True, ends_turn=True)] if isinstance(item, Commit) else []


def speaks(item: Input) -> list[Step]:
    said = AudioDelta(Audio(array("h", [1000] * 100).tobytes(), 16_000))
    return [0.2, said, Flushed()] if isinstance(item, Commit) else []


@pytest.mark.parametrize(
    ("kind", "provider"),
    [
        ("llm", Scripted(0.2, TextDelta("Hi"), Usage(output_tokens=1), Finished())),
        ("stt", Scripted(1.0, Ready(), heard=hears)),
        ("tts", Scripted(heard=speaks)),
    ],
)
def test_a_target_that_nobody_asks_is_asked_something_small_and_learned_of(kind: Kind, provider: Scripted) -> None:
    @virtual
    async def run() -> None:
        async with gateway(kind, a=provider) as (engine, told, _):
            await asyncio.sleep(EVERY - 1.0)
            assert provider.opened == 0
            await asyncio.sleep(SOON - EVERY)
            assert (provider.opened, provider.open) == (1, 0)
            assert board_of(engine).known("a/m", asyncio.get_running_loop().time()).latency.samples == 1
        assert {(each.target, each.outcome, each.purpose) for each in told} == {("a/m", "ok", "probe")}
        assert told[0].ttft == pytest.approx(0.2)
        [decision] = told.decisions
        assert (decision.order, decision.chosen, told.told) == ("probe", None, [[("probe", "ok")]])

    run()


@virtual
async def test_the_prompt_is_a_word_and_its_answer_short() -> None:
    provider = Scripted(*OK)
    async with gateway(a=provider):
        await asyncio.sleep(SOON)
    assert provider.asked is not None
    assert ([message.text for message in provider.asked.messages], provider.asked.max_tokens) == (["Hi"], 16)


@virtual
async def test_a_target_is_probed_so_often_a_day_and_no_oftener() -> None:
    provider = Scripted(*OK)
    async with gateway(a=provider) as (engine, _, prober):
        await asyncio.sleep(DAY / 4)
        assert provider.opened == 3
        engine.renew({"r": route_of("llm", PROBED, "a")}, {"a": provider})  # what was spent is spent
        prober.renewed()
        await asyncio.sleep(DAY / 4)
        assert provider.opened == 3
        await asyncio.sleep(DAY)
        assert provider.opened == 6


@virtual
async def test_who_is_asked_by_callers_is_not_probed() -> None:
    used, idle = Scripted(*OK), Scripted(*OK)
    async with gateway(a=used, b=idle) as (engine, told, _):
        for _ in range(20):
            await asyncio.sleep(EVERY / 10)
            await ask(engine)
    assert (used.opened, idle.opened) == (20, 1)
    assert outcomes([sample for sample in told if sample.purpose == "probe"]) == [("b/m", "ok")]


@pytest.mark.parametrize("stream", [True, False])
def test_a_route_with_something_in_flight_is_not_probed(stream: bool) -> None:
    @virtual
    async def run() -> None:
        provider = Scripted(TextDelta("long"), 5 * EVERY, Finished())
        policy = Policy("priority", answer=1e6, idle=1e6, total=1e6, probe=Probing(EVERY))
        async with gateway(policy=policy, a=provider) as (engine, *_):
            call = asyncio.create_task(ask(engine, replace(HELLO, stream=stream)))
            await asyncio.sleep(4 * EVERY)
            assert provider.opened == 1
            await call

    run()


@virtual
async def test_between_two_probes_lies_the_time_that_is_said_and_a_lot() -> None:
    policy = Policy("priority", probe=Probing(EVERY))
    async with gateway(policy=policy, a=Scripted(*OK)) as (engine, *_):
        asked = [0.0]
        for _ in range(int(12 * SOON)):
            await asyncio.sleep(1.0)
            if (at := board_of(engine).asked_at(0.0, Target("a", "m"))) != asked[-1]:
                asked.append(at)
    waits = [later - earlier for earlier, later in pairwise(asked)]
    assert len(waits) >= 12
    assert min(waits) >= EVERY
    assert EVERY * 1.2 < max(waits) < SOON
    assert max(waits) > min(waits) + 0.1 * EVERY


@virtual
async def test_a_provider_that_a_probe_still_uses_is_not_retired_under_it() -> None:
    slow = Scripted(TextDelta("hm"), 10.0, Finished())
    async with gateway(a=slow) as (engine, *_):
        await opened(slow)
        await engine.renew({}, {}).wait_idle()
        assert (slow.opened, slow.open) == (1, 0)


@virtual
async def test_targets_are_probed_one_at_a_time() -> None:
    most, talking = 0, [Scripted(TextDelta("hm"), 2.0 * EVERY / LOOKS, Finished()) for _ in range(12)]
    policy = Policy("priority", idle=100.0, probe=Probing(EVERY))
    providers = dict(zip("abcdefghijkl", talking))
    async with gateway(policy=policy, a=talking[0]) as (engine, _, prober):
        engine.renew({name: Route(name, "llm", (Target(name, "m"),), policy) for name in providers}, providers)
        prober.renewed()
        for _ in range(int(SOON) + 500):
            await asyncio.sleep(1.0)
            most = max(most, sum(each.open for each in talking))
    assert most == 1
    assert all(each.opened for each in talking)


@virtual
async def test_a_probe_that_fails_is_not_repeated_and_counts_against_the_target() -> None:
    broken = Scripted(Unavailable("503", "a", 503))
    async with gateway(a=broken, b=Scripted(*OK)) as (engine, told, _):
        await asyncio.sleep(SOON)
        assert broken.opened == 1
    assert ("a/m", "unavailable") in outcomes(told)
    assert board_of(engine)._known["a/m"].health.errors > 0


@virtual
async def test_one_that_was_ejected_is_known_to_be_well_after_its_probe() -> None:
    async with gateway(a=Scripted(*OK), b=Scripted(*OK)) as (engine, *_):
        board = board_of(engine)
        board.known("b/m", 0.0)
        for _ in range(3):
            board.ended(0.0, board.started(0.0, Target("a", "m")), "unavailable")
        assert board.known("a/m", 0.0).health.out
        await asyncio.sleep(SOON)
        assert not board.known("a/m", SOON).health.out


@virtual
async def test_one_that_is_ejected_for_longer_is_not_probed_before() -> None:
    ejected = Scripted(*OK)
    async with gateway(a=ejected, b=Scripted(*OK)) as (engine, *_):
        board_of(engine).eject("a/m", 0.0, 2 * SOON)
        await asyncio.sleep(2 * SOON - 1.0)
        assert ejected.opened == 0
        await asyncio.sleep(EVERY / LOOKS + 5.0)
        assert ejected.opened == 1


@pytest.mark.parametrize("error", [RateLimited("429", "a", 429, retry_after=1e5), Unauthorized("401", "a", 401)])
def test_one_that_rests_or_has_no_key_is_left_alone(error: ProviderError) -> None:
    @virtual
    async def run() -> None:
        resting = Scripted(error)
        async with gateway(a=resting):
            await asyncio.sleep(4 * SOON)
            assert resting.opened == 1

    run()


@virtual
async def test_nothing_is_probed_unless_the_file_says_so_and_then_from_the_next_reading_on() -> None:
    provider = Scripted(*OK)
    async with gateway(policy=Policy(), a=provider) as (engine, _, prober):
        await asyncio.sleep(DAY)
        assert provider.opened == 0
        engine.renew({"r": route_of("llm", PROBED, "a")}, {"a": provider})
        prober.renewed()
        await asyncio.sleep(SOON)
        assert provider.opened == 1


@virtual
async def test_a_probe_under_way_ends_with_the_gateway() -> None:
    silent = Scripted(TextDelta("hm"), 1000.0)
    async with gateway(a=silent):
        await opened(silent)
        ending = asyncio.get_running_loop().time()
    assert silent.open == 0
    assert asyncio.get_running_loop().time() == ending


@virtual
async def test_a_probe_that_does_not_end_is_ended() -> None:
    endless = Scripted(*(step for _ in range(1000) for step in (TextDelta("hm"), 1.0)))
    async with gateway(a=endless):
        await opened(endless)
        await asyncio.sleep(40.0)
        assert endless.open == 0
