"""What a caller notices when a speech-to-speech session is killed in the middle of an answer: the cascade goes on. Through the real
program, on sockets.

    python -m loadtests.leg_failover [--times 20]

The fake of OpenAI's sessions drops its socket after DROPPED seconds of sound. Told are the cascade's own latency, from
`response.create` to its first sound in a call that is cascaded anyway; the gap, from the last sound of the killed session to the
first of the cascade; and when the call was back in omni mode, which its route tries after a second. Bar: 300 ms over the cascade's own.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from tests.api.realtime_caller import RealtimeCaller, realtime
from tests.fakes.base import Behaviour
from tests.fakes.openai_realtime import OpenAITalks
from tests.gateway_process import GatewayProcess, gateway_process

DROPPED = 1.0
BAR = 0.3
ROUTES = """\
providers:
  openai: {{base_url: "{url}", key: key-0123456789}}
routes:
  chat: {{kind: llm, targets: [fake/slow-150ms+words-20]}}
  say: {{kind: tts, targets: [fake/slow-100ms]}}
  listen: {{kind: stt, targets: [fake/ok]}}
  talk: {{kind: s2s, targets: [openai/gpt-realtime]}}
  cascaded: {{kind: call, cascaded: {{stt: listen, llm: chat, tts: say}}, apology: ""}}
  omni: {{kind: call, start: omni, cascaded: {{stt: listen, llm: chat, tts: say}}, omni: {{s2s: talk}}, apology: "",
         switch: {{back_after: 1s}}}}
"""


async def ask(caller: RealtimeCaller) -> float:
    """When it was asked."""
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Tell me a long story."}]}
    await caller.send(type="conversation.item.create", item=said)
    await caller.send(type="response.create")
    return time.perf_counter()


async def own(gateway: GatewayProcess) -> float:
    async with realtime(gateway.url, model="cascaded") as caller:
        asked = await ask(caller)
        await caller.until("response.output_audio.delta")
        return time.perf_counter() - asked


async def killed(gateway: GatewayProcess, fake: OpenAITalks) -> tuple[float, float]:
    """The gap, and seconds until the call was omni again."""
    fake.behaviour = Behaviour(latency=0.1, drop_after=DROPPED, times=1)
    async with realtime(gateway.url, model="omni") as caller:
        await ask(caller)
        last, first = 0.0, None
        while True:
            event = await caller.next()
            if event["type"] != "response.output_audio.delta":
                continue
            first = first or event["response_id"]
            if event["response_id"] != first:
                break
            last = time.perf_counter()
        heard = time.perf_counter()
        await caller.until("response.done")
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as http, asyncio.timeout(30.0):
            while (await http.get(f"/v1/calls/{caller.call_id}")).json()["mode"] != "omni":  # noqa: ASYNC110 - HTTP tells when asked
                await asyncio.sleep(0.02)
        return heard - last, time.perf_counter() - last


def told(name: str, seconds: Sequence[float]) -> float:
    median = statistics.median(seconds)
    print(f"{name}: p50 {median * 1000:.0f} ms, most {max(seconds) * 1000:.0f} ms", flush=True)
    return median


async def run(times: int) -> int:
    fake = OpenAITalks(Behaviour(latency=0.1))
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "routes.yaml"
        async with fake.running() as url:
            config.write_text(ROUTES.format(url=url.replace("ws", "http", 1)))
            async with gateway_process(config) as gateway:
                alone, gaps, back = [], [], []
                for _ in range(times):
                    alone.append(await own(gateway))
                    gap, returned = await killed(gateway, fake)
                    gaps.append(gap)
                    back.append(returned)
    usual = told("the cascade's own latency", alone)
    over = told("the gap after a killed session", gaps) - usual
    told("back in omni mode after", back)
    print(
        f"{over * 1000:+.0f} ms over the cascade's own: {'within' if over <= BAR else 'over'} the bar of {BAR * 1000:.0f} ms"
    )
    return 0 if over <= BAR else 1


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--times", type=int, default=10)
    return asyncio.run(run(ask.parse_args().times))


if __name__ == "__main__":
    sys.exit(main())
