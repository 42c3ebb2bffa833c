"""The vendor's SDK against our fake: what the fake says is what the SDK reads. Shapes from SDK and documentation."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from speechmatics.rt import (
    AsyncClient,
    AudioEncoding,
    AudioFormat,
    ConversationConfig,
    ServerMessageType,
    TranscriptionConfig,
    TranscriptResult,
)

from tests.evidence import rests_on
from tests.fakes.base import Behaviour
from tests.fakes.routes import UTTERANCES, pieces, said
from tests.fakes.speechmatics import Speechmatics

pytestmark = [pytest.mark.wire, rests_on("speechmatics")]
K02 = UTTERANCES[1]
PCM = b"".join(piece.pcm for piece in pieces(K02, quiet=1.2))
SOUND = AudioFormat(encoding=AudioEncoding.PCM_S16LE, sample_rate=16_000, chunk_size=3200)
NOTED = (
    ServerMessageType.ADD_TRANSCRIPT,
    ServerMessageType.ADD_PARTIAL_TRANSCRIPT,
    ServerMessageType.END_OF_UTTERANCE,
    ServerMessageType.END_OF_TRANSCRIPT,
    ServerMessageType.ERROR,
)


def noting(client: AsyncClient) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for kind in NOTED:
        client.on(kind, messages.append)
    return messages


def text_of(messages: list[dict[str, Any]]) -> str:
    """As the vendor's examples put it together, but for the spaces."""
    results = [TranscriptResult.from_message(each) for each in messages if each["message"] == "AddTranscript"]
    words = ""
    for each in (one for result in results for one in result.results):
        assert each.alternatives
        words += each.alternatives[0].content if each.attaches_to else f" {each.alternatives[0].content}"
    return words.strip()


async def test_it_transcribes_with_the_vendors_client() -> None:
    async with Speechmatics().running() as url, AsyncClient(api_key="any", url=f"{url}/v2") as client:
        messages = noting(client)
        config = TranscriptionConfig(
            language="en",
            enable_partials=True,
            max_delay=0.7,
            conversation_config=ConversationConfig(end_of_utterance_silence_trigger=0.5),
        )
        async with asyncio.timeout(10.0):
            await client.transcribe(io.BytesIO(PCM), transcription_config=config, audio_format=SOUND)
    kinds = [each["message"] for each in messages]
    assert text_of(messages) == said(K02)
    assert kinds.count("EndOfUtterance") == 1
    assert kinds[-1] == "EndOfTranscript"
    assert "AddPartialTranscript" in kinds
    assert client.session_id == "5f4b2a"


async def test_an_utterance_is_ended_with_the_vendors_client() -> None:
    async with Speechmatics().running() as url, AsyncClient(api_key="any", url=f"{url}/v2") as client:
        messages = noting(client)
        await client.start_session(transcription_config=TranscriptionConfig(language="en"), audio_format=SOUND)
        await client.send_audio(PCM)
        await client.force_end_of_utterance()
        async with asyncio.timeout(10.0):
            await client.stop_session()
    kinds = [each["message"] for each in messages]
    assert text_of(messages) == said(K02)
    assert kinds[-2:] == ["EndOfUtterance", "EndOfTranscript"]
    assert messages[-2]["metadata"]["end_time"] == pytest.approx(len(PCM) / 32_000, abs=0.01)


async def test_its_errors_are_the_vendors() -> None:
    async with Speechmatics(Behaviour(trouble="concurrency")).running() as url:
        async with AsyncClient(api_key="any", url=f"{url}/v2") as client:
            messages = noting(client)
            with pytest.raises(Exception, match="concurrent"):
                await client.start_session(audio_format=SOUND)
    assert [each["type"] for each in messages] == ["quota_exceeded"]
