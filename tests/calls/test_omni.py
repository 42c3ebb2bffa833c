"""A call that a speech-to-speech session answers, and the change between it and the cascade. In virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator

from gateway.calls.transport import PLAYOUT_RATE
from gateway.contract.audio import Audio
from gateway.contract.errors import Unavailable
from gateway.contract.events import (
    Answered,
    AudioDelta,
    Events,
    Ready,
    SpeechEnded,
    SpeechStarted,
    TextDelta,
    Transcript,
)
from gateway.contract.requests import Cancel, ConverseRequest, Input, Respond, Truncate
from gateway.routing.route import Switch
from tests.calls.scene import Scene, Talker, tone
from tests.virtual_time import virtual

SAID = "Good morning, what can I do for you today?"


@virtual
async def test_a_turn_is_heard_answered_and_kept() -> None:
    async with Scene(s2s=Talker(["hello there"], [SAID]), start="omni") as scene:
        await scene.speak(1.0)
        await scene.until("output_audio_buffer.stopped")
        assert [kind for kind in scene.types if "delta" not in kind] == [
            "session.created",
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "conversation.item.input_audio_transcription.completed",
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
            "output_audio_buffer.started",
            "output_audio_buffer.stopped",
        ]
        assert await scene.history() == [("user", "hello there"), ("assistant", SAID)]
        turn = scene.told("turn")[-1]["turn"]
        assert turn["targets"] == {"s2s": "talker/one"}
        assert 0.45 < turn["e2e_latency"] < 0.65  # 0.3 s until the turn is over, 0.2 s until the answer
        assert scene.told("call")[0]["mode"] == "omni"
        assert scene.talker is not None
        assert scene.talker.asked[0].instructions == "Be brief."


@virtual
async def test_speech_over_an_answer_stops_it_and_only_what_was_heard_is_kept() -> None:
    async with Scene(s2s=Talker(["hello", "stop"], [SAID, "Well."]), start="omni") as scene:
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.started")
        await scene.quiet(1.0)
        await scene.speak(0.5)
        assert not scene.sounding
        assert scene.told("interrupted")[0]["heard"] == SAID[: len(scene.told("interrupted")[0]["heard"])]
        await scene.until("output_audio_buffer.stopped")
        said = await scene.history()
        assert [role for role, _ in said] == ["user", "assistant", "user", "assistant"]
        assert 0 < len(said[1][1]) < len(SAID)
        assert scene.talker is not None
        truncated = [item for item in scene.talker.told if isinstance(item, Truncate)]
        assert 0.8 < truncated[0].heard < 1.1


class Lingers(Talker):
    """It is spoken over in mid-answer, and more of that answer comes before its end; the next one is whole."""

    async def converse(self, model: str, request: ConverseRequest, inputs: AsyncIterator[Input]) -> Events:
        yield Ready()
        quiet, loud, turns = 0, False, 0
        async for item in inputs:
            if not isinstance(item, Audio):
                self.told.append(item)
                continue
            quiet = 0 if any(item.pcm) else quiet + 1
            if not quiet and not loud:
                loud = True
                yield SpeechStarted()
                if turns == 1:
                    yield TextDelta(" and what nobody hears")
                    yield AudioDelta(Audio(tone(1.0, PLAYOUT_RATE, 3000), PLAYOUT_RATE))
                    yield Answered("cancelled")
            elif loud and quiet == 10:
                loud, turns = False, turns + 1
                yield SpeechEnded()
                yield Transcript("words", final=True, ends_turn=True)
                yield TextDelta("The first" if turns == 1 else "The second")
                yield AudioDelta(Audio(tone(3.0, PLAYOUT_RATE, 3000), PLAYOUT_RATE))
                if turns == 2:
                    yield Answered()


@virtual
async def test_what_still_comes_of_an_answer_that_was_spoken_over_is_not_another() -> None:
    async with Scene(s2s=Lingers(), start="omni") as scene:
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.started")
        await scene.quiet(0.5)
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        ended = [told["response"]["status"] for told in scene.of("response.done")]
        assert ended == ["cancelled", "completed"]
        assert [text for role, text in await scene.history() if role == "assistant"][-1] == "The second"
        assert scene.talker is not None
        assert sum(isinstance(item, Cancel) for item in scene.talker.told) == 1


@virtual
async def test_a_client_that_decides_about_turns_is_answered_when_it_asks() -> None:
    session = {"audio": {"input": {"turn_detection": None}}}
    async with Scene(s2s=Talker(["hello"], [SAID]), start="omni", session=session) as scene:
        await scene.speak(0.5)
        scene.say(type="input_audio_buffer.commit")
        scene.say(type="response.create")
        await scene.until("response.done")
        assert scene.talker is not None
        assert scene.talker.asked[0].turns == "client"
        assert any(isinstance(item, Respond) for item in scene.talker.told)


@virtual
async def test_a_call_changes_mode_between_turns_and_back_and_knows_what_was_said() -> None:
    talker = Talker(["and now"], ["By another voice."])
    async with Scene(["hello", "good bye"], ["Hi.", "Bye."], s2s=talker) as scene:
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        scene.ours(type="mode", mode="omni")
        await scene.quiet(0.5)
        assert [(told["before"], told["mode"]) for told in scene.told("mode")] == [("cascaded", "omni")]
        assert [message.text for message in talker.asked[0].history] == ["hello", "Hi."]
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        scene.ours(type="mode", mode="cascaded")
        await scene.quiet(0.5)
        assert talker.open == 0
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        assert [text for _, text in await scene.history()] == [
            "hello",
            "Hi.",
            "and now",
            "By another voice.",
            "good bye",
            "Bye.",
        ]


@virtual
async def test_no_word_is_lost_of_a_caller_who_speaks_while_the_mode_changes() -> None:
    talker = Talker(["a long sentence"], ["Yes."])
    async with Scene(["never"], ["Never."], s2s=talker) as scene:
        await scene.speak(1.0)
        scene.ours(type="mode", mode="omni")
        await scene.speak(1.0)
        await scene.until("output_audio_buffer.stopped")
        assert await scene.history() == [("user", "a long sentence"), ("assistant", "Yes.")]
        assert len(scene.of("input_audio_buffer.speech_started")) == 1
        assert (
            scene.of("input_audio_buffer.committed")[0]["item_id"]
            == scene.of("input_audio_buffer.speech_started")[0]["item_id"]
        )


@virtual
async def test_an_answer_is_heard_to_its_end_before_the_mode_changes() -> None:
    async with Scene(["hello"], [SAID], s2s=Talker()) as scene:
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.started")
        scene.ours(type="mode", mode="omni")
        await scene.until("output_audio_buffer.stopped")
        await scene.quiet(0.2)
        assert scene.told("mode")[0]["mode"] == "omni"
        assert (
            scene.when("output_audio_buffer.stopped")
            <= scene.when("mode")
            < scene.when("output_audio_buffer.stopped") + 0.05
        )
        assert await scene.history() == [("user", "hello"), ("assistant", SAID)]


@virtual
async def test_a_mode_that_will_not_open_leaves_the_call_as_it_was() -> None:
    talker = Talker()
    talker.opens = Unavailable("no session", "talker")
    async with Scene(["hello"], ["Hi."], s2s=talker) as scene:
        scene.ours(type="mode", mode="omni")
        await scene.quiet(0.5)
        assert scene.told("mode") == []
        assert (scene.told("mode_kept")[0]["mode"], scene.told("mode_kept")[0]["wished"]) == ("cascaded", "omni")
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        assert await scene.history() == [("user", "hello"), ("assistant", "Hi.")]


@virtual
async def test_a_session_that_dies_in_mid_answer_is_gone_on_with_by_the_cascade_and_comes_back() -> None:
    talker = Talker(["hello"], [Unavailable("died", "talker")])
    switch = Switch(back_after=5.0)
    async with Scene(llm=["ends."], s2s=talker, start="omni", switch=switch) as scene:
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.started")
        died = scene.now
        changed = await _mode(scene)
        assert (changed["before"], changed["mode"]) == ("omni", "cascaded")
        assert "died" in changed["reason"]
        await scene.until("response.done")
        assert scene.now - died < 1.0
        assert "cut off" in scene.mind.asked[0].messages[-1].text
        said = await scene.history()
        assert said[0] == ("user", "hello")
        assert said[1][1].startswith("This is where")
        assert said[1][1].endswith("ends.")
        await scene.quiet(6.0)
        assert scene.told("mode")[-1]["mode"] == "omni"
        assert talker.opened == 2


@virtual
async def test_a_call_that_begins_where_nobody_answers_begins_in_the_other_mode() -> None:
    talker = Talker()
    talker.opens = Unavailable("no session", "talker")
    async with Scene(["hello"], ["Hi."], s2s=talker, start="omni") as scene:
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        assert scene.told("mode")[0]["mode"] == "cascaded"
        assert await scene.history() == [("user", "hello"), ("assistant", "Hi.")]


@virtual
async def test_a_cascade_whose_llm_fails_hands_its_turn_to_the_session() -> None:
    talker = Talker([], ["I can."])
    async with Scene(["hello"], [[Unavailable("down", "mind")]], s2s=talker) as scene:
        await scene.speak(0.5)
        changed = await _mode(scene)
        assert changed["mode"] == "omni"
        assert "llm failed" in changed["reason"]
        await scene.until("output_audio_buffer.stopped")
        assert (await scene.history())[-1] == ("assistant", "I can.")


@virtual
async def test_answers_that_take_too_long_change_the_mode() -> None:
    switch = Switch(ttft=0.5, turns=2)
    async with Scene(["one", "two"], ["One.", "Two."], s2s=Talker(), switch=switch) as scene:
        scene.mind.delay = 1.0
        for _ in range(2):
            await scene.speak(0.5)
            await scene.until("output_audio_buffer.stopped")
        await scene.quiet(0.5)
        assert "2 answers in a row" in scene.told("mode")[0]["reason"]


@virtual
async def test_a_mode_that_the_route_has_not_is_refused() -> None:
    async with Scene() as scene:
        scene.ours(type="mode", mode="omni")
        await scene.quiet(0.1)
        assert scene.told("error")[0]["code"] == "no_such_mode"


async def _mode(scene: Scene) -> dict[str, str]:
    for _ in range(500):
        if scene.told("mode"):
            return scene.told("mode")[0]
        await scene.tick()
    raise AssertionError("the mode did not change")
