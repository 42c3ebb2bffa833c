"""A connection that dies while an answer is spoken in a call: the answer is finished all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest

from gateway.contract.events import Events
from gateway.contract.provider import Secret, Settings, TextToSpeech
from gateway.contract.requests import Input, SpeakRequest
from providers import sarvam, soniox
from tests.calls.scene import Scene, Voice
from tests.fakes.base import Behaviour, Fake
from tests.fakes.sarvam import Sarvam
from tests.fakes.soniox import Soniox

pytestmark = pytest.mark.wire
ANSWER = "The first sentence is here. The second is last."


class Wired(Voice):
    """A voice of a call, by a provider."""

    def __init__(self, provider: TextToSpeech) -> None:
        super().__init__()
        self._provider = provider

    async def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        self.open += 1
        try:
            async with aclosing(self._provider.speak(model, request, inputs)) as events:
                async for event in events:
                    yield event
        finally:
            self.open -= 1


@pytest.mark.parametrize(("fake", "build"), [(Soniox, soniox.Provider), (Sarvam, sarvam.Provider)])
async def test_an_answer_is_finished_on_another_connection(
    fake: type[Fake], build: Callable[[Settings], soniox.Provider | sarvam.Provider]
) -> None:
    dying, well = fake(Behaviour(drop_after=0.8, times=1)), fake()
    async with dying.running() as first, well.running() as second:
        one = build(Settings("one", first, Secret("k")))
        two = build(Settings("two", second, Secret("k")))
        try:
            async with Scene(["one"], [ANSWER], Wired(one), spare=[Wired(two)]) as scene:
                await scene.speak(0.6)
                await scene.until("output_audio_buffer.stopped")
                assert scene.of("response.done")[0]["response"]["status"] == "completed"
                assert (await scene.history())[-1] == ("assistant", ANSWER)
                assert {told["stage"] for told in scene.told("rerouted")} == {"tts"}
        finally:
            await one.aclose()
            await two.aclose()
