"""A cascaded call, from the caller's side: turns, transcripts, answers and their timeline."""

from __future__ import annotations

import pytest

from gateway.contract.errors import Unavailable
from gateway.contract.events import Events, Finished, TextDelta
from gateway.contract.requests import ChatRequest
from tests.calls.scene import FAINT, Knows, Mind, Scene, Voice
from tests.virtual_time import virtual


class Dumb(Knows):
    """A turn model whose worker is not there."""

    async def complete(self, pcm16k: bytes) -> float:
        raise Unavailable("no weights", "smart-turn")


TURN = [
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
    "output_audio_buffer.started",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "output_audio_buffer.stopped",
]


@virtual
async def test_a_turn_is_heard_answered_and_spoken_in_the_recorded_order() -> None:
    async with Scene(["what time is it"], ["It is noon, I think. Good day!"]) as scene:
        await scene.quiet(0.3)
        await scene.speak(1.2)
        await scene.until("output_audio_buffer.stopped")
        assert scene.types[0] == "session.created"
        assert [kind for kind in scene.types[1:] if not kind.endswith(".delta")] == TURN
        done = scene.of("response.done")[0]["response"]
        assert done["status"] == "completed"
        assert done["output"][0]["content"] == [
            {"type": "output_audio", "transcript": "It is noon, I think. Good day!"}
        ]
        assert done["usage"]["total_tokens"] == 18
        assert await scene.history() == [("user", "what time is it"), ("assistant", "It is noon, I think. Good day!")]


@virtual
async def test_items_follow_each_other_by_their_ids() -> None:
    async with Scene(["one", "two"], ["First.", "Second."]) as scene:
        for _ in range(2):
            await scene.speak(0.6)
            await scene.until("output_audio_buffer.stopped")
        added = scene.of("conversation.item.added")
        assert [event["item"]["role"] for event in added] == ["user", "assistant", "user", "assistant"]
        assert [event["previous_item_id"] for event in added] == [None, *(event["item"]["id"] for event in added[:-1])]
        assert scene.of("input_audio_buffer.speech_started")[1]["item_id"] == added[2]["item"]["id"]


@virtual
async def test_transcript_deltas_only_ever_append_and_the_completed_one_is_the_truth() -> None:
    async with Scene(["please tell me a story"], ["No."]) as scene:
        await scene.speak(1.6)
        await scene.until("response.done")
        kind = "conversation.item.input_audio_transcription"
        deltas = [event["delta"] for event in scene.of(f"{kind}.delta")]
        assert len(deltas) > 2, "they come while the caller speaks"
        assert "".join(deltas) == scene.of(f"{kind}.completed")[0]["transcript"] == "please tell me a story"
        assert scene.told("partial")[0]["text"] == "please"
        assert scene.of(f"{kind}.completed")[0]["usage"]["seconds"] == pytest.approx(1.7, abs=0.3)


@virtual
async def test_the_timeline_of_a_turn_has_every_mark_in_order_and_adds_up() -> None:
    async with Scene(["hello"], ["Hi there, friend."], instructions="Be kind.") as scene:
        await scene.quiet(1.0)
        await scene.speak(0.8)
        await scene.until("output_audio_buffer.stopped")
        first, last = (message["turn"] for message in scene.told("turn"))
        assert (first["done"], last["done"]) == (False, True)
        marks = first["marks"]
        assert list(marks) == [
            "last_speech_rtp",
            "vad_stop",
            "turn_decided",
            "stt_final",
            "llm_first_token",
            "first_clause",
            "tts_first_byte",
            "first_audible_sample",
            "first_sent",
        ]
        assert list(marks.values()) == sorted(marks.values())
        assert marks["last_speech_rtp"] == pytest.approx(1.8, abs=0.04)
        # Hangover 0.2 (and a frame), stt 0.05, llm 0.1 and the first clause's words, tts 0.1, a packet 0.02.
        assert first["end_of_turn_delay"] == pytest.approx(0.22, abs=0.04)
        assert first["transcription_delay"] == pytest.approx(first["end_of_turn_delay"] + 0.05, abs=0.001)
        assert first["llm_node_ttft"] == pytest.approx(0.1, abs=0.001)
        assert first["tts_node_ttfb"] == pytest.approx(0.1, abs=0.001)
        assert first["e2e_latency"] == pytest.approx(marks["first_sent"] - marks["last_speech_rtp"], abs=0.001)
        assert first["e2e_latency"] < 0.56
        assert first["targets"] == {"stt": "ear/one", "llm": "mind/one", "tts": "voice/one"}


@virtual
async def test_the_sound_on_the_wire_begins_when_the_timeline_says() -> None:
    async with Scene(["hello"], ["Hi."]) as scene:
        await scene.speak(0.8)
        await scene.until("output_audio_buffer.stopped")
        first_sound = next(at for at, pcm in scene.out if any(pcm or b""))
        assert scene.told("turn")[0]["turn"]["marks"]["first_sent"] == pytest.approx(first_sound, abs=0.001)


@virtual
async def test_a_sentence_the_model_calls_unfinished_gets_more_patience() -> None:
    async with Scene(["well i think"], ["Go on."], turn_model=Knows(finished=0.1)) as scene:
        await scene.speak(0.8)
        await scene.until("input_audio_buffer.speech_stopped")
        assert scene.when("input_audio_buffer.speech_stopped") == pytest.approx(0.8 + 1.2, abs=0.05)


@virtual
async def test_a_late_turn_model_ends_the_turn_when_it_answers() -> None:
    async with Scene(["hello"], ["Hi."], turn_model=Knows(finished=0.9, delay=0.5)) as scene:
        await scene.speak(0.8)
        await scene.until("input_audio_buffer.speech_stopped")
        assert scene.when("input_audio_buffer.speech_stopped") == pytest.approx(0.8 + 0.14 + 0.5, abs=0.04)


@virtual
async def test_without_a_turn_model_silence_alone_ends_a_turn() -> None:
    async with Scene(["hello"], ["Hi."], turn_model=Dumb()) as scene:
        await scene.speak(0.8)
        await scene.until("input_audio_buffer.speech_stopped")
        assert scene.when("input_audio_buffer.speech_stopped") == pytest.approx(0.8 + 0.6, abs=0.05)


@virtual
async def test_speech_after_a_pause_is_the_same_turn_and_no_sound_of_it_is_lost() -> None:
    model = Knows(finished=0.1)
    async with Scene(["i would like a sandwich"], ["Sure."], turn_model=model) as scene:
        await scene.quiet(1.0)
        await scene.speak(0.8)
        await scene.quiet(0.6)
        await scene.speak(0.8)
        await scene.until("response.done")
        assert len(scene.of("input_audio_buffer.committed")) == 1
        assert model.asked == 2, "asked again in the second pause"
        # 0.3 of prefix, both pieces, the pause between, and the silence until the second pause was one.
        assert scene.ear.heard[0] == pytest.approx(0.3 + 0.8 + 0.6 + 0.8 + 0.12, abs=0.08)


@virtual
async def test_the_second_answer_is_asked_with_the_whole_conversation() -> None:
    async with Scene(["my name is ada", "what is my name"], ["Hello Ada.", "Ada."], instructions="Be brief.") as scene:
        for _ in range(2):
            await scene.speak(0.8)
            await scene.until("output_audio_buffer.stopped")
        messages = [(message.role, message.text) for message in scene.mind.asked[1].messages]
        assert messages == [
            ("system", "Be brief."),
            ("user", "my name is ada"),
            ("assistant", "Hello Ada."),
            ("user", "what is my name"),
        ]


@virtual
async def test_a_noise_that_is_no_words_is_not_answered() -> None:
    async with Scene([""], ["Pardon?"]) as scene:
        await scene.speak(0.3)
        await scene.quiet(3.0)
        assert scene.of("conversation.item.input_audio_transcription.completed")[0]["transcript"] == ""
        assert scene.mind.asked == []
        assert await scene.history() == []


@virtual
async def test_a_click_is_not_speech() -> None:
    async with Scene([], []) as scene:
        await scene.quiet(0.1)
        await scene.speak(0.02)
        await scene.quiet(1.0)
        assert scene.types == ["session.created"]


@virtual
async def test_a_greeting_is_spoken_first_and_is_part_of_the_conversation() -> None:
    async with Scene(["hi"], ["How can I help?"], greeting="Welcome! You reached Ada.") as scene:
        await scene.until("output_audio_buffer.stopped")
        assert scene.voice.said == ["Welcome!", "You reached Ada."]
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.stopped")
        assert [message.role for message in scene.mind.asked[0].messages] == ["system", "assistant", "user"]
        assert scene.told("turn")[0]["turn"]["e2e_latency"] is None


@virtual
async def test_markup_is_not_spoken_but_stays_in_the_transcript() -> None:
    async with Scene(["hi"], ["**Hello** there. \U0001f600 See [this](http://x.test)."]) as scene:
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.stopped")
        assert " ".join(scene.voice.said) == "Hello there. See this."
        assert scene.of("response.output_audio_transcript.done")[0]["transcript"].startswith("**Hello**")


@virtual
async def test_a_voice_at_another_rate_takes_as_long_to_say_it() -> None:
    answer = "This is a sentence of some length."
    async with Scene(["hi"], [answer], Voice(rate=22_050)) as scene:
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.stopped")
        sound = sum(1 for _, pcm in scene.out if any(pcm or b"")) * 0.02
        assert sound == pytest.approx(len(answer) * 0.06, abs=0.05)


@virtual
async def test_speech_is_made_only_a_little_ahead_of_what_is_heard() -> None:
    answer = " ".join(f"This is sentence number {number} of very many." for number in range(40))
    async with Scene(["talk"], [answer], Voice(delay=0.0)) as scene:
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.started")
        await scene.quiet(2.0)
        assert scene.voice.made < 2.0 + 10.0 + 1.0
        before = scene.voice.made
        await scene.quiet(5.0)
        assert scene.voice.made == pytest.approx(before + 5.0, abs=1.0)


@virtual
async def test_an_answer_that_hits_its_limit_is_incomplete() -> None:
    class Cut(Mind):
        async def chat(self, model: str, request: ChatRequest) -> Events:
            self.asked.append(request)
            yield TextDelta("This goes on and")
            yield Finished("length")

    async with Scene(["hi"], Cut([]), session={"max_output_tokens": 17}) as scene:
        await scene.speak(0.6)
        response = (await scene.until("response.done"))["response"]
        assert (response["status"], response["status_details"]["reason"]) == ("incomplete", "max_output_tokens")
        assert scene.mind.asked[0].max_tokens == 17


@virtual
async def test_a_muted_microphone_ends_the_turn_like_silence() -> None:
    async with Scene(["hello"], ["Hi."]) as scene:
        await scene.speak(0.8)
        for _ in range(100):  # no packet at all
            await scene.tick()
        assert "response.done" in scene.types


@virtual
async def test_faint_voices_start_a_turn_when_nobody_else_speaks() -> None:
    async with Scene(["psst"], ["Yes?"]) as scene:
        await scene.speak(0.6, FAINT)
        assert (await scene.until("response.done"))["response"]["status"] == "completed"


@virtual
async def test_an_endless_monologue_is_cut_into_turns() -> None:
    async with Scene(["one", "two"], ["Ah.", "Oh."]) as scene:
        await scene.speak(61.0)
        assert len(scene.of("input_audio_buffer.committed")) == 1
        await scene.until("input_audio_buffer.committed")
