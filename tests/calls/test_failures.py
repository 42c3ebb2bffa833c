"""What fails, and what goes on all the same."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gateway.calls.leg import CallRules
from gateway.calls.registry import CallsFull, Registry
from gateway.calls.transport import MIC_RATE
from gateway.contract.audio import Audio
from gateway.contract.errors import BadRequest, Unavailable
from tests.calls.scene import Ear, Mind, Scene, Stage, Voice, loudness_vad
from tests.virtual_time import virtual

DEAD = Unavailable("refused", "mind", 503)
THREE = "The first sentence is here. The second sentence follows it. The third sentence is last."


@virtual
async def test_an_llm_that_fails_leaves_the_call_alive_for_the_next_turn() -> None:
    async with Scene(["one", "two"], [[DEAD], "Here again."]) as scene:
        await scene.speak(0.6)
        response = (await scene.until("response.done"))["response"]
        assert (response["status"], response["output"]) == ("failed", [])
        assert scene.of("error")[0]["error"]["code"] == "llm_failed"
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.stopped")
        assert await scene.history() == [("user", "one two"), ("assistant", "Here again.")]


@virtual
async def test_the_second_target_answers_and_the_client_is_told_which() -> None:
    spare = Mind(["From the spare."])
    async with Scene(["one"], [[DEAD]], spare=[spare]) as scene:
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.stopped")
        assert scene.of("error") == []
        rerouted = scene.told("rerouted")[0]
        assert (rerouted["stage"], rerouted["target"]) == ("llm", "spare0/two")
        assert "mind/one" in rerouted["reason"]
        assert scene.told("turn")[-1]["turn"]["targets"]["llm"] == "spare0/two"


@virtual
async def test_an_llm_cut_off_in_mid_answer_is_heard_up_to_its_last_whole_clause() -> None:
    async with Scene(["one"], [["The first sentence is here. The second sent", DEAD]]) as scene:
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.stopped")
        assert scene.of("response.done")[0]["response"]["status"] == "failed"
        assert await scene.history() == [("user", "one"), ("assistant", "The first sentence is here.")]


@virtual
async def test_a_voice_that_dies_is_replaced_in_mid_answer_and_nothing_is_left_out() -> None:
    spare = Voice()
    async with Scene(["one"], [THREE], Voice(fails_at=[1, 2]), spare=[spare]) as scene:
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.stopped")
        assert scene.voice.said[0] == "The first sentence is here."
        rerouted = scene.told("rerouted")
        assert {told["stage"] for told in rerouted} == {"tts"}
        assert "the voice died" in rerouted[0]["reason"]
        assert scene.of("response.done")[0]["response"]["status"] == "completed"
        assert (await scene.history())[-1] == ("assistant", THREE)
        assert "The third sentence is last." in scene.voice.said + spare.said


@virtual
async def test_an_answer_that_nobody_can_speak_fails_and_is_not_remembered() -> None:
    dumb = Voice()
    dumb.error = Unavailable("no voice", "voice")
    async with Scene(["one", "two"], [THREE, "Again."], dumb) as scene:
        await scene.speak(0.6)
        assert (await scene.until("response.done"))["response"]["status"] == "failed"
        assert scene.of("error")[0]["error"]["code"] == "tts_failed"
        assert scene.mind.open == 0
        dumb.error = None
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.stopped")
        assert await scene.history() == [("user", "one two"), ("assistant", "Again.")]


@virtual
async def test_a_voice_that_keeps_dying_is_left_and_what_was_heard_stays() -> None:
    async with Scene(["one"], [THREE], Voice(fails_at=range(1, 100))) as scene:
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.stopped")
        assert scene.of("response.done")[0]["response"]["status"] == "failed"
        assert scene.voice.opened == 4
        said = (await scene.history())[-1][1]
        assert said.startswith("The first sentence is here.")
        assert "third" not in said


@virtual
async def test_an_stt_that_fails_is_opened_again_and_hears_the_turn_again() -> None:
    async with Scene(Ear([DEAD, "here i am"]), ["Hello."]) as scene:
        await scene.speak(1.0)
        await scene.until("output_audio_buffer.stopped")
        assert scene.ear.opened == 2
        assert scene.ear.heard[0] > 1.0, "all of the speech, a second time"
        assert await scene.history() == [("user", "here i am"), ("assistant", "Hello.")]


@virtual
async def test_a_turn_that_no_stt_can_hear_is_lost_and_the_next_is_not() -> None:
    async with Scene(Ear([DEAD, DEAD, "second"]), ["Hello."]) as scene:
        await scene.speak(1.0)
        await scene.until("conversation.item.input_audio_transcription.failed")
        assert scene.of("error")[0]["error"]["code"] == "stt_failed"
        await scene.quiet(1.0)
        await scene.speak(1.0)
        await scene.until("output_audio_buffer.stopped")
        assert await scene.history() == [("user", "second"), ("assistant", "Hello.")]


@virtual
async def test_an_stt_that_never_answers_is_left_by_the_routes_deadline() -> None:
    slow = Ear(["never said"], delay=3600.0)
    async with Scene(slow, ["Hello."]) as scene:
        await scene.speak(1.0)
        await scene.until("conversation.item.input_audio_transcription.failed", within=30.0)


@virtual
async def test_hanging_up_closes_every_stream_within_a_second() -> None:
    for leave in ("client", "peer", "registry"):
        async with Scene(["tell me"], [THREE]) as scene:
            scene.mind.word = 1.0
            await scene.speak(0.6)
            await scene.until("output_audio_buffer.started")
            assert (scene.ear.open, scene.mind.open, scene.voice.open) == (1, 1, 1)
            left = scene.now
            match leave:
                case "client":
                    scene.ours(type="hangup")
                case "peer":
                    scene.stage.leave("peer_gone")
                case _:
                    await scene.registry.end(scene.call.id)
            await asyncio.sleep(0.5)
            assert (scene.ear.open, scene.mind.open, scene.voice.open) == (0, 0, 0)
            assert scene.stage.closed
            assert scene.told("ended") == [{"type": "ended", "reason": "peer_gone" if leave == "peer" else "hangup"}]
            assert scene.when("ended") - left < 1.0
            assert len(scene.registry) == 0


@virtual
async def test_a_call_nobody_speaks_in_ends_and_says_why() -> None:
    async with Scene([], [], rules=CallRules(idle=30.0)) as scene:
        await scene.quiet(40.0)
        assert scene.told("ended") == [{"type": "ended", "reason": "idle"}]
        assert scene.when("ended") == pytest.approx(30.0, abs=4.0)


@virtual
async def test_a_call_ends_at_its_longest() -> None:
    async with Scene([], [], rules=CallRules(longest=20.0)) as scene:
        await scene.quiet(21.0)
        assert scene.of("error")[0]["error"]["code"] == "session_expired"
        assert scene.told("ended")[0]["reason"] == "expired"


def broken(frame: bytes) -> float:
    raise RuntimeError("the caller's words")


@virtual
async def test_a_crash_ends_only_its_call_and_logs_no_words(caplog: pytest.LogCaptureFixture) -> None:
    async with Scene(["fine"], ["Fine."]) as scene:
        other = Stage()
        crashing = Registry(scene.engine, lambda: broken)
        crashing.start(scene.route, None, other)
        other.mic.put(Audio.silence(0.1, MIC_RATE))
        await scene.speak(0.6)
        assert (await scene.until("response.done"))["response"]["status"] == "completed"
        assert other.closed
        assert [event["reason"] for _, _, event in other.sent if event["type"] == "ended"] == ["error"]
        assert len(crashing) == 0
    assert "RuntimeError" in caplog.text
    assert "words" not in caplog.text


@virtual
async def test_a_fault_while_speaking_ends_the_call_and_spares_the_ticker() -> None:
    async with Scene(["tell me"], [THREE]) as scene:

        def breaks() -> None:
            raise RuntimeError("bug")

        await scene.speak(0.6)
        await scene.until("response.created")
        (track,) = scene.call.line.playout._tracks
        track.listener.sounding = breaks  # type: ignore[method-assign]
        await scene.quiet(1.0)
        assert scene.told("ended") == [{"type": "ended", "reason": "error"}]


@virtual
async def test_no_more_calls_than_allowed() -> None:
    async with Scene([], []) as scene:
        registry = Registry(scene.engine, lambda: loudness_vad, most=1)
        call = registry.start(scene.route, None, Stage())
        assert call.id.startswith("rtc_")
        assert len(call.id) > 20
        with pytest.raises(CallsFull):
            registry.start(scene.route, None, Stage())
        assert await registry.end(call.id)
        assert not await registry.end(call.id)
        registry.start(scene.route, None, Stage())
        await registry.aclose()
        with pytest.raises(CallsFull):
            registry.start(scene.route, None, Stage())


@virtual
async def test_a_wrong_session_in_the_offer_names_its_field() -> None:
    async with Scene([], []) as scene:
        with pytest.raises(BadRequest) as caught:
            scene.registry.start(scene.route, {"instructions": 7}, Stage())
        assert caught.value.param == "session.instructions"


@virtual
async def test_nothing_that_was_said_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with Scene(["my secret wish"], [["Your secret plan", DEAD]], instructions="secret rules") as scene:
        await scene.speak(0.6)
        await scene.until("response.done")
    assert caplog.records
    assert "secret" not in caplog.text


@virtual
async def test_an_ear_that_fails_every_turn_is_left_for_the_next_though_it_comes_first() -> None:
    deaf = Ear([Unavailable("never understood", "ear")] * 20)
    async with Scene(deaf, ["Hi."], spare=[Ear(["hello"])]) as scene:
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        assert await scene.history() == [("user", "hello"), ("assistant", "Hi.")]
        assert deaf.opened == 1
