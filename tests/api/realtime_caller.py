"""A caller of `/v1/realtime`: the official client, with every event checked against OpenAI's own types.

async with realtime(gateway.url, model="agent") as caller:
    await caller.say(tone(300, 1.0, 24_000))
    event = await caller.until("response.done")
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import openai
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from tests.calls.scene import validated
from tests.serving import plain_http

RATE = 24_000


class RealtimeCaller:
    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[dict[str, Any]] = []

    async def send(self, **event: Any) -> None:
        await self.connection.send_raw(json.dumps(event))

    async def append(self, audio: npt.NDArray[np.int16] | bytes, chunk: float = 0.1, pause: float = 0.0) -> None:
        """`chunk`: seconds (of 24 kHz s16le) in an event."""
        data = audio if isinstance(audio, bytes) else audio.astype(np.int16).tobytes()
        size = round(chunk * RATE) * 2
        for at in range(0, len(data), size):
            await self.send(type="input_audio_buffer.append", audio=encoded(data[at : at + size]))
            await asyncio.sleep(pause)

    async def next(self, within: float = 5.0) -> dict[str, Any]:
        async with asyncio.timeout(within):
            event = validated((await self.connection.recv_bytes()).decode())
        self.events.append(event)
        return event

    async def until(self, kind: str, within: float = 5.0) -> dict[str, Any]:
        """The next event of this type."""
        while (event := await self.next(within))["type"] != kind:
            pass
        return event

    async def until_transcribed(self) -> dict[str, Any]:
        """It may be there already: it comes when it comes."""
        kind = "conversation.item.input_audio_transcription.completed"
        return self.of(kind)[0] if self.of(kind) else await self.until(kind)

    def in_order(self, *kinds: str) -> bool:
        """Whether the first of each of these came one after the other."""
        at = [self.types.index(kind) for kind in kinds]
        return at == sorted(at)

    @property
    def call_id(self) -> str:
        """By which `/v1/calls/{id}` knows it."""
        response = self.connection._connection.response
        assert response is not None
        return response.headers["x-call-id"]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def audio(self) -> bytes:
        return b"".join(base64.b64decode(event["delta"]) for event in self.of("response.output_audio.delta"))


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@asynccontextmanager
async def realtime(url: str, key: str = "test", **connect: Any) -> AsyncIterator[RealtimeCaller]:
    """`connect`: as of `AsyncOpenAI().realtime.connect`."""
    client = openai.AsyncOpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0, http_client=plain_http())
    async with client, client.realtime.connect(**connect) as connection:
        yield RealtimeCaller(connection)
