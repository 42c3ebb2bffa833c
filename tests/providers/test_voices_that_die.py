"""A voice's socket that dies in mid-sentence: another target says the rest. Against fakes of the vendors' protocols."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from gateway.contract.events import AudioDelta
from gateway.contract.requests import Commit, SpeakRequest
from tests.fakes import speaking
from tests.fakes.base import Behaviour
from tests.fakes.routes import closing, inputs, route, settings
from tests.fakes.vendors import VOICES

pytestmark = pytest.mark.wire
CLAUSE = "The quick brown fox jumps over the lazy dog near the bank of the river. "

UNTIMED = ("deepgram", "sarvam")
"""They tell no words: how far they came is estimated, by how fast they spoke before, and a word may be missing as well."""
BEFORE = "Good morning to all of you who came here. "


@pytest.mark.parametrize("after", [0.5, 1.7])
@pytest.mark.parametrize("name", VOICES)
async def test_the_sentence_is_finished_by_another_and_at_most_a_word_is_said_twice(name: str, after: float) -> None:
    fake, build, model = VOICES[name]
    texts = [CLAUSE]
    if name in UNTIMED:
        texts.insert(0, BEFORE)
        after += sum(len(pcm) for _, pcm in speaking.spoken(BEFORE, 24_000)) / 48_000
    async with AsyncExitStack() as stack:
        dies = build(settings(await stack.enter_async_context(fake(Behaviour(drop_after=after)).running())))
        well = build(settings(await stack.enter_async_context(fake().running())))
        for provider in (dies, well):
            await stack.enter_async_context(closing(provider))
        engine, clock = route("tts", model, dies, well), asyncio.get_running_loop().time
        pieces, at, gap = [], clock(), 0.0
        async with (
            asyncio.timeout(10.0),
            engine.open("r", SpeakRequest(), inputs(*[item for text in texts for item in (text, Commit())])) as answer,
        ):
            async for event in answer:
                if isinstance(event, AudioDelta):
                    pieces.append(event)
                    gap, at = max(gap, clock() - at), clock()
    expected = [(word.text, len(pcm) / 48_000) for word, pcm in speaking.spoken(" ".join(texts), 24_000)]
    told = [word.text for piece in pieces for word in piece.words]
    twice = sum(piece.audio.seconds for piece in pieces) - sum(length for _, length in expected)
    longest = max(length for _, length in expected) + 0.01
    if name in UNTIMED:
        assert -longest < twice <= longest
    else:
        assert told == [word for word, _ in expected]
        assert -0.1 < twice <= longest
    assert gap < 1.0
