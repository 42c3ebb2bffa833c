"""A cascaded call, from the caller's side."""

from __future__ import annotations

from tests.calls.scene import Scene
from tests.virtual_time import virtual


@virtual
async def test_a_turn_is_heard_answered_and_spoken_in_the_recorded_order() -> None:
    async with Scene(stt=["what time is it"], llm=["It is noon, I think. Good day!"]) as scene:
        await scene.quiet(0.3)
        await scene.speak(1.2)
        await scene.until("output_audio_buffer.stopped")
        print(scene.types)
        for at, label, event in scene.stage.sent:
            print(round(at, 3), label, str(event)[:200])
        print(await scene.history())
