"""The vendor's SDK against our fake: what the fake says is what the SDK reads. Shapes from SDK and documentation."""

from __future__ import annotations

import asyncio

import pytest
from soniox import AsyncSonioxClient
from soniox.errors import SonioxRealtimeError
from soniox.types import RealtimeSTTConfig, RealtimeTTSConfig

from tests.conformance.speech import recorded, words
from tests.evidence import rests_on
from tests.fakes.base import Behaviour
from tests.fakes.soniox import Soniox

pytestmark = [pytest.mark.wire, rests_on("soniox")]


def client(url: str) -> AsyncSonioxClient:
    return AsyncSonioxClient(
        api_key="any", websocket_base_url=f"{url}/transcribe-websocket", tts_websocket_base_url=f"{url}/tts-websocket"
    )


async def test_it_transcribes_with_the_vendors_client() -> None:
    config = RealtimeSTTConfig(
        model="stt-rt-v5", audio_format="pcm_s16le", sample_rate=16_000, num_channels=1, enable_speaker_diarization=True
    )
    pcm = recorded().pcm
    async with Soniox().running() as url, client(url) as soniox:
        async with soniox.realtime.stt.connect(config=config) as session:
            for at in range(0, len(pcm), 3200):
                await session.send_byte_chunk(pcm[at : at + 3200])
            await session.keep_alive()
            await session.finalize()
            await session.finish()
            events = [event async for event in session.receive_events()]
    final = [token for event in events for token in event.tokens if token.is_final]
    assert "".join(token.text for token in final).removesuffix("<fin>").split() == words()
    assert {token.speaker for token in final} == {"1", None}
    assert events[-1].finished
    assert events[-1].total_audio_proc_ms == pytest.approx(len(pcm) / 32, abs=20)


async def test_its_errors_are_the_vendors() -> None:
    config = RealtimeSTTConfig(model="stt-rt-v5")
    async with Soniox(Behaviour(trouble="no-quota")).running() as url, client(url) as soniox:
        async with soniox.realtime.stt.connect(config=config) as session:
            (event,) = [event async for event in session.receive_events()]
    assert event.error_code == 402
    assert event.error_message


async def test_it_speaks_with_the_vendors_client() -> None:
    def config(stream: str) -> RealtimeTTSConfig:
        return RealtimeTTSConfig(
            stream_id=stream,
            model="tts-rt-v1",
            language="en",
            voice="Adrian",
            audio_format="pcm_s16le",
            sample_rate=16_000,
            return_timestamps=True,
        )

    async with Soniox().running() as url, client(url) as soniox:
        async with soniox.realtime.tts.connect_multi_stream() as connection:
            await connection.keep_alive()
            one = await connection.open_stream(config=config("one"))
            two = await connection.open_stream(config=config("two"))
            await one.send_text_chunks("Hello there.", text_end=True)
            await two.send_text_chunk("Forget this.")
            await two.cancel()
            events = [event async for event in one.receive_events()]
            cancelled = [event async for event in two.receive_events()]
    assert b"".join(filter(None, (event.audio_bytes() for event in events)))
    letters = [letter for event in events if event.timestamps for letter in event.timestamps.characters]
    assert "".join(letters).split() == ["Hello", "there."]
    assert [event.audio_end for event in events][-2:] == [True, False]
    assert [event.terminated for event in cancelled] == [True]


async def test_a_streams_error_is_the_vendors_and_leaves_the_connection() -> None:
    bad = RealtimeTTSConfig(stream_id="s", model="m", language="en", voice="v", audio_format="wav")
    async with Soniox(Behaviour(trouble="bad-model")).running() as url, client(url) as soniox:
        async with soniox.realtime.tts.connect_multi_stream() as connection:
            stream = await connection.open_stream(config=bad)
            with pytest.raises(SonioxRealtimeError, match=r"code 400"):
                await asyncio.wait_for(stream.receive_event(), 5.0)
            await connection.keep_alive()
