"""OpenAI's own SDK holds a conversation with our fake of its realtime, and knows every event by its strict types."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from gateway.contract.audio import Audio
from gateway.contract.encoding import Resampler
from tests.fakes.openai_realtime import RATE, OpenAITalks
from tests.fakes.routes import pieces

pytestmark = pytest.mark.wire
SERVER: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}


class Client:
    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.came: list[Any] = []

    async def until(self, kind: str) -> Any:
        while True:
            event = SERVER.validate_python(orjson.loads(await self.connection.recv_bytes()))
            self.came.append(event)
            if event.type == kind:
                return event

    @property
    def types(self) -> list[str]:
        """Each run of the same type once."""
        types = [event.type for event in self.came]
        return [kind for n, kind in enumerate(types) if not n or types[n - 1] != kind]


@asynccontextmanager
async def connected() -> AsyncIterator[Client]:
    async with OpenAITalks().running() as url:
        client = AsyncOpenAI(api_key="key-0123456789", base_url=f"{url.replace('ws', 'http', 1)}/v1")
        async with client, client.realtime.connect(model="gpt-realtime") as connection:
            yield Client(connection)


async def test_a_spoken_turn_is_in_the_recorded_order() -> None:
    async with connected() as client:
        heard = {"transcription": {"model": "gpt-4o-mini-transcribe"}}
        session: Any = {"type": "realtime", "audio": {"input": heard}}
        await client.connection.session.update(session=session)
        resampler = Resampler(RATE)
        for piece in pieces("k01_kokoro_af_heart", quiet=1.0):
            audio: Audio = resampler.feed(piece)
            data = base64.b64encode(audio.pcm).decode()
            await client.connection.input_audio_buffer.append(audio=data)
        done = await client.until("response.done")
        assert done.response.status == "completed"
        assert client.types[:8] == [
            "session.created",
            "session.updated",
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "conversation.item.input_audio_transcription.delta",
        ]
        made = client.types[client.types.index("response.created") :]
        assert [kind for kind in made if "delta" not in kind] == [
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]


async def test_a_tool_round() -> None:
    async with connected() as client:
        session: Any = {"type": "realtime", "output_modalities": ["text"], "tools": [TOOL]}
        await client.connection.session.update(session=session)
        content: Any = [{"type": "input_text", "text": "What is the weather?"}]
        await client.connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        await client.connection.response.create()
        call = await client.until("response.function_call_arguments.done")
        await client.until("response.done")
        output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
        await client.connection.conversation.item.create(item=output)
        await client.connection.response.create()
        assert (await client.until("response.output_text.done")).text == "The tool says: Rain."


async def test_what_is_wrong_is_answered_and_the_session_goes_on() -> None:
    async with connected() as client:
        await client.connection.send_raw(b"\x00")
        assert (await client.until("error")).error.code == "invalid_event"
        await client.connection.send_raw("{")
        assert (await client.until("error")).error.code == "invalid_json"
        await client.connection.response.cancel()
        assert (await client.until("error")).error.code == "response_cancel_not_active"
        await client.connection.input_audio_buffer.commit()
        assert (await client.until("error")).error.code == "input_audio_buffer_commit_empty"
