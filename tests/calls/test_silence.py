"""A caller who says nothing after an answer is spoken to, where the session asks for that. In virtual time."""

from __future__ import annotations

import pytest

from tests.calls.scene import Scene, Talker
from tests.virtual_time import virtual

WAITS = {"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 6_000}}}}
SILENT = "input_audio_buffer.timeout_triggered"


@pytest.mark.parametrize("mode", ["cascaded", "omni"])
@virtual
async def test_after_the_time_of_the_session_the_caller_is_spoken_to(mode: str) -> None:
    talker = Talker(["hello"], ["Hi there.", "Are you there?"])
    scene = Scene(["hello"], ["Hi there.", "Are you there?"], s2s=talker, start=mode, session=WAITS)  # type: ignore[arg-type]
    async with scene:
        await scene.quiet(10.0)
        assert not scene.of(SILENT)  # nobody was answered yet
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        ended = scene.when("output_audio_buffer.stopped")
        silence = await scene.until(SILENT)
        assert scene.when(SILENT) - ended == pytest.approx(6.0, abs=0.3)
        assert silence["audio_end_ms"] - silence["audio_start_ms"] == pytest.approx(6_000, abs=300)
        await scene.until("output_audio_buffer.stopped")
        assert [text for role, text in await scene.history() if role == "assistant"] == ["Hi there. Are you there?"]
        assert scene.of("input_audio_buffer.committed")[-1]["item_id"] == silence["item_id"]
        if mode == "cascaded":
            assert scene.mind.asked[-1].messages[-1].role == "user"


@virtual
async def test_one_who_speaks_in_time_is_not() -> None:
    async with Scene(["hello", "wait"], ["Hi.", "Yes."], session=WAITS) as scene:
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        await scene.quiet(5.0)
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        await scene.quiet(5.0)
        assert not scene.of(SILENT)


@virtual
async def test_without_it_nothing_happens_and_times_out_of_range_are_refused() -> None:
    async with Scene(["hello"], ["Hi."]) as scene:
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
        await scene.quiet(60.0)
        assert not scene.of(SILENT)
        detection = {"type": "server_vad", "idle_timeout_ms": 10}
        session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
        scene.say(type="session.update", session=session)
        assert (await scene.until("error"))["error"]["param"].endswith("idle_timeout_ms")
