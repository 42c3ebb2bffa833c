"""A caller whom nobody can answer is told so, by a line that was made before; and a mode that may last so long. In virtual time."""

from __future__ import annotations

from typing import Any

from gateway.contract.errors import Unavailable
from gateway.routing.route import Switch
from tests.calls.scene import Mind, Scene, Talker, Voice
from tests.virtual_time import virtual

SORRY = "Sorry, one moment please."


def dead(provider: str = "mind") -> Unavailable:
    return Unavailable("down", provider)


async def until_sorry(scene: Scene) -> float:
    """Silent until the line is heard; seconds since what failed last was told."""
    for _ in range(500):
        await scene.quiet(0.02)
        said = [done["response"] for done in scene.of("response.done")]
        sorry = [each["id"] for each in said if words(each) == SORRY]
        heard = [event["response_id"] for event in scene.of("output_audio_buffer.started")]
        if sorry and sorry[-1] in heard:
            return scene.now - scene.when("error", -1)
    raise AssertionError("nobody said it")


def words(response: dict[str, Any]) -> str:
    return response["output"][0]["content"][0]["transcript"] if response["output"] else ""


@virtual
async def test_a_caller_whom_no_mode_can_answer_hears_a_line_within_two_seconds_that_is_not_kept() -> None:
    talker, voice = Talker(["hello"], [dead("talker")]), Voice()
    async with Scene([dead("ear")] * 9, s2s=talker, tts=voice, start="omni", apology=SORRY) as scene:
        await scene.quiet(2.0)  # the line is made meanwhile
        assert voice.said == [SORRY]
        voice.error = dead("voice")
        talker.opens = dead("talker")
        await scene.speak(0.5)
        assert await until_sorry(scene) < 2.0
        assert all(SORRY not in text for _, text in await scene.history())
        assert voice.said == [SORRY]


@virtual
async def test_the_answer_follows_once_somebody_can() -> None:
    talker = Talker(["hello"], [dead("talker"), "Here I am."])
    async with Scene(["never"], s2s=talker, start="omni", switch=Switch(on_failure=False), apology=SORRY) as scene:
        await scene.quiet(2.0)
        talker.opens = dead("talker")
        await scene.speak(0.5)
        assert await until_sorry(scene) < 2.0
        talker.opens = 0.05
        while not (await scene.history())[-1][1].endswith("Here I am."):
            await scene.quiet(0.2)
        assert all(SORRY not in text for _, text in await scene.history())


@virtual
async def test_a_leg_that_takes_long_to_open_does_not_leave_the_caller_without_a_word() -> None:
    talker = Talker(["hello"], [dead("talker")])
    async with Scene(["never"], s2s=talker, start="omni", switch=Switch(on_failure=False), apology=SORRY) as scene:
        await scene.quiet(2.0)
        talker.opens = 6.0
        await scene.speak(0.5)
        assert await until_sorry(scene) < 2.0


@virtual
async def test_a_cascade_alone_says_it_too_and_not_again_and_again() -> None:
    mind = Mind([[dead()], [dead()], "Well."])
    async with Scene(["one", "two", "three"], mind, apology=SORRY) as scene:
        await scene.quiet(2.0)
        for _ in range(2):
            await scene.speak(0.5)
            await scene.until("response.done")
            await scene.quiet(2.5)
        assert [words(done["response"]) for done in scene.of("response.done")].count(SORRY) == 1
        assert await scene.history() == [("user", "one two")]


@virtual
async def test_without_a_line_there_is_silence() -> None:
    async with Scene(["one"], Mind([[dead()]])) as scene:
        await scene.speak(0.5)
        await scene.until("response.done")
        await scene.quiet(3.0)
        assert scene.of("output_audio_buffer.started") == []


@virtual
async def test_a_mode_that_may_last_so_long_is_left_for_good() -> None:
    talker = Talker(["hello"], ["Live."])
    async with Scene(["and now"], ["Cheap."], s2s=talker, start="omni", switch=Switch(minutes=0.05)) as scene:
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        await scene.quiet(3.0)
        [moved] = scene.told("mode")
        assert (moved["mode"], moved["reason"]) == ("cascaded", "omni for 0.05 minutes, and no longer")
        await scene.quiet(40.0)
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        assert len(scene.told("mode")) == 1
        assert await scene.history() == [
            ("user", "hello"),
            ("assistant", "Live."),
            ("user", "and now"),
            ("assistant", "Cheap."),
        ]
