"""An application on a real socket, in the test's own loop.

    async with serving(app) as server:              # any ASGI app: FastAPI, or a function; its lifespan runs
        server.url                                  # "http://127.0.0.1:PORT"
        server.port
        async with client(server) as openai: ...    # the official client: key "test", no retries

uvicorn on port 0 of 127.0.0.1. Leaving stops it, waiting up to a second for requests under way.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import uvicorn


@dataclass(frozen=True, slots=True)
class Served:
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield  # pytest has them


@asynccontextmanager
async def serving(app: Any, **settings: Any) -> AsyncIterator[Served]:
    """`settings`: as of uvicorn.Config."""
    front = getattr(getattr(app, "state", None), "front", "auto")  # as the program serves it
    usual = {"log_level": "warning", "timeout_graceful_shutdown": 1, "timeout_keep_alive": 75, "http": front}
    settings = {**usual, **settings}
    server = _Server(uvicorn.Config(app, **settings))
    listening = socket.create_server(("127.0.0.1", 0))
    running = asyncio.create_task(server.serve(sockets=[listening]))
    up = asyncio.create_task(server.up.wait())
    try:
        await asyncio.wait({running, up}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
            raise RuntimeError("the server stopped before it was up")
        yield Served(listening.getsockname()[1])
    finally:
        up.cancel()
        server.should_exit = True
        await running
        listening.close()


def plain_http(**settings: Any) -> httpx.AsyncClient:
    """For http:// alone: loading the certificates of the world takes longer than most tests."""
    return httpx.AsyncClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), **settings)


@asynccontextmanager
async def client(server: Served, **settings: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client. `settings`: as of openai.AsyncOpenAI."""
    settings = {"api_key": "test", "max_retries": 0, "timeout": 30.0, "http_client": plain_http(), **settings}
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", **settings) as made:
        yield made
