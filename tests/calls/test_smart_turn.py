"""SmartTurn: finished turns sound finished, broken-off ones do not."""

import asyncio
import os
import signal
import wave
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from gateway.calls.smart_turn import SmartTurn
from gateway.contract.errors import Unavailable
from tests.providers.speaking import closing, stopped, worker_of


@pytest.fixture
async def model() -> AsyncGenerator[SmartTurn]:
    async with closing(SmartTurn()) as model:
        yield model


def pcm(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        return bytes(file.readframes(file.getnframes()))


@pytest.mark.models
async def test_a_finished_turn_is_told_from_a_broken_one(model: SmartTurn, speech: Path) -> None:
    await model.warm()
    for name in ("k01_kokoro_af_heart", "k02_kokoro_am_michael", "k03_kokoro_af_heart"):
        assert await model.complete(pcm(speech / f"{name}.wav")) > 0.9, name
    assert await model.complete(pcm(speech / "k05_kokoro_af_heart.wav")) < 0.2


@pytest.mark.models
async def test_waiting_longer_does_not_make_a_turn_finished(model: SmartTurn, speech: Path) -> None:
    broken = pcm(speech / "k05_kokoro_af_heart.wav")
    for silence in (0.0, 0.5, 2.0):
        assert await model.complete(broken + bytes(round(silence * 16_000) * 2)) < 0.3


@pytest.mark.models
async def test_only_the_end_of_a_long_turn_counts(model: SmartTurn, speech: Path) -> None:
    question = pcm(speech / "k02_kokoro_am_michael.wav")
    assert await model.complete(pcm(speech / "k05_kokoro_af_heart.wav") * 10 + question) > 0.9


@pytest.mark.models
async def test_anything_gets_an_answer(model: SmartTurn) -> None:
    for odd in (b"", bytes(2), bytes(3), bytes(640), os.urandom(3200)):
        assert 0.0 <= await model.complete(odd) <= 1.0


@pytest.mark.models
async def test_a_question_nobody_waits_for_is_dropped(model: SmartTurn, speech: Path) -> None:
    await model.warm()
    questions = [asyncio.create_task(model.complete(pcm(speech / "k01_kokoro_af_heart.wav"))) for _ in range(20)]
    while not (await worker_of(model).report()).waiting:
        pass
    for question in questions:
        question.cancel()
    await asyncio.wait(questions)
    assert (await stopped(model)).aborted > 10


@pytest.mark.models
async def test_a_killed_model_is_back_for_the_next_question(model: SmartTurn) -> None:
    await model.warm()
    pid = worker_of(model).pid
    assert pid is not None
    question = asyncio.create_task(model.complete(bytes(32_000)))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        await question
    assert 0.0 <= await model.complete(bytes(32_000)) <= 1.0


async def test_without_the_weights_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRUNKLINE_MODELS", str(tmp_path))
    async with closing(SmartTurn()) as model:
        assert "trunkline" in str(model.asleep())
        with pytest.raises(Unavailable, match="trunkline"):
            await model.complete(bytes(32_000))
