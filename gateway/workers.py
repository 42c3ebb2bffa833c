"""Workers: several processes that answer one port. This one starts them, starts again who dies, and is where they meet.

Each has a listening socket of its own on the same port, so that the kernel shares connections out evenly. The sockets are
this process': connections that come while a worker is being started again wait in its queue.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.state.hub import Hub

log = logging.getLogger("trunkline")

MOST = 64
BACKLOG = 2048
WORKER, HUB, SOCKET = "TRUNKLINE_WORKER", "TRUNKLINE_HUB", "TRUNKLINE_SOCKET"
"""What a worker finds in its environment: its number and how many there are, the hub's path, its socket."""
AGAIN, AGAIN_MOST = 0.5, 10.0
"""Seconds before a worker that died is started again: twice as long each time, until it has served for a while."""
SERVED = 30.0
STOP = 15.0
"""Seconds that workers have to end."""


@dataclass(frozen=True, slots=True)
class Worker:
    """`number`: from 1; `count`: of them all."""

    number: int
    count: int
    hub: Path
    socket: int


def worker_of(environ: Mapping[str, str]) -> Worker | None:
    """What this process is, if another one started it as a worker."""
    named = environ.get(WORKER)
    if not named:
        return None
    number, _, count = named.partition("/")
    return Worker(int(number), int(count), Path(environ[HUB]), int(environ[SOCKET]))


def serve(args: Sequence[str], host: str, port: int, count: int, secure: bool) -> int:
    """`args`: of `trunkline serve`, for each worker. Returns the exit status."""
    try:
        sockets = bound(host, port, count)
    except OSError as error:
        log.error("%s port %d cannot be bound: %s", host, port, error.strerror or type(error).__name__)
        return 1
    with tempfile.TemporaryDirectory(prefix="trunkline-") as folder:  # readable by this user alone
        return asyncio.run(_Crew(args, sockets, Path(folder) / "hub", secure).run())


def bound(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` listening sockets on one port. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    sockets: list[socket.socket] = []
    try:
        if port:
            _alone(family, address)
        for index in range(count):
            each = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(each)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind(sockets[0].getsockname() if index else address)
            each.listen(BACKLOG)
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _alone(family: int, address: object) -> None:
    """Raises OSError where another program has the port: with SO_REUSEPORT alone that would pass unnoticed."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)  # type: ignore[arg-type]  # getaddrinfo's, whatever its family


class _Crew:
    def __init__(self, args: Sequence[str], sockets: Sequence[socket.socket], path: Path, secure: bool) -> None:
        self._command = [sys.executable, "-m", "gateway", "serve", *args]
        self._sockets, self._path, self._secure = sockets, path, secure
        self._hub = Hub(self._ready)
        self._serving: set[str] = set()
        self._told = False
        self._stopping = asyncio.Event()
        self._status = 0
        self._running: set[asyncio.subprocess.Process] = set()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for stop in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._signal, signal.SIGHUP)
        await self._hub.open(self._path)
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(1, len(self._sockets) + 1):
                    group.create_task(self._keep(number), name=f"worker {number}")
        finally:
            await self._hub.aclose()
            for each in self._sockets:
                each.close()
        return self._status

    async def _keep(self, number: int) -> None:
        """One worker, started again whenever it dies, until all are to stop."""
        loop, pause = asyncio.get_running_loop(), AGAIN
        while not self._stopping.is_set():
            began = loop.time()
            status = await self._work(number)
            if self._stopping.is_set():
                return
            if not self._told:  # it never served: starting it again would not help
                self._status = status if status > 0 else 1
                self._stop()
                return
            pause = AGAIN if loop.time() - began > SERVED else min(AGAIN_MOST, pause * 2)
            log.error("worker %d died (%d), and is started again in %.1f s", number, status, pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()

    async def _work(self, number: int) -> int:
        """Its exit status."""
        fd = self._sockets[number - 1].fileno()
        own = {WORKER: f"{number}/{len(self._sockets)}", HUB: str(self._path), SOCKET: str(fd)}
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env={**os.environ, **own},
            pass_fds=[fd],
            process_group=0,  # a Ctrl-C is this process' to hand on
        )
        self._running.add(process)
        try:
            if self._stopping.is_set():
                process.terminate()
            return await process.wait()
        finally:
            self._running.discard(process)
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _ready(self, name: str) -> None:
        self._serving.add(name[:4])
        if len(self._serving) == len(self._sockets) and not self._told:
            self._told = True
            address, port = self._sockets[0].getsockname()[:2]
            host = f"[{address}]" if ":" in address else address
            scheme = "https" if self._secure else "http"
            print(f"Trunkline is ready: open {scheme}://{host}:{port}", flush=True)  # noqa: T201  the one line a person waits for

    def _signal(self, number: int) -> None:
        for process in self._running:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    def _stop(self) -> None:
        again, loop = self._stopping.is_set(), asyncio.get_running_loop()
        self._stopping.set()
        self._signal(signal.SIGKILL if again else signal.SIGTERM)
        loop.call_later(STOP, self._signal, signal.SIGKILL)
