"""What the engine adds to each event of a stream, in CPU time: the same generator read bare and through `Engine.open`.

python -m loadtests.engine_event
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Coroutine

from gateway.contract.events import Events, Finished, TextDelta
from gateway.contract.messages import Message
from gateway.contract.requests import ChatRequest
from gateway.routing.engine import Engine
from gateway.routing.route import Route, Target
from gateway.telemetry.decisions import Decision
from gateway.telemetry.sample import Sample

EVENTS, ROUNDS, PAUSE_EVERY = 20_000, 9, 10
REQUEST = ChatRequest((Message.of("user", "hello"),))


class Burst:
    """Gives EVENTS deltas, letting the loop run after every PAUSE_EVERY: as many as one read from a socket brings."""

    async def chat(self, model: str, request: ChatRequest) -> Events:
        delta = TextDelta("word ")
        for number in range(EVENTS):
            if number % PAUSE_EVERY == 0:
                await asyncio.sleep(0)
            yield delta
        yield Finished()


class Nowhere:
    def record(self, sample: Sample) -> None:
        pass

    def decided(self, decision: Decision) -> None:
        pass

    def settled(self, decision: Decision) -> None:
        pass


async def bare() -> None:
    async for _ in Burst().chat("m", REQUEST):
        pass


async def through() -> None:
    engine = Engine({"r": Route("r", "llm", (Target("a", "m"),))}, {"a": Burst()}, Nowhere())
    async with engine.open("r", REQUEST) as answer:
        async for _ in answer:
            pass


def microseconds(stream: Callable[[], Coroutine[None, None, None]]) -> float:
    began = time.process_time()
    asyncio.run(stream())
    return (time.process_time() - began) / EVENTS * 1e6


def main() -> None:
    rows = [(microseconds(bare), microseconds(through)) for _ in range(ROUNDS)]
    alone, whole = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"bare {alone:.2f} us an event, through the engine {whole:.2f}: the engine adds {whole - alone:.2f} us")


if __name__ == "__main__":
    main()
