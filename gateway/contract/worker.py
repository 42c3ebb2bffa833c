"""Worker: a child process that runs one engine's blocking jobs, so that no model ever blocks the event loop.

    worker = Worker("local_tts", "providers._piper:open_engine", {"voice": path})
    async with aclosing(worker.run({"text": text})) as pieces:
        async for piece in pieces: ...

It starts with the first job (or `start`), runs one job at a time, and starts anew with the next job after it died. Leaving
`run` early aborts the job. It has no keys: its environment is a short list of names, and options come down the pipe.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from gateway.contract.errors import ContextTooLong, ProviderError, Refused, Unavailable
from gateway.contract.worker_frames import LENGTHS, Fields, lengths, pack

LOG = logging.getLogger(__name__)
KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TMPDIR",
    "TZ",
    "LD_LIBRARY_PATH",
    "OPENBLAS_CORETYPE",
    "SYSTEMROOT",
)
# Threads that spin at barriers ruin each other once a third wants a core: on 2 busy cores llama.cpp then took 75-200 ms for a
# token instead of 10. Ones that never spin are 60 % slower on idle cores. 300 turns, some microseconds, do well on both.
THREADS = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "300", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
PATIENCE = 2.0
"""Seconds a worker has to end when told to, before it is killed."""


class Piece(NamedTuple):
    """Part of a job's result."""

    fields: dict[str, Any]
    payload: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """The worker's own account. `running`: whether a job is; the others count jobs."""

    running: bool
    waiting: int
    done: int
    aborted: int
    failed: int


class Worker:
    """`engine`: "module:factory", called in the child with `options` (JSON values); see worker_frames.Engine.

    `limit`: jobs at once, waiting ones included; more fail with Unavailable. `start_within`: seconds to load the engine.
    """

    def __init__(self, name: str, engine: str, options: Fields, *, limit: int = 16, start_within: float = 60.0) -> None:
        self.name = name
        self._engine, self._options, self._limit, self._start_within = engine, options, limit, start_within
        self._numbers = itertools.count(1)
        self._process: _Process | None = None
        self._starting: asyncio.Task[ProviderError | None] | None = None
        self._failures = 0  # deaths and failed starts since a job last went well
        self._not_before = 0.0
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Of the live process, if there is one."""
        return self._process.pid if self._process is not None and self._process.alive else None

    async def start(self) -> None:
        """Returns once the engine is loaded. Raises Unavailable with the reason. Cancelling the caller lets it load on."""
        if self._closed:
            raise Unavailable(f"{self.name} is closed", self.name)
        if self._process is not None and self._process.alive:
            return
        if self._starting is None or self._starting.done():
            self._check_backoff()
            self._starting = asyncio.create_task(self._launch(), name=f"start {self.name}")
        starting = self._starting
        await asyncio.wait({starting})
        error = Unavailable(f"{self.name} is closed", self.name) if starting.cancelled() else starting.result()
        if error is not None:
            raise error

    async def run(self, fields: Fields, payload: bytes = b"", *, relaxed: bool = False) -> AsyncGenerator[Piece, None]:
        """The pieces of the job's result. `relaxed` jobs wait for all others. Closing the generator aborts the job.

        Raises Unavailable (dead, will not start, busy), or what the engine failed with.
        """
        await self.start()
        process = self._process
        if process is None:
            raise Unavailable(f"{self.name} stopped", self.name)
        if len(process.jobs) >= self._limit:
            raise Unavailable(f"{self.name} is busy: {self._limit} jobs are waiting", self.name, retry_after=1.0)
        number = next(self._numbers)
        replies = process.open(number)
        try:
            process.send({"job": number, "relaxed": relaxed, "fields": fields}, payload)
            while (reply := await replies.get()) is not None:
                header, body = reply
                if "piece" in header:
                    yield Piece(header["piece"], body)
                elif "error" in header:
                    raise self._error(header)
                else:
                    self._failures = 0
                    return
            raise Unavailable(f"the {self.name} worker died", self.name)
        finally:
            process.forget(number)

    async def report(self) -> Report:
        """Asks the worker what it is doing. Raises Unavailable if there is none."""
        process = self._process
        if process is None or not process.alive:
            raise Unavailable(f"no {self.name} worker is running", self.name)
        number = next(self._numbers)
        replies = process.open(number)
        try:
            process.send({"report": number})
            reply = await replies.get()
        finally:
            process.forget(number)
        if reply is None:
            raise Unavailable(f"the {self.name} worker died", self.name)
        return Report(**reply[0]["report"])

    async def aclose(self) -> None:
        """Ends the process and waits for its end. Jobs still running fail. Again is a no-op."""
        self._closed = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait({self._starting})
        if self._process is not None:
            await self._process.aclose()

    def _check_backoff(self) -> None:
        wait = self._not_before - asyncio.get_running_loop().time()
        if wait > 0:
            raise Unavailable(
                f"the {self.name} worker failed {self._failures} times in a row", self.name, retry_after=wait
            )

    async def _launch(self) -> ProviderError | None:
        """Returns the error instead of raising it: the caller may have left, and nobody would retrieve it."""
        if self._process is not None:
            await self._process.aclose()
            self._process = None
        try:
            self._process = await _Process.launch(self._engine, self._options, self._start_within, self._failed)
        except _DidNotStart as error:
            self._failed()
            LOG.warning("%s: the worker did not start: %s", self.name, error)
            return Unavailable(f"{self.name}: {error}", self.name)
        LOG.info("%s: worker %d is ready", self.name, self._process.pid)
        return None

    def _failed(self) -> None:
        # The first new start is at once: a caller is waiting. Then 0.5, 1, 2, ... 30 s.
        self._failures += 1
        delay = min(30.0, 0.25 * 2.0**self._failures) if self._failures > 1 else 0.0
        self._not_before = asyncio.get_running_loop().time() + delay

    def _error(self, header: Mapping[str, Any]) -> ProviderError:
        known: dict[str, type[ProviderError]] = {"context": ContextTooLong, "refused": Refused}
        return known.get(header["error"], Unavailable)(f"{self.name}: {header['message']}", self.name)


class _DidNotStart(Exception):
    pass


_Reply = tuple[dict[str, Any], bytes]


class _Process:
    """One life of a worker: from a successful start to its end."""

    def __init__(self, child: asyncio.subprocess.Process, died: Callable[[], None]) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        self._child, self._in, self._out = child, child.stdin, child.stdout
        self._died = died
        self.pid = child.pid
        self.alive = True
        self.jobs: dict[int, asyncio.Queue[_Reply | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    @staticmethod
    async def launch(engine: str, options: Fields, within: float, died: Callable[[], None]) -> _Process:
        """Raises _DidNotStart, with nothing left behind."""
        creating = asyncio.create_task(_spawn(engine), name="spawn worker")
        try:
            child = await asyncio.shield(creating)
        except asyncio.CancelledError:
            # Half a process cannot be waited for: uvloop would leave a zombie.
            await _Process(await creating, died).aclose()
            raise
        process = _Process(child, died)
        try:
            process.send(options)
            async with asyncio.timeout(within):
                first, _ = await process._receive()
            if "failed" in first:
                raise _DidNotStart(first["failed"])
            process._reading = asyncio.create_task(process._read(), name=f"read worker {child.pid}")
        except TimeoutError:
            await process.aclose()
            raise _DidNotStart(f"it was not ready in time: {within:g} s") from None
        except (EOFError, ConnectionError, ValueError):
            await process.aclose()
            raise _DidNotStart(f"it ended before it was ready (exit code {child.returncode})") from None
        except BaseException:
            await process.aclose()
            raise
        return process

    def open(self, number: int) -> asyncio.Queue[_Reply | None]:
        replies: asyncio.Queue[_Reply | None] = asyncio.Queue()
        self.jobs[number] = replies
        if not self.alive:
            replies.put_nowait(None)
        return replies

    def forget(self, number: int) -> None:
        """Aborts the job if it still runs."""
        if self.jobs.pop(number, None) is not None and self.alive:
            self.send({"cancel": number})

    def send(self, header: Fields, payload: bytes = b"") -> None:
        # Not drained: what can wait here is bounded by the limit on jobs. A broken pipe shows in `_read`.
        if not self._in.is_closing():
            self._in.write(pack(header, payload))

    async def aclose(self) -> None:
        """Terminates, waits `PATIENCE`, kills, waits."""
        self.alive = False
        self._signal(signal.SIGTERM)
        await self._gone()
        if self._reading is not None:
            await self._reading
        with suppress(ConnectionError):
            await self._in.wait_closed()

    async def _read(self) -> None:
        try:
            while True:
                header, payload = await self._receive()
                number = int(header["of"])
                if (replies := self.jobs.get(number)) is not None:
                    if "piece" not in header:
                        del self.jobs[number]
                    replies.put_nowait((header, payload))
        except (EOFError, ConnectionError, ValueError, KeyError):
            pass
        unexpected, self.alive = self.alive, False
        if unexpected:
            self._died()
        for replies in self.jobs.values():
            replies.put_nowait(None)
        self.jobs.clear()
        if unexpected:
            await self._gone()
            LOG.warning("worker %d died with exit code %s", self.pid, self._child.returncode)

    async def _gone(self) -> None:
        """Returns when the process is no more, killing it if need be."""
        self._in.close()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._child.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._child.wait()

    def _signal(self, number: signal.Signals) -> None:
        # Not Process.send_signal: it reaps a child that has just ended, which asyncio's own watcher then cannot find.
        if self._child.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def _receive(self) -> _Reply:
        head, payload = lengths(await self._out.readexactly(LENGTHS.size))
        return orjson.loads(await self._out.readexactly(head)), await self._out.readexactly(payload)


async def _spawn(engine: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "gateway.contract.worker_process", engine),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=None if LOG.isEnabledFor(logging.DEBUG) else asyncio.subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,  # ctrl-C on the gateway is not for its workers
    )


def _environment() -> dict[str, str]:
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {name: os.environ[name] for name in KEPT if name in os.environ} | THREADS | {"PYTHONPATH": path}
