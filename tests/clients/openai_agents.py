"""openai-agents holds a spoken conversation: a turn, a tool, an interruption. Prints what came of it as JSON.

python openai_agents.py http://127.0.0.1:8080 ROUTE SPEECH.wav      (24 kHz mono)
"""

import asyncio
import json
import sys

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner
from speech import WEATHER, pieces


@function_tool
def get_weather() -> str:
    """The weather."""
    return WEATHER


async def main(url: str, route: str, path: str) -> None:
    agent = RealtimeAgent(name="assistant", instructions="Be brief.", tools=[get_weather])
    address = f"{url.replace('http', 'ws', 1)}/v1/realtime?model={route}"
    session = await RealtimeRunner(agent).run(model_config={"api_key": "sk-any", "url": address})
    told: list[str] = []
    errors: list[str] = []
    news = asyncio.Event()

    async def listen() -> None:
        async for event in session:
            told.append(event.type)
            if event.type == "error":
                errors.append(str(event.error))
            news.set()

    async def until(kind: str, count: int = 1) -> None:
        async with asyncio.timeout(30.0):
            while told.count(kind) < count:
                if errors:
                    raise RuntimeError(errors[0])
                news.clear()
                await news.wait()

    async def speak() -> None:
        async for piece in pieces(path):
            await session.send_audio(piece)

    async with session:
        listening = asyncio.create_task(listen())
        await speak()
        await until("audio_end")
        ended = told.count("audio_end")
        await session.send_message("And what is the weather?")
        await until("tool_end")
        await until("audio_end", ended + 1)
        heard = told.count("audio")
        await session.send_message("And the weather tomorrow, what will it be?")
        await until("audio", heard + 1)
        await speak()
        await until("audio_interrupted")
        listening.cancel()
    history = []
    for item in session._history:
        if item.type == "message":
            texts = [getattr(part, "transcript", None) or getattr(part, "text", None) for part in item.content]
            history.append([item.role, " ".join(filter(None, texts))])
    counts = {"called": told.count("tool_end"), "interrupted": told.count("audio_interrupted")}
    print(json.dumps({**counts, "errors": errors, "history": history}))


asyncio.run(main(*sys.argv[1:]))
