"""Voice to voice of the embedded call, measured in the recording of a real WebRTC caller, beside the timeline's own claim.

    python -m loadtests.voice_to_voice [--turns 12] [--config FILE]

Starts `trunkline serve` in a process of its own, and prints a table for results.md: voice to voice (from the caller's last
voiced 10 ms leaving the mouth to the answer's first voiced 10 ms arriving by RTP), the timeline's e2e_latency and its parts,
the time to /readyz, and the memory of the gateway's process (its models' workers excluded) before and after the calls.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tests.caller import Caller
from tests.gateway_process import GatewayProcess, gateway_process
from tests.needs import ROOT

UTTERANCES = ("k01_kokoro_af_heart", "k02_kokoro_am_michael", "k03_kokoro_af_heart")
TURNS_OF_A_CALL = 4
ANSWER_WITHIN = 30.0
PAUSE = 1.0
"""Seconds of quiet between an answer that was cut and the next utterance."""
PARTS = ("end_of_turn_delay", "transcription_delay", "llm_node_ttft", "tts_node_ttfb", "e2e_latency")


@dataclass(frozen=True, slots=True)
class Turn:
    """Seconds. `heard`: voice to voice, from the recording; `claimed`: the timeline of the same turn."""

    heard: float
    claimed: dict[str, float]


@dataclass(slots=True)
class Figures:
    ready: float
    warm: float
    idle_mb: float
    turns: list[Turn] = field(default_factory=list)
    after_mb: float = 0.0


async def main() -> None:
    asked = _arguments()
    async with gateway_process(asked.config) as gateway:
        figures = Figures(gateway.ready_after, gateway.warm_after, _memory(gateway))
        while len(figures.turns) < asked.turns:
            figures.turns += await _call(gateway.url, min(TURNS_OF_A_CALL, asked.turns - len(figures.turns)))
        await asyncio.sleep(2.0)
        figures.after_mb = _memory(gateway)
    print(_table(figures))


async def _call(url: str, turns: int) -> list[Turn]:
    known: set[str] = set()
    async with Caller(url) as caller:
        return [await _turn(caller, UTTERANCES[number % len(UTTERANCES)], known) for number in range(turns)]


async def _turn(caller: Caller, name: str, known: set[str]) -> Turn:
    """`known`: ids of turns already measured. A turn that was taken to be over too early, and went on, has no figures."""
    said = caller.say(ROOT / "tests" / "data" / "speech" / f"{name}.wav")
    answered = await caller.heard.until(lambda: caller.heard.voice_after(said.voice_ended), ANSWER_WITHIN)
    event = await caller.until("turn", "gateway", ANSWER_WITHIN, lambda body: _measured(body["turn"], known))
    # The rest of the answer is of no interest here. The caller's own signal ends it at once.
    caller.send("oai-events", {"type": "output_audio_buffer.clear"})
    await caller.until("output_audio_buffer.cleared", within=ANSWER_WITHIN)
    await asyncio.sleep(PAUSE)
    known.update(each.body["turn"]["id"] for each in caller.of("gateway", "turn"))
    return Turn(answered - said.voice_ended, {part: event.body["turn"][part] for part in PARTS})


def _measured(turn: dict[str, Any], known: set[str]) -> bool:
    return turn["id"] not in known and all(turn[part] is not None for part in PARTS)


def _memory(gateway: GatewayProcess) -> float:
    """Resident, in MB, of the gateway's own process."""
    return float(psutil.Process(gateway.process.pid).memory_info().rss) / 1e6


def _table(figures: Figures) -> str:
    heard = [turn.heard for turn in figures.turns]
    rows = [
        ("voice to voice, heard in the recording", heard),
        *((f"{part} (timeline)", [turn.claimed[part] for turn in figures.turns]) for part in PARTS),
        ("heard minus claimed", [turn.heard - turn.claimed["e2e_latency"] for turn in figures.turns]),
    ]
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {_machine()}, {len(heard)} turns; load average before it {os.getloadavg()[2]:.1f}",
        "",
        "| milliseconds | p50 | p95 | worst |",
        "|---|---|---|---|",
        *(f"| {name} | {_ms(statistics.median(row))} | {_ms(_p95(row))} | {_ms(max(row))} |" for name, row in rows),
        "",
        "| the gateway's process | |",
        "|---|---|",
        f"| /readyz after | {figures.ready:.2f} s |",
        f"| every model warm after | {figures.warm:.1f} s |",
        f"| resident, idle, calls enabled | {figures.idle_mb:.0f} MB |",
        f"| resident, idle again after the calls | {figures.after_mb:.0f} MB |",
    ]
    return "\n".join(lines)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def _p95(row: Sequence[float]) -> float:
    ordered = sorted(row)
    return ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]


def _machine() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores of {cpu}, Python {platform.python_version()}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--config", type=Path, default=ROOT / "routes.yaml")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
