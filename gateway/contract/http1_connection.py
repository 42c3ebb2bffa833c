"""One HTTP/1.1 connection of a client: bytes to a status, headers and a body. The pool is http1.py's."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

HEAD_LIMIT = 64 << 10
"""Bytes of an answer's status line and headers."""

AHEAD = 256 << 10
"""Bytes of a body held for a reader that is slower than the upstream; then the upstream waits."""


class Broken(Exception):
    """The connection ended, or what came is no HTTP; says which."""


class Connection(asyncio.Protocol):
    """`lost`: told when its socket is closed. `past`: offered what comes of a body while somebody waits for it."""

    def __init__(self, lost: Callable[[Connection], None]) -> None:
        self._lost, self._loop = lost, asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._poll: select.poll | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._kept_until = 0.0
        self._broken: Broken | None = None
        self._idle = True
        self._used = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the socket is closed."""
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._parser = HttpResponseParser(self)
        self._headed = self.complete = self._keeps = self._paused = False
        self._head_bytes = self._held = 0
        self._pieces: list[bytes] = []
        self.past: Callable[[bytes], bool] | None = None

    # What the pool asks of it.

    def take(self) -> bool:
        """Use it for a request; False if it is closed or closing."""
        if self._broken is not None or self._transport.is_closing() or (self._used and self._has_news()):
            return False
        self._idle, self._used = False, True
        self._begin()
        return True

    def send(self, head: bytes, body: bytes) -> None:
        self._transport.write(head + body)

    async def head(self) -> None:
        """Until `status` and `headers` are there. Raises Broken."""
        while not self._headed:
            if self._broken is not None:
                raise self._broken
            await self._wait()

    async def body(self) -> bytes:
        """What came of the body since; empty at its end. Raises Broken."""
        while not self._pieces:
            if self.complete:
                return b""
            if self._broken is not None:
                raise self._broken
            waiter = self._waiter = self._loop.create_future()
            try:
                await waiter
            finally:
                self._waiter = None
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return data

    def keep(self, seconds: float) -> bool:
        """Keep it for the next request, for so long; False if it is of no more use."""
        self.past = None
        spent = not self.complete or not self._keeps or self._paused or self._broken is not None
        if spent or self._transport.is_closing() or self._transport.get_write_buffer_size():
            return False
        self._idle, self._kept_until = True, self._loop.time() + seconds
        return True

    def expired(self, now: float) -> bool:
        """Whether it was kept long enough."""
        return self._kept_until <= now

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._fail("the connection was closed")
        self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self._idle:  # nothing was asked
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            if not self.complete:
                self._fail("what came was no HTTP")
                self._transport.abort()
            self._keeps = False
        if self._pieces:
            self._came()
        if not self._headed:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT:
                self._fail(f"headers of more than {HEAD_LIMIT >> 10} KB came")
                self._transport.abort()
        elif self._held > AHEAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        # A body of no stated length ends with the connection, if that ends well.
        if exc is None and self._headed and not self._measured():
            self.complete = True
        self._fail("the connection broke")
        self._lost(self)
        if not self.gone.done():
            self.gone.set_result(None)

    # httptools

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._headed:
            return  # trailers say nothing to us
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._headed = self.status >= 200
        self._wake()

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)
        self._held += len(data)

    def on_message_complete(self) -> None:
        if not self._headed:  # 100 Continue and the like
            self.headers = {}
            return
        self.complete = True
        self._keeps = self._parser.should_keep_alive()
        self._wake()

    def _has_news(self) -> bool:
        """Whether its end has come, or anything else, and only the event loop has not looked yet."""
        return self._poll is not None and bool(self._poll.poll(0))

    def _measured(self) -> bool:
        return "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "")

    def _came(self) -> None:
        """Pieces of the body: taken past whoever waits for them, if they are all there is, else theirs."""
        waiter, past = self._waiter, self.past
        if past is not None and waiter is not None and not waiter.done():
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            if past(data):
                self._pieces.clear()
                self._held = 0
                return
        self._wake()

    def _fail(self, how: str) -> None:
        self._broken = self._broken or Broken(how)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
