"""create_app: builds everything once, closes it in reverse. The only module that knows all the others."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from gateway.access.access import Access
from gateway.access.grant import paying
from gateway.access.relays import Relays
from gateway.access.secrets import Secrets
from gateway.api import (
    chat,
    completions,
    console,
    embeddings,
    errors,
    health,
    messages,
    models,
    openapi,
    responses,
    speech,
    telemetry,
    transcriptions,
)
from gateway.api.front import front
from gateway.api.gate import Gate
from gateway.config import Config
from gateway.contract.errors import GatewayError
from gateway.loader import Loaded
from gateway.reload import Reload
from gateway.routing.engine import Engine
from gateway.routing.fleet import Fleet
from gateway.routing.plan import Ejected
from gateway.routing.probing import Prober
from gateway.routing.route import CallRoute
from gateway.routing.sharing import replica_of
from gateway.state import store as state
from gateway.state.hub_store import HubStore
from gateway.state.opening import open_store
from gateway.telemetry.prometheus import Metrics
from gateway.telemetry.sample import Sample
from gateway.telemetry.standing import Ejection
from gateway.telemetry.telemetry import Telemetry
from gateway.warming import Warming
from gateway.workers import Worker

log = logging.getLogger("trunkline")

CallRoutes = Callable[[], Mapping[str, CallRoute]]
IDLE = 75
"""Seconds that a connection may wait for its next request: longer than clients and load balancers keep theirs (5 to 60), since one
that both ends close at the same moment costs a request."""
GARBAGE = 10_000, 20, 50
"""When Python looks for cycles that nobody refers to: every so many new objects, and how many such looks make a deeper one."""
DRAIN = 5
"""Seconds that requests under way get when the gateway is told to stop."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to serve; TLS when both files are named."""

    host: str
    port: int
    tls_cert: Path | None = None
    tls_key: Path | None = None


def create_app(
    config: Config, loaded: Loaded, host: str = "127.0.0.1", access: Access | None = None, worker: Worker | None = None
) -> FastAPI:
    """`host`: the address that HTTP will be bound to; media is offered there too when it is loopback. `access`: whose keys
    clients need; none by default; `worker`: what this process is, where several answer for one port."""
    access = access or Access()
    kept = Telemetry(os.environ, samples=[_bill], prices=loaded.prices, payer=lambda: paying().key_id)
    metrics = kept.metrics
    hub = HubStore(worker.hub, worker.number) if worker is not None else None
    redis = os.environ.get("REDIS_URL")
    store: state.Store = hub if hub is not None and not redis else open_store(redis, os.environ.get("TRUNKLINE_URL"))

    def ejected(told: Ejected) -> None:
        route = engine.routes.get(told.route)
        if route is not None:  # else routes.yaml changed under the request
            seconds = told.until - asyncio.get_running_loop().time()
            kept.recorder.ejected(Ejection(told.route, route.kind, told.target, seconds, told.reason))
            store.ejected(state.Ejection(told.route, told.target, told.until, told.reason))

    engine = Engine(loaded.routes, loaded.providers, kept.recorder, ejected=ejected, ledger=kept.ledger)
    metrics.ask_standing(engine.standings)
    if store.state != "alone":
        metrics.ask_whether_local(lambda: store.state != "shared" or access.local)
    if hub is not None:
        hub.answers = lambda what: _told(kept, hub.worker, what)
    warming = Warming(loaded)
    prober = Prober(engine)

    def renew(new: Loaded) -> Fleet:
        kept.ledger.renew(new.prices)
        retired = engine.renew(new.routes, new.providers)
        prober.renewed()
        return retired

    live = Reload(config, loaded, renew)
    closing = AsyncExitStack()
    secrets = Secrets(access.unix)
    relays = loaded.relays
    calls = (
        _Calls(config, lambda: live.loaded.calls, engine, metrics, host, store, secrets, relays)
        if loaded.calls
        else None
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with closing:
            closing.push_async_callback(kept.aclose)
            closing.push_async_callback(live.aclose)
            following = asyncio.create_task(access.run(), name="keys")
            closing.push_async_callback(_stopped, following)
            if kept.ledger_file is not None:
                writing = asyncio.create_task(kept.ledger_file.run(), name="ledger")
                closing.push_async_callback(_stopped, writing)
            closing.push_async_callback(engine.aclose)
            probing = asyncio.create_task(prober.run(), name="probing")
            closing.push_async_callback(_stopped, probing)
            watching = asyncio.create_task(live.run(), name="reload")
            closing.push_async_callback(_stopped, watching)
            shared = replica_of(engine.boards, engine.routes, asyncio.get_running_loop().time)
            sharing = asyncio.create_task(store.run(shared), name="sharing")
            closing.push_async_callback(_stopped, sharing)
            if hub is not None and hub is not store:
                meeting = asyncio.create_task(hub.run(state.NOBODY), name="hub")
                closing.push_async_callback(_stopped, meeting)
            warm = asyncio.create_task(_warm(warming, calls), name="warming")
            closing.push_async_callback(_stopped, warm)
            if calls is not None:
                calls.close_with(closing)
            yield

    app = FastAPI(title="Trunkline", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    errors.install(app)
    app.add_middleware(Gate, access=access, watch=metrics, secrets=secrets)
    routers = (
        chat.router(engine, metrics),
        messages.router(engine, metrics),
        completions.router(engine, metrics),
        embeddings.router(engine, metrics),
        responses.router(engine, metrics),
        speech.router(engine, metrics),
        transcriptions.router(engine, metrics),
        models.router(engine, lambda: live.loaded.calls),
        openapi.router(engine, lambda: live.loaded.calls, calls is not None),
        health.router(lambda: health.Readiness(True, warming.states), metrics, hub.worker if hub else 0, hub),
        telemetry.router(
            kept.decisions, kept.feed, engine.standings, kept.trend, metrics, lambda: store.state, kept.ledger, hub
        ),
        console.router(),
        *([calls.router] if calls is not None else []),
    )
    for router in routers:
        app.include_router(router)
    app.state.front = front(
        (route for router in routers for route in router.routes), Gate(app, access, metrics, secrets).serve
    )
    app.state.sockets = calls.sockets if calls is not None else {"ws": "none"}
    app.state.stopping = kept.feed.close
    return app


class _Calls:
    """What only calls need. Costs 50 MB of imports, so it is made only where a route of kind call is."""

    def __init__(
        self,
        config: Config,
        routes: CallRoutes,
        engine: Engine,
        metrics: Metrics,
        host: str,
        directory: state.Directory,
        secrets: Secrets,
        relays: Relays,
    ) -> None:
        from gateway.api import calls
        from gateway.api.front_socket import SERVING
        from gateway.calls.registry import Registry
        from gateway.calls.smart_turn import SmartTurn
        from gateway.calls.vad import open_vad
        from gateway.media.reach import Media
        from gateway.transports.webrtc import WebRtc

        row = config.media
        self._turn_model = SmartTurn()
        asleep = self._turn_model.asleep()
        if asleep is not None:
            log.warning("turns end by silence alone: smart-turn %s", asleep)
        self._webrtc = WebRtc(Media(tuple(row.addresses), row.announce, row.ports), host)
        self._registry = Registry(engine, open_vad(), None if asleep else self._turn_model, directory=directory)
        metrics.count_calls(lambda: len(self._registry))
        self.sockets: Mapping[str, Any] = SERVING
        """How WebSockets are served: uvicorn's settings."""
        self.router = calls.router(self._registry, self._webrtc, engine.routes, routes, metrics, secrets, relays)

    async def warm(self) -> None:
        with suppress(GatewayError):  # told again by the first turn that asks
            await self._turn_model.warm()

    def close_with(self, stack: AsyncExitStack) -> None:
        """Calls end first, then their connections, then the worker."""
        stack.push_async_callback(self._turn_model.aclose)
        stack.push_async_callback(self._webrtc.aclose)
        stack.push_async_callback(self._registry.aclose)


def _told(kept: Telemetry, worker: int, what: str) -> bytes:
    """What another worker is told of this one."""
    verb, _, rest = what.partition(" ")
    match verb:
        case "metrics":
            return b"%d\n" % worker + kept.metrics.exposition()
        case "decisions":
            return telemetry.decisions_of(kept.decisions, rest)
        case "costs":
            return kept.ledger.encode()
    return b""


def _bill(sample: Sample) -> None:
    """To the key whose request the attempt belongs to."""
    grant = paying()
    grant.tokens(sample.usage.input_tokens + sample.usage.output_tokens)
    if sample.cost:
        grant.charge(sample.cost)


async def _warm(warming: Warming, calls: _Calls | None) -> None:
    if calls is not None:
        await calls.warm()
    await warming.run()


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class _Server(uvicorn.Server):
    """Says where it is once it answers, and the application when it is to stop: before it waits for requests under way."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None], quiet: bool) -> None:
        super().__init__(config)
        self._stopping, self._quiet = stopping, quiet

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _settle_garbage()
        for server in self.servers if self.started and not self._quiet else []:
            for each in server.sockets:
                scheme = "https" if self.config.is_ssl else "http"
                address, port = each.getsockname()[:2]
                host = f"[{address}]" if ":" in address else address
                print(f"Trunkline is ready: open {scheme}://{host}:{port}", flush=True)  # noqa: T201  the one line a person waits for


def _settle_garbage() -> None:
    """What was made until now stays, and need not be looked through again. Of what requests make, nearly all goes when its last
    reference does: looking for the rest as often as Python does by itself costs a tenth of the CPU of a streamed event."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


def run(app: FastAPI, listen: Listen, worker: Worker | None = None) -> int:
    """Serves until told to stop, a worker on the socket it was handed. Returns the exit status."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # what it says of starting, we say in one line
    server = _Server(
        uvicorn.Config(
            app,
            listen.host,
            listen.port,
            loop="uvloop",
            http=app.state.front,
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_certfile=listen.tls_cert,
            ssl_keyfile=listen.tls_key,
            timeout_keep_alive=IDLE,
            timeout_graceful_shutdown=DRAIN,
            **app.state.sockets,
        ),
        app.state.stopping,
        quiet=worker is not None,
    )
    server.run([socket.socket(fileno=worker.socket)] if worker is not None else None)
    return 0 if server.started else 1
