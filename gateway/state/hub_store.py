"""HubStore: state shared by the workers of one gateway, through the hub of the process that started them. No Redis needed."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from gateway.state.exchange import Exchange
from gateway.state.frames import Frame, Garbled, read
from gateway.state.shared_clock import SharedClock
from gateway.state.store import Ejection, Held, Replica, State

log = logging.getLogger(__name__)

BEAT = 1.0
"""Seconds between two statements."""
FORGET = 10.0
"""Seconds until a silent worker is forgotten."""
PATIENCE = 1.0
"""Seconds for the others to answer what they are asked."""
HELD = 8 << 20
"""Bytes that wait for the hub; more is not said."""


@dataclass(slots=True)
class _Ask:
    done: asyncio.Event = field(default_factory=asyncio.Event)
    of: int | None = None
    answers: list[bytes] = field(default_factory=list)

    def look(self) -> None:
        if self.of is not None and len(self.answers) >= self.of:
            self.done.set()


class HubStore:
    """One of the workers. `path`: the hub's; `worker`: its number. `answers`: what it says when another asks.

    All live on one machine and so by one clock. When the hub is gone, so is the process that started it, and the worker ends.
    """

    def __init__(self, path: Path, worker: int) -> None:
        self.worker = worker
        self.name = f"{worker:04x}{secrets.token_hex(6)}"  # a replica's name
        self.answers: Callable[[str], bytes] = lambda what: b""
        self._path = path
        self._clock = SharedClock()
        self._clock.sample(0.0, 0.0, 0.0)
        self._exchange: Exchange | None = None
        self._replica: Replica | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._calls: dict[str, str | None] = {}
        self._asks: dict[int, _Ask] = {}
        self._asked = 0
        self._state: State = "joining"

    @property
    def state(self) -> State:
        return self._state

    async def run(self, replica: Replica) -> None:
        """See Store. Says that this worker serves as soon as the hub is reached."""
        exchange = self._exchange = Exchange(replica, self.name, self._clock, FORGET)
        self._replica = replica
        try:
            reader, self._writer = await asyncio.open_unix_connection(self._path)
            self._send(Frame("hello", self.name))
            self._send(Frame("ready", self.name))
            self._state = "shared"
            async with asyncio.TaskGroup() as group:
                beats = group.create_task(self._beats(exchange), name="state: beats")
                await self._listen(reader, exchange)
                beats.cancel()
            log.error("the process that started this worker is gone")
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            self._state = "local"
            if self._writer is not None:
                self._writer.transport.abort()
                with suppress(OSError):
                    await self._writer.wait_closed()

    def ejected(self, ejection: Ejection) -> None:
        if self._exchange is not None:
            now = asyncio.get_running_loop().time()
            self._exchange.eject(ejection, now)
            self._send(Frame("news", self.name, payload=self._exchange.news(ejection, now)))

    def register(self, call_id: str, owner: str | None = None) -> None:
        self._calls[call_id] = owner

    def unregister(self, call_id: str) -> None:
        self._calls.pop(call_id, None)

    async def find(self, call_id: str) -> Held | None:
        for answer in await self.ask(f"call {call_id}"):
            if answer:
                name, owner = orjson.loads(answer)
                return Held(name, owner)
        return None

    async def ask(self, what: str) -> list[bytes]:
        """The other workers' answers, in no order; without those of workers that take longer than a second."""
        if self._state != "shared":
            return []
        self._asked += 1
        number, asked = self._asked, _Ask()
        self._asks[number] = asked
        try:
            self._send(Frame("ask", self.name, ask=number, what=what))
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await asked.done.wait()
            return asked.answers
        finally:
            del self._asks[number]

    async def _beats(self, exchange: Exchange) -> None:
        while True:
            now = asyncio.get_running_loop().time()
            self._send(Frame("statement", self.name, payload=exchange.statement(now)))
            exchange.forget_silent(now)
            await asyncio.sleep(BEAT)

    async def _listen(self, reader: asyncio.StreamReader, exchange: Exchange) -> None:
        """Until the hub is gone."""
        try:
            while (frame := await read(reader)) is not None:
                self._hear(frame, exchange)
        except (OSError, Garbled):
            return

    def _hear(self, frame: Frame, exchange: Exchange) -> None:
        now = asyncio.get_running_loop().time()
        match frame.kind:
            case "statement":
                exchange.read(frame.by, frame.payload, now)
            case "news":
                exchange.hear(frame.payload, now)
            case "gone" if self._replica is not None:
                self._replica.forget(frame.by)
            case "ask":
                self._send(Frame("answer", self.name, frame.by, frame.ask, payload=self._answer(frame.what)))
            case "asked" | "answer" if frame.ask in self._asks:
                asked = self._asks[frame.ask]
                if frame.kind == "asked":
                    asked.of = frame.of
                else:
                    asked.answers.append(frame.payload)
                asked.look()

    def _answer(self, what: str) -> bytes:
        verb, _, rest = what.partition(" ")
        if verb == "call":
            return orjson.dumps([self.name, self._calls[rest]]) if rest in self._calls else b""
        return self.answers(what)

    def _send(self, frame: Frame) -> None:
        writer = self._writer
        if writer is not None and not writer.is_closing() and writer.transport.get_write_buffer_size() < HELD:
            writer.write(frame.encode())
