"""The vendor's own SDK (elevenlabs) on our fake of it. Shapes rest on the SDK and the documentation; none of it was recorded.

Its client of realtime speech to text runs on the fake. Of multi-context text to speech it has no client, only types: those read what
the fake says, and what our provider says.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from elevenlabs.realtime.connection import RealtimeEvents
from elevenlabs.realtime.scribe import AudioFormat, CommitStrategy, ScribeRealtime
from elevenlabs.types import WebsocketTtsServerMessageMulti
from elevenlabs.types.close_context import CloseContext
from elevenlabs.types.flush_context import FlushContext
from elevenlabs.types.initialise_context import InitialiseContext
from pydantic import BaseModel
from websockets.asyncio.client import connect

from gateway.contract.requests import Commit, SpeakRequest
from providers.elevenlabs import Provider
from tests.evidence import rests_on
from tests.fakes.elevenlabs import ElevenLabs
from tests.fakes.routes import RATE, UTTERANCES, closing, pieces, said, settings, spoken

pytestmark = [pytest.mark.wire, rests_on("elevenlabs")]
K01 = UTTERANCES[0]


@pytest.mark.parametrize("strategy", [CommitStrategy.MANUAL, CommitStrategy.VAD])
async def test_the_sdk_hears_what_is_committed(strategy: CommitStrategy) -> None:
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    started: list[dict[str, Any]] = []
    async with ElevenLabs().running() as url, asyncio.timeout(10.0):
        connection = await ScribeRealtime("key", url).connect(
            {
                "model_id": "scribe_v2_realtime",
                "audio_format": AudioFormat.PCM_16000,
                "sample_rate": RATE,
                "commit_strategy": strategy,
                "include_timestamps": True,
            }
        )
        connection.on(RealtimeEvents.SESSION_STARTED, started.append)
        connection.on(RealtimeEvents.COMMITTED_TRANSCRIPT_WITH_TIMESTAMPS, told.put_nowait)
        for piece in pieces(K01, quiet=1.0):
            await connection.send({"audio_base_64": base64.b64encode(piece.pcm).decode()})
        if strategy is CommitStrategy.MANUAL:
            await connection.commit()
        final = await told.get()
        await connection.close()
    assert final["text"] == said(K01)
    assert [word["text"] for word in final["words"] if word["type"] == "word"] == said(K01).split()
    assert len(started) == 1


async def test_the_sdks_types_read_what_the_fake_says() -> None:
    async with ElevenLabs().running() as url, asyncio.timeout(10.0):
        address = f"{url}/v1/text-to-speech/anna/multi-stream-input?model_id=eleven_flash_v2_5&output_format=pcm_16000"
        async with connect(address, additional_headers={"xi-api-key": "key"}) as socket:
            for message in (
                '{"text": " ", "context_id": "c"}',
                '{"text": "Hello there. ", "context_id": "c", "flush": true}',
            ):
                await socket.send(message)
            await socket.send('{"context_id": "c", "close_context": true}')
            told: list[WebsocketTtsServerMessageMulti] = []
            while not told or not told[-1].model_dump(by_alias=True).get("isFinal"):
                told.append(WebsocketTtsServerMessageMulti.model_validate_json(await socket.recv()))
    assert all(message.context_id == "c" for message in told)
    spelled = "".join("".join(message.alignment.chars or []) for message in told if message.alignment is not None)
    assert spelled == "Hello there. "
    assert all(message.audio for message in told[:-1])


async def test_what_our_provider_says_is_what_the_sdks_types_hold() -> None:
    fake = ElevenLabs()
    async with fake.running() as url, closing(Provider(settings(url))) as provider:
        await spoken(provider, "eleven_flash_v2_5", "Hello. ", Commit(), request=SpeakRequest(speed=1.1))
    kinds: tuple[type[BaseModel], ...] = (InitialiseContext, FlushContext, CloseContext)
    for kind, message in zip(kinds, fake.sessions[0].said, strict=True):
        assert not kind.model_validate(message).model_extra
