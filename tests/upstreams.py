"""Upstreams that misbehave: an OpenAI-shaped HTTP server on a real socket, in this process, scripted request by request.

    async with Upstream("ok") as upstream:              # listens on 127.0.0.1, port 0
        upstream.url                                    # "http://127.0.0.1:PORT/v1", a provider's base_url
        upstream.play("503", "503", "ok")               # the next requests, in order; the last one for all that follow
        upstream.play(dies(after=40, words=60))         # a script with parameters, see tests/upstream_scripts.py
        upstream.received[0].json                       # what came: method, path, headers (lower-case), body, json, at
        upstream.exchanges[0].outcome                   # None while under way | "done" | "left" (the client went) | "cut" (we did)
        upstream.exchanges[0].ended - upstream.exchanges[0].started       # seconds, loop's clock
        upstream.opened, upstream.open, upstream.busy   # connections ever, connections now, requests under way now
        await upstream.until(lambda: upstream.busy == 1, within=1.0)      # TimeoutError otherwise; no sleeping for order
        await upstream.until_left()                     # every request is over and no connection is held by one, within 1 s

    Upstream("ok", tls=context)                         # https
    upstream.stop_listening()                           # new connections are refused from here on
    with nobody_listens() as url: ...                   # connections to it are refused, and nobody ever was there

Scripts by name: ok, 401, 403, 404, 429, 500, 502, 503, 529 (any status), reset, hang-up, silent, headers-only, role-only,
empty, tools, garbage, html, no-done, broken-json, context-too-long, content-policy, no-quota, dies, stalls, error-in-stream,
endless. Every one answers streaming and not, as the request's `stream` says. A script is any `async (exchange) -> None`:

    async def mine(exchange): await exchange.head(200); await exchange.send(b"data: ..."); await exchange.end()

Leaving the block closes everything, whatever is under way, and raises what a script raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, cast

import orjson

Outcome = Literal["done", "left", "cut"]
Script = Callable[["Exchange"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came. `at`: the loop's clock when it was complete. `client`: the port it came from."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float
    client: int = 0

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def wants_stream(self) -> bool:
        try:
            return bool(self.json.get("stream"))
        except (orjson.JSONDecodeError, AttributeError):
            return False


@dataclass(eq=False)
class Exchange:
    """One request and the answer to it, as a script writes it."""

    request: Received
    started: float
    _connection: _Connection
    outcome: Outcome | None = None
    ended: float = 0.0
    sent: int = 0
    _chunked: bool = field(default=False)

    async def answer(self, status: int, body: bytes | dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        """A whole answer with a Content-Length."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        fields = {"content-type": "application/json", **(headers or {}), "content-length": str(len(data))}
        await self._connection.write(_head(status, fields) + data)

    async def head(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """The head of a chunked answer; `send` and `end` follow."""
        self._chunked = True
        fields = {"content-type": "text/event-stream", **(headers or {}), "transfer-encoding": "chunked"}
        await self._connection.write(_head(status, fields))

    async def send(self, data: bytes) -> None:
        """Part of the body, on the wire when this returns."""
        self.sent += len(data)
        await self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def end(self) -> None:
        await self._connection.write(b"0\r\n\r\n")

    async def raw(self, data: bytes) -> None:
        """Bytes that need not be HTTP."""
        await self._connection.write(data)

    async def gone(self) -> None:
        """Say nothing more until the client goes."""
        await asyncio.get_running_loop().create_future()

    def hang_up(self) -> None:
        """Close as a server does that stops: FIN."""
        self._connection.cut(reset=False)

    def reset(self) -> None:
        """Close as a server does that crashed: RST."""
        self._connection.cut(reset=True)

    def close(self, outcome: Outcome) -> None:
        if self.outcome is None:
            self.outcome, self.ended = outcome, asyncio.get_running_loop().time()


class Upstream:
    """See the top of this file."""

    def __init__(self, *scripts: Script | str, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._tls, self._port = tls, port
        self.received: list[Received] = []
        self.exchanges: list[Exchange] = []
        self.opened = 0
        self._scripts: list[Script] = []
        self._connections: set[_Connection] = set()
        self._waiters: set[asyncio.Future[None]] = set()
        self._server: asyncio.Server | None = None
        self.faults: list[Exception] = []
        self.play(*(scripts or ("ok",)))

    async def __aenter__(self) -> Upstream:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self._port, ssl=self._tls)
        self._address = self._server.sockets[0].getsockname()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = [connection.task for connection in self._connections if connection.task is not None]
        for connection in list(self._connections):
            connection.cut(reset=True)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.until(lambda: not self._connections)
        await self._server.wait_closed()
        if self.faults:
            raise self.faults[0]

    def play(self, *scripts: Script | str) -> None:
        from tests.upstream_scripts import named

        self._scripts = [named(script) if isinstance(script, str) else script for script in scripts]

    def stop_listening(self) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def origin(self) -> str:
        return "http{}://{}:{}".format("s" if self._tls else "", *self._address)

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    @property
    def open(self) -> int:
        return len(self._connections)

    @property
    def busy(self) -> int:
        return sum(exchange.outcome is None for exchange in self.exchanges)

    async def until(self, met: Callable[[], bool], within: float = 1.0) -> None:
        """Return once `met()`, looked at after every change; TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            while not met():
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiters.add(waiter)
                await waiter

    async def until_left(self, within: float = 1.0) -> None:
        await self.until(lambda: not self.busy and all(each.kept for each in self._connections), within)

    def changed(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def begin(self, request: Received, connection: _Connection) -> tuple[Exchange, Script]:
        exchange = Exchange(request, request.at, connection)
        self.received.append(request)
        self.exchanges.append(exchange)
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        return exchange, script

    def joined(self, connection: _Connection) -> None:
        self.opened += 1
        self._connections.add(connection)
        self.changed()

    def parted(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self.changed()


class _Connection(asyncio.Protocol):
    """One client. A protocol, not a stream: it sees the client leave while a script is silent."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.task: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._buffer = bytearray()
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport | None = None
        self.kept = False
        """It served a request to its end, and waits for the next."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self.upstream.joined(self)
        self.task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._arrived.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._exchange is not None:
            self._exchange.close("left")
        if self.task is not None:
            self.task.cancel()
        self.upstream.parted(self)

    async def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)
        await self._writable.wait()
        await asyncio.sleep(0)

    def cut(self, reset: bool) -> None:
        assert self._transport is not None
        if self._exchange is not None:
            self._exchange.close("cut")
        if reset:
            held: socket.socket = self._transport.get_extra_info("socket")
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()

    async def _serve(self) -> None:
        try:
            await self._answer_all()
        except Exception as fault:  # noqa: BLE001 - a script may raise anything, and it must not pass unseen
            self.upstream.faults.append(fault)
            self.cut(reset=True)

    async def _answer_all(self) -> None:
        while True:
            request = await self._request()
            self._exchange, script = self.upstream.begin(request, self)
            self.kept = False
            self.upstream.changed()
            await script(self._exchange)
            self._exchange.close("done")
            self._exchange, self.kept = None, True
            self.upstream.changed()

    async def _request(self) -> Received:
        head = await self._until(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        method, path, _ = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in rest if field)}
        size = int(headers.get("content-length", "0"))
        while len(self._buffer) < size:
            await self._more()
        body = bytes(self._buffer[:size])
        del self._buffer[:size]
        assert self._transport is not None
        client = self._transport.get_extra_info("peername")[1]
        return Received(method, path, headers, body, asyncio.get_running_loop().time(), client)

    async def _until(self, mark: bytes) -> bytes:
        while (found := self._buffer.find(mark)) < 0:
            await self._more()
        head = bytes(self._buffer[:found])
        del self._buffer[: found + len(mark)]
        return head

    async def _more(self) -> None:
        self._arrived.clear()
        await self._arrived.wait()


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


@contextlib.contextmanager
def nobody_listens() -> Generator[str]:
    """A base_url whose port is taken and refuses connections."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield "http://{}:{}/v1".format(*held.getsockname())
