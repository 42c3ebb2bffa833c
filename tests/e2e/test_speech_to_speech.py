"""The real program between OpenAI's realtime client and fakes of the providers' sessions: OpenAI's, xAI's and Gemini's.

Whoever answers, a spoken turn, a tool, an interruption, a change to the cascade and back.
"""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from gateway.contract.audio import Audio
from gateway.contract.encoding import Resampler
from tests.api.realtime_caller import RATE, RealtimeCaller, realtime
from tests.fakes.base import Fake
from tests.fakes.gemini_live import GeminiTalks
from tests.fakes.openai_realtime import OpenAITalks, XaiTalks
from tests.gateway_process import GatewayProcess, gateway_process
from tests.needs import ROOT

pytestmark = pytest.mark.wire

ROUTES = """\
providers:
  openai: {{base_url: "{openai}", key: key-0123456789}}
  xai: {{module: openai_compatible, base_url: "{xai}", key: key-0123456789, options: {{session: xai}}}}
  gemini: {{base_url: "{gemini}", key: key-0123456789}}
routes:
  chat: {{kind: llm, targets: [fake/words-5]}}
  say: {{kind: tts, targets: [fake/ok]}}
  listen: {{kind: stt, targets: [fake/ok]}}
"""
ROUTE = """\
  talk-{name}: {{kind: s2s, targets: [{name}/live-1]}}
  {name}: {{kind: call, start: omni, cascaded: {{stt: listen, llm: chat, tts: say}}, omni: {{s2s: talk-{name}}}, apology: ""}}
"""
FAKES: dict[str, type[Fake]] = {"openai": OpenAITalks, "xai": XaiTalks, "gemini": GeminiTalks}
TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}


@dataclass
class Served:
    gateway: GatewayProcess
    fakes: dict[str, Fake]

    @asynccontextmanager
    async def calling(self, name: str) -> AsyncIterator[RealtimeCaller]:
        async with realtime(self.gateway.url, model=name) as caller:
            yield caller
        await self.fakes[name].until_left(within=2.0)


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    fakes = {name: fake() for name, fake in FAKES.items()}
    async with AsyncExitStack() as stack:
        urls = {name: await stack.enter_async_context(fake.running()) for name, fake in fakes.items()}
        file = folder / "routes.yaml"
        addresses = {name: url.replace("ws", "http", 1) for name, url in urls.items()}
        file.write_text(ROUTES.format(**addresses) + "".join(ROUTE.format(name=name) for name in fakes))
        async with gateway_process(file) as gateway:
            yield Served(gateway, fakes)


async def test_the_same_conversation_whoever_answers(tmp_path: Path) -> None:
    async with served(tmp_path) as here:
        for name in FAKES:
            async with here.calling(name) as caller:
                await _converses(caller)
                await _asks_for_the_weather(caller)
                await _changes_mode(caller, here.gateway)
            async with here.calling(name) as caller:
                await _interrupts(caller)


def speech(name: str = "k01_kokoro_af_heart", quiet: float = 1.5) -> bytes:
    with wave.open(str(ROOT / "tests" / "data" / "speech" / f"{name}.wav")) as file:
        audio = Audio(file.readframes(file.getnframes()), file.getframerate())
    resampler = Resampler(RATE)
    return resampler.feed(audio).pcm + resampler.finish().pcm + bytes(round(quiet * RATE) * 2)


def words(item: dict[str, Any]) -> str:
    return str(item["content"][0]["transcript"])


async def _converses(caller: RealtimeCaller) -> None:
    await caller.send(type="session.update", session={"type": "realtime", "tools": [TOOL]})
    await caller.append(speech())
    done = await caller.until("response.done")
    heard = (await caller.until_transcribed())["transcript"]
    assert heard
    assert words(done["response"]["output"][0]) == f"You said: {heard}"
    assert caller.in_order(
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "response.created",
        "response.output_audio.delta",
        "response.done",
    )
    assert len(caller.audio()) / 2 / RATE > 1.0
    assert done["response"]["usage"]["output_tokens"] > 0


async def _asks_for_the_weather(caller: RealtimeCaller) -> None:
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And the weather?"}]}
    await caller.send(type="conversation.item.create", item=said)
    await caller.send(type="response.create")
    call = (await caller.until("response.done"))["response"]["output"][-1]
    assert (call["type"], call["name"]) == ("function_call", "get_weather")
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "Rain."}
    await caller.send(type="conversation.item.create", item=output)
    await caller.send(type="response.create")
    done = await caller.until("response.done")
    assert words(done["response"]["output"][0]) == "The tool says: Rain."


async def _changes_mode(caller: RealtimeCaller, gateway: GatewayProcess) -> None:
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        call = caller.call_id
        for mode in ("cascaded", "omni"):
            assert (await http.patch(f"/v1/calls/{call}", json={"mode": mode})).status_code == 202
            async with asyncio.timeout(20):
                while (await http.get(f"/v1/calls/{call}")).json()["mode"] != mode:  # noqa: ASYNC110 - HTTP tells when asked
                    await asyncio.sleep(0.05)
            await caller.append(speech(quiet=2.5))
            done = await caller.until("response.done", within=15.0)
            said = words(done["response"]["output"][0])
            assert said.startswith("You said: ") == (mode == "omni")


async def _interrupts(caller: RealtimeCaller) -> None:
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "word " * 40}]}
    await caller.send(type="conversation.item.create", item=said)
    await caller.send(type="response.create")
    await caller.until("response.output_audio.delta")
    await caller.append(np.frombuffer(speech(), np.int16), pause=0.02)
    await caller.until("response.done")  # all of it was made before a word was heard
    while (done := await caller.until("response.done"))["response"]["status"] != "completed":
        pass  # the caller made a pause, and went on over the answer to what was said before it
    assert words(done["response"]["output"][0]).startswith("You said:")
    assert caller.in_order("response.output_audio.delta", "input_audio_buffer.speech_started")
