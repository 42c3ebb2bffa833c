"""The failover catalogue, row by row: what a correct gateway does about each fault of a primary target.

Each row in each protocol family, streaming and not, against the whole gateway with `order: priority` and every other key
at its default, upstreams in a process of their own, and OpenAI's client. Run S15 on the wall's clock, and print the table:
`python -m loadtests.failover`.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from tests.failover.families import FAMILIES, WHY
from tests.failover.faults import ANSWER, Fault
from tests.failover.process import Try
from tests.failover.rows import row
from tests.failover.stage import Bench, Stage, Told

pytestmark = pytest.mark.wire


def answered(told: Told) -> None:
    assert told.error is None, told.error
    assert (told.text, told.finish) == (ANSWER, "stop")


def answered_by(told: Told, name: str) -> None:
    answered(told)
    assert told.headers["x-trunkline-target"].startswith(f"{name}/")


def answered_or_told(told: Told) -> None:
    """The whole answer or a clear error, and no success that is less."""
    if told.error is None:
        answered(told)
    else:
        assert told.finish is None
        assert "primary" in told.why
        assert ANSWER.startswith(told.text)


async def tried(stage: Stage) -> list[Try]:
    """At both, in order of time."""
    tries = [each for lane in stage.lanes.values() for each in await lane.tries()]
    return sorted(tries, key=lambda each: each.at)


def within(tries: list[Try], seconds: float) -> int:
    """How many came in that time after the first."""
    return sum(each.at - tries[0].at < seconds for each in tries)


@row(within=10.0)
async def test_s01_429_with_retry_after(bench: Bench) -> None:
    """The full answer; if the primary is tried again, not before 1.8 s; at most 2 tries in 1.5 s."""
    async with bench.stage(["429-for-2s", "well"], ["well"]) as stage:
        answered(await stage.ask())
        assert within(await tried(stage), 1.5) <= 2
        answered(await stage.ask())
        assert all(later.at - first.at >= 1.8 for first, later in pairwise(await stage.primary.tries()))
    async with bench.stage(["429-for-2s", "well"]) as alone:
        told = await alone.ask()
        assert told.whole or (told.status == 429 and 1 <= int(told.headers["retry-after"]) <= 2)
        assert all(later.at - first.at >= 1.8 for first, later in pairwise(await alone.primary.tries()))


@row(within=10.0)
async def test_s02_429_always_without_a_header(bench: Bench) -> None:
    """Backs off, fails over; at most 4 tries in 3 s, at most 6 in all."""
    async with bench.stage(["429"], ["well"]) as stage:
        answered_by(await stage.ask(), "fallback")
        tries = await tried(stage)
        assert within(tries, 3.0) <= 4
        assert len(tries) <= 6
    async with bench.stage(["429"]) as alone:
        told = await alone.ask()
        assert told.status == 429
        assert int(told.headers["retry-after"]) >= 1
        tries = await tried(alone)
        assert within(tries, 3.0) <= 4
        assert len(tries) <= 6


@row(within=5.0)
async def test_s03_one_500_then_fine(bench: Bench) -> None:
    """Retried once on the same target."""
    async with bench.stage(["500", "well"], ["well"]) as stage:
        answered_by(await stage.ask(), "primary")
        assert len(await stage.primary.tries()) == 2
        assert not await stage.fallback.tries()


@row(within=10.0)
async def test_s04_503_always(bench: Bench) -> None:
    """Fails over within the retry budget; with nowhere to go, the original error."""
    async with bench.stage(["503"], ["well"]) as stage:
        answered_by(await stage.ask(), "fallback")
        assert 1 <= len(await stage.primary.tries()) <= 2
        assert len(await stage.fallback.tries()) == 1
    no_help: list[list[Fault]] = [[], ["503"]]
    for fallback in no_help:
        async with bench.stage(["503"], fallback) as nowhere:
            told = await nowhere.ask()
            assert told.status == 503
            assert "primary/model-a" in told.why
            assert "503" in told.why
            assert told.headers["x-should-retry"] == "false"
            assert len(await nowhere.primary.tries()) <= 2


@row(within=10.0)
async def test_s05_connection_reset_before_headers(bench: Bench) -> None:
    async with bench.stage(["reset"], ["well"]) as stage:
        answered_by(await stage.ask(), "fallback")
        assert len(await stage.primary.tries()) <= 2
    async with bench.stage(["reset", "well"], ["well"]) as once:
        answered(await once.ask())


@row(within=15.0)
async def test_s06_accepts_and_never_answers(bench: Bench) -> None:
    """Fails over after the first deadline; the silent target is tried once."""
    async with bench.stage(["silent"], ["well"]) as stage:
        answered_by(await stage.ask(), "fallback")
        silent = await stage.primary.free()
        assert [each.outcome for each in silent] == ["left"]


@row(within=15.0)
async def test_s07_headers_at_once_first_token_after_20_s(bench: Bench) -> None:
    """Fails over; the whole call in under 15 s."""
    async with bench.stage(["first-after-20s"], ["well"]) as stage:
        answered_by(await stage.ask(), "fallback")
        assert [each.outcome for each in await stage.primary.free()] == ["left"]


@row(within=10.0)
async def test_s08_stream_dies_after_40_of_60_tokens(bench: Bench) -> None:
    """The whole answer, or a clear error; never a truncated success."""
    fallbacks: list[Fault] = ["well", "repeats", "repeats-some", "no-prefill-repeats"]
    for fallback in fallbacks:
        async with bench.stage(["dies-after-40"], [fallback]) as stage:
            answered(await stage.ask())
            assert len(await stage.primary.tries()) <= 2
    no_help: list[list[Fault]] = [[], ["503"], ["dies-after-40"]]
    if bench.stream:
        no_help += [["diverges"], ["another"]]  # answers like any to those who have heard nothing yet
    for nowhere in no_help:
        async with bench.stage(["dies-after-40"], nowhere) as stage:
            answered_or_told(await stage.ask())


@row(within=45.0)
async def test_s09_silent_for_30_s_after_20_tokens(bench: Bench) -> None:
    """Detected within 45 s; healthy afterwards."""
    async with bench.stage(["pauses-30s-after-20", "well"], ["well"]) as stage:
        answered(await stage.ask())
        await stage.primary.free()
        answered(await stage.ask(within=5.0))


@row(within=10.0)
async def test_s10_the_tenth_event_is_broken_json(bench: Bench) -> None:
    """Recovered in place; nothing broken reaches the caller."""
    async with bench.stage(["broken-event"], ["well"]) as stage:
        answered(await stage.ask())
        assert not bench.stream or not await stage.fallback.tries()
    async with bench.stage(["broken-word"], ["well"]) as lossy:
        told = await lossy.ask()
        assert told.error is None
        assert told.finish == "stop"
        assert "BROK" not in told.text
        assert told.text.split() in (ANSWER.split(), ANSWER.replace(" w10 ", " ").split())
    async with bench.stage(["broken-event"]) as alone:
        told = await alone.ask()
        answered(told) if bench.stream else answered_or_told(told)


@row(within=8.0)
async def test_s11_complete_but_without_done(bench: Bench) -> None:
    """Finished within 8 s, usage reported."""
    faults: list[Fault] = ["unterminated", "lingers"]
    for fault in faults:
        async with bench.stage([fault], ["well"]) as stage:
            told = await stage.ask()
            answered_by(told, "primary")
            assert told.usage is not None
            assert (told.usage.prompt_tokens, told.usage.completion_tokens) == (7, 60)
            assert [each.outcome for each in await stage.primary.free()] in (["done"], ["left"])
            assert not await stage.fallback.tries()


@row(within=5.0)
async def test_s12_context_length_exceeded(bench: Bench) -> None:
    """One try; a larger window if the route has one; else that error."""
    small, large = "{target: primary/model-a, context: 8k}", "{target: fallback/model-b, context: 128k}"
    same = "{target: fallback/model-b, context: 8k}"
    async with bench.stage(["too-long"], ["well"], targets=[small, large]) as stage:
        answered_by(await stage.ask(), "fallback")
        assert len(await stage.primary.tries()) == 1
    async with bench.stage(["too-long"], ["well"], targets=[small, same]) as no_larger:
        too_long(await no_larger.ask())
        assert len(await tried(no_larger)) == 1
    async with bench.stage(["too-long"]) as alone:
        too_long(await alone.ask())
        assert len(await alone.primary.tries()) == 1
    async with bench.stage(["too-long"], ["too-long"]) as both:
        too_long(await both.ask())
        assert len(await both.primary.tries()) == 1


def too_long(told: Told) -> None:
    assert told.status == 400
    assert told.error is not None
    assert told.error.code == "context_length_exceeded"
    assert WHY["too-long"] in told.why
    assert told.headers["x-should-retry"] == "false"


@row(within=5.0)
async def test_s13_content_policy_violation(bench: Bench) -> None:
    """One try; the provider's reason reaches the caller."""
    async with bench.stage(["against-policy"], ["well"]) as stage:
        told = await stage.ask()
        assert told.status == 400
        assert told.error is not None
        assert told.error.code == FAMILIES[bench.family].policy_code
        assert WHY["against-policy"] in told.why
        assert len(await tried(stage)) == 1
        assert await stage.metric("trunkline_attempts_total", outcome="refused") == 1


@row(within=10.0)
async def test_s14_dies_after_40_tokens_and_the_fallback_rejects_prefill(bench: Bench) -> None:
    """Restarted or gone on with cleanly; the caller never sees the prefill error."""
    fallbacks: list[Fault] = ["no-prefill", "no-prefill-repeats"]
    for fallback in fallbacks:
        async with bench.stage(["dies-after-40"], [fallback]) as stage:
            answered(await stage.ask())
            refused = [each for each in await stage.fallback.tries() if each.asked.prefilled]
            assert len(refused) <= 1


OUTAGE, EVERY, BACK_WITHIN = 60.0, 4.0, 30.0


@row(within=5.0, pace=5.0)
async def test_s15_503_for_60_s_then_healthy(bench: Bench) -> None:
    """A request every 4 s: served by the fallback meanwhile; back on the primary within 30 s of its recovery.

    Nothing here takes time but the clock, which runs ten times as fast; on the wall's in loadtests/failover.py.
    """
    clock = asyncio.get_running_loop().time
    async with bench.stage(["503"], ["well"]) as stage:
        began, recovered, back = clock(), False, 0
        while back < 3:
            passed = clock() - began
            if passed >= OUTAGE and not recovered:
                await stage.primary.play("well")
                recovered = True
            told = await stage.ask()
            answered(told)
            on_primary = told.headers["x-trunkline-target"].startswith("primary/")
            assert recovered or not on_primary
            assert on_primary or not back, "it left the primary again"
            assert on_primary or passed < OUTAGE + BACK_WITHIN, "it was not back in time"
            back += on_primary
            await _until(began + EVERY * (int(passed / EVERY) + 1))
        during = [each for each in await stage.primary.tries() if each.at < began + OUTAGE]
        assert len(during) < OUTAGE / EVERY, "a target that fails always was tried by every request"


async def _until(when: float) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, when - loop.time()))


@row(within=10.0)
async def test_s16_503_always_and_who_is_named_and_billed(bench: Bench) -> None:
    """The answer names the fallback's model and its usage; the failed attempt is not billed as a completion."""
    async with bench.stage(["503"], ["well"]) as stage:
        told = await stage.ask()
        answered_by(told, "fallback")
        assert told.model is not None
        assert told.model.rsplit("/")[-1] == "model-b"
        assert told.usage is not None
        assert (told.usage.prompt_tokens, told.usage.completion_tokens) == (7, 60)
        attempts, tokens = "trunkline_attempts_total", "gen_ai_client_token_usage_sum"
        assert await stage.metric(attempts, target="primary/model-a", outcome="ok") == 0
        failed = await stage.metric(attempts, target="primary/model-a", outcome="unavailable")
        assert failed == len(await stage.primary.tries())
        assert await stage.metric(attempts, target="fallback/model-b", outcome="ok") == 1
        assert await stage.metric(tokens, gen_ai_provider_name="primary") == 0
        assert await stage.metric(tokens, gen_ai_provider_name="fallback", gen_ai_token_type="output") == 60
