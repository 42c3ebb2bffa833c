"""Sideband: `WS /v1/realtime?call_id=rtc_...`, a control socket of a call that is under way, as a server has beside its browser's call.

It is told what the call's client is told, sound excepted, from when it came, and may say what the client may say. The call goes on
without it, and ends it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from starlette.types import Receive, Send

from gateway.calls.call import Call
from gateway.calls.transport import ClientMessage
from gateway.transports.websocket import BEHIND, FLUSH


class Sideband:
    """BEHIND bytes may wait for one who does not read; beyond that it is closed with 1013, and the call goes on."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._out: deque[str] = deque()
        self._held = 0
        self._news, self._late = asyncio.Event(), asyncio.Event()
        self._ending = False

    async def serve(self, call: Call) -> None:
        """Until either leaves. The socket is accepted already."""
        call.beside.append(self._tell)
        names = ("read", "write", "end", "late")
        lives = (self._read(call), self._write(), call.wait_ended(), self._late.wait())
        read, write, end, late = tasks = [
            asyncio.create_task(each, name=f"sideband of {call.id}: {name}")
            for name, each in zip(names, lives, strict=True)
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not read.done():
                self._ending = True
                self._news.set()
                await asyncio.wait([write], timeout=0.0 if late.done() else FLUSH)
        finally:
            call.beside.remove(self._tell)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        if late.done() and not late.cancelled():
            await self._close(1013, "too_slow")
        elif end.done() and not end.cancelled():
            await self._close(1000, "hangup")

    def _tell(self, message: str) -> None:
        if self._late.is_set():
            return
        self._out.append(message)
        self._held += len(message)
        self._news.set()
        if self._held > BEHIND:
            self._late.set()

    async def _read(self, call: Call) -> None:
        while (message := await self._receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            await call.hear(ClientMessage("oai-events", text or "", text is None))

    async def _write(self) -> None:
        while self._out or not self._ending:
            while self._out:
                message = self._out.popleft()
                await self._to_client({"type": "websocket.send", "text": message})
                self._held -= len(message)
            self._news.clear()
            if not self._ending:
                await self._news.wait()

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(FLUSH):
                await self._to_client({"type": "websocket.close", "code": code, "reason": reason})
        except TimeoutError:
            pass  # it reads nothing: the server drops it

    async def _to_client(self, message: dict[str, Any]) -> None:
        try:
            await self._send(message)
        except OSError:
            pass  # ASGI: it is gone, which `_read` hears
