"""Clients of OpenAI's Realtime API, unmodified, hold a spoken conversation through the real program: a turn, a tool, an interruption.

Each in its own process, all at once, omni by a fake of OpenAI's sessions and cascaded with the embedded ear and voice. Their
programs are in tests/clients.
"""

from __future__ import annotations

import asyncio
import json
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_speech_to_speech import speech
from tests.fakes.openai_realtime import RATE, OpenAITalks
from tests.gateway_process import GatewayProcess, gateway_process
from tests.needs import CLIENTS, PYTHON_OF_CLIENTS

pytestmark = [pytest.mark.wire, pytest.mark.models, pytest.mark.needs("node", "clients")]
PROGRAMS = {
    "openai-agents": [str(PYTHON_OF_CLIENTS), "openai_agents.py"],
    "livekit": [str(PYTHON_OF_CLIENTS), "livekit_agents.py"],
    "agents-realtime": ["node", "agents.mjs"],
}
ROUTES = """\
providers:
  openai: {{base_url: "{openai}", key: key-0123456789}}
routes:
  chat: {{kind: llm, targets: [fake/tools+echo]}}
  say: {{kind: tts, targets: [{say}]}}
  listen: {{kind: stt, targets: [{listen}]}}
  talk: {{kind: s2s, targets: [openai/live-1]}}
  cascade: {{kind: call, cascaded: {{stt: listen, llm: chat, tts: say}}, apology: ""}}
  omni: {{kind: call, start: omni, cascaded: {{stt: listen, llm: chat, tts: say}}, omni: {{s2s: talk}}, apology: ""}}
"""


@asynccontextmanager
async def served(folder: Path, say: str = "fake/ok", listen: str = "fake/ok") -> AsyncIterator[GatewayProcess]:
    with wave.open(str(folder / "speech.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(speech(quiet=0.0))
    fake = OpenAITalks()
    async with fake.running() as url:
        routes = folder / "routes.yaml"
        routes.write_text(ROUTES.format(openai=url.replace("ws", "http", 1), say=say, listen=listen))
        async with gateway_process(routes) as gateway:
            yield gateway
        await fake.until_left(within=2.0)


async def converse(client: str, gateway: GatewayProcess, route: str, folder: Path) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *PROGRAMS[client],
        *(gateway.url, route, str(folder / "speech.wav")),
        cwd=CLIENTS,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(110.0):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{client}: {errors.decode()[-2000:]}"
    told: dict[str, Any] = json.loads(out.splitlines()[-1])
    return told


async def conversations(gateway: GatewayProcess, route: str, folder: Path) -> dict[str, dict[str, Any]]:
    told = await asyncio.gather(*[converse(client, gateway, route, folder) for client in PROGRAMS])
    return dict(zip(PROGRAMS, told, strict=True))


def check(client: str, told: dict[str, Any], heard: str, answered: str) -> None:
    assert told["errors"] == [], client
    assert told["called"] >= 2, client
    assert told["interrupted"] >= 1, client
    said = [(role, " ".join(text.split())) for role, text in told["history"]]
    assert [role for role, _ in said[:6]] == ["user", "assistant"] * 3, said
    assert heard in said[0][1], (client, said)
    assert said[1][1].startswith(answered), (client, said)
    assert said[2][1] == "And what is the weather?", (client, said)
    assert "It rains in Pune" in said[3][1], (client, said)
    assert said[6][0] == "user", (client, said)


async def test_in_both_modes(tmp_path: Path) -> None:
    async with served(tmp_path, "local_tts/joe", "local_stt/moonshine") as gateway:
        omni, cascaded = await asyncio.gather(*[conversations(gateway, each, tmp_path) for each in ("omni", "cascade")])
    for client, told in omni.items():
        check(client, told, "two three", "You said:")
    for client, told in cascaded.items():
        check(client, told, "book an appointment with the doctor", "It rains in Pune")
