"""When a call changes its mode for what it costs, or for the caller's language; and what it tells of a key's limits."""

from __future__ import annotations

import pytest

from gateway.access.grant import Clocks, Grant, pay, unpay
from gateway.access.key import Key, Limits
from gateway.access.meter import Meter
from gateway.routing.route import Switch
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.prices import Price
from tests.calls.scene import Ear, Scene, Talker
from tests.virtual_time import virtual

PRICE = Price(input=0.01, output=0.01)
"""A scripted answer takes 5 tokens of each: 10 cents."""


async def turn(scene: Scene) -> None:
    await scene.speak(0.5)
    await scene.until("output_audio_buffer.stopped")


@virtual
async def test_a_session_that_has_cost_what_it_may_is_left_for_good() -> None:
    talker = Talker(["hello"], ["Live."])
    ledger = Ledger({"talker/one": PRICE})
    switch = Switch(usd=0.1, back_after=1.0)
    async with Scene(
        ["and now", "still"], ["Cheap.", "Yes."], s2s=talker, start="omni", switch=switch, ledger=ledger
    ) as scene:
        await turn(scene)
        await scene.quiet(1.0)
        [moved] = scene.told("mode")
        assert (moved["mode"], moved["reason"]) == (
            "cascaded",
            "omni has cost $0.10, of the $0.1 that it may in a call",
        )
        await scene.quiet(10.0)
        await turn(scene)
        assert len(scene.told("mode")) == 1
        assert await scene.history() == [
            ("user", "hello"),
            ("assistant", "Live."),
            ("user", "and now"),
            ("assistant", "Cheap."),
        ]


@virtual
async def test_a_session_that_may_cost_more_goes_on() -> None:
    switch, ledger = Switch(usd=0.11), Ledger({"talker/one": PRICE})
    async with Scene(s2s=Talker(["hello"], ["Live."]), start="omni", switch=switch, ledger=ledger) as scene:
        await turn(scene)
        await scene.quiet(2.0)
        assert scene.told("mode") == []


@virtual
async def test_what_nobody_has_a_price_for_is_not_left_for_its_cost() -> None:
    async with Scene(
        s2s=Talker(["hello"], ["Live."]), start="omni", switch=Switch(usd=0.01), ledger=Ledger({})
    ) as scene:
        await turn(scene)
        await scene.quiet(2.0)
        assert scene.told("mode") == []


def bilingual(languages: list[str]) -> Ear:
    ear = Ear(["good morning to all of you", "how are you doing today"])
    ear.languages = languages
    return ear


SPOKEN = {"voice": ("en",), "talker": ("en", "hi")}


@virtual
async def test_a_language_that_only_the_other_mode_speaks_is_answered_by_it_and_the_call_stays_there() -> None:
    talker, switch = Talker(["aur batao"], ["Live."]), Switch(language=True, back_after=1.0)
    async with Scene(bilingual(["hi"]), ["One."], s2s=talker, languages=SPOKEN, switch=switch) as scene:
        await turn(scene)
        await scene.quiet(1.0)
        [moved] = scene.told("mode")
        assert (moved["mode"], moved["reason"]) == ("omni", "cascaded does not speak hi")
        await scene.quiet(10.0)
        await turn(scene)
        assert len(scene.told("mode")) == 1
        assert (await scene.history())[-1] == ("assistant", "Live.")


@pytest.mark.parametrize(
    ("heard", "spoken", "switch"),
    [
        ("en", SPOKEN, Switch(language=True)),
        ("fr", SPOKEN, Switch(language=True)),  # nobody's
        ("hi", SPOKEN, Switch()),
        ("hi", {}, Switch(language=True)),  # nobody declares anything
    ],
)
@virtual
async def test_else_the_call_stays_as_it_is(heard: str, spoken: dict[str, tuple[str, ...]], switch: Switch) -> None:
    async with Scene(bilingual([heard]), ["One."], s2s=Talker(), languages=spoken, switch=switch) as scene:
        await turn(scene)
        await scene.quiet(1.0)
        assert scene.told("mode") == []


@virtual
async def test_what_is_left_of_the_key_s_limits_is_told_after_each_answer() -> None:
    limits = Limits(requests=10, tokens=1000)
    key, meter, clocks = Key("k1", "test", b"", 0.0, limits=limits), Meter(), Clocks(lambda: 1.0, lambda: 1.0)
    meter.take(limits, 1.0, 1.0)
    paying = pay(Grant(key, meter, clocks))
    try:
        async with Scene(["hello"], ["Hi."]) as scene:
            await turn(scene)
            [told] = scene.of("rate_limits.updated")
    finally:
        unpay(paying)
    names = scene.types
    assert names.index("rate_limits.updated") == names.index("response.done") + 1
    assert [(each["name"], each["limit"], each["remaining"]) for each in told["rate_limits"]] == [
        ("requests", 10, 9),
        ("tokens", 1000, 1000),
    ]


@virtual
async def test_without_limits_none_are_told() -> None:
    async with Scene(["hello"], ["Hi."]) as scene:
        await turn(scene)
        assert scene.of("rate_limits.updated") == []
