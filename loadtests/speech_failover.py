"""What a caller notices when a speech provider's socket is killed: another target of the route goes on. Against the fakes, on sockets.

python -m loadtests.speech_failover [--times 20]

Speaking: the socket is dropped in the middle of a sentence; the gap is the time between the last sound of the one and the first of the
other, of which DELAY is what the other takes to say anything. Hearing: the socket is dropped in the middle of an utterance, which
another target then hears from the beginning; late is how much later the final came than in the same call without it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import uvloop

from gateway.contract.channel import Channel
from gateway.contract.events import AudioDelta, Rerouted, Transcript
from gateway.contract.requests import Commit, Input, SpeakRequest, TranscribeRequest
from tests.fakes.base import Behaviour
from tests.fakes.routes import RATE, closing, inputs, pieces, route, said, settings
from tests.fakes.vendors import EARS, VOICES, Vendor

DELAY = 0.1
"""Seconds that every fake takes for its first word."""
DROPPED = 1.2
"""Seconds of sound after which the first is dropped."""
LINGERS = {"sarvam": 0.3, "soniox": 0.3}
"""Seconds after the last sound at which these fakes drop the socket."""
CLAUSE = "The quick brown fox jumps over the lazy dog near the bank of the river. "
UTTERANCE = "k01_kokoro_af_heart"


async def gap(vendor: Vendor) -> float:
    """Seconds."""
    async with AsyncExitStack() as stack:
        engine = await killed(stack, "tts", vendor, DROPPED)
        clock, last, gap, moved = asyncio.get_running_loop().time, 0.0, 0.0, False
        async with engine.open("r", SpeakRequest(), inputs(CLAUSE, Commit())) as answer:
            async for event in answer:
                if isinstance(event, Rerouted):
                    moved = True
                elif isinstance(event, AudioDelta):
                    if moved:
                        gap, moved = clock() - last, False
                    last = clock()
    return gap


async def killed(stack: AsyncExitStack, kind: Any, vendor: Vendor, after: float | None) -> Any:
    """A route of the vendor twice, of which the first is dropped."""
    fake, build, model = vendor
    targets = []
    for behaviour in (Behaviour(DELAY, drop_after=after, times=1), Behaviour(DELAY)):
        url = await stack.enter_async_context(fake(behaviour).running())
        targets.append(await stack.enter_async_context(closing(build(settings(url)))))
    return route(kind, model, *targets)


async def final(vendor: Vendor, after: float | None) -> tuple[float, str]:
    """Seconds from the Commit at the end of an utterance, told in real time, to its final; and that."""
    async with AsyncExitStack() as stack:
        engine, told, clock = (
            await killed(stack, "stt", vendor, after),
            Channel[Input](),
            asyncio.get_running_loop().time,
        )
        ended = [0.0]

        async def speak() -> None:
            due = clock()
            for piece in pieces(UTTERANCE, seconds=0.02):
                told.put(piece)
                due += piece.seconds
                await asyncio.sleep(max(0.0, due - clock()))
            ended[0] = clock()
            told.put(Commit())
            told.close()

        words: list[str] = []
        speaking = asyncio.create_task(speak())
        async with engine.open("r", TranscribeRequest(RATE), told) as answer:
            async for event in answer:
                if isinstance(event, Transcript) and event.final:
                    words.append(event.text)
                    if event.ends_turn:
                        took = clock() - ended[0]
        await speaking
        return took, " ".join(filter(None, words))


def shown(values: Sequence[float]) -> str:
    ordered = sorted(values)
    return (
        f"{1000 * statistics.median(ordered):6.0f} ms p50 {1000 * ordered[int(0.95 * (len(ordered) - 1))]:6.0f} ms p95"
    )


async def run(times: int) -> int:
    lost = 0
    print(f"speaking: the gap, {1000 * DELAY:.0f} ms of which are the other target's own")
    for name, vendor in VOICES.items():
        gaps = [await gap(vendor) - LINGERS.get(name, 0.0) for _ in range(times)]
        print(f"  {name:12} {shown(gaps)}", flush=True)
    print("hearing: how much later the final came than without")
    for name, vendor in EARS.items():
        alone = [await final(vendor, None) for _ in range(max(1, times // 5))]
        dropped = [await final(vendor, DROPPED) for _ in range(max(1, times // 5))]
        wrong = sum(text.split() != said(UTTERANCE).split() for _, text in dropped)
        lost += wrong
        base = statistics.median(took for took, _ in alone)
        print(
            f"  {name:12} {shown([took - base for took, _ in dropped])}, {wrong} of {len(dropped)} with a word lost or doubled",
            flush=True,
        )
    return 1 if lost else 0


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--times", type=int, default=20)
    return uvloop.run(run(ask.parse_args().times))


if __name__ == "__main__":
    sys.exit(main())
