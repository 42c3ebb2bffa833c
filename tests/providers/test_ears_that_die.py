"""An ear's socket that dies in mid-utterance: another target hears on. On the speech files, against fakes of the vendors' protocols."""

from __future__ import annotations

from contextlib import AsyncExitStack
from itertools import pairwise

import pytest

from gateway.contract.events import AnswerEvent, Rerouted, Usage
from gateway.contract.requests import Commit, Input, TranscribeRequest
from gateway.routing.engine import Engine
from tests.fakes.base import Behaviour
from tests.fakes.routes import (
    RATE,
    UTTERANCES,
    answered,
    closing,
    finals,
    pieces,
    route,
    said,
    settings,
    text_of,
    transcribed,
    turns,
)
from tests.fakes.vendors import EARS

pytestmark = pytest.mark.wire
SECONDS = sum(piece.seconds for name in UTTERANCES for piece in pieces(name))


async def dying(stack: AsyncExitStack, vendor: str, after: float) -> Engine:
    """A route of two of them, the first of which dies whenever it heard so much."""
    fake, build, model = EARS[vendor]
    targets = []
    for behaviour in (Behaviour(drop_after=after), Behaviour()):
        url = await stack.enter_async_context(fake(behaviour).running())
        targets.append(await stack.enter_async_context(closing(build(settings(url)))))
    return route("stt", model, *targets)


@pytest.mark.parametrize("vendor", EARS)
async def test_every_word_is_heard_once_whichever_target_hears_it(vendor: str) -> None:
    items: list[Input] = []
    for name in UTTERANCES:
        items += [*pieces(name), Commit()]
    async with AsyncExitStack() as stack:
        engine = await dying(stack, vendor, 1.2)
        events = await answered(engine, TranscribeRequest(RATE), *items)
    assert turns(events) == [said(name) for name in UTTERANCES]
    assert any(isinstance(event, Rerouted) for event in events)
    _in_time(vendor, events)


@pytest.mark.parametrize("vendor", EARS)
async def test_a_call_hears_every_word_once(vendor: str) -> None:
    async with AsyncExitStack() as stack:
        engine = await dying(stack, vendor, 2.5)
        assert await transcribed(engine, UTTERANCES) == [said(name) for name in UTTERANCES]


@pytest.mark.parametrize("vendor", ["cartesia", "deepgram_flux", "deepgram", "soniox", "speechmatics", "assemblyai"])
async def test_where_the_provider_ends_the_turns_every_word_is_heard_once(vendor: str) -> None:
    items: list[Input] = [piece for name in UTTERANCES for piece in pieces(name, quiet=1.0)]
    async with AsyncExitStack() as stack:
        engine = await dying(stack, vendor, 2.5)
        events = await answered(engine, TranscribeRequest(RATE, turns="server"), *items)
    assert text_of(events) == " ".join(map(said, UTTERANCES))
    assert any(isinstance(event, Rerouted) for event in events)


def _in_time(vendor: str, events: list[AnswerEvent]) -> None:
    """Words follow each other, in seconds of all that was put in; so does what was used of it."""
    words = [word for final in finals(events) for word in final.words]
    assert all(a.end <= b.start + 0.05 for a, b in pairwise(words))
    assert not words or words[-1].end == pytest.approx(SECONDS, abs=1.5)
    used = [event.seconds for event in events if isinstance(event, Usage)]
    if vendor != "assemblyai":  # which counts how long its sessions are open
        assert used[-1] == pytest.approx(SECONDS, abs=1.0)
