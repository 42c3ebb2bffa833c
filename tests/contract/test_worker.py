"""Worker: jobs in a child process that is aborted, replaced and ended as promised."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import psutil
import pytest

from gateway.contract import worker as module
from gateway.contract.errors import ContextTooLong, Refused, Unavailable
from gateway.contract.worker import Piece, Worker

ENGINE = "tests.contract.worker_engine:open_engine"

Open = Callable[..., Worker]


@asynccontextmanager
async def opened(start: str = "", **how: Any) -> AsyncGenerator[Worker]:
    before = psutil.Process().children()  # other tests' servers
    worker = Worker("acme", ENGINE, {"start": start}, **how)
    try:
        yield worker
    finally:
        await worker.aclose()
        assert not {*psutil.Process().children()} - {*before}, "a process was left behind"


async def run(worker: Worker, payload: bytes = b"", relaxed: bool = False, **fields: Any) -> list[Piece]:
    async with aclosing(worker.run(fields, payload, relaxed=relaxed)) as pieces:
        return [piece async for piece in pieces]


async def idle(worker: Worker) -> module.Report:
    """The worker's report once it does nothing."""
    while (report := await worker.report()).running or report.waiting:
        pass
    return report


async def test_a_jobs_pieces_come_in_order_with_their_bytes() -> None:
    async with opened() as worker:
        pieces = await run(worker, do="count", to=500)
        assert [piece.fields["number"] for piece in pieces] == list(range(500))
        sound = os.urandom(3_000_000)
        assert (await run(worker, sound, do="echo"))[0].payload == sound
        assert (await worker.report()).done == 2


@pytest.mark.parametrize("how", ["run until cancelled", "wait to be told"])
async def test_leaving_a_job_aborts_it(how: str) -> None:
    async with opened() as worker:
        async with asyncio.timeout(5):
            async with aclosing(worker.run({"do": how})) as pieces:
                assert (await anext(pieces)).fields == {"started": True}
                assert (await worker.report()).running
            assert (await idle(worker)).aborted == 1
        assert await run(worker, do="echo")


async def test_a_job_left_before_its_turn_is_never_run() -> None:
    async with opened() as worker:
        async with aclosing(worker.run({"do": "run until cancelled"})) as first:
            await anext(first)
            waiting = asyncio.create_task(run(worker, do="echo", name="unwanted"))
            while not (await worker.report()).waiting:
                pass
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        (piece,) = await run(worker, do="echo", name="wanted")
        assert piece.fields["done"] == ["wanted"]
        assert (await worker.report()).aborted == 2


async def test_relaxed_jobs_wait_for_all_others() -> None:
    async with opened() as worker:
        async with aclosing(worker.run({"do": "run until cancelled"})) as first:
            await anext(first)
            relaxed = asyncio.create_task(run(worker, relaxed=True, do="echo", name="relaxed"))
            while (await worker.report()).waiting < 1:
                pass
            urgent = asyncio.create_task(run(worker, do="echo", name="urgent"))
            while (await worker.report()).waiting < 2:
                pass
        assert (await urgent)[0].fields["done"] == ["urgent"]
        assert (await relaxed)[0].fields["done"] == ["urgent", "relaxed"]


async def test_more_jobs_than_the_limit_are_refused_at_once() -> None:
    async with opened(limit=1) as worker:
        async with aclosing(worker.run({"do": "run until cancelled"})) as first:
            await anext(first)
            with pytest.raises(Unavailable, match="acme is busy"):
                await run(worker, do="echo")
        await idle(worker)
        assert await run(worker, do="echo")


@pytest.mark.parametrize(("code", "kind"), [("context", ContextTooLong), ("refused", Refused), ("other", Unavailable)])
async def test_a_failure_the_engine_names_becomes_the_right_error(code: str, kind: type[Exception]) -> None:
    async with opened() as worker:
        with pytest.raises(kind, match="acme: nine of seven"):
            await run(worker, do="fail", code=code)
        assert await run(worker, do="echo"), "the worker serves on"


async def test_a_failure_it_did_not_expect_is_told_by_name_only() -> None:
    async with opened() as worker:
        with pytest.raises(Unavailable) as caught:
            await run(worker, do="fail")
        assert "ValueError" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert (await worker.report()).failed == 1


async def test_a_killed_worker_fails_its_jobs_and_the_next_job_starts_another() -> None:
    async with opened() as worker:
        await worker.start()
        before = worker.pid
        assert before is not None
        async with aclosing(worker.run({"do": "run until cancelled"})) as pieces:
            await anext(pieces)
            waiting = asyncio.create_task(run(worker, do="echo"))
            while not (await worker.report()).waiting:
                pass
            os.kill(before, signal.SIGKILL)
            with pytest.raises(Unavailable, match="died"):
                await anext(pieces)
        with pytest.raises(Unavailable, match="died"):
            await waiting
        (piece,) = await run(worker, do="echo")
        assert piece.fields["pid"] == worker.pid != before


async def test_a_worker_that_dies_again_and_again_is_left_alone_for_a_while() -> None:
    async with opened() as worker:
        for _ in range(2):
            with pytest.raises(Unavailable, match="died"):
                await run(worker, do="die")
        with pytest.raises(Unavailable, match="2 times in a row") as caught:
            await run(worker, do="echo")
        assert caught.value.retry_after is not None
        assert 0 < caught.value.retry_after <= 1.0


@pytest.mark.parametrize(
    ("start", "told"),
    [
        ("refuse", "the sky is too blue"),
        ("crash", "RuntimeError: broken inside"),
        ("no package", "no_such_package_at_all is not installed: pip install"),
        ("no file", "trunkline models pull"),
        ("die", "exit code 3"),
    ],
)
async def test_a_start_that_fails_says_why(start: str, told: str) -> None:
    async with opened(start) as worker:
        with pytest.raises(Unavailable, match=told):
            await worker.start()
        assert worker.pid is None


async def test_a_start_that_takes_too_long_is_given_up() -> None:
    before = psutil.Process().children()  # other tests' servers
    async with opened("hang", start_within=0.3) as worker:
        with pytest.raises(Unavailable, match="not ready in time"):
            await worker.start()
        assert not {*psutil.Process().children()} - {*before}


async def test_a_caller_who_leaves_lets_the_engine_load_on() -> None:
    async with opened() as worker:
        impatient = asyncio.create_task(worker.start())
        await asyncio.sleep(0)
        patient = asyncio.create_task(worker.start())
        await asyncio.sleep(0)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        await patient
        assert worker.pid is not None


async def test_a_worker_closed_while_it_starts_is_gone() -> None:
    async with opened("hang") as worker:
        starting = asyncio.create_task(worker.start())
        await asyncio.sleep(0)
        await worker.aclose()
        with pytest.raises(Unavailable, match="closed"):
            await starting
    with pytest.raises(Unavailable, match="closed"):
        await worker.start()


async def test_closing_fails_the_jobs_that_run() -> None:
    async with opened() as worker:
        async with aclosing(worker.run({"do": "run until cancelled"})) as pieces:
            await anext(pieces)
            await worker.aclose()
            with pytest.raises(Unavailable):
                await anext(pieces)


async def test_a_worker_that_will_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    async with opened("stubborn") as worker:
        await worker.start()


async def test_what_an_engine_prints_does_no_harm() -> None:
    async with opened() as worker:
        assert await run(worker, do="print") == []
        assert await run(worker, do="echo")


async def test_interrupting_the_gateway_leaves_its_workers_alone() -> None:
    async with opened() as worker:
        await worker.start()
        assert worker.pid is not None
        assert os.getpgid(worker.pid) != os.getpgid(0), "ctrl-C goes to the gateway's process group"
        os.kill(worker.pid, signal.SIGINT)
        assert await run(worker, do="echo")


async def test_a_worker_gets_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_API_KEY", "sk-123")
    async with opened() as worker:
        (piece,) = await run(worker, do="environment")
        assert "PATH" in piece.fields
        assert piece.fields["OMP_NUM_THREADS"] == "1"
        assert not [name for name in piece.fields if "KEY" in name or "TOKEN" in name]


def test_a_worker_dies_with_its_gateway() -> None:
    gateway = (
        "import asyncio; from gateway.contract.worker import Worker\n"
        "async def main():\n"
        f"    worker = Worker('acme', {ENGINE!r}, {{}})\n"
        "    async for piece in worker.run({'do': 'run until cancelled'}):\n"
        "        print(worker.pid, flush=True)\n"
        "asyncio.run(main())\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", gateway], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    try:
        worker.wait(timeout=5)
    except psutil.NoSuchProcess:
        pass
    assert not worker.is_running()
