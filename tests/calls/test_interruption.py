"""Speaking over an answer, or before it: what stops, what stays, what goes on."""

from __future__ import annotations

import pytest

from tests.calls.scene import FAINT, Scene, Voice
from tests.virtual_time import virtual

LONG = "The first sentence is here. The second sentence follows it. The third sentence comes last of all."


@virtual
async def test_speech_over_the_answer_stops_it_within_400_ms_and_history_keeps_what_was_heard() -> None:
    async with Scene(["tell me", "stop"], [LONG, "Fine."]) as scene:
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.started")
        await scene.quiet(2.5)
        began = scene.now
        await scene.speak(0.6)
        assert scene.silent_from(began) - began < 0.25
        interrupted = scene.told("interrupted")[0]
        assert interrupted["estimated"]
        assert LONG.startswith(interrupted["heard"])
        # 2.5 s and the moment it took, at 0.06 s a character, less the client's delay.
        assert len(interrupted["heard"]) == pytest.approx((2.5 + 0.16 - 0.06) / 0.06, abs=8)
        await scene.until("response.done")
        assert await scene.history() == [
            ("user", "tell me"),
            ("assistant", interrupted["heard"]),
            ("user", "stop"),
            ("assistant", "Fine."),
        ]
        assert scene.mind.asked[1].messages[2].text == interrupted["heard"]


@virtual
async def test_an_interruption_tells_its_events_in_order() -> None:
    async with Scene(["tell me", "stop"], [LONG, "Fine."]) as scene:
        scene.mind.word = 0.3  # still writing when it is interrupted
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.started")
        await scene.quiet(0.5)
        seen = len(scene.types)
        await scene.speak(0.4)
        told = [kind for kind in scene.types[seen:] if not kind.endswith("delta")]
        assert told[:9] == [
            "input_audio_buffer.speech_started",
            "output_audio_buffer.cleared",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
            "conversation.item.truncated",
        ]
        response = scene.of("response.done")[0]["response"]
        assert (response["status"], response["status_details"]["reason"]) == ("cancelled", "turn_detected")
        assert response["output"][0]["status"] == "incomplete"
        assert scene.of("conversation.item.truncated")[0]["audio_end_ms"] == pytest.approx(600, abs=100)
        assert scene.told("turn")[1]["turn"]["done"]


@virtual
async def test_an_interruption_closes_the_models_at_once() -> None:
    async with Scene(["tell me", "stop"], [LONG, "Fine."]) as scene:
        scene.mind.word = 1.0
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.started")
        assert (scene.mind.open, scene.voice.open) == (1, 1)
        await scene.speak(0.3)
        assert (scene.mind.open, scene.voice.open) == (0, 0)


@virtual
async def test_an_interruption_after_the_answer_was_made_still_cuts_it() -> None:
    async with Scene(["tell me", "stop"], [LONG, "Fine."], Voice(delay=0.0)) as scene:
        await scene.speak(0.6)
        await scene.until("response.done")
        await scene.quiet(1.0)
        await scene.speak(0.4)
        assert len(scene.of("response.done")) == 1, "it was completed and stays so"
        assert len(scene.of("output_audio_buffer.cleared")) == 1
        assert scene.of("output_audio_buffer.stopped") == []
        assert (await scene.history())[1][1] == scene.told("interrupted")[0]["heard"]


@virtual
async def test_with_word_times_the_cut_is_exact() -> None:
    async with Scene(["tell me", "stop"], [LONG, "Fine."], Voice(timed=True)) as scene:
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.started")
        sounding = scene.when("output_audio_buffer.started")
        await scene.quiet(1.0)
        await scene.speak(0.4)
        interrupted = scene.told("interrupted")[0]
        stopped = scene.when("interrupted")
        heard_characters = (stopped - sounding - 0.06) / 0.06
        ended = [at for at in range(1, len(LONG)) if LONG[at] == " " and at <= heard_characters]
        assert not interrupted["estimated"]
        assert interrupted["heard"] == LONG[: ended[-1]]


@virtual
async def test_a_client_that_plays_later_has_heard_less() -> None:
    async with Scene(["tell me", "stop"], [LONG, "Fine."], Voice(timed=True)) as scene:
        scene.ours(type="playout_delay", seconds=0.5)
        scene.stage.round_trip = 0.2
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.started")
        sounding = scene.when("output_audio_buffer.started")
        await scene.quiet(2.0)
        await scene.speak(0.4)
        heard = scene.of("conversation.item.truncated")[0]["audio_end_ms"] / 1000
        assert heard == pytest.approx(scene.when("interrupted") - sounding - 0.6, abs=0.025)


@pytest.mark.parametrize(("seconds", "amplitude"), [(0.12, 4000), (0.6, FAINT)])
def test_a_cough_or_a_faint_voice_over_the_answer_does_nothing(seconds: float, amplitude: int) -> None:
    @virtual
    async def check() -> None:
        async with Scene(["tell me"], [LONG]) as scene:
            await scene.speak(0.6)
            await scene.until("output_audio_buffer.started")
            await scene.quiet(1.0)
            seen = len(scene.types)
            await scene.speak(seconds, amplitude)
            assert scene.sounding
            await scene.until("output_audio_buffer.stopped")
            assert [kind for kind in scene.types[seen:] if "input_audio_buffer" in kind or "cleared" in kind] == []
            assert (await scene.history())[-1] == ("assistant", LONG)

    check()


@virtual
async def test_speech_while_the_answer_is_thought_of_takes_the_turn_back() -> None:
    async with Scene(["book a table", "for two"], ["For how many?", "A table for two."]) as scene:
        scene.mind.delay = 2.0
        await scene.speak(0.8)
        await scene.until("response.created")
        await scene.quiet(0.2)
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.stopped")
        assert [message.text for message in scene.mind.asked[1].messages] == ["Be brief.", "book a table for two"]
        first, second = (event["response"] for event in scene.of("response.done"))
        assert (first["status"], first["output"]) == ("cancelled", [])
        assert second["status"] == "completed"
        assert await scene.history() == [("user", "book a table for two"), ("assistant", "A table for two.")]
        assert scene.of("output_audio_buffer.cleared") == [], "nothing of it was to be heard yet"


@virtual
async def test_a_noise_while_the_answer_is_thought_of_only_delays_it() -> None:
    async with Scene(["what is two and two", ""], ["Four.", "Four."]) as scene:
        scene.mind.delay = 1.0
        await scene.speak(0.8)
        await scene.until("response.created")
        await scene.quiet(0.2)
        await scene.speak(0.3)
        await scene.until("output_audio_buffer.stopped")
        assert await scene.history() == [("user", "what is two and two"), ("assistant", "Four.")]


@virtual
async def test_going_on_before_the_transcript_is_there_is_one_question() -> None:
    async with Scene(["book a table", "for two"], ["A table for two."]) as scene:
        scene.ear.delay = 1.0
        await scene.speak(0.8)
        await scene.until("input_audio_buffer.committed")
        await scene.speak(0.6)
        await scene.until("response.done")
        assert len(scene.mind.asked) == 1
        assert scene.mind.asked[0].messages[-1].text == "book a table for two"


@virtual
async def test_an_answer_of_which_nothing_was_heard_is_not_remembered() -> None:
    async with Scene(["tell me", "wait", "go on"], [LONG, LONG, "Yes."]) as scene:
        scene.mind.word = 0.2
        await scene.speak(0.6)
        await scene.until("response.output_audio_transcript.delta")
        await scene.speak(0.6)
        await scene.until("response.created")
        assert [message.text for message in scene.mind.asked[1].messages[1:]] == ["tell me wait"]
        item = scene.of("response.done")[0]["response"]["output"][0]["id"]
        scene.say(type="conversation.item.retrieve", item_id=item)
        retrieved = await scene.until("conversation.item.retrieved")
        assert retrieved["item"]["content"] == [{"type": "output_audio", "transcript": ""}]


@virtual
async def test_the_client_can_stop_the_answer_too() -> None:
    for event in ("response.cancel", "output_audio_buffer.clear"):
        async with Scene(["tell me"], [LONG]) as scene:
            await scene.speak(0.6)
            await scene.until("output_audio_buffer.started")
            await scene.quiet(1.0)
            scene.say(type=event)
            await scene.quiet(0.06)
            assert not scene.sounding
            assert (await scene.history())[-1][1] != LONG
            assert len(scene.of("output_audio_buffer.cleared")) == 1


@virtual
async def test_the_client_may_say_that_it_played_less() -> None:
    async with Scene(["tell me", "stop"], [LONG, "Fine."], Voice(timed=True)) as scene:
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.started")
        await scene.quiet(2.5)
        await scene.speak(0.4)
        item = scene.of("conversation.item.truncated")[0]["item_id"]
        scene.say(type="conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=1000)
        await scene.quiet(0.02)
        assert scene.of("conversation.item.truncated")[1]["audio_end_ms"] == 1000
        assert (await scene.history())[1] == ("assistant", LONG[:9])


@virtual
async def test_without_interrupt_response_the_answer_plays_on_and_the_next_follows() -> None:
    detection = {"type": "semantic_vad", "interrupt_response": False}
    session = {"audio": {"input": {"turn_detection": detection}}}
    async with Scene(["tell me", "and then"], [LONG, "The end."], session=session) as scene:
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.started")
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        await scene.until("output_audio_buffer.stopped")
        assert await scene.history() == [
            ("user", "tell me"),
            ("assistant", LONG),
            ("user", "and then"),
            ("assistant", "The end."),
        ]
        assert scene.of("output_audio_buffer.cleared") == []


@virtual
async def test_two_answers_playing_one_after_the_other_are_both_cut() -> None:
    async with Scene(["tell me", "stop"], [LONG, LONG, "Fine."], Voice(delay=0.0)) as scene:
        await scene.speak(0.6)
        await scene.until("response.done")
        content = [{"type": "input_text", "text": "more"}]
        scene.say(type="conversation.item.create", item={"type": "message", "role": "user", "content": content})
        scene.say(type="response.create")
        await scene.until("response.done")
        await scene.speak(0.4)
        asked, first, *rest = await scene.history()
        assert asked == ("user", "tell me")
        assert LONG.startswith(first[1])
        assert len(first[1]) < len(LONG)
        assert rest == [("user", "more")], "nothing of the second was heard"
        assert len(scene.of("output_audio_buffer.started")) == 1
