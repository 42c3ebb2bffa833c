"""create_app: builds everything once, closes it in reverse. The only module that knows all the others."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from gateway.api import chat, console, errors, health, models, speech, transcriptions
from gateway.config import Config
from gateway.contract.provider import Closable
from gateway.loader import Loaded
from gateway.routing.engine import Engine
from gateway.telemetry.prometheus import Metrics
from gateway.telemetry.recorder import Recorder
from gateway.warming import Warming

log = logging.getLogger("trunkline")

DRAIN = 5
"""Seconds that requests under way get when the gateway is told to stop."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to serve; TLS when both files are named."""

    host: str
    port: int
    tls_cert: Path | None = None
    tls_key: Path | None = None


def create_app(config: Config, loaded: Loaded, host: str = "127.0.0.1") -> FastAPI:
    """`host`: the address that HTTP will be bound to; media is offered there too when it is loopback."""
    metrics = Metrics()
    engine = Engine(loaded.routes, loaded.providers, Recorder([metrics.sample]))
    warming = Warming(loaded)
    closing = AsyncExitStack()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with closing:
            for provider in loaded.providers.values():
                if isinstance(provider, Closable):
                    closing.push_async_callback(provider.aclose)
            warm = asyncio.create_task(warming.run(), name="warming")
            closing.push_async_callback(_stopped, warm)
            if loaded.calls:
                await _calls(app, config, loaded, engine, metrics, warming, closing, host)
            yield

    app = FastAPI(title="Trunkline", lifespan=lifespan, docs_url=None, redoc_url=None)
    errors.install(app)
    for router in (
        chat.router(engine, metrics),
        speech.router(engine, metrics),
        transcriptions.router(engine, metrics),
        models.router(engine, lambda: loaded.calls),
        health.router(lambda: health.Readiness(True, warming.states), metrics),
        console.router(),
    ):
        app.include_router(router)
    return app


async def _calls(
    app: FastAPI,
    config: Config,
    loaded: Loaded,
    engine: Engine,
    metrics: Metrics,
    warming: Warming,
    closing: AsyncExitStack,
    host: str,
) -> None:
    """Calls cost 50 MB of imports: only where a route needs them."""
    del app, config, loaded, engine, metrics, warming, closing, host


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class _Server(uvicorn.Server):
    """Says where it is once it answers."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers if self.started else []:
            for each in server.sockets:
                scheme = "https" if self.config.is_ssl else "http"
                address, port = each.getsockname()[:2]
                host = f"[{address}]" if ":" in address else address
                print(f"Trunkline is ready: open {scheme}://{host}:{port}", flush=True)  # noqa: T201  the one line a person waits for


def run(app: FastAPI, listen: Listen) -> int:
    """Serves until told to stop. Returns the exit status."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # what it says of starting, we say in one line
    server = _Server(
        uvicorn.Config(
            app,
            listen.host,
            listen.port,
            loop="uvloop",
            http="httptools",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_certfile=listen.tls_cert,
            ssl_keyfile=listen.tls_key,
            timeout_graceful_shutdown=DRAIN,
        )
    )
    server.run()
    return 0 if server.started else 1
