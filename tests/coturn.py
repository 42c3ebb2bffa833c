"""A real coturn of a test's own, on loopback, that takes time-limited credentials.

    async with coturn("the secret") as port: ...

Mark what uses it `@pytest.mark.wire` and `@pytest.mark.needs("turnserver")`.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.redis_server import free_port, listens

REALM = "relay.test"


@asynccontextmanager
async def coturn(secret: str) -> AsyncIterator[int]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        options = [
            *(
                "-n",
                "--no-cli",
                "--no-tls",
                "--no-dtls",
                "--no-stdout-log",
                "--allow-loopback-peers",
                "--use-auth-secret",
            ),
            *(f"--static-auth-secret={secret}", f"--realm={REALM}", f"--listening-port={port}"),
            *("--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--pidfile={Path(folder) / 'pid'}"),
            *(f"--db={Path(folder) / 'db'}", f"--log-file={Path(folder) / 'log'}", "--simple-log"),
        ]
        process = await asyncio.create_subprocess_exec(
            "turnserver", *options, cwd=folder, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(10.0):
                while not await listens(port):  # it takes TCP where it takes UDP
                    assert process.returncode is None, "turnserver ended"
                    await asyncio.sleep(0.02)
            yield port
        finally:
            process.kill()
            await process.wait()
