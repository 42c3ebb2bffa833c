"""LiveKit's agent with its openai plugin's RealtimeModel holds a spoken conversation: a turn, a tool, an interruption. As JSON.

python livekit_agents.py http://127.0.0.1:8080 ROUTE SPEECH.wav      (24 kHz mono)
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable

from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice import io
from livekit.plugins import openai
from speech import RATE, WEATHER, pieces


class Microphone(io.AudioInput):
    def __init__(self) -> None:
        super().__init__(label="microphone")
        self.frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    async def __anext__(self) -> rtc.AudioFrame:
        return await self.frames.get()


class Speaker(io.AudioOutput):
    """Plays in real time, to nobody."""

    def __init__(self) -> None:
        capabilities = io.AudioOutputCapabilities(pause=False)
        super().__init__(label="speaker", capabilities=capabilities, sample_rate=RATE)
        self.heard = self.interrupted = 0
        self._began: float | None = None
        self._seconds = 0.0
        self._end: asyncio.TimerHandle | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self.heard += 1
        if self._began is None:
            self._began = time.time()
            self.on_playback_started(created_at=self._began)
        self._seconds += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._began is not None:
            left = self._began + self._seconds - time.time()
            self._end = asyncio.get_running_loop().call_later(max(0.0, left), self._over, False)

    def clear_buffer(self) -> None:
        if self._began is not None:
            if self._end is not None:
                self._end.cancel()
            self.interrupted += 1
            self._over(True)

    def _over(self, interrupted: bool) -> None:
        played = min(self._seconds, time.time() - (self._began or time.time()))
        self._began, self._seconds, self._end = None, 0.0, None
        self.on_playback_finished(playback_position=played, interrupted=interrupted)


class Assistant(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="Be brief.")
        self.called = 0

    @function_tool
    async def get_weather(self) -> str:
        """The weather."""
        self.called += 1
        return WEATHER


async def main(url: str, route: str, path: str) -> None:
    model = openai.realtime.RealtimeModel(model=route, base_url=f"{url}/v1", api_key="sk-any")
    session: AgentSession = AgentSession(llm=model)
    microphone, speaker, assistant = Microphone(), Speaker(), Assistant()
    session.input.audio, session.output.audio = microphone, speaker
    errors: list[str] = []
    session.on("error", lambda event: errors.append(str(event.error)))

    async def speak() -> None:
        async for piece in pieces(path):
            microphone.frames.put_nowait(rtc.AudioFrame(piece, RATE, 1, len(piece) // 2))

    async def until(met: Callable[[], bool]) -> None:
        async with asyncio.timeout(30.0):
            while not met():
                if errors:
                    raise RuntimeError(errors[0])
                await asyncio.sleep(0.05)

    def answers() -> int:
        return sum(item.type == "message" and item.role == "assistant" for item in session.history.items)

    await session.start(agent=assistant)
    await speak()
    await until(lambda: answers() >= 1)
    async with asyncio.timeout(30.0):
        await session.generate_reply(user_input="And what is the weather?").wait_for_playout()
    await until(lambda: assistant.called >= 1)
    heard = speaker.heard
    session.generate_reply(user_input="And the weather tomorrow, what will it be?")
    await until(lambda: speaker.heard > heard + 5)
    said = answers()
    await speak()
    await until(lambda: speaker.interrupted >= 1 and answers() > said)
    history = [[item.role, item.text_content] for item in session.history.items if item.type == "message"]
    counts = {"called": assistant.called, "interrupted": speaker.interrupted}
    print(json.dumps({**counts, "errors": errors, "history": history}), flush=True)
    await session.aclose()


asyncio.run(main(*sys.argv[1:]))
