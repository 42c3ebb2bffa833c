"""The vendor's SDK against our fake: what the fake says is what the SDK reads. Shapes from SDK and documentation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from assemblyai.streaming.v3 import (
    AsyncRealTimeTranscriber,
    RealTimeEvents,
    RealTimeParameters,
    RealTimeTranscriberOptions,
)

from tests.evidence import rests_on
from tests.fakes.assemblyai import AssemblyAI
from tests.fakes.base import Behaviour
from tests.fakes.routes import pieces, said

pytestmark = [
    rests_on("assemblyai"),
    pytest.mark.wire,
    pytest.mark.filterwarnings("ignore:ConnectionClosed.code:DeprecationWarning"),  # of the client's own
]
KNOWN = {"speech_model": "universal-streaming-english", "sample_rate": 16_000, "format_turns": True}


async def told(url: str, **more: Any) -> list[Any]:
    """Everything that the client was told of one utterance, its end forced."""
    client = AsyncRealTimeTranscriber(RealTimeTranscriberOptions(api_key="any", api_host=url))
    events: list[Any] = []
    over = asyncio.Event()

    def note(_: object, event: Any) -> None:
        events.append(event)
        if type(event).__name__ in ("TerminationEvent", "RealTimeError"):
            over.set()

    for kind in RealTimeEvents:
        client.on(kind, note)
    await client.connect(RealTimeParameters(**{**KNOWN, **more}))
    for piece in pieces("k02_kokoro_am_michael", 0.2, 0.275):
        await client.stream(piece.pcm)
    await client.keep_alive()
    await client.force_endpoint()
    await client.disconnect(terminate=True)
    async with asyncio.timeout(5.0):
        await over.wait()
    return events


async def test_it_transcribes_with_the_vendors_client() -> None:
    async with AssemblyAI().running() as url:
        events = await told(url, keyterms_prompt=["tea"])
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-1]) == ("Begin", "Termination")
    plain, formatted = [event for event in events if event.type == "Turn" and event.end_of_turn]
    assert (plain.turn_is_formatted, formatted.turn_is_formatted) == (False, True)
    assert formatted.transcript == said("k02_kokoro_am_michael")
    assert plain.transcript != formatted.transcript
    assert plain.turn_order == formatted.turn_order
    assert any(not word.word_is_final for event in events if event.type == "Turn" for word in event.words)
    assert events[-1].audio_duration_seconds == round(sum(p.seconds for p in pieces("k02_kokoro_am_michael")))


async def test_its_errors_are_the_vendors() -> None:
    async with AssemblyAI(Behaviour(trouble="concurrency")).running() as url:
        events = await told(url)
    assert events[0].code == 1008
    assert "Too many concurrent sessions" in str(events[0])
