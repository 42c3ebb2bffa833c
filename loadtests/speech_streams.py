"""What streaming speech costs: many streams at real time through the engine and a provider, to a fake in a process of its own.

python -m loadtests.speech_streams                              # 100 stt, then 100 tts, through Deepgram's protocol; 20 s each
python -m loadtests.speech_streams --provider soniox --streams 50 --seconds 10
python -m loadtests.speech_streams --profile                    # and where the time goes (cProfile, which itself costs)

Prints, for each, the share of a core that this process (engine, provider, socket) took, beside 100 bare sockets that are fed as
the stt streams are, and, for a warm connection, what the first clause costs over what a bare client of the same fake waits (other
providers: over the fake's known delay). Bar: 0.25 of a core for 100 streams, 3 ms for the first clause.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import itertools
import pstats
import random
import statistics
import sys
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop
from websockets.asyncio.client import connect

from gateway.app import GARBAGE
from gateway.config import parse
from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.events import AudioDelta, Flushed
from gateway.contract.requests import Commit, Input, SpeakRequest, TranscribeRequest
from gateway.loader import load
from gateway.routing.engine import Engine
from gateway.telemetry.telemetry import Telemetry

ROOT = Path(__file__).resolve().parent.parent
SPEECH = ROOT / "tests" / "data" / "speech" / "k01_kokoro_af_heart.wav"
FRAME, PHASES = 0.02, 10
DELAY = 0.1
"""Seconds: what the fake takes before it says anything."""
SENTENCE = "This is a sentence of about three seconds. "
MODELS = {
    "deepgram": ("nova-3", "aura-2-thalia-en"),
    "soniox": ("stt-rt-v3", "tts-rt-v1"),
    "cartesia": ("ink-2", "sonic-3.5"),
}


@asynccontextmanager
async def gateway(provider: str, latency: float) -> AsyncIterator[tuple[Engine, str]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"tests.fakes.{provider}", "--latency", str(latency)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    hear, say = MODELS[provider]
    config = parse(
        f"""
providers: {{{provider}: {{base_url: "{url}", key: any-key-0123456789}}}}
routes:
  hear: {{kind: stt, targets: [{provider}/{hear}]}}
  say: {{kind: tts, targets: [{provider}/{say}]}}
"""
    )
    loaded = load(config, {})
    try:
        yield Engine(loaded.routes, loaded.providers, Telemetry({}).recorder), url
    finally:
        close = getattr(loaded.providers[provider], "aclose", None)
        if close is not None:
            await close()
        process.terminate()
        await process.wait()


def spoken() -> list[Audio]:
    """Someone speaking, in pieces of FRAME."""
    with wave.open(str(SPEECH)) as file:
        pcm, rate = file.readframes(file.getnframes()), file.getframerate()
    size = round(rate * FRAME) * 2
    return [Audio(pcm[at : at + size], rate) for at in range(0, len(pcm) - size, size)]


class Microphones:
    """One clock for all callers, so that it costs next to nothing: each caller's pieces come in one of PHASES slots of FRAME."""

    def __init__(self) -> None:
        self._slots: list[list[Callable[[], None]]] = [[] for _ in range(PHASES)]
        self._task: asyncio.Task[None] | None = None

    def join(self, say: Callable[[], None]) -> None:
        random.choice(self._slots).append(say)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def leave(self, say: Callable[[], None]) -> None:
        for slot in self._slots:
            if say in slot:
                slot.remove(say)
        if self._task is not None and not any(self._slots):
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            for slot in self._slots:
                for say in list(slot):
                    say()
                due += FRAME / PHASES
                await asyncio.sleep(max(0.0, due - loop.time()))


async def hears(
    engine: Engine, seconds: float, began: asyncio.Barrier, start: Callable[[], None], microphones: Microphones
) -> int:
    """One caller who speaks all the time. Returns the words heard."""
    frames = spoken()
    rate = frames[0].rate
    inputs: Channel[Input] = Channel()
    words = 0

    numbers = iter(range(round(seconds / FRAME)))

    def say() -> None:
        number = next(numbers, None)
        if number is None:
            microphones.leave(say)
            inputs.put(Commit())
            inputs.close()
            return
        inputs.put(frames[number % len(frames)])
        if number % 150 == 149:
            inputs.put(Commit())

    async with engine.open("hear", TranscribeRequest(rate), inputs) as answer:
        await began.wait()
        start()
        microphones.join(say)
        async for event in answer:
            words += len(getattr(event, "text", "").split()) if getattr(event, "final", False) else 0
    return words


async def bare_stream(
    url: str, seconds: float, began: asyncio.Barrier, start: Callable[[], None], microphones: Microphones
) -> float:
    """The same sound to a bare socket, of which nobody reads what it answers. Returns the seconds of it."""
    frames, sent = itertools.cycle(spoken()), asyncio.Queue[bytes]()
    async with bare(url, "listen") as socket:
        await began.wait()
        start()

        def say() -> None:
            sent.put_nowait(next(frames).pcm)

        microphones.join(say)
        for _ in range(round(seconds / FRAME)):
            await socket.send(await sent.get())
        microphones.leave(say)
        return seconds


async def says(
    engine: Engine, seconds: float, began: asyncio.Barrier, start: Callable[[], None], _: Microphones
) -> float:
    """One agent who speaks a sentence every three seconds. Returns the seconds of audio."""
    inputs: Channel[Input] = Channel()
    made = 0.0

    async def write() -> None:
        await asyncio.sleep(random.random() * 3.0)
        for _ in range(round(seconds / 3.0)):
            inputs.put(SENTENCE)
            inputs.put(Commit())
            await asyncio.sleep(3.0)
        inputs.close()

    inputs.put("Ready. ")
    inputs.put(Commit())
    async with engine.open("say", SpeakRequest(), inputs) as answer:
        await began.wait()
        start()
        writing = asyncio.create_task(write())
        async for event in answer:
            made += event.audio.seconds if isinstance(event, AudioDelta) else 0.0
        await writing
    return made


async def many(
    of: Engine | str, streams: int, seconds: float, one: Callable[..., Awaitable[float]], profile: bool
) -> tuple[float, float]:
    """The share of a core, and what was heard or said in all."""
    began, used, since = asyncio.Barrier(streams), [0.0], [0.0]
    profiler = cProfile.Profile()

    def start() -> None:
        if not since[0]:
            used[0], since[0] = time.process_time(), time.monotonic()
            if profile:
                profiler.enable()

    microphones = Microphones()
    got = await asyncio.gather(*[one(of, seconds, began, start, microphones) for _ in range(streams)])
    took, wall = time.process_time() - used[0], time.monotonic() - since[0]
    if profile:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    return took / wall, sum(got)


def bare(url: str, of: str) -> connect:
    """A socket of Deepgram's protocol and nothing else."""
    address = f"{url.replace('http', 'ws', 1)}/v1/{of}?model=nova-3&encoding=linear16&sample_rate=24000"
    return connect(address, additional_headers={"authorization": "Token any-key-0123456789"}, compression=None)


async def bare_clause(url: str) -> float:
    """Seconds from a clause to its first audio for a client that is nothing but a socket of Deepgram's protocol."""
    async with bare(url, "speak") as socket:
        await asyncio.sleep(0.05)
        began = time.perf_counter()
        await socket.send('{"type":"Speak","text":"Hello there. "}')
        await socket.send('{"type":"Flush"}')
        while not isinstance(await socket.recv(), bytes):
            pass
        return time.perf_counter() - began


async def first_clause(engine: Engine, url: str | None, times: int = 40) -> list[float]:
    """Milliseconds from a clause to its first audio on a connection that stands ready, beyond what a bare client at `url` waits
    in turn with it (None: beyond the fake's delay)."""
    over = []
    for _ in range(times):
        alone = DELAY if url is None else await bare_clause(url)
        inputs: Channel[Input] = Channel()
        began = time.perf_counter()
        inputs.put("Hello there. ")
        inputs.put(Commit())
        async with engine.open("say", SpeakRequest(), inputs) as answer:
            over.append((time.perf_counter() - began - alone) * 1000.0)
            inputs.close()
            async for event in answer:
                if isinstance(event, Flushed):
                    break
        await asyncio.sleep(0.2)  # the next connection is opened meanwhile
    return over[5:]


async def run(asked: argparse.Namespace) -> int:
    async with gateway(asked.provider, 0.0) as (engine, url):
        if asked.provider == "deepgram":
            alone, _ = await many(url, asked.streams, asked.seconds, bare_stream, False)
            print(f"bare sockets: {asked.streams} at real time: {alone:.3f} of a core", flush=True)
        heard, words = await many(engine, asked.streams, asked.seconds, hears, asked.profile)
        print(f"stt: {asked.streams} streams at real time: {heard:.3f} of a core ({words:.0f} words)", flush=True)
        said, audio = await many(engine, asked.streams, asked.seconds, says, asked.profile)
        print(f"tts: {asked.streams} streams at real time: {said:.3f} of a core ({audio:.0f} s of audio)", flush=True)
    async with gateway(asked.provider, DELAY) as (engine, url):
        over = sorted(await first_clause(engine, url if asked.provider == "deepgram" else None))
        p95 = over[int(0.95 * len(over))]
        print(f"first clause on a warm connection: +{statistics.median(over):.2f} ms p50, +{p95:.2f} ms p95")
    bar = 0.25 * asked.streams / 100
    within = heard <= bar and said <= bar and statistics.median(over) <= 3.0
    print("within the bar" if within else "over the bar")
    return 0 if within else 1


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--provider", choices=MODELS, default="deepgram")
    ask.add_argument("--streams", type=int, default=100)
    ask.add_argument("--seconds", type=float, default=20.0)
    ask.add_argument("--profile", action="store_true")
    gc.freeze()
    gc.set_threshold(*GARBAGE)  # as the gateway's process has it
    return uvloop.run(run(ask.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
