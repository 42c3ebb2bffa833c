"""Duplex: one session of a provider's WebSocket protocol. The codec is pure, the shell is here, and it is the same for all.

    async def transcribe(self, model, request, inputs):
        socket = await open_socket(self._name, self._url, self._headers)
        try:
            async with aclosing(session(socket, Codec(model, request), inputs)) as events:
                async for event in events:
                    yield event
        finally:
            await socket.aclose()

The shell writes what the codec makes of the inputs and gives what it makes of the frames that come. It keeps the session
alive while nothing is said, ends it as the protocol wants, and closes the socket whatever happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from gateway.contract.errors import ProviderError
from gateway.contract.events import Events, ProviderEvent
from gateway.contract.requests import Input
from gateway.contract.websocket import Frame, Socket


class Codec(Protocol):
    """One session, without any I/O. Everything may raise ProviderError, which ends the session.

    `keep_alive`: seconds without anything sent after which `idle` is asked for frames; None for protocols without.
    `finished`: all that was asked for has been given; the session ends well.
    """

    keep_alive: float | None
    finished: bool

    def begin(self) -> Iterable[Frame]:
        """What is sent first."""

    def put(self, item: Input) -> Iterable[Frame]:
        """What is sent for an input."""

    def end(self) -> Iterable[Frame]:
        """What is sent when there will be no more inputs."""

    def idle(self) -> Iterable[Frame]:
        """What keeps the session alive."""

    def hear(self, frame: Frame) -> Iterable[ProviderEvent]:
        """What a frame says."""

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        """The socket was closed before `finished`: the last events where the protocol ends so; else it raises."""


async def session(socket: Socket, codec: Codec, inputs: AsyncIterator[Input]) -> Events:
    """The events of one session on an open socket, which it leaves open: `socket` is closed by who opened it."""
    for frame in codec.begin():
        await socket.send(frame)
    writer = _Writer(socket, codec, inputs)
    try:
        while not codec.finished:
            frame_or_end = await socket.next()
            if frame_or_end is None:
                writer.check()
                for event in codec.closed(socket.code, socket.reason):
                    yield event
                return
            for event in codec.hear(frame_or_end):
                yield event
        writer.check()
    finally:
        await writer.aclose()


class _Writer:
    """Writes in a task of its own, since reading must not wait for it. An error of the codec's ends the reading too."""

    def __init__(self, socket: Socket, codec: Codec, inputs: AsyncIterator[Input]) -> None:
        self._socket, self._codec, self._inputs = socket, codec, inputs
        self._error: ProviderError | None = None
        self._task = asyncio.create_task(self._run())

    def check(self) -> None:
        """Raises what the codec raised, if that is why the session is over."""
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and (bug := self._task.exception()) is not None:
            raise bug

    async def _run(self) -> None:
        try:
            while (item := await self._next()) is not None:
                await self._send(self._codec.put(item))
            await self._send(self._codec.end())
            while self._codec.keep_alive is not None:
                await asyncio.sleep(self._codec.keep_alive)
                await self._send(self._codec.idle())
        except ProviderError as error:
            if not self._socket.closed:
                self._error = error
                self._socket.abort()

    async def _next(self) -> Input | None:
        """The next input; None after the last. Keeps the session alive meanwhile. A cancelled read of a channel loses nothing."""
        while True:
            try:
                async with asyncio.timeout(self._codec.keep_alive):
                    return await anext(self._inputs, None)
            except TimeoutError:
                await self._send(self._codec.idle())

    async def _send(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            await self._socket.send(frame)
