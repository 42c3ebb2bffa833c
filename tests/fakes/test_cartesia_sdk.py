"""The vendor's own SDK (cartesia) on our fake of it: whether the fake says what Cartesia's clients understand.

Shapes rest on the SDK and the documentation; none of it was recorded.
"""

from __future__ import annotations

import asyncio

import pytest
from cartesia import AsyncCartesia

from tests.evidence import rests_on
from tests.fakes import speaking
from tests.fakes.cartesia import Cartesia
from tests.fakes.routes import RATE, UTTERANCES, pieces, said

pytestmark = [pytest.mark.wire, rests_on("cartesia")]
K01 = UTTERANCES[0]


def client(url: str) -> AsyncCartesia:
    return AsyncCartesia(api_key="key", base_url=url.replace("ws", "http", 1), websocket_base_url=url)


async def test_the_sdk_hears_what_is_said_between_finalizes() -> None:
    async with Cartesia().running() as url, client(url) as sdk, asyncio.timeout(10.0):
        listening = sdk.stt.manual_finalize.websocket(model="ink-2", encoding="pcm_s16le", sample_rate=RATE)
        async with listening as connection:
            for piece in pieces(K01):
                await connection.send_raw(piece.pcm)
            await connection.send("finalize")
            await connection.send("close")
            events = [event async for event in connection]
    finals = [event.text for event in events if event.type == "transcript" and event.is_final]
    assert "".join(finals) == said(K01)
    assert [event.type for event in events[-2:]] == ["flush_done", "done"]


async def test_the_sdk_hears_turns() -> None:
    async with Cartesia().running() as url, client(url) as sdk, asyncio.timeout(10.0):
        listening = sdk.stt.auto_finalize.websocket(model="ink-2", encoding="pcm_s16le", sample_rate=RATE)
        async with listening as connection:
            for piece in pieces(K01, quiet=1.0):
                await connection.send_raw(piece.pcm)
            await connection.send({"type": "close"})
            events = [event async for event in connection]
    assert [event.type for event in events][:2] == ["connected", "turn.start"]
    assert [event.type for event in events][-2:] == ["turn.eager_end", "turn.end"]
    assert getattr(events[-1], "transcript") == said(K01)  # noqa: B009 - the types of the other events have none


async def test_the_sdk_speaks_in_a_context_and_flushes_it() -> None:
    async with Cartesia().running() as url, client(url) as sdk, asyncio.timeout(10.0):
        async with sdk.tts.websocket_connect() as connection:
            context = connection.context(
                model_id="sonic-3.5",
                voice="anna-id",
                output_format={"container": "raw", "encoding": "pcm_s16le", "sample_rate": RATE},
                add_timestamps=True,
            )
            await context.push("Hello there. ")
            await context.push("", flush=True)
            await context.push("And more.")
            await context.no_more_inputs()
            events = [event async for event in context.receive()]
    text = "Hello there. And more."
    audio = b"".join(event.audio or b"" for event in events if event.type == "chunk")
    assert audio == b"".join(pcm for _, pcm in speaking.spoken(text, RATE))
    words = [event.word_timestamps for event in events if event.type == "timestamps"]
    assert [word for each in words if each for word in each.words] == text.split()
    assert [event.flush_id for event in events if event.type == "flush_done"] == [1]
    assert events[-1].type == "done"
