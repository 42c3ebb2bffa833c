"""A session whose `model` names another route goes on with that: mode, instructions, voice. In virtual time."""

from __future__ import annotations

from gateway.contract.errors import Unavailable
from gateway.contract.requests import ConverseRequest
from gateway.routing.route import CallRoute
from tests.calls.scene import Scene, Talker
from tests.virtual_time import virtual

PIRATE = CallRoute("pirate", "listen", "chat", "say", "Speak as a pirate.", voice="hook")
LIVE = CallRoute("live", "listen", "chat", "say", "Be live.", s2s="talk", start="omni")


@virtual
async def test_another_route_goes_on_with_the_call_and_knows_what_was_said() -> None:
    async with Scene(["hello", "again"], ["Hi.", "Arr."], others=[PIRATE]) as scene:
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        scene.say(type="session.update", session={"type": "realtime", "model": "pirate"})
        await scene.quiet(0.5)
        [moved] = scene.told("mode")
        assert (moved["route"], moved["before"], moved["mode"]) == ("pirate", "cascaded", "cascaded")
        session = scene.of("session.updated")[-1]["session"]
        assert (session["model"], session["instructions"]) == ("pirate", "Speak as a pirate.")
        assert session["audio"]["output"]["voice"] == "hook"
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        asked = scene.mind.asked[-1].messages
        assert [message.text for message in asked] == ["Speak as a pirate.", "hello", "Hi.", "again"]
        assert scene.voice.voices[-1] == "hook"
        assert await scene.history() == [
            ("user", "hello"),
            ("assistant", "Hi."),
            ("user", "again"),
            ("assistant", "Arr."),
        ]


@virtual
async def test_what_the_client_said_of_its_session_stays() -> None:
    session = {"instructions": "Be a parrot.", "audio": {"output": {"voice": "polly"}}}
    async with Scene(session=session, others=[PIRATE]) as scene:
        scene.say(type="session.update", session={"type": "realtime", "model": "pirate"})
        await scene.quiet(0.5)
        assert scene.told("mode")[0]["route"] == "pirate"
        told = scene.of("session.updated")[-1]["session"]
        assert (told["instructions"], told["audio"]["output"]["voice"]) == ("Be a parrot.", "polly")


@virtual
async def test_a_model_that_names_no_route_is_echoed_and_changes_nothing() -> None:
    async with Scene(others=[PIRATE]) as scene:
        scene.say(type="session.update", session={"type": "realtime", "model": "gpt-realtime-2.1"})
        await scene.quiet(0.5)
        assert scene.of("session.updated")[-1]["session"]["model"] == "gpt-realtime-2.1"
        assert scene.told("mode") == []


@virtual
async def test_a_route_that_begins_in_the_other_mode_does_so() -> None:
    talker = Talker(["and now"], ["Live."])
    async with Scene(["hello"], ["Hi."], s2s=talker, others=[LIVE]) as scene:
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        scene.say(type="session.update", session={"type": "realtime", "model": "live"})
        await scene.quiet(0.5)
        assert (scene.told("mode")[0]["mode"], scene.told("mode")[0]["route"]) == ("omni", "live")
        assert talker.asked[0].instructions == "Be brief."  # it was opened while the old route still served
        assert [item.instructions for item in talker.told if isinstance(item, ConverseRequest)][-1] == "Be live."


@virtual
async def test_a_route_that_does_not_open_leaves_the_call_where_it_was() -> None:
    talker = Talker()
    talker.opens = Unavailable("no session", "talker")
    async with Scene(["hello"], ["Hi."], s2s=talker, others=[LIVE]) as scene:
        scene.say(type="session.update", session={"type": "realtime", "model": "live"})
        await scene.quiet(0.5)
        assert scene.told("mode_kept")[0]["wished"] == "omni"
        assert scene.call.line.route.name == "agent"
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        assert scene.mind.asked[0].messages[0].text == "Be brief."
