"""Functions that the client runs, in both modes: declared, called, answered, and kept in the history. In virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest

from gateway.contract.events import Answered, ToolCallDelta
from gateway.contract.requests import ConverseRequest, ToolChoice, ToolResult
from tests.calls.scene import Mind, Scene, Talker
from tests.virtual_time import virtual

TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CALL = ToolCallDelta(0, "call_1", "get_weather", '{"city":"London"}')
MODES = pytest.mark.parametrize("mode", ["cascaded", "omni"])


def scene(mode: Literal["cascaded", "omni"], **session: Any) -> Scene:
    """The caller asks for the weather, and then for nothing."""
    mind = Mind([[CALL], "It rains."])
    talker = Talker(["the weather please"], [CALL, "It rains."])
    tools = {"tools": [TOOL], **session}
    return Scene(["the weather please"], mind, s2s=talker, start=mode, session=tools)


@MODES
@virtual
async def test_a_function_is_called_and_what_it_says_is_told(mode: Literal["cascaded", "omni"]) -> None:
    async with scene(mode) as call:
        await call.speak(0.5)
        done = await call.until("response.done")
        [item] = done["response"]["output"]
        assert (item["type"], item["name"], item["call_id"]) == ("function_call", "get_weather", "call_1")
        called = call.of("response.function_call_arguments.done")[0]
        assert (called["arguments"], called["call_id"]) == ('{"city":"London"}', "call_1")
        began = call.types.index("response.created")
        assert [kind for kind in call.types[began:] if kind.startswith(("response.", "conversation."))] == [
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        output = {"type": "function_call_output", "call_id": "call_1", "output": "Rain."}
        call.say(type="conversation.item.create", item=output)
        call.say(type="response.create")
        await call.until("output_audio_buffer.stopped")
        assert await call.history() == [("user", "the weather please"), ("assistant", "It rains.")]
        assert call.of("conversation.item.added")[-2]["item"] == {
            **output,
            "id": call.of("conversation.item.added")[-2]["item"]["id"],
        }


@virtual
async def test_a_language_model_is_told_of_the_tools_of_its_call_and_of_the_answer() -> None:
    async with scene("cascaded", tool_choice="required") as call:
        await call.speak(0.5)
        await call.until("response.done")
        call.say(
            type="conversation.item.create",
            item={"type": "function_call_output", "call_id": "call_1", "output": "Rain."},
        )
        call.say(type="response.create", response={"tool_choice": "none"})
        await call.until("response.done")
        first, second = call.mind.asked
        assert first.tools[0].name == "get_weather"
        assert (first.tool_choice, second.tool_choice) == (ToolChoice("required"), ToolChoice("none"))
        assert [message.role for message in second.messages] == ["system", "user", "assistant", "tool"]
        assert second.messages[2].tool_calls[0].arguments == '{"city":"London"}'
        assert (second.messages[3].text, second.messages[3].tool_call_id) == ("Rain.", "call_1")


@virtual
async def test_a_call_that_nobody_answered_is_not_shown_to_a_language_model() -> None:
    async with scene("cascaded") as call:
        await call.speak(0.5)
        await call.until("response.done")
        call.say(type="response.create")
        await call.until("response.done")
        assert [message.role for message in call.mind.asked[1].messages] == ["system", "user"]


@virtual
async def test_words_and_a_call_in_one_answer_have_places_of_their_own() -> None:
    mind = Mind([["Let me look.", CALL]])
    async with Scene(["the weather"], mind, session={"tools": [TOOL]}) as call:
        await call.speak(0.5)
        done = await call.until("response.done")
        assert [item["type"] for item in done["response"]["output"]] == ["message", "function_call"]
        added = [event["output_index"] for event in call.of("response.output_item.added")]
        assert added == [0, 1]
        assert [message.role for message in call.call.line.history.messages("", open_calls=True)] == [
            "user",
            "assistant",
            "assistant",
        ]


@virtual
async def test_what_a_tool_says_after_the_mode_changed_is_heard_by_the_other_mode() -> None:
    async with scene("cascaded") as call:
        await call.speak(0.5)
        await call.until("response.done")
        call.ours(type="mode", mode="omni")
        await call.quiet(0.5)
        assert call.told("mode")[0]["mode"] == "omni"
        assert call.talker is not None
        asked: ConverseRequest = call.talker.asked[0]
        assert asked.tools[0].name == "get_weather"
        assert asked.history[-1].tool_calls[0].id == "call_1"
        call.say(
            type="conversation.item.create",
            item={"type": "function_call_output", "call_id": "call_1", "output": "Rain."},
        )
        call.say(type="response.create")
        await call.until("response.done")
        assert ToolResult("call_1", "Rain.") in call.talker.told


@virtual
async def test_what_is_wrong_with_tools_is_said() -> None:
    async with scene("cascaded") as call:
        call.say(
            type="conversation.item.create", item={"type": "function_call_output", "call_id": "none", "output": "x"}
        )
        await call.quiet(0.1)
        assert call.of("error")[-1]["error"]["code"] == "item_not_found"
        call.say(type="session.update", session={"type": "realtime", "tools": [{"type": "mcp", "server_label": "x"}]})
        await call.quiet(0.1)
        assert call.of("error")[-1]["error"]["param"].startswith("session.tools.0")
        assert call.of("session.updated") == []
        choice = {"type": "function", "name": "get_weather"}
        call.say(type="session.update", session={"type": "realtime", "tools": [TOOL], "tool_choice": choice})
        await call.quiet(0.1)
        told = call.of("session.updated")[0]["session"]
        assert told["tools"] == [TOOL]
        assert told["tool_choice"] == choice


@virtual
async def test_a_conversation_can_be_seeded_with_a_call_and_its_answer() -> None:
    async with scene("cascaded") as call:
        seeded = {"type": "function_call", "call_id": "call_0", "name": "get_weather", "arguments": "{}"}
        call.say(type="conversation.item.create", item=seeded)
        call.say(
            type="conversation.item.create",
            item={"type": "function_call_output", "call_id": "call_0", "output": "Sun."},
        )
        call.say(type="response.create")
        await call.until("response.done")
        assert [message.role for message in call.mind.asked[0].messages] == ["system", "assistant", "tool"]


class Breaks(Talker):
    """Begins to call a tool, and its answer is cancelled."""

    async def _answer(self) -> AsyncIterator[Any]:
        yield ToolCallDelta(0, "call_1", "get_weather", '{"ci')
        yield Answered("cancelled")


@virtual
async def test_a_call_that_was_cancelled_half_written_is_none() -> None:
    async with Scene(s2s=Breaks(["the weather"]), start="omni", session={"tools": [TOOL]}) as call:
        await call.speak(0.5)
        done = await call.until("response.done")
        assert done["response"]["output"] == []
        assert call.of("response.function_call_arguments.done") == []
