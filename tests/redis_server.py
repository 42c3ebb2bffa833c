"""A real redis-server of a test's own: a free port, a folder that is deleted, nothing kept on disk.

    async with redis_server() as redis:
        redis.url                       # redis://127.0.0.1:PORT
        redis.freeze(); redis.thaw()    # SIGSTOP, SIGCONT
        await redis.kill()              # SIGKILL; its port refuses
        await redis.start()             # again on the same port, empty
        await redis.ask("CONFIG", "SET", "maxmemory", "1")
        async with detour(redis.port, 2.0) as port: ...     # everything it answers through this port is late

Mark what uses it `@pytest.mark.wire` and `@pytest.mark.needs("redis-server")`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

STARTED_WITHIN = 10.0


class RedisServer:
    """`options`: of redis-server, such as "--requirepass", "secret"."""

    def __init__(self, folder: Path, port: int, options: tuple[str, ...] = ()) -> None:
        self._folder, self.port, self._options = folder, port, options
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Returns when it listens."""
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self._folder),
            "save": "",
            "appendonly": "no",
        }
        flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self._process = await asyncio.create_subprocess_exec(
            "redis-server", *flags, *self._options, stdout=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(STARTED_WITHIN):
            while not await listens(self.port):
                assert self._process.returncode is None, "redis-server did not start"
                await asyncio.sleep(0.02)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        if self._process is not None:
            self._signal(signal.SIGKILL)
            await self._process.wait()

    async def ask(self, *command: str, password: str | None = None) -> Any:
        """One command on a connection of its own."""
        client = Redis(port=self.port, password=password, socket_timeout=5.0)
        try:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]
        finally:
            await client.aclose()

    async def keys(self) -> list[str]:
        with suppress(RedisError):
            return sorted(key.decode() for key in await self.ask("KEYS", "*"))
        return []

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            os.kill(self._process.pid, number)


@asynccontextmanager
async def redis_server(*options: str, port: int | None = None) -> AsyncIterator[RedisServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), port or free_port(), options)
        try:
            await server.start()
            yield server
        finally:
            await server.kill()


Loses = Callable[[bytes], bool]


@asynccontextmanager
async def detour(port: int, late: float = 0.0, loses: Loses = lambda _: False) -> AsyncIterator[int]:
    """A port that leads to `port`. Every answer comes `late` seconds later; the pieces that it `loses` never come."""
    links: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        links.add(asyncio.create_task(_relay(reader, writer, port, late, loses), name="detour"))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        await server.wait_closed()


async def _relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, late: float, loses: Loses
) -> None:
    try:
        there, here = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(reader, here, 0.0, lambda _: False))
                group.create_task(_pass_on(there, writer, late, loses))
        finally:
            here.close()
    except* OSError:
        pass
    finally:
        writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late: float, loses: Loses) -> None:
    while piece := await reader.read(65536):
        await asyncio.sleep(late)
        if not loses(piece):
            writer.write(piece)
            await writer.drain()
    raise ConnectionError("closed")  # ends the other direction too


async def listens(port: int) -> bool:
    """Whether connections are taken there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
