"""The promises about time, kept with a real VAD and recorded speech. The models behind are scripted, so time is virtual."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gateway.calls.transport import FRAME, MIC_RATE
from gateway.calls.vad import open_vad
from gateway.contract.audio import Audio
from tests.calls.scene import Knows, Scene
from tests.virtual_time import virtual

pytestmark = pytest.mark.models

LONG = " ".join(f"This is sentence number {number} of a long story." for number in range(20))
PIECE = round(FRAME * MIC_RATE) * 2


def utterances(folder: Path) -> Iterator[tuple[str, bytes, float, float]]:
    """Name, pcm, and the seconds where the voice begins and ends: louder than a twentieth of its loudest."""
    for path in sorted(folder.glob("k*.wav")):
        with wave.open(str(path)) as file:
            pcm = file.readframes(file.getnframes())
        samples = np.frombuffer(pcm, np.int16)[: len(pcm) // 320 * 160].reshape(-1, 160).astype(np.float64)
        loud = np.sqrt(np.mean(samples**2, axis=1))
        voiced = np.flatnonzero(loud > 0.05 * loud.max())
        yield path.stem, pcm, voiced[0] * 0.01, (voiced[-1] + 1) * 0.01


class Truthful(Knows):
    """Calls a turn finished once it is."""

    ends = 0.0

    async def complete(self, pcm16k: bytes) -> float:
        self.finished = 0.9 if asyncio.get_running_loop().time() >= self.ends else 0.1
        return await super().complete(pcm16k)


async def play(scene: Scene, pcm: bytes) -> None:
    for at in range(0, len(pcm) - PIECE + 1, PIECE):
        scene.stage.mic.put(Audio(pcm[at : at + PIECE], MIC_RATE))
        await scene.tick()


async def hush(scene: Scene, seconds: float) -> None:
    """A quiet room, which is not digital silence."""
    noise = np.random.default_rng(5).normal(0, 12, round(seconds * MIC_RATE)).astype(np.int16)
    await play(scene, noise.tobytes())


def test_speaking_over_an_answer_silences_the_wire_in_time_whoever_speaks(speech: Path) -> None:
    new_vad = open_vad()

    @virtual
    async def interrupt(pcm: bytes, begins: float) -> None:
        async with Scene(["one", "two"], [LONG, "Fine."], vad=new_vad()) as scene:
            scene.say(type="response.create")
            await hush(scene, 3.0)
            assert scene.sounding
            began = scene.now + begins
            await play(scene, pcm)
            assert scene.silent_from(began) - began <= 0.3
            (interrupted,) = scene.told("interrupted")
            assert LONG.startswith(interrupted["heard"])
            assert interrupted["heard"]

    for _, pcm, begins, _ in utterances(speech):
        interrupt(pcm, begins)


def test_a_turn_is_one_turn_and_ends_soon_after_the_last_sound(speech: Path) -> None:
    new_vad = open_vad()

    @virtual
    async def listen(name: str, pcm: bytes, ends: float) -> None:
        model = Truthful()
        async with Scene([name], ["Fine."], vad=new_vad(), turn_model=model) as scene:
            await hush(scene, 0.5)
            ended = scene.now + ends
            model.ends = asyncio.get_running_loop().time() + ends
            await play(scene, pcm)
            await hush(scene, 1.5)
            assert len(scene.of("input_audio_buffer.committed")) == 1
            assert -0.05 < scene.when("input_audio_buffer.committed") - ended < 0.4
            assert scene.ear.heard[0] > ends - 0.7

    for name, pcm, _, ends in utterances(speech):
        listen(name, pcm, ends)
