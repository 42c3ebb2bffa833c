"""Hub: where the workers of one gateway meet. It runs in the process that started them, and hands on what they say.

A worker that does not take what it is sent is cut off: nobody waits for it, and it comes back by being started again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gateway.state.frames import Frame, Garbled, read

log = logging.getLogger(__name__)

HELD = 32 << 20
"""Bytes that wait for a worker before it is cut off."""


class Hub:
    """`ready`: told the name of each worker that serves."""

    def __init__(self, ready: Callable[[str], None]) -> None:
        self._ready = ready
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None

    async def open(self, path: Path) -> None:
        """Listens at `path`, which only this user can reach: its folder is the caller's to guard."""
        self._server = await asyncio.start_unix_server(self._serve, path)

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in [*self._writers.values()]:
            writer.transport.abort()
        if self._server is not None:
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = ""
        try:
            while (frame := await read(reader)) is not None:
                if frame.kind == "hello":
                    name = frame.by
                    self._writers[name] = writer
                elif name:
                    self._hand_on(name, frame)
        except (OSError, Garbled) as error:
            log.warning("worker %s is not heard any more: %s", name or "(unnamed)", type(error).__name__)
        finally:
            if self._writers.get(name) is writer:
                del self._writers[name]
                self._send_others(name, Frame("gone", name))
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    def _hand_on(self, name: str, frame: Frame) -> None:
        match frame.kind:
            case "ready":
                self._ready(name)
            case "answer":
                self._send(frame.to, frame)
            case "ask":
                self._send(name, Frame("asked", ask=frame.ask, of=len(self._writers) - 1))
                self._send_others(name, frame)
            case _:
                self._send_others(name, frame)

    def _send_others(self, name: str, frame: Frame) -> None:
        for other in [*self._writers]:
            if other != name:
                self._send(other, frame)

    def _send(self, name: str, frame: Frame) -> None:
        writer = self._writers.get(name)
        if writer is None:
            return
        if writer.transport.get_write_buffer_size() > HELD:
            log.warning("worker %s takes nothing and is cut off", name)
            writer.transport.abort()
        else:
            writer.write(frame.encode())
