"""A voice's socket that dies in mid-sentence: another target says the rest. Against fakes of the vendors' protocols."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.contract.events import AudioDelta
from gateway.contract.requests import Commit, SpeakRequest
from providers import cartesia, elevenlabs, inworld, rime
from tests.fakes import speaking
from tests.fakes.base import Behaviour, Fake
from tests.fakes.cartesia import Cartesia
from tests.fakes.elevenlabs import ElevenLabs
from tests.fakes.inworld import Inworld
from tests.fakes.rime import Rime
from tests.fakes.routes import closing, inputs, route, settings

pytestmark = pytest.mark.wire
CLAUSE = "The quick brown fox jumps over the lazy dog near the bank of the river. "
VENDORS: dict[str, tuple[type[Fake], Any, str]] = {
    "cartesia": (Cartesia, cartesia.Provider, "sonic-3.5"),
    "elevenlabs": (ElevenLabs, elevenlabs.Provider, "eleven_flash_v2_5"),
    "rime": (Rime, rime.Provider, "coda"),
    "inworld": (Inworld, inworld.Provider, "inworld-tts-1.5-max"),
}


@pytest.mark.parametrize("after", [0.5, 1.7])
@pytest.mark.parametrize("name", VENDORS)
async def test_the_sentence_is_finished_by_another_and_at_most_a_word_is_said_twice(name: str, after: float) -> None:
    fake, build, model = VENDORS[name]
    async with AsyncExitStack() as stack:
        dies = build(settings(await stack.enter_async_context(fake(Behaviour(drop_after=after)).running())))
        well = build(settings(await stack.enter_async_context(fake().running())))
        for provider in (dies, well):
            await stack.enter_async_context(closing(provider))
        engine, clock = route("tts", model, dies, well), asyncio.get_running_loop().time
        pieces, at, gap = [], clock(), 0.0
        async with asyncio.timeout(10.0), engine.open("r", SpeakRequest(), inputs(CLAUSE, Commit())) as answer:
            async for event in answer:
                if isinstance(event, AudioDelta):
                    pieces.append(event)
                    gap, at = max(gap, clock() - at), clock()
    expected = [(word.text, len(pcm) / 48_000) for word, pcm in speaking.spoken(CLAUSE, 24_000)]
    told = [word.text for piece in pieces for word in piece.words]
    assert told == [word for word, _ in expected]
    twice = sum(piece.audio.seconds for piece in pieces) - sum(length for _, length in expected)
    assert -0.1 < twice <= max(length for _, length in expected) + 0.01
    assert gap < 1.0
