"""Shadow copies, through the engine's door: they are made, they are told of, and nobody who calls can tell."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest

from gateway.contract.errors import AllTargetsFailed, RateLimited, Unauthorized, Unavailable
from gateway.contract.messages import Message
from gateway.contract.requests import ChatRequest
from gateway.routing.aside import COPIES
from gateway.routing.engine import Engine
from gateway.routing.plan import Ejected
from gateway.routing.route import Policy, Route, Target
from gateway.telemetry.decisions import Decision
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.prices import Price
from gateway.telemetry.sample import Sample
from tests.routing.test_engine import HELLO, OK, Scripted, outcomes
from tests.virtual_time import virtual

POLICY = Policy("priority", ttft_deadline=2.0, idle=5.0, total=60.0, mid_stream="error")


class Told(list[Sample]):
    """A recorder. `settled`: with how many attempts each decision was told."""

    record = list.append

    def __init__(self) -> None:
        super().__init__()
        self.decisions: list[Decision] = []
        self.told: list[list[tuple[str, str | None]]] = []

    def decided(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def settled(self, decision: Decision) -> None:
        self.told.append([(tried.why, tried.outcome) for tried in decision.tried])


@asynccontextmanager
async def gateway(shadow: Target, policy: Policy = POLICY, **providers: object) -> AsyncIterator[tuple[Engine, Told]]:
    """Target "a/m" serves."""
    told = Told()
    engine = Engine(
        {"r": Route("r", "llm", (Target("a", "m", region="eu"),), policy, shadows=(shadow,))},
        providers,
        told,
        random.Random(1),
    )
    try:
        yield engine, told
    finally:
        await engine.aclose()


async def ask(engine: Engine, request: ChatRequest = HELLO, region: str | None = None) -> None:
    async with engine.open("r", request, region=region) as answer:
        assert str(answer.target) == "a/m"
        [event async for event in answer]


@virtual
async def test_a_shadow_gets_copies_of_its_share_of_the_requests() -> None:
    used, watched = Scripted(*OK), Scripted(*OK)
    async with gateway(Target("b", "m", shadow=0.25), a=used, b=watched) as (engine, _):
        for _ in range(400):
            await ask(engine)
        assert used.opened == 400
        assert 70 < watched.opened < 130
        assert watched.asked == HELLO


@virtual
async def test_a_copy_is_in_the_request_s_decision_and_a_sample_of_its_own_purpose() -> None:
    async with gateway(Target("b", "m", shadow=1.0), a=Scripted(*OK), b=Scripted(0.5, *OK)) as (engine, told):
        await ask(engine)
        [decision] = told.decisions
        assert (decision.done, decision.chosen, told.told) == (True, "a/m", [])
        await asyncio.sleep(1.0)
    assert told.told == [[("first", "ok"), ("shadow", "ok")]]
    assert [(each.target, each.purpose) for each in told] == [("a/m", "serve"), ("b/m", "shadow")]
    assert told[1].ttft == pytest.approx(0.8)
    assert told[1].usage.output_tokens == 1
    assert [candidate.target for candidate in decision.candidates] == ["a/m"]


@virtual
async def test_a_copy_costs_what_it_costs_and_no_caller_pays_for_it() -> None:
    payer: ContextVar[str | None] = ContextVar("payer", default=None)
    told, providers = Told(), {"a": Scripted(*OK), "b": Scripted(0.1, *OK)}
    route = Route("r", "llm", (Target("a", "m"),), POLICY, shadows=(Target("b", "m", shadow=1.0),))
    ledger = Ledger({"a/m": Price(0.0, 1.0), "b/m": Price(0.0, 3.0)}, payer.get)
    engine = Engine({"r": route}, providers, told, ledger=ledger)
    payer.set("key")
    async with engine.open("r", HELLO) as answer:
        [event async for event in answer]
        assert answer.cost == 1.0
    await asyncio.sleep(1.0)
    assert [(each.target, each.cost, each.payer) for each in told] == [("a/m", 1.0, "key"), ("b/m", 3.0, None)]
    await engine.aclose()


@virtual
async def test_it_stands_beside_the_others_without_a_share_of_the_traffic() -> None:
    async with gateway(Target("b", "m", shadow=1.0), a=Scripted(*OK), b=Scripted(Unavailable("503"))) as (engine, _):
        for _ in range(3):
            await ask(engine)
        used, watched = engine.standings()
    assert (used.target, used.shadow, used.share) == ("a/m", False, 1.0)
    assert (watched.target, watched.shadow, watched.share) == ("b/m", True, 0.0)
    assert watched.error_rate == 1.0


@virtual
async def test_a_copy_never_delays_its_request_and_ends_by_its_own_deadline() -> None:
    silent = Scripted(1000.0)
    async with gateway(Target("b", "m", shadow=1.0), a=Scripted(*OK), b=silent) as (engine, told):
        await ask(engine)
        assert asyncio.get_running_loop().time() == pytest.approx(0.3)
        assert silent.open == 1
        await asyncio.sleep(POLICY.ttft_deadline)
        assert silent.open == 0
    assert outcomes(told) == [("a/m", "ok"), ("b/m", "timeout")]


@virtual
async def test_a_caller_who_leaves_ends_the_request_and_not_the_copy() -> None:
    async with gateway(Target("b", "m", shadow=1.0), a=Scripted(1.0, *OK), b=Scripted(1.0, *OK)) as (engine, told):
        caller = asyncio.create_task(ask(engine))
        await asyncio.sleep(0.5)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        await asyncio.sleep(5.0)
    assert outcomes(told) == [("a/m", "cancelled"), ("b/m", "ok")]
    assert told.told == [[("first", "cancelled"), ("shadow", "ok")]]


@virtual
async def test_a_shadow_is_no_fallback() -> None:
    policy = Policy("priority", retries=0)
    async with gateway(
        Target("b", "m", shadow=1.0), policy, a=Scripted(Unavailable("503", "a", 503)), b=Scripted(*OK)
    ) as (engine, told):
        for _ in range(5):
            with pytest.raises(AllTargetsFailed):
                await ask(engine)
        await asyncio.sleep(1.0)
        assert all(standing.ejected_for is None for standing in engine.standings())  # a/m is still the last one
    assert Counter(outcomes(told)) == {("a/m", "unavailable"): 5, ("b/m", "ok"): 5}


@virtual
async def test_no_more_than_a_few_copies_are_under_way() -> None:
    slow = Scripted(1.5, *OK)
    async with gateway(Target("b", "m", shadow=1.0), a=Scripted(*OK), b=slow) as (engine, _):
        await asyncio.gather(*(ask(engine) for _ in range(50)))
        assert slow.open == slow.opened == COPIES
        await asyncio.sleep(2.0)
        await asyncio.gather(*(ask(engine) for _ in range(50)))
        assert slow.opened == 2 * COPIES


@pytest.mark.parametrize("error", [RateLimited("429", "b", 429, retry_after=60.0), Unauthorized("401", "b", 401)])
def test_a_shadow_that_rests_is_left_alone(error: RateLimited | Unauthorized) -> None:
    @virtual
    async def run() -> None:
        resting = Scripted(error)
        async with gateway(Target("b", "m", shadow=1.0), a=Scripted(*OK), b=resting) as (engine, _):
            for _ in range(5):
                await ask(engine)
        assert resting.opened == 1

    run()


@virtual
async def test_what_a_request_rules_out_is_ruled_out_for_its_copies() -> None:
    elsewhere = Scripted(*OK)
    async with gateway(Target("b", "m", region="us", shadow=1.0), a=Scripted(*OK), b=elsewhere) as (engine, _):
        await ask(engine, region="eu")
        assert elsewhere.opened == 0


@virtual
async def test_a_whole_answer_is_copied_as_a_whole_one() -> None:
    whole, watched = ChatRequest((Message.of("user", "hi"),), stream=False), Scripted(*OK)
    async with gateway(Target("b", "m", shadow=1.0), a=Scripted(*OK), b=watched) as (engine, _):
        await ask(engine, whole)
        assert watched.asked == whole


@virtual
async def test_a_shadow_s_bug_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    broken = Scripted(ValueError("a word that was said"))
    async with gateway(Target("b", "m", shadow=1.0), a=Scripted(*OK), b=broken) as (engine, told):
        await ask(engine)
    assert ("b/m", "bug") in outcomes(told)
    assert "copy for b/m broke off: ValueError" in caplog.text
    assert "was said" not in caplog.text


@virtual
async def test_what_is_under_way_ends_with_the_gateway() -> None:
    silent = Scripted(1000.0)
    async with gateway(Target("b", "m", shadow=1.0), a=Scripted(*OK), b=silent) as (engine, told):
        await ask(engine)
        assert silent.open == 1
        ending = asyncio.get_running_loop().time()
    assert silent.open == 0
    assert asyncio.get_running_loop().time() == ending
    assert len(told.told) == 1


@virtual
async def test_a_provider_that_a_copy_still_uses_is_not_retired_under_it() -> None:
    slow = Scripted(1.5, *OK)
    async with gateway(Target("b", "m", shadow=1.0), a=Scripted(*OK), b=slow) as (engine, _):
        await ask(engine)
        assert slow.open == 1
        await engine.renew({}, {}).wait_idle()
        assert slow.open == 0


@virtual
async def test_a_shadow_that_is_ejected_is_nobody_s_news() -> None:
    shadows = tuple(Target(name, "m", shadow=1.0) for name in "bc")
    out: list[Ejected] = []
    providers = {"a": Scripted(*OK), "b": Scripted(Unavailable("503", "b", 503)), "c": Scripted(*OK)}
    route = Route("r", "llm", (Target("a", "m"),), POLICY, shadows=shadows)
    engine = Engine({"r": route}, providers, Told(), random.Random(1), ejected=out.append)
    for _ in range(5):
        await ask(engine)
    assert [each.target for each in engine.standings() if each.ejected_for is not None] == ["b/m"]
    assert (providers["b"].opened, out) == (3, [])
    await engine.aclose()
