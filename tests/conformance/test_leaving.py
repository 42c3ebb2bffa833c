"""Whoever leaves, and however: within a second nothing is held upstream."""

import asyncio
import os
import signal
from contextlib import aclosing
from typing import cast

import pytest

from gateway.contract.errors import Unavailable
from tests.conformance.entries import both_ways, played, playing
from tests.conformance.stages import Asked, Entry, Scene, Stage, WorkerStage, ask, everything, until_content


async def reading(asked: Asked) -> None:
    """Reads on, the inputs open."""
    async with aclosing(asked.events):
        async for _ in asked.events:
            pass


async def serves_on(entry: Entry, stage: Stage) -> None:
    if "answers" in entry.scenes:
        stage.play("answers")
        assert await everything(ask(entry, stage))


@pytest.mark.parametrize("entry", playing("endless"))
async def test_leaving_in_mid_answer_releases_the_upstream(entry: Entry) -> None:
    async with entry.stage() as stage:
        stage.play("endless")
        asked = ask(entry, stage)
        async with aclosing(asked.events):
            await until_content(asked.events)
        await stage.until_free()
        await serves_on(entry, stage)


@pytest.mark.parametrize(("entry", "scene", "stream"), both_ways(played("endless", "silent", "headers-only", "stalls")))
async def test_cancelling_releases_the_upstream(entry: Entry, scene: Scene, stream: bool) -> None:
    async with entry.stage() as stage:
        stage.play(scene)
        task = asyncio.create_task(reading(ask(entry, stage, stream)))
        await stage.until_asked()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await stage.until_free()
        await serves_on(entry, stage)


@pytest.mark.parametrize(("entry", "scene"), played("silent", "stalls"))
async def test_cancelling_at_any_step_releases_the_upstream(entry: Entry, scene: Scene) -> None:
    """Steps of the event loop: before, while and after it connects, asks, and reads."""
    async with entry.stage() as stage:
        stage.play(scene)
        for steps in range(50):
            task = asyncio.create_task(reading(ask(entry, stage)))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await stage.until_free()
        await serves_on(entry, stage)


@pytest.mark.parametrize("entry", playing("endless", "stalls"))
async def test_an_error_of_the_readers_own_releases_the_upstream(entry: Entry) -> None:
    async def fails(asked: Asked) -> None:
        async with aclosing(asked.events):
            await until_content(asked.events)
            raise LookupError

    async with entry.stage() as stage:
        stage.play("endless")
        with pytest.raises(LookupError):
            await fails(ask(entry, stage))
        await stage.until_free()


@pytest.mark.parametrize("entry", playing("killed"))
async def test_a_worker_that_is_killed_is_unavailable_and_starts_anew(entry: Entry) -> None:
    async with entry.stage() as stage:
        worker = cast(WorkerStage, stage).worker
        await worker.start()
        pid = worker.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # so that it gives nothing of the answer
        task = asyncio.create_task(everything(ask(entry, stage)))
        await stage.until_asked()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Unavailable) as caught:
            await task
        assert caught.value.provider == "acme"
        assert await everything(ask(entry, stage))
        assert worker.pid != pid
