"""Deepgram's speak v1. Evidence: the vendor's SDK (deepgram-sdk 7.17) and its documentation; never seen on the wire here."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import orjson
from websockets.asyncio.server import ServerConnection

from tests.fakes.base import Behaviour, Session, text
from tests.fakes.speaking import spoken

REQUEST_ID = "0190f8c0-0000-7000-8000-000000000000"
FLUSHES, WINDOW = 20, 60.0
FRAME = 0.1
"""Seconds of sound in a message."""


class Speak:
    """One session of speak v1."""

    def __init__(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        self._connection, self._behaviour = connection, behaviour
        self._rate = int(session.query.get("sample_rate", "24000"))
        self._model = session.query.get("model", "aura-asteria-en")
        self._key = session.headers.get("authorization", "").rpartition(" ")[2]
        self._text = ""
        self._sequence = 0
        self._seconds = 0.0
        self._jobs: asyncio.Queue[str | None] = asyncio.Queue()
        self._job: asyncio.Task[None] | None = None
        self._flushes: deque[float] = deque()

    async def run(self, frames: AsyncIterator[str | bytes]) -> None:
        await self._send(
            type="Metadata",
            request_id=REQUEST_ID,
            model_name=self._model,
            model_version="2025-01-01.0",
            model_uuid="ecb76e9d-f2db-4127-8060-79b05590d22f",
        )
        self._job = asyncio.create_task(self._speak())
        try:
            await self._read(frames)
        finally:
            self._job.cancel()
            await asyncio.wait([self._job])

    async def _read(self, frames: AsyncIterator[str | bytes]) -> None:
        async for frame in frames:
            message = orjson.loads(frame)
            if self._behaviour.trouble in ("bad-text", "echoes-key"):
                shown = self._key if self._behaviour.trouble == "echoes-key" else ""
                return await self._connection.close(1008, f"DATA-0000 The text cannot be spoken. {shown}")
            if self._behaviour.trouble == "garbage":
                await self._connection.send("<html>")
            match message:
                case {"type": "Speak", "text": str(words)}:
                    self._text += words
                case {"type": "Flush"}:
                    await self._flush()
                case {"type": "Clear"}:
                    await self._clear()
                case {"type": "Close"}:
                    self._jobs.put_nowait(None)
                case _:
                    return await self._connection.close(1003, "MESSAGE-0000 unknown message")
        return None

    async def _flush(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._flushes and self._flushes[0] < now - WINDOW:
            self._flushes.popleft()
        if len(self._flushes) >= FLUSHES:
            await self._send(type="Warning", code="EXCESSIVE_FLUSH", description="Too many flush messages")
            return
        self._flushes.append(now)
        words, self._text = self._text, ""
        self._jobs.put_nowait(words)

    async def _clear(self) -> None:
        assert self._job is not None
        self._job.cancel()
        await asyncio.wait([self._job])
        self._text, self._jobs = "", asyncio.Queue()
        self._job = asyncio.create_task(self._speak())
        await self._send(type="Cleared", sequence_id=self._sequence)

    async def _speak(self) -> None:
        while (words := await self._jobs.get()) is not None:
            await asyncio.sleep(self._behaviour.latency)
            for _, sound in spoken(words, self._rate):
                await self._sound(sound)
            while self._behaviour.trouble == "endless":
                await self._sound(next(spoken("again", self._rate))[1])
                await asyncio.sleep(0.005)
            await self._send(type="Flushed", sequence_id=self._sequence)
            self._sequence += 1
        await self._connection.close(1000)

    async def _sound(self, sound: bytes) -> None:
        size = round(FRAME * self._rate) * 2
        for at in range(0, len(sound), size):
            await self._check()
            frame = sound[at : at + size]
            await self._connection.send(frame)
            self._seconds += len(frame) / 2 / self._rate

    async def _check(self) -> None:
        behaviour = self._behaviour
        if behaviour.drop_after is not None and self._seconds >= behaviour.drop_after:
            self._connection.transport.abort()
            await asyncio.get_running_loop().create_future()
        if behaviour.stall_after is not None and self._seconds >= behaviour.stall_after:
            await asyncio.get_running_loop().create_future()

    async def _send(self, **message: object) -> None:
        await self._connection.send(text(message))
