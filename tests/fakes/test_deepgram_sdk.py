"""Deepgram's own SDK on our fake: what it says is what the SDK's types expect (deepgram-sdk 7.17)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from deepgram import AsyncDeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.environment import DeepgramClientEnvironment
from deepgram.listen.v1.types import (
    ListenV1CloseStream,
    ListenV1Finalize,
    ListenV1KeepAlive,
    ListenV1Metadata,
    ListenV1Results,
    ListenV1SpeechStarted,
)
from deepgram.listen.v2.types import ListenV2CloseStream, ListenV2Connected, ListenV2ForceEndTurn, ListenV2TurnInfo
from deepgram.speak.v1.types import (
    SpeakV1Clear,
    SpeakV1Cleared,
    SpeakV1Flush,
    SpeakV1Flushed,
    SpeakV1Metadata,
    SpeakV1Text,
)

from tests.evidence import rests_on
from tests.fakes.base import Behaviour
from tests.fakes.deepgram import Deepgram
from tests.fakes.routes import UTTERANCES, pieces, said
from tests.fakes.speaking import spoken

pytestmark = [
    pytest.mark.wire,
    rests_on("deepgram"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]  # the SDK's use of websockets
K01 = UTTERANCES[0]


@asynccontextmanager
async def sdk(behaviour: Behaviour | None = None) -> AsyncIterator[AsyncDeepgramClient]:
    async with Deepgram(behaviour).running() as url:
        there = DeepgramClientEnvironment(base=url.replace("ws", "http"), production=url, agent=url, agent_rest=url)
        yield AsyncDeepgramClient(api_key="key-0123456789", environment=there)


async def received(connection: Any, last: str, kinds: tuple[type, ...]) -> list[Any]:
    """Messages up to the last; all of them the SDK's, with every field that it expects."""
    messages: list[Any] = []
    async with asyncio.timeout(10.0):
        async for message in connection:
            messages.append(message)
            if not isinstance(message, bytes):
                assert type(message) in kinds
                type(message).model_validate(message.model_dump())
                if message.type == last:
                    break
    return messages


async def test_listen_speaks_as_the_sdk_expects() -> None:
    async with (
        sdk() as client,
        client.listen.v1.connect(
            model="nova-3", encoding="linear16", sample_rate="16000", interim_results="true", vad_events="true"
        ) as live,
    ):
        await live.send_keep_alive(ListenV1KeepAlive(type="KeepAlive"))
        for piece in pieces(K01):
            await live.send_media(piece.pcm)
        await live.send_finalize(ListenV1Finalize(type="Finalize"))
        await live.send_close_stream(ListenV1CloseStream(type="CloseStream"))
        messages = await received(live, "Metadata", (ListenV1Results, ListenV1SpeechStarted, ListenV1Metadata))
    results = [each for each in messages if isinstance(each, ListenV1Results)]
    finals = [each.channel.alternatives[0].transcript for each in results if each.is_final]
    assert " ".join(filter(None, finals)) == said(K01)
    assert any(not each.is_final for each in results)
    assert any(isinstance(each, ListenV1SpeechStarted) for each in messages)


async def test_flux_speaks_as_the_sdk_expects() -> None:
    async with (
        sdk() as client,
        client.listen.v2.connect(model="flux-general-en", encoding="linear16", sample_rate="16000") as live,
    ):
        for piece in pieces(K01, 0.08):
            await live.send_media(piece.pcm)
        await live.send_force_end_turn(ListenV2ForceEndTurn(type="ForceEndTurn"))
        await live.send_close_stream(ListenV2CloseStream(type="CloseStream"))
        messages = await received(live, "", (ListenV2Connected, ListenV2TurnInfo))
    assert isinstance(messages[0], ListenV2Connected)
    told = [each for each in messages if isinstance(each, ListenV2TurnInfo)]
    ends = [each.transcript for each in told if each.event == "EndOfTurn"]
    assert ends == [said(K01)]
    assert {each.event for each in told} == {"StartOfTurn", "Update", "EndOfTurn"}
    assert [each.sequence_id for each in messages] == list(range(len(messages)))


async def test_speak_speaks_as_the_sdk_expects() -> None:
    kinds = (SpeakV1Metadata, SpeakV1Flushed, SpeakV1Cleared)
    async with (
        sdk() as client,
        client.speak.v1.connect(model="aura-2-thalia-en", encoding="linear16", sample_rate="24000") as speaker,
    ):
        await speaker.send_text(SpeakV1Text(type="Speak", text="Hello there."))
        await speaker.send_flush(SpeakV1Flush(type="Flush"))
        messages = await received(speaker, "Flushed", kinds)
        await speaker.send_clear(SpeakV1Clear(type="Clear"))
        messages += await received(speaker, "Cleared", kinds)
    assert isinstance(messages[0], SpeakV1Metadata)
    sound = b"".join(each for each in messages if isinstance(each, bytes))
    assert sound == b"".join(pcm for _, pcm in spoken("Hello there.", 24_000))


@pytest.mark.parametrize(("trouble", "status"), [("unauthorized", 401), ("no-quota", 402), ("rate-limited", 429)])
async def test_refusals_are_errors_of_the_sdk(trouble: str, status: int) -> None:
    async with sdk(Behaviour(trouble=trouble)) as client:
        with pytest.raises(ApiError) as error:
            async with client.listen.v1.connect(model="nova-3", encoding="linear16", sample_rate="16000"):
                pass
    assert error.value.status_code == status
