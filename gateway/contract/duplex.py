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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, runtime_checkable

from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import Events, ProviderEvent
from gateway.contract.requests import Input
from gateway.contract.websocket import Frame, Socket


class Codec(Protocol):
    """One session, without any I/O. Everything may raise ProviderError, which ends the session.

    `keep_alive`: seconds without anything sent after which `idle` is asked for frames; None for protocols without.
    `finished`: all that was asked for has been given; the session ends well.
    """

    keep_alive: float | None

    @property
    def finished(self) -> bool: ...

    def begin(self) -> Iterable[Frame]:
        """What is sent first."""

    def put(self, item: Input) -> Iterable[Frame]:
        """What is sent for an input."""

    def end(self) -> Iterable[Frame]:
        """What is sent when there will be no more inputs."""

    def idle(self) -> Iterable[Frame]:
        """What keeps the session alive."""

    def hear(self, frame: Frame) -> Iterable[Frame | ProviderEvent]:
        """What a frame says, and what is sent upon it."""

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        """The socket was closed before `finished`: the last events where the protocol ends so; else it raises."""


@dataclass(frozen=True, slots=True, eq=False)
class Wait:
    """One thing that is waited for, for so many seconds from when it is the codec's `wait`; 0 for none at all."""

    seconds: float


@runtime_checkable
class Patient(Protocol):
    """A codec that does not wait for ever: what its protocol need not answer (a commit of nothing) it answers itself.

    `wait`: what is waited for now; None for nothing. As long as it is the same one, its seconds go on, whatever comes.
    """

    @property
    def wait(self) -> Wait | None: ...

    def late(self) -> Iterable[Frame | ProviderEvent]:
        """What is to be said, and sent, since the seconds of `wait` are over, which is then another or none. May raise."""


async def session(socket: Socket, codec: Codec, inputs: AsyncIterator[Input]) -> Events:
    """The events of one session on an open socket, which it leaves open: `socket` is closed by who opened it."""
    for frame in codec.begin():
        await _send(socket, frame)
    patience = _Patience(codec)
    writer = _Writer(socket, codec, inputs, patience)
    try:
        while not codec.finished:
            try:
                async with patience:
                    frame_or_end = await socket.next()
            except TimeoutError:
                for event in patience.late():
                    if isinstance(event, str | bytes):
                        await _send(socket, event)
                    else:
                        yield event
                continue
            if frame_or_end is None:
                writer.check()
                for event in codec.closed(socket.code, socket.reason):
                    yield event
                return
            for event in codec.hear(frame_or_end):
                if isinstance(event, str | bytes):
                    await _send(socket, event)
                else:
                    yield event
        writer.check()
    finally:
        await writer.aclose()


async def _send(socket: Socket, frame: Frame) -> None:
    """To a socket that was closed meanwhile (OpenAI closes those it refuses as soon as they are upgraded) nothing is sent: what
    came before the close says why."""
    try:
        await socket.send(frame)
    except Unavailable:
        if not socket.closed:
            raise


class _Patience:
    """How long the next frame is waited for; `moved` by who writes, while another waits."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec if isinstance(codec, Patient) else None
        self._clock: asyncio.Timeout | None = None
        self._wait: Wait | None = None
        self._until: float | None = None

    def late(self) -> Iterable[Frame | ProviderEvent]:
        self._wait = self._until = None
        return self._codec.late() if self._codec is not None else ()

    def moved(self) -> None:
        """The codec may be waiting for something else now."""
        if self._look() and self._clock is not None and not self._clock.expired():
            self._clock.reschedule(self._until)

    async def __aenter__(self) -> None:
        self._look()
        self._clock = asyncio.timeout_at(self._until)
        await self._clock.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._clock is not None
        clock, self._clock = self._clock, None
        await clock.__aexit__(kind, error, trace)

    def _look(self) -> bool:
        """Whether something else is waited for than before."""
        wait = self._codec.wait if self._codec is not None else None
        if wait is self._wait:
            return False
        self._wait = wait
        self._until = None if wait is None else asyncio.get_running_loop().time() + wait.seconds
        return True


class _Writer:
    """Writes in a task of its own, since reading must not wait for it. An error of the codec's ends the reading too."""

    def __init__(self, socket: Socket, codec: Codec, inputs: AsyncIterator[Input], patience: _Patience) -> None:
        self._socket, self._codec, self._inputs, self._patience = socket, codec, inputs, patience
        self._error: ProviderError | None = None
        self._loop = asyncio.get_running_loop()
        self._sent = self._loop.time()
        self._tasks = [asyncio.create_task(self._run(self._write))]
        if codec.keep_alive is not None:
            self._tasks.append(asyncio.create_task(self._run(self._keep_alive)))

    def check(self) -> None:
        """Raises what the codec raised, if that is why the session is over."""
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled() and (bug := task.exception()) is not None:
                raise bug

    async def _run(self, writing: Callable[[], Awaitable[None]]) -> None:
        try:
            await writing()
        except ProviderError as error:
            if not self._socket.closed:
                self._error = error
                self._socket.abort()

    async def _write(self) -> None:
        async for item in self._inputs:
            await self._send(self._codec.put(item))
            self._patience.moved()
        await self._send(self._codec.end())
        self._patience.moved()

    async def _keep_alive(self) -> None:
        while (seconds := self._codec.keep_alive) is not None:
            left = self._sent + seconds - self._loop.time()
            if left > 0:
                await asyncio.sleep(left)
            else:
                self._sent = self._loop.time()
                await self._send(self._codec.idle())

    async def _send(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            if not self._socket.put(frame):
                await self._socket.send(frame)
            self._sent = self._loop.time()
