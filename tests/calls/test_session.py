"""What a client may ask on the two channels of a call, and what it is told when it asks wrongly."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.calls.transport import ClientMessage
from tests.calls.scene import Scene, Voice
from tests.virtual_time import virtual

AGENTS_PY = {
    "type": "realtime",
    "audio": {
        "input": {
            "format": {"rate": 24000, "type": "audio/pcm"},
            "transcription": {"model": "gpt-4o-mini-transcribe"},
            "turn_detection": {"type": "semantic_vad", "interrupt_response": True},
        },
        "output": {"format": {"rate": 24000, "type": "audio/pcm"}, "voice": "ash"},
    },
    "instructions": "hi",
    "model": "gpt-realtime-2.1",
    "output_modalities": ["audio"],
    "tools": [],
}
LIVEKIT = {
    "type": "realtime",
    "audio": {
        "input": {
            "format": {"rate": 24000, "type": "audio/pcm"},
            "noise_reduction": None,
            "transcription": {"model": "gpt-4o-mini-transcribe"},
            "turn_detection": {
                "type": "semantic_vad",
                "create_response": True,
                "eagerness": "medium",
                "interrupt_response": True,
            },
        },
        "output": {"format": {"rate": 24000, "type": "audio/pcm"}, "speed": 1.0, "voice": "marin"},
    },
    "max_output_tokens": "inf",
    "model": "gpt-realtime",
    "output_modalities": ["audio"],
    "tool_choice": "auto",
    "tracing": None,
}
AGENTS_JS = {
    "type": "realtime",
    "instructions": "hi",
    "model": "gpt-realtime-2.1",
    "output_modalities": ["audio"],
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "noise_reduction": None,
            "transcription": {"model": "gpt-4o-mini-transcribe"},
            "turn_detection": {"type": "semantic_vad"},
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}, "speed": 1},
    },
}
RECORDED = {
    "type": "realtime",
    "instructions": "Reply in a few words.",
    "output_modalities": ["audio"],
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "turn_detection": {"type": "server_vad", "create_response": True, "interrupt_response": True},
            "transcription": {"model": "gpt-realtime-whisper"},
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}},
    },
}


async def asked(scene: Scene, **event: Any) -> dict[str, Any]:
    """The last event that came in answer."""
    scene.say(**event)
    await scene.quiet(0.02)
    return [event for _, label, event in scene.stage.sent if label == "oai-events"][-1]


def message(role: str, text: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


@virtual
async def test_a_session_begins_with_the_routes_instructions_and_voice() -> None:
    async with Scene([], [], instructions="Be kind.", voice="joe") as scene:
        session = scene.of("session.created")[0]["session"]
        assert (session["instructions"], session["model"]) == ("Be kind.", "agent")
        assert session["audio"]["output"]["voice"] == "joe"
        assert session["audio"]["input"]["turn_detection"]["type"] == "semantic_vad"
        call = scene.told("call")[0]
        assert call == {
            "type": "call",
            "call_id": scene.call.id,
            "route": "agent",
            "mode": "cascaded",
            "modes": ["cascaded"],
        }


@pytest.mark.parametrize("session", [AGENTS_PY, LIVEKIT, AGENTS_JS, RECORDED])
def test_what_real_clients_send_first_is_accepted_and_echoed(session: dict[str, Any]) -> None:
    @virtual
    async def check() -> None:
        async with Scene(["hi"], ["Hello."]) as scene:
            updated = await asked(scene, type="session.update", session=session)
            assert updated["type"] == "session.updated"
            again = await asked(scene, type="session.update", session={"type": "realtime", "tracing": "auto"})
            assert again["session"]["tracing"] == "auto"
            assert again["session"]["model"] == session.get("model", "agent")
            output = again["session"]["audio"]["output"]
            assert output["voice"] == session["audio"]["output"].get("voice")
            await scene.speak(0.6)
            assert (await scene.until("response.done"))["response"]["status"] == "completed"

    check()


@virtual
async def test_an_update_changes_what_it_names_at_any_time() -> None:
    async with Scene(["one", "two"], ["First answer here.", "Second."], voice="joe") as scene:
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.started")
        update = {"type": "realtime", "instructions": "Be a pirate.", "audio": {"output": {"voice": "amy"}}}
        session = (await asked(scene, type="session.update", session=update))["session"]
        assert session["audio"]["output"] == {
            "format": {"type": "audio/pcm", "rate": 24000},
            "voice": "amy",
            "speed": 1.0,
        }
        assert session["audio"]["input"]["turn_detection"]["type"] == "semantic_vad"
        await scene.until("output_audio_buffer.stopped")
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.stopped")
        assert scene.voice.voices == ["joe", "amy"]
        assert scene.mind.asked[1].messages[0].text == "Be a pirate."


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"type": "realtime", "colour": "red"}, "unknown_parameter", "session.colour"),
        ({"type": "realtime", "audio": {"input": {"loud": 1}}}, "unknown_parameter", "session.audio.input.loud"),
        ({"type": "realtime", "instructions": 5}, "invalid_type", "session.instructions"),
        ({"instructions": "x"}, "missing_required_parameter", "session.type"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        ({"type": "realtime", "output_modalities": ["video"]}, "invalid_value", "session.output_modalities.0"),
        (
            {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 8000}}}},
            "integer_below_min_value",
            "session.audio.input.format.rate",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "telepathy"}}}},
            "invalid_value",
            "session.audio.input.turn_detection.type",
        ),
    ],
)
def test_a_wrong_update_is_discarded_whole_and_says_what_is_wrong(
    session: dict[str, Any], code: str, param: str
) -> None:
    @virtual
    async def check() -> None:
        async with Scene([], []) as scene:
            told = await asked(scene, type="session.update", session={**session}, event_id="mine")
            assert told["type"] == "error"
            error = told["error"]
            assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
            assert error["event_id"] == "mine"
            after = await asked(scene, type="session.update", session={"type": "realtime"})
            assert after["session"] == scene.of("session.created")[0]["session"]

    check()


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        ("{nonsense", "invalid_json", None),
        ("[1, 2]", "invalid_json", None),
        ('"hello"', "invalid_json", None),
        ('{"type": "make.coffee"}', "invalid_value", "type"),
        ("{}", "missing_required_parameter", "type"),
        ('{"type": 7}', "invalid_value", "type"),
        ('{"type": "response.create", "sugar": 2}', "unknown_parameter", "sugar"),
        ('{"type": "response.create", "response": {"conversation": "none"}}', "invalid_value", "response.conversation"),
        (
            '{"type": "conversation.item.create", "item": {"type": "message"}}',
            "missing_required_parameter",
            "item.role",
        ),
        ('{"type": "conversation.item.delete", "item_id": "nope"}', "item_not_found", "item_id"),
        ('{"type": "conversation.item.retrieve", "item_id": "nope"}', "item_not_found", "item_id"),
        (
            '{"type": "conversation.item.truncate", "item_id": "nope", "content_index": 0, "audio_end_ms": 5}',
            "item_not_found",
            "item_id",
        ),
        ('{"type": "input_audio_buffer.append", "audio": "AAAA"}', "invalid_value", "type"),
        ('{"type": "input_audio_buffer.commit"}', "input_audio_buffer_commit_empty", None),
        ('{"type": "response.cancel"}', "response_cancel_not_active", None),
    ],
)
def test_a_bad_event_is_told_and_breaks_nothing(text: str, code: str, param: str | None) -> None:
    @virtual
    async def check() -> None:
        async with Scene(["hi"], ["Hello."]) as scene:
            scene.stage.inbox.put(ClientMessage("oai-events", text))
            await scene.quiet(0.02)
            error = scene.of("error")[0]["error"]
            assert (error["code"], error["param"]) == (code, param)
            scene.stage.inbox.put(ClientMessage("gateway", text))
            await scene.quiet(0.02)
            assert scene.told("error")
            await scene.speak(0.6)
            assert (await scene.until("response.done"))["response"]["status"] == "completed"

    check()


@virtual
async def test_a_typed_question_is_answered_aloud() -> None:
    async with Scene([], ["It is noon."]) as scene:
        scene.say(type="conversation.item.create", item=message("user", "what time is it"))
        await scene.quiet(0.02)
        assert scene.types[-2:] == ["conversation.item.added", "conversation.item.done"]
        assert scene.mind.asked == [], "nobody asked for an answer yet"
        scene.say(type="response.create")
        await scene.until("output_audio_buffer.stopped")
        assert scene.voice.said == ["It is noon."]
        assert await scene.history() == [("user", "what time is it"), ("assistant", "It is noon.")]


@virtual
async def test_a_conversation_can_be_seeded_shown_and_cut() -> None:
    async with Scene([], ["Alice."]) as scene:
        scene.say(type="conversation.item.create", item=message("user", "I am Alice.") | {"id": "a"})
        scene.say(type="conversation.item.create", item=message("assistant", "Hello Alice!") | {"id": "b"})
        scene.say(
            type="conversation.item.create", item=message("user", "Who am I?") | {"id": "c"}, previous_item_id="b"
        )
        scene.say(
            type="conversation.item.create", item=message("system", "Shout.") | {"id": "z"}, previous_item_id="root"
        )
        await scene.quiet(0.02)
        added = [(event["item"]["id"], event["previous_item_id"]) for event in scene.of("conversation.item.added")]
        assert added == [("a", None), ("b", "a"), ("c", "b"), ("z", None)]
        shown = await asked(scene, type="conversation.item.retrieve", item_id="b")
        assert shown["item"]["content"] == [{"type": "output_text", "text": "Hello Alice!"}]
        deleted = await asked(scene, type="conversation.item.delete", item_id="b")
        assert (deleted["type"], deleted["item_id"]) == ("conversation.item.deleted", "b")
        scene.say(type="response.create", response={"instructions": "One word."})
        await scene.until("response.done")
        assert [message.text for message in scene.mind.asked[0].messages] == [
            "One word.",
            "Shout.",
            "I am Alice. Who am I?",
        ]
        twice = await asked(scene, type="conversation.item.create", item=message("user", "again") | {"id": "a"})
        assert twice["error"]["param"] == "item.id"


@virtual
async def test_an_answer_in_text_is_not_spoken() -> None:
    async with Scene(["hi"], ["Hello to you."], session={"output_modalities": ["text"]}) as scene:
        await scene.speak(0.6)
        done = await scene.until("response.done")
        assert done["response"]["output"][0]["content"] == [{"type": "output_text", "text": "Hello to you."}]
        assert "".join(event["delta"] for event in scene.of("response.output_text.delta")) == "Hello to you."
        assert scene.of("response.content_part.added")[0]["part"] == {"type": "text", "text": ""}
        assert scene.voice.opened == 0
        assert scene.told("turn")[-1]["turn"]["done"]


@virtual
async def test_with_manual_turns_the_client_says_when_it_is_over() -> None:
    async with Scene(["one two"], ["Three."], session={"audio": {"input": {"turn_detection": None}}}) as scene:
        await scene.speak(0.6)
        await scene.quiet(2.0)
        await scene.speak(0.6)
        await scene.quiet(2.0)
        assert scene.types == ["session.created"] + [kind for kind in scene.types if kind.endswith("delta")]
        scene.say(type="input_audio_buffer.commit")
        scene.say(type="response.create", event_id="go")
        await scene.until("output_audio_buffer.stopped")
        assert "input_audio_buffer.speech_started" not in scene.types
        assert scene.ear.heard[0] == pytest.approx(2 * (0.6 + 0.3) + 0.1, abs=0.3), "silence in between is left out"
        assert await scene.history() == [("user", "one two"), ("assistant", "Three.")]
        assert "stt_final" in scene.told("turn")[-1]["turn"]["marks"], "the turn and its answer are one"


@virtual
async def test_with_manual_turns_what_was_said_can_be_forgotten() -> None:
    async with Scene(["kept"], ["Fine."], session={"audio": {"input": {"turn_detection": None}}}) as scene:
        await scene.speak(0.6)
        await scene.quiet(1.0)
        scene.say(type="input_audio_buffer.clear")
        await scene.quiet(1.0)
        assert "input_audio_buffer.cleared" in scene.types
        await scene.speak(1.0)
        scene.say(type="input_audio_buffer.commit")
        await scene.until("conversation.item.input_audio_transcription.completed")
        assert scene.ear.heard[0] == pytest.approx(1.3, abs=0.1)


@virtual
async def test_without_create_response_the_answer_waits_to_be_asked_for() -> None:
    detection = {"type": "server_vad", "create_response": False, "silence_duration_ms": 400}
    async with Scene(["hi"], ["Hello."], session={"audio": {"input": {"turn_detection": detection}}}) as scene:
        await scene.speak(0.6)
        await scene.quiet(3.0)
        assert scene.when("input_audio_buffer.speech_stopped") == pytest.approx(1.0, abs=0.05)
        assert scene.mind.asked == []
        scene.say(type="response.create", response={"metadata": {"topic": "greeting"}})
        done = await scene.until("response.done")
        assert done["response"]["metadata"] == {"topic": "greeting"}


@virtual
async def test_one_answer_at_a_time() -> None:
    async with Scene([], ["One long answer to this.", "Two."]) as scene:
        scene.say(type="conversation.item.create", item=message("user", "go"))
        scene.say(type="response.create")
        second = await asked(scene, type="response.create", event_id="second")
        assert second["error"]["code"] == "conversation_already_has_active_response"
        assert second["error"]["event_id"] == "second"


@virtual
async def test_without_transcription_the_client_gets_none_and_the_models_still_do() -> None:
    async with Scene(["hi there"], ["Hello."], session={"audio": {"input": {"transcription": None}}}) as scene:
        await scene.speak(0.8)
        await scene.until("output_audio_buffer.stopped")
        assert [kind for kind in scene.types if "transcription" in kind] == []
        assert scene.mind.asked[0].messages[-1].text == "hi there"


@virtual
async def test_the_session_of_the_offer_is_where_it_begins() -> None:
    given = {"type": "realtime", "model": "agent", "instructions": "Rhyme.", "audio": {"output": {"voice": "amy"}}}
    async with Scene(["hi"], ["Hello."], Voice(), session=given) as scene:
        assert scene.of("session.created")[0]["session"]["instructions"] == "Rhyme."
        await scene.speak(0.6)
        await scene.until("output_audio_buffer.stopped")
        assert scene.voice.voices == ["amy"]
