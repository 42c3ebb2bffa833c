"""What a call over a WebSocket costs: many sessions with audio both ways, through the real program to a fake of OpenAI's realtime.

    python -m loadtests.realtime_sessions                        # 50 omni sessions for 20 s
    python -m loadtests.realtime_sessions --sessions 20 --seconds 10 --mode cascaded

Callers (in this process) speak at real time, in pieces of 100 ms, and are answered; the fake is a process of its own. Prints the
share of a core that the gateway's process took, and what its loop was late, seen from outside: the round trip of `GET /healthz`,
asked fifty times a second, of which an idle gateway's is told beside it. Bar: 50 sessions on one core, lag p99 <= 20 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import random
import statistics
import sys
import tempfile
import time
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import psutil
from websockets.asyncio.client import connect

from gateway.contract.audio import Audio
from gateway.contract.encoding import Resampler
from tests.gateway_process import gateway_process

ROOT = Path(__file__).resolve().parent.parent
SPEECH = ROOT / "tests" / "data" / "speech" / "k01_kokoro_af_heart.wav"
RATE, PIECE, PAUSE = 24_000, 0.1, 4.0
ROUTES = """\
providers:
  openai: {{base_url: "{url}", key: key-0123456789}}
routes:
  chat: {{kind: llm, targets: [fake/words-20]}}
  say: {{kind: tts, targets: [fake/ok]}}
  listen: {{kind: stt, targets: [fake/ok]}}
  talk: {{kind: s2s, targets: [openai/gpt-realtime]}}
  omni: {{kind: call, start: omni, cascaded: {{stt: listen, llm: chat, tts: say}}, omni: {{s2s: talk}}}}
  cascaded: {{kind: call, cascaded: {{stt: listen, llm: chat, tts: say}}}}
"""


@dataclass
class Heard:
    """Of all sessions: `seconds` of audio that came back, answers, errors."""

    seconds: float = 0.0
    answers: int = 0
    errors: int = 0


def frames() -> list[str]:
    """What a caller sends: an utterance and a pause, again and again."""
    with wave.open(str(SPEECH)) as file:
        audio = Audio(file.readframes(file.getnframes()), file.getframerate())
    resampler = Resampler(RATE)
    pcm = resampler.feed(audio).pcm + resampler.finish().pcm + bytes(round(PAUSE * RATE) * 2)
    size = round(PIECE * RATE) * 2
    cut = [pcm[at : at + size] for at in range(0, len(pcm) - size, size)]
    append = {"type": "input_audio_buffer.append"}
    return [orjson.dumps({**append, "audio": base64.b64encode(each).decode()}).decode() for each in cut]


async def call(url: str, seconds: float, sent: list[str], heard: Heard) -> None:
    async with connect(url, additional_headers={"authorization": "Bearer any"}, compression=None) as socket:

        async def listen() -> None:
            async for frame in socket:
                text = frame if isinstance(frame, str) else frame.decode()
                if '"response.output_audio.delta"' in text[:60]:
                    heard.seconds += (len(text) - 250) * 0.75 / 2 / RATE
                elif text.startswith('{"type":"response.done"'):
                    heard.answers += 1
                elif text.startswith('{"type":"error"'):
                    heard.errors += 1

        listening = asyncio.create_task(listen())
        loop = asyncio.get_running_loop()
        at = random.randrange(len(sent))
        due = loop.time() + random.random() * PIECE
        for number in range(round(seconds / PIECE)):
            await asyncio.sleep(max(0.0, due - loop.time()))
            await socket.send(sent[(at + number) % len(sent)])
            due += PIECE
        listening.cancel()
        await asyncio.wait([listening])


async def round_trips(url: str, seconds: float) -> list[float]:
    """Milliseconds."""
    took: list[float] = []
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            await http.get("/healthz")
            took.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(max(0.0, 0.02 - (time.perf_counter() - began)))
    return took


@asynccontextmanager
async def fake() -> AsyncIterator[str]:
    command = [sys.executable, "-m", "tests.fakes.openai_realtime"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip().replace("ws", "http", 1)
    finally:
        process.terminate()
        await process.wait()


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, round(share * len(values)))]


async def main(sessions: int, seconds: float, mode: str) -> None:
    heard, sent = Heard(), frames()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "routes.yaml"
        async with fake() as url:
            config.write_text(ROUTES.format(url=url))
            async with gateway_process(config) as gateway:
                idle = await round_trips(gateway.url, 3.0)
                address = f"{gateway.url.replace('http', 'ws', 1)}/v1/realtime?model={mode}"
                process = psutil.Process(gateway.process.pid)
                calls = [asyncio.create_task(call(address, seconds + 4, sent, heard)) for _ in range(sessions)]
                await asyncio.sleep(3.0)  # opening is not what is measured
                used, began = sum(process.cpu_times()[:2]), time.perf_counter()
                busy = await round_trips(gateway.url, seconds)
                share = (sum(process.cpu_times()[:2]) - used) / (time.perf_counter() - began)
                memory = process.memory_info().rss / 2**20
                await asyncio.gather(*calls)
    told = f"{sessions} {mode} sessions, {seconds:g} s: {share:.2f} of a core ({share / sessions * 1000:.1f} ms a call-second)"
    print(f"{told}, {memory:.0f} MB; {heard.answers} answers, {heard.seconds:.0f} s heard, {heard.errors} errors")
    for name, took in (("idle", idle), ("busy", busy)):
        figures = f"p50 {statistics.median(took):.1f}, p99 {percentile(took, 0.99):.1f}, most {max(took):.1f} ms"
        print(f"  round trip of /healthz, {name}: {figures}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--mode", choices=("omni", "cascaded"), default="omni")
    asked = parser.parse_args()
    asyncio.run(main(asked.sessions, asked.seconds, asked.mode))
