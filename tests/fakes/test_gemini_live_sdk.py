"""Google's own SDK holds a conversation with our fake of Gemini Live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from google import genai
from google.genai import types
from google.genai.live import AsyncSession

from tests.fakes.base import Behaviour
from tests.fakes.gemini_live import GeminiTalks
from tests.fakes.routes import pieces, said
from tests.tls import loopback

pytestmark = pytest.mark.wire
NAME = "k01_kokoro_af_heart"
TOOL: Any = {"function_declarations": [{"name": "get_weather", "description": "The weather."}]}


@asynccontextmanager
async def connected(behaviour: Behaviour | None = None, **config: Any) -> AsyncIterator[AsyncSession]:
    with TemporaryDirectory() as folder:  # the SDK knows no sockets but wss://
        server, trust = loopback(Path(folder))
    async with GeminiTalks(behaviour).running(ssl=server) as url:
        url = url.replace("ws", "https", 1)
        options = types.HttpOptions(base_url=url, api_version="v1beta", async_client_args={"ssl": trust})
        client = genai.Client(api_key="key-0123456789", http_options=options)
        asked = types.LiveConnectConfig(
            response_modalities=[types.Modality.AUDIO],
            input_audio_transcription=types.AudioTranscriptionConfig(),
            output_audio_transcription=types.AudioTranscriptionConfig(),
            session_resumption=types.SessionResumptionConfig(),
            **config,
        )
        async with client.aio.live.connect(model="gemini-live-2.5-flash", config=asked) as session:
            yield session


async def turn(session: AsyncSession) -> list[types.LiveServerContent]:
    """What is said until the answer is over."""
    async with asyncio.timeout(5):
        return [message.server_content async for message in session.receive() if message.server_content]


def words(said: list[types.LiveServerContent]) -> str:
    return "".join(each.output_transcription.text or "" for each in said if each.output_transcription)


async def test_a_spoken_turn() -> None:
    async with connected() as session:
        for piece in pieces(NAME, quiet=1.0):
            await session.send_realtime_input(audio=types.Blob(data=piece.pcm, mime_type="audio/pcm;rate=16000"))
        told = await turn(session)
        heard = "".join(each.input_transcription.text or "" for each in told if each.input_transcription)
        assert heard.strip() == said(NAME)
        assert words(told) == f"You said: {said(NAME)}"
        assert sum(bool(each.generation_complete) for each in told) == 1


async def test_a_tool_round() -> None:
    async with connected(tools=[TOOL]) as session:
        content = types.Content(role="user", parts=[types.Part(text="What is the weather?")])
        await session.send_client_content(turns=content, turn_complete=True)
        async for message in session.receive():
            if message.tool_call and message.tool_call.function_calls:
                [call] = message.tool_call.function_calls
                break
        assert (call.name, call.args) == ("get_weather", {"city": "London"})
        answer = types.FunctionResponse(id=call.id, name=call.name, response={"output": "Rain."})
        await session.send_tool_response(function_responses=answer)
        assert words(await turn(session)) == "The tool says: Rain."


async def test_speech_over_an_answer_interrupts_it() -> None:
    async with connected(Behaviour(stall_after=0.5)) as session:  # it says no more by itself
        content = types.Content(role="user", parts=[types.Part(text="Count.")])
        await session.send_client_content(turns=content, turn_complete=True)
        for piece in pieces(NAME, quiet=0.0):
            await session.send_realtime_input(audio=types.Blob(data=piece.pcm, mime_type="audio/pcm;rate=16000"))
        assert any(each.interrupted for each in await turn(session))
