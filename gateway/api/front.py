"""Front: the server's connections, with a short way in. A POST to an Endpoint reaches it straight from the HTTP parser; what it
answers goes straight to the socket. ASGI's messages and the layers of Starlette cost more than all else a request does.

Everything else is uvicorn's: parsing, keep-alive, pipelining, its limits, and every request that is no POST to an Endpoint.
An Endpoint is the same on either way. No middleware is passed on the short one: what must see every request has to be in
`serve` as well, as the gate is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

from starlette.routing import BaseRoute, Route
from uvicorn.protocols.http.httptools_impl import HEADER_VALUE_RE, STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.api.exchange import HELD, STALLED, ClientGone, Endpoint, Exchange, Headers

Serve = Callable[[Endpoint, Exchange], Awaitable[None]]


def front(routes: Iterable[BaseRoute], serve: Serve = Endpoint.serve) -> type[HttpToolsProtocol]:
    """The class of connections on which the Endpoints among `routes` are reached straight (uvicorn's `http`). `serve`: has an
    Endpoint serve an Exchange."""
    known = {
        route.path.encode(): partial(serve, route.endpoint)
        for route in routes
        if isinstance(route, Route) and isinstance(route.endpoint, Endpoint) and route.methods == {"POST"}
    }
    return type("Front", (_Front,), {"endpoints": known})


class _Front(HttpToolsProtocol):
    """`serving`: the request being answered, where it came straight."""

    endpoints: ClassVar[Mapping[bytes, Callable[[Exchange], Awaitable[None]]]] = {}
    serving: _Cycle | None = None

    def on_headers_complete(self) -> None:
        endpoint, parser = self.endpoints.get(self.url), self.parser
        plain = endpoint is not None and parser.get_method() == b"POST" and parser.get_http_version() == "1.1"
        if endpoint is None or not plain or parser.should_upgrade() or self.limit_concurrency is not None:
            super().on_headers_complete()
            return
        self.scope["method"], self.scope["path"], self.scope["raw_path"] = "POST", self.url.decode(), self.url
        self.scope["query_string"] = b""
        before: RequestResponseCycle | None = self.cycle
        self.cycle = _Cycle(self, parser.should_keep_alive())
        app: Any = endpoint  # which _Cycle.run_asgi gets
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, app))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.serving is not None:
            self.serving.lost()


class _Cycle(RequestResponseCycle):
    """A request on a connection, as uvicorn's protocol and an Exchange see it. `handler`: whom to cancel if the client leaves."""

    def __init__(self, connection: _Front, keep_alive: bool) -> None:
        super().__init__(
            scope=connection.scope,
            transport=connection.transport,
            flow=connection.flow,
            logger=connection.logger,
            access_logger=connection.access_logger,
            access_log=False,
            default_headers=connection.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=connection.expect_100_continue,
            keep_alive=keep_alive,
            on_response=connection.on_response_complete,
        )
        self.connection = connection
        self.exchange: _Direct | None = None
        self.handler: asyncio.Task[Any] | None = None

    async def run_asgi(self, app: Any) -> None:
        """Uvicorn starts every request by this name. `app`: the Endpoint's way of serving it."""
        self.connection.serving = self
        exchange = self.exchange = _Direct(self)
        try:
            await app(exchange)
        finally:
            self.connection.serving = self.handler = None
            if not self.response_complete and not self.disconnected:
                self.transport.close()  # what was sent of the answer is not whole

    def lost(self) -> None:
        """The client left."""
        self.disconnected = True
        self.message_event.set()
        if self.handler is not None and self.exchange is not None and not self.exchange.finished:
            self.exchange.left = True
            self.handler.cancel()

    def head(self, status: int, headers: Headers) -> bytes:
        """The head of the answer; from here on it has begun."""
        self.response_started, self.waiting_for_100_continue = True, False
        self.chunked_encoding = True
        lines = [STATUS_LINE[status][:-2]]
        for name, value in (*self.default_headers, *headers):
            if HEADER_VALUE_RE.search(value):
                raise ValueError("a header's value holds what no header can")
            if name == b"content-length":
                self.chunked_encoding = False
            elif name == b"connection" and value == b"close":
                self.keep_alive = False
                continue
            lines.append(name + b": " + value)
        if not self.keep_alive:
            lines.append(b"connection: close")
        if self.chunked_encoding:
            lines.append(b"transfer-encoding: chunked")
        lines.append(b"\r\n")
        return b"\r\n".join(lines)

    def end(self, data: bytes) -> None:
        """The last bytes of the answer, framed."""
        if not self.disconnected:
            self.transport.write(data)
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()


class _Direct(Exchange):
    """An exchange without ASGI: what is written goes to the socket within the call."""

    def __init__(self, cycle: _Cycle) -> None:
        super().__init__(cycle.scope, cycle.receive, cycle.send)  # type: ignore[arg-type]  # starlette's and uvicorn's names
        self._cycle = cycle

    async def read(self, limit: int) -> bytes:
        cycle = self._cycle
        if cycle.more_body or cycle.disconnected or len(cycle.body) > limit:
            return await super().read(limit)
        self._unread = False
        body, cycle.body = bytes(cycle.body), bytearray()
        cycle.flow.resume_reading()
        self._watch_client()
        return body

    async def start(self, status: int, headers: Headers = ()) -> None:
        self.status = status
        cycle = self._cycle
        head = cycle.head(status, ((b"x-request-id", self.request_id), *headers, *self.always))
        if not cycle.disconnected:
            cycle.transport.write(head)

    async def write(self, data: bytes) -> None:
        if not self._held:
            self._cycle.connection.loop.call_soon(self._write_held)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= HELD:
            self._write_held()
        if self._cycle.flow.write_paused:
            await self._drained()

    async def finish(self, data: bytes = b"") -> None:
        cycle = self._cycle
        if cycle.flow.write_paused:
            await self._drained()
        self._finished = True
        data = self._take_held() + data
        if cycle.chunked_encoding:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        cycle.end(data)

    async def reply(self, status: int, body: bytes, kind: bytes = b"application/json", headers: Headers = ()) -> None:
        if self._unread:
            await super().reply(status, body, kind, headers)
            return
        self.status, self._finished = status, True
        length = b"%d" % len(body)
        told = ((b"x-request-id", self.request_id), (b"content-type", kind), (b"content-length", length))
        fields = (*told, *headers, *self.always)
        self._cycle.end(self._cycle.head(status, fields) + body)

    async def aclose(self) -> None:
        self._write_held()
        await super().aclose()

    def _take_held(self) -> bytes:
        data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        return data

    def _write_held(self) -> None:
        data, cycle = self._take_held(), self._cycle
        if data and not cycle.disconnected:
            cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if cycle.chunked_encoding else data)

    def _watch_client(self) -> None:
        self._cycle.handler = asyncio.current_task()
        if self._cycle.disconnected:
            self._cycle.lost()

    async def _drained(self) -> None:
        try:
            async with asyncio.timeout(STALLED):
                await self._cycle.flow.drain()
        except TimeoutError:
            raise ClientGone from None
