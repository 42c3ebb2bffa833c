"""Exchange: one HTTP request and the right to answer it, straight on ASGI. Endpoint: the application around one.

    async def answer(exchange):                     # cancelled within a moment of the client leaving, in every phase
        body = await exchange.read(JSON_LIMIT)
        await exchange.start(200, [...])
        await exchange.write(piece)                 # waits while the client is slow: at most HELD bytes are held for it
        await exchange.finish()

A handler that returns or raises before `finish` has its connection cut, so a truncated answer never looks whole.
Starlette's own responses are not used here: StreamingResponse does not close its body generator when the client leaves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Protocol

from starlette.types import Message, Receive, Scope, Send

from gateway.access.grant import Grant, paying
from gateway.api.error_forms import error_body, error_headers
from gateway.api.errors import Failure, failure, request_id, where
from gateway.contract.errors import BadRequest

log = logging.getLogger(__name__)

JSON_LIMIT = 16 << 20
"""Bytes of a JSON body: parsing one this large takes about 50 ms of the loop. Larger pictures belong behind a URL."""
HELD = 1 << 16
"""Bytes written but not yet taken by the connection, beyond which `write` waits."""
BODY_WITHIN = 60.0
"""Seconds in which a body must have arrived."""
STALLED = 60.0
"""Seconds a client may take nothing of what was written before it counts as gone."""
LINGER, LINGER_BYTES = 2.0, 64 << 20
"""Seconds and bytes for which a refused body is still taken: closing on unread bytes would reset the connection, answer and all."""
CLIENT_LEFT = 499
"""Status, in metrics only, of a request whose client left (nginx's number)."""

Headers = Iterable[tuple[bytes, bytes]]


class ClientGone(Exception):
    """The client left, or stopped reading."""


class Watch(Protocol):
    """Told of every request (the metrics are)."""

    def began(self, endpoint: str) -> None: ...

    def ended(self, endpoint: str, status: int) -> None: ...


class Exchange:
    """See the top of this file. `trailer`: what ends a started answer that failed, instead of a cut (SSE has a form for it)."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.request_id = request_id(scope)
        self.status = 0
        self.left = False
        self.always: Headers = ()
        """Headers of the answer, whatever it is: who came over ASGI adds them there."""
        self.trailer: Callable[[Failure], bytes] | None = None
        self._receive, self._send = receive, send
        self._unread = True
        self._finished = False
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._flush: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._fields: dict[bytes, bytes] | None = None

    @property
    def grant(self) -> Grant:
        """What the caller's key allows."""
        return paying()

    @property
    def started(self) -> bool:
        return self.status != 0

    @property
    def finished(self) -> bool:
        return self._finished

    def header(self, name: bytes) -> bytes | None:
        """The first header of that (lower-case) name."""
        fields = self._fields
        if fields is None:
            fields = self._fields = dict(reversed(self.scope["headers"]))
        return fields.get(name)

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises BadRequest (413 beyond `limit` bytes, 408 when it does not come) and ClientGone."""
        async with aclosing(self.chunks(limit)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def chunks(self, limit: int) -> AsyncGenerator[bytes]:
        """The body as it comes; raises as `read` does."""
        declared = self.header(b"content-length")
        left = limit - (int(declared) if declared is not None and declared.isdigit() else 0)
        deadline = asyncio.get_running_loop().time() + BODY_WITHIN
        if left < 0:
            raise _too_large(limit)
        left = limit
        while self._unread:
            chunk = await self._chunk(deadline)
            left -= len(chunk)
            if left < 0:
                raise _too_large(limit)
            yield chunk
        self._watch_client()

    async def start(self, status: int, headers: Headers = ()) -> None:
        """The head of an answer whose length is not known; `write` and `finish` follow."""
        self.status = status
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [(b"x-request-id", self.request_id), *headers]}
        )

    async def write(self, data: bytes) -> None:
        """Part of the body. What is written without waiting in between goes out as one piece."""
        if not self.put(data):
            await self._flushed()

    def put(self, data: bytes) -> bool:
        """The same, without waiting. Whether there is room for more."""
        self._held.append(data)
        self._held_bytes += len(data)
        if self._flush is None:
            self._flush = asyncio.create_task(self._flush_held())
        return self._held_bytes < HELD

    def pass_on(self, data: bytes) -> bool:
        """The same for what comes by itself and alone, so that there is nothing to put together with it."""
        return self.put(data)

    async def finish(self, data: bytes = b"") -> None:
        """The end of the body, `data` before it."""
        await self._flushed()
        self._finished = True
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def reply(self, status: int, body: bytes, kind: bytes = b"application/json", headers: Headers = ()) -> None:
        """A whole answer. `kind`: its content type."""
        fields = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *headers]
        if not self._unread:
            await self.start(status, fields)
            self._finished = True
            await self._send({"type": "http.response.body", "body": body, "more_body": False})
            return
        await self.start(status, [*fields, (b"connection", b"close")])
        await self.write(body)
        await self._linger()
        await self.finish()

    async def fail(self, error: Exception) -> None:
        """Answer with the error, in whatever way is still possible."""
        told = failure(error, self.request_id.decode())
        if told.status == 500:
            log.error("request %s: %s at %s", self.request_id.decode(), type(error).__name__, where(error))
        if not self.started:
            said = (told, self.scope["path"], self.request_id)
            await self.reply(told.status, error_body(*said), headers=error_headers(*said))
        elif self.trailer is not None and not self._finished:
            log.info("request %s: failed after its first content: %s", self.request_id.decode(), type(error).__name__)
            await self.finish(self.trailer(told))

    async def aclose(self) -> None:
        self._finished = True
        for task in (self._watching, self._flush):
            if task is not None:
                await _ended(task)

    async def _chunk(self, deadline: float) -> bytes:
        try:
            async with asyncio.timeout_at(deadline):
                message = await self._receive()
        except TimeoutError:
            raise BadRequest(f"the body did not arrive within {BODY_WITHIN:g} s", status=408) from None
        if message["type"] == "http.disconnect":
            self.left = True
            raise ClientGone
        self._unread = bool(message.get("more_body", False))
        return bytes(message.get("body", b""))

    def _watch_client(self) -> None:
        """From now on the handler is cancelled when the client leaves."""
        task = asyncio.current_task()
        assert task is not None  # a coroutine runs in a task
        self._watching = asyncio.create_task(self._watch(task))

    async def _watch(self, handler: asyncio.Task[object]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._finished:
            self.left = True
            handler.cancel()

    async def _flush_held(self) -> None:
        while self._held:
            message: Message = {"type": "http.response.body", "body": b"".join(self._held), "more_body": True}
            self._held.clear()
            self._held_bytes = 0
            await self._send(message)
        self._flush = None

    async def _flushed(self) -> None:
        if self._flush is not None:
            try:
                async with asyncio.timeout(STALLED):
                    await self._flush
            except TimeoutError:
                raise ClientGone from None

    async def _linger(self) -> None:
        taken = 0
        try:
            async with asyncio.timeout(LINGER):
                while self._unread and taken < LINGER_BYTES:
                    message = await self._receive()
                    self._unread = bool(message.get("more_body", False))
                    taken += len(message.get("body", b""))
        except TimeoutError:
            pass


def _too_large(limit: int) -> BadRequest:
    return BadRequest(f"the body is larger than {limit >> 20} MB, the limit here", status=413)


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel and wait. What it raised, if it is over, was raised to whoever awaited it."""
    if task.done():
        if not task.cancelled():
            task.exception()
        return
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise


class Endpoint:
    """An ASGI application: errors become answers, a client that leaves cancels the handler. `name`: for metrics."""

    def __init__(self, name: str, handle: Callable[[Exchange], Awaitable[None]], watch: Watch | None = None) -> None:
        self.name, self._handle, self._watch = name, handle, watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.serve(Exchange(scope, receive, send))

    async def serve(self, exchange: Exchange) -> None:
        """Answer it, whatever it came by."""
        watch = self._watch
        if watch is None:
            await self._serve(exchange)
            return
        watch.began(self.name)
        try:
            await self._serve(exchange)
        finally:
            watch.ended(self.name, CLIENT_LEFT if exchange.left else exchange.status)

    async def _serve(self, exchange: Exchange) -> None:
        try:
            try:
                await self._handle(exchange)
            except ClientGone:
                raise
            except Exception as error:  # noqa: BLE001  the API's last resort
                await exchange.fail(error)
        except ClientGone:
            exchange.left = True
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not exchange.left or task is None or task.uncancel() > 0:
                raise
        finally:
            await exchange.aclose()
