"""The real program, and OpenAI's realtime client against it: a call in each mode, and a session that only hears."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.api.realtime_caller import RATE, realtime
from tests.gateway_process import gateway_process
from tests.sounds import tone

pytestmark = pytest.mark.wire

ROUTES = """\
routes:
  chat: {kind: llm, targets: [fake/words-5]}
  say: {kind: tts, targets: [fake/ok]}
  listen: {kind: stt, targets: [fake/ok]}
  talk: {kind: s2s, targets: [fake/ok]}
  agent: {kind: call, cascaded: {stt: listen, llm: chat, tts: say}}
  live: {kind: call, start: omni, cascaded: {stt: listen, llm: chat, tts: say}, omni: {s2s: talk}}
"""


async def test_the_program_serves_openais_realtime_client(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(ROUTES)
    async with gateway_process(file) as gateway:
        for model in ("agent", "live"):
            async with realtime(gateway.url, model=model) as caller:
                said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello!"}]}
                await caller.send(type="conversation.item.create", item=said)
                await caller.send(type="response.create")
                done = await caller.until("response.done", within=15.0)
                assert done["response"]["status"] == "completed"
                assert done["response"]["output"][0]["content"][0]["transcript"]
                assert len(caller.audio()) > RATE // 10
        async with realtime(gateway.url, model="listen", extra_query={"intent": "transcription"}) as caller:
            session = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
            await caller.send(type="session.update", session=session)
            await caller.append(tone(300, 1.0, RATE).astype(np.int16))
            await caller.send(type="input_audio_buffer.commit")
            assert (await caller.until_transcribed())["transcript"]
