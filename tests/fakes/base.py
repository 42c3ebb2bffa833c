"""What all fakes have in common: a server on a real socket, how it behaves, and a command line.

    class Deepgram(Fake):
        def refuse(self, request): ...                  # a Response for an upgrade that is refused, else None
        async def talk(self, connection): ...           # one session

    async with Deepgram(Behaviour(latency=0.1)).running() as url: ...

A fake notes what came (`sessions`), for tests that check what is sent.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

_QUIET = logging.getLogger("tests.fakes.frames")
_QUIET.setLevel(logging.CRITICAL + 1)  # the library logs frames, and tests look for keys in logs


@dataclass
class Behaviour:
    """Seconds throughout. `latency`: from having what it needs to saying it. `trouble`: what goes wrong, in a word that the
    fake knows ("unauthorized", "rate-limited", "no-quota", "concurrency", "bad-audio", ...). `drop_after`: seconds of audio
    heard (stt) or spoken (tts) after which the connection is dropped without a word, `stall_after`: and is kept, silent.
    `times`: to how many sessions the last three happen; the following ones are well."""

    latency: float = 0.0
    trouble: str | None = None
    drop_after: float | None = None
    stall_after: float | None = None
    times: int = 1_000_000


@dataclass
class Session:
    """One connection: `path`, `query` (the last of each name) and `headers` (lower case) of its upgrade; `frames`: what came."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    frames: list[str | bytes] = field(default_factory=list)
    over: bool = False

    @property
    def said(self) -> list[Any]:
        """The text frames that are JSON."""
        return [orjson.loads(each) for each in self.frames if isinstance(each, str) and each.startswith(("{", "["))]


class Dropped(Exception):
    """The connection is to be dropped now."""


async def stalled(connection: ServerConnection) -> None:
    """Says nothing any more, and takes what comes until it is left."""
    async for _ in connection:
        pass
    raise Dropped


class Fake:
    """`sessions`: every connection so far; `open`: how many there are now; `asked`: upgrades, also those refused."""

    spares: tuple[str, ...] = ()
    """Ends of paths whose connections may stand ready: such a session asks `now` itself, once something is said in it."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.sessions: list[Session] = []
        self.asked = 0
        self.open = 0
        self._changed = asyncio.Condition()
        self._server: Server | None = None

    def refuse(self, request: Request) -> Response | None:
        """Of an upgrade that is refused."""
        return None

    async def talk(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        raise NotImplementedError  # every fake has its own

    def now(self) -> Behaviour:
        """How the next session behaves; counts it."""
        if self.behaviour.times <= 0:
            return Behaviour(self.behaviour.latency)
        self.behaviour.times -= 1
        return self.behaviour

    def not_yet(self, behaviour: Behaviour) -> None:
        """A connection may only stand ready: it behaves as is asked for when it is used, and `now` is to be asked again then."""
        behaviour.times += 1

    @asynccontextmanager
    async def running(self, port: int = 0, **more: Any) -> AsyncIterator[str]:
        """Its address, `ws://127.0.0.1:PORT`. `more`: for websockets' `serve`."""
        settings: dict[str, Any] = {"compression": None, "max_size": 1 << 24, "process_request": self._upgrade}
        # No bound on what waits to be read: a fake that does not read must still see that it is left.
        settings |= {"logger": _QUIET, "max_queue": None, **more}
        async with serve(self._serve, "127.0.0.1", port, **settings) as server:
            self._server = server
            yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"

    @property
    def busy(self) -> int:
        """Open sessions in which something was said."""
        return sum(bool(each.frames) and not each.over for each in self.sessions)

    async def heard(self, connection: ServerConnection, session: Session) -> AsyncIterator[str | bytes]:
        """The frames as they come, noted."""
        async for frame in connection:
            session.frames.append(frame)
            if len(session.frames) == 1:
                await self._count(0)
            yield frame

    async def until(self, met: Callable[[], bool], within: float = 1.0) -> None:
        """Something is so, as sessions come, go and begin to talk. TimeoutError otherwise."""
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(met)

    async def until_left(self, within: float = 1.0) -> None:
        """No session is open. TimeoutError otherwise."""
        await self.until(lambda: not self.open, within)

    async def hang_up(self, code: int = 1001) -> None:
        """On everybody who is connected."""
        assert self._server is not None
        for connection in list(self._server.connections):
            await connection.close(code)

    def stop_listening(self) -> None:
        """Nobody is there any more."""
        assert self._server is not None
        self._server.close(close_connections=False)

    async def _upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        self.asked += 1
        return self.refuse(request)

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        parts = urlsplit(connection.request.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in connection.request.headers.raw_items()}
        session = Session(parts.path, query, headers)
        self.sessions.append(session)
        await self._count(1)
        try:
            ready = session.path.endswith(self.spares)
            await self.talk(connection, session, Behaviour() if ready else self.now())
        except Dropped:
            connection.transport.abort()
        except ConnectionClosed:
            pass
        finally:
            session.over = True
            await self._count(-1)

    async def _count(self, change: int) -> None:
        async with self._changed:
            self.open += change
            self._changed.notify_all()


def refusal(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> Response:
    fields = Headers({**(headers or {}), "content-length": str(len(body))})
    return Response(status, HTTPStatus(status).phrase, fields, body)


def text(message: object) -> str:
    return orjson.dumps(message).decode()


def main(fake: type[Fake]) -> None:
    """The fake as a program."""
    parser = argparse.ArgumentParser(description=fake.__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--trouble", help="what goes wrong: unauthorized, rate-limited, no-quota, ...")
    parser.add_argument("--drop-after", type=float, metavar="SECONDS", help="of audio")
    asked = parser.parse_args()

    async def serve_forever() -> None:
        async with fake(Behaviour(asked.latency, asked.trouble, asked.drop_after)).running(asked.port) as url:
            print(url, flush=True)
            await asyncio.get_running_loop().create_future()

    asyncio.run(serve_forever())
