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
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.api.exchange import HELD, STALLED, ClientGone, Endpoint, Exchange, Headers

Serve = Callable[[Endpoint, Exchange], Awaitable[None]]
HEAD_WITHIN, HEAD_LIMIT = 20.0, 1 << 16
"""Seconds and bytes for a request's head. What comes in one read may be larger: the limit is for who never ends."""


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
    """`serving`: the request being answered, where it came straight. `fresh`: one whose handler was not started yet.
    `head`: bytes of a head that is not complete; None once it is, and before the next."""

    endpoints: ClassVar[Mapping[bytes, Callable[[Exchange], Awaitable[None]]]] = {}
    serving: _Cycle | None = None
    fresh: _Cycle | None = None
    idle_since: float = 0.0
    head: int | None = 0
    head_since: float = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self.head_since = self.loop.time()
        self._look_again(HEAD_WITHIN)

    def data_received(self, data: bytes) -> None:
        self.idle_since = self.loop.time()
        going_on = self.head is not None  # else it began in the middle of these bytes
        super().data_received(data)
        if going_on and self.head is not None:
            self.head += len(data)
            if self.head > HEAD_LIMIT:
                self._refuse(431, "The request's head is too large.")
        fresh, self.fresh = self.fresh, None
        if fresh is not None:
            fresh.begin()

    def on_message_begin(self) -> None:
        # What uvicorn puts together here is only needed for ASGI.
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self.head, self.head_since = 0, self.idle_since

    def on_headers_complete(self) -> None:
        self.head = None
        endpoint, parser = self.endpoints.get(self.url), self.parser
        plain = endpoint is not None and parser.get_method() == b"POST" and parser.get_http_version() == "1.1"
        if endpoint is None or not plain or parser.should_upgrade() or self.limit_concurrency is not None:
            url, headers, expects = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            headers_of_scope: list[tuple[bytes, bytes]] = self.scope["headers"]  # type: ignore[assignment]  # it is that list
            headers_of_scope += headers
            self.url, self.expect_100_continue = url, expects
            super().on_headers_complete()
            return
        before: RequestResponseCycle | None = self.cycle
        cycle = self.cycle = _Cycle(self, endpoint, parser.should_keep_alive())
        if before is None or before.response_complete:
            self.fresh = cycle
        else:
            self.flow.pause_reading()
            app: Any = endpoint  # which _Cycle.run_asgi gets
            self.pipeline.appendleft((cycle, app))

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if type(cycle) is not _Cycle:
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.more(body)

    def on_message_complete(self) -> None:
        cycle = self.cycle
        if type(cycle) is not _Cycle:
            super().on_message_complete()
        elif not cycle.response_complete:
            cycle.more_body = False
            cycle.wake()

    def on_response_complete(self) -> None:
        if type(self.cycle) is not _Cycle or self.pipeline:
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self.idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        # One timer at a time looks how long it was idle: making and unmaking one for each request costs more.
        if self.transport.is_closing():
            super()._unset_keepalive_if_required()

    def _look_again(self, after: float) -> None:
        """Soon enough for a head that begins meanwhile."""
        self.timeout_keep_alive_task = self.loop.call_later(min(after, HEAD_WITHIN), self._idle)

    def _stop_timer(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def handle_websocket_upgrade(self) -> None:
        self._stop_timer()
        super().handle_websocket_upgrade()

    def _idle(self) -> None:
        self.timeout_keep_alive_task = None
        cycle: RequestResponseCycle | None = self.cycle
        if self.transport.is_closing() or (cycle is not None and not cycle.response_complete):
            return  # the next answer sets a timer again
        begun = self.head is not None
        due = self.head_since + HEAD_WITHIN if begun else self.idle_since + self.timeout_keep_alive
        left = due - self.loop.time()
        if left > 0:
            self._look_again(left)
        elif begun:
            self._refuse(408, "The request's head did not arrive in time.")
        else:
            self.timeout_keep_alive_handler()

    def _refuse(self, status: int, why: str) -> None:
        if self.transport.is_closing():
            return
        told = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
        self.transport.write(STATUS_LINE[status] + told % (len(why), why.encode()))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_timer()
        if self.serving is not None:
            self.serving.lost()


class _Cycle(RequestResponseCycle):
    """A request on a connection, as uvicorn's protocol and an Exchange see it. `task`: that answers it, where we started it;
    `handler`: whom to cancel if the client leaves."""

    def __init__(  # without super's: its Event and much else are of no use here
        self, connection: _Front, endpoint: Callable[[Exchange], Awaitable[None]], keep_alive: bool
    ) -> None:
        self.connection, self.endpoint, self.keep_alive = connection, endpoint, keep_alive
        self.scope = {  # type: ignore[typeddict-item]  # what an Exchange reads of it
            "type": "http",
            "method": "POST",
            "path": connection.url.decode(),
            "query_string": b"",
            "headers": connection.headers,
            "client": connection.client,
            "scheme": connection.scheme,
        }
        self.transport, self.flow = connection.transport, connection.flow
        self.default_headers = connection.server_state.default_headers
        self.waiting_for_100_continue = connection.expect_100_continue
        self.body = bytearray()
        self.more_body = True
        self.disconnected = self.response_started = self.response_complete = False
        self.chunked_encoding: bool | None = None
        self.on_response = connection.on_response_complete
        self.exchange: _Direct | None = None
        self.task: asyncio.Task[Any] | None = None
        self.handler: asyncio.Task[Any] | None = None
        self._event: asyncio.Event | None = None

    @property
    def message_event(self) -> asyncio.Event:  # type: ignore[override]  # made when somebody waits for more
        if self._event is None:
            self._event = asyncio.Event()
            if self.body or not self.more_body or self.disconnected:
                self._event.set()
        return self._event

    def more(self, body: bytes) -> None:
        """Of the request's body."""
        self.body += body
        if len(self.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.wake()

    def wake(self) -> None:
        if self._event is not None:
            self._event.set()

    def begin(self) -> None:
        tasks = self.connection.tasks
        self.task = task = self.connection.loop.create_task(self.run_asgi())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def run_asgi(self, app: Any = None) -> None:
        """Uvicorn starts a pipelined request by this name."""
        self.connection.serving = self
        exchange = self.exchange = _Direct(self)
        try:
            await self.endpoint(exchange)
        finally:
            self.connection.serving = self.handler = None
            if not self.response_complete and not self.disconnected:
                self.transport.close()  # what was sent of the answer is not whole

    def lost(self) -> None:
        """The client left."""
        self.disconnected = True
        self.wake()
        if self.handler is not None and self.exchange is not None and not self.exchange.finished:
            self.exchange.left = True
            self.handler.cancel()

    def head(self, status: int, headers: Headers) -> bytes:
        """The head of the answer; from here on it has begun."""
        self.response_started, self.waiting_for_100_continue = True, False
        self.chunked_encoding = True
        lines = [STATUS_LINE[status][:-2]]
        for name, value in (*self.default_headers, *headers):
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
        head = b"\r\n".join(lines)
        if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1 or b"\0" in head:
            raise ValueError("a header's value holds what no header can")
        return head + b"\r\n\r\n"

    def end(self, data: bytes) -> None:
        """The last bytes of the answer, framed."""
        if not self.disconnected:
            self.transport.write(data)
            self.response_complete = True
            self.wake()
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
        if not self.put(data):
            await self._drained()

    def put(self, data: bytes) -> bool:
        if not self._held:
            self._cycle.connection.loop.call_soon(self._write_held)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= HELD:
            self._write_held()
        return not self._cycle.flow.write_paused

    def pass_on(self, data: bytes) -> bool:
        if self._held:
            return self.put(data)
        self._write_now(data)
        return not self._cycle.flow.write_paused

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
        self._write_now(self._take_held())

    def _write_now(self, data: bytes) -> None:
        cycle = self._cycle
        if data and not cycle.disconnected:
            cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if cycle.chunked_encoding else data)

    def _watch_client(self) -> None:
        self._cycle.handler = self._cycle.task or asyncio.current_task()
        if self._cycle.disconnected:
            self._cycle.lost()

    async def _drained(self) -> None:
        try:
            async with asyncio.timeout(STALLED):
                await self._cycle.flow.drain()
        except TimeoutError:
            raise ClientGone from None
