"""WebSocket: a caller whose audio goes inside the events. It plays what it is sent by itself, and says what it played.

    transport = WebSocketTransport(receive, send)       # of ASGI, accepted already
    transport.start()
    ...
    await transport.over()

Nothing is kept without bound: what the client sends waits in its socket while INBOX bytes are unread, and a client that is
BEHIND bytes late in reading is taken for gone. A caller is gone when it closes, or when the server says that it vanished.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from starlette.types import Receive, Send

from gateway.calls.transport import FRAME, PLAYOUT_RATE, ClientMessage, Label, Speaker
from gateway.contract.audio import Audio
from gateway.contract.channel import Channel

log = logging.getLogger(__name__)

INBOX = 1 << 20
"""Bytes of unread messages beyond which no more are taken from the socket; one message is always taken."""
BEHIND = 8 << 20
"""Bytes that wait for a client who does not read: two minutes of speech. Beyond it, 1013."""
FLUSH = 2.0
"""Seconds that the last messages get to leave."""
TICK = 2 * FRAME
"""Seconds between looks at how far the client must have played."""

_CLOSES = {"hangup": 1000, "idle": 1000, "expired": 1001, "shutdown": 1012, "error": 1011, "too_slow": 1013}
"""Close codes by the reason a call ended; openai-python opens another connection after 1001, 1011, 1012 and 1013."""


class WebSocketTransport:
    """One caller; see gateway.calls.transport.Transport."""

    audio_in_events = True
    round_trip = 0.0

    def __init__(self, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        self.mic: Channel[Audio] = Channel()
        self.inbox = Inbox()
        self._receive, self._send = receive, send
        self._out: deque[str] = deque()
        self._out_bytes = 0
        self._news, self._drained, self._over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._drained.set()
        self._gone: asyncio.Future[str] = loop.create_future()
        self._speaker: Speaker | None = None
        self._played = 0.0  # until when, by the loop's clock
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(each, name=f"websocket: {name}")
            for each, name in ((self._read(), "read"), (self._write(), "write"), (self._tick(), "clock"))
        ]

    async def over(self) -> None:
        """Returns once `aclose` is done."""
        await self._over.wait()

    # -- the Transport protocol

    def play(self, speaker: Speaker) -> None:
        self._speaker = speaker

    def send(self, label: Label, message: str) -> None:
        if label != "oai-events" or self._closing or self._gone.done():
            return
        self._out.append(message)
        self._out_bytes += len(message)
        self._drained.clear()
        self._news.set()
        if self._out_bytes > BEHIND:
            self._left("too_slow")

    def has(self, label: Label) -> bool:
        return label == "oai-events"

    async def wait_closed(self) -> str:
        return await asyncio.shield(self._gone)

    async def aclose(self, reason: str = "") -> None:
        if self._closing:
            await self._over.wait()
            return
        self._closing = True
        try:
            if not self._gone.done():
                await self._settle(self._drained.wait())
            self._left(reason or "hangup")
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            said = self._gone.result()
            if said in _CLOSES:
                await self._settle(self._say_goodbye(said))
        finally:
            self.mic.close()
            self.inbox.close()
            self._over.set()

    # -- what goes on

    def _left(self, reason: str) -> None:
        if not self._gone.done():
            self._gone.set_result(reason)

    async def _settle(self, what: Coroutine[Any, Any, object]) -> None:
        """Wait for it, though not for long."""
        try:
            async with asyncio.timeout(FLUSH):
                await what
        except TimeoutError:
            log.info("a caller by WebSocket took nothing for %.0f s at the end of a call", FLUSH)

    async def _say_goodbye(self, reason: str) -> None:
        try:
            await self._send({"type": "websocket.close", "code": _CLOSES[reason], "reason": reason})
        except OSError:
            pass  # it left by itself meanwhile

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._left("peer_gone")
                return
            text = message.get("text")
            binary = text is None
            await self.inbox.put(ClientMessage("oai-events", text or "", binary))

    async def _write(self) -> None:
        while True:
            while self._out:
                message = self._out.popleft()
                try:
                    await self._send({"type": "websocket.send", "text": message})
                except OSError:  # ASGI: the client is gone
                    self._left("peer_gone")
                    return
                self._out_bytes -= len(message)
            self._drained.set()
            self._news.clear()
            await self._news.wait()

    async def _tick(self) -> None:
        """The client plays in real time what it was sent, so it is asked for in real time."""
        loop = asyncio.get_running_loop()
        self._played = loop.time()
        while True:
            await asyncio.sleep(TICK)
            frames = int((loop.time() - self._played) / FRAME + 1e-6)
            self._played += frames * FRAME
            for _ in range(frames if self._speaker is not None else 0):
                assert self._speaker is not None
                if self._speaker(round(FRAME * PLAYOUT_RATE)) is None:
                    break


class Inbox:
    """Messages in order, for one reader. `put` waits while more than INBOX bytes are unread."""

    def __init__(self) -> None:
        self._messages: deque[ClientMessage] = deque()
        self._held = 0
        self._closed = False
        self._moved = asyncio.Event()

    async def put(self, message: ClientMessage) -> None:
        while self._messages and self._held + len(message.text) > INBOX and not self._closed:
            self._moved.clear()
            await self._moved.wait()
        self._messages.append(message)
        self._held += len(message.text)
        self._moved.set()

    def close(self) -> None:
        self._closed = True
        self._moved.set()

    def reader(self) -> AsyncIterator[ClientMessage]:
        return self

    def __aiter__(self) -> Inbox:
        return self

    async def __anext__(self) -> ClientMessage:
        while not self._messages:
            if self._closed:
                raise StopAsyncIteration
            self._moved.clear()
            await self._moved.wait()
        message = self._messages.popleft()
        self._held -= len(message.text)
        self._moved.set()
        return message
