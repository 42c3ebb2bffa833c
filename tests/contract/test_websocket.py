"""Sockets to providers, sessions on them, and those that stand ready: against a real server on loopback."""

from __future__ import annotations

import asyncio
import logging
import logging.config
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from gateway.contract.channel import Channel
from gateway.contract.duplex import Wait, session
from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Refused, Unauthorized, Unavailable
from gateway.contract.events import Events, Finished, ProviderEvent, Ready, TextDelta
from gateway.contract.requests import Commit, Input
from gateway.contract.warm_sockets import WarmSockets
from gateway.contract.websocket import Frame, open_socket

pytestmark = pytest.mark.wire
SOON = 5.0


@asynccontextmanager
async def server(
    talk: Callable[[ServerConnection], Awaitable[None]], refuse: Response | None = None
) -> AsyncIterator[str]:
    async def upgrade(connection: ServerConnection, request: Request) -> Response | None:
        return refuse

    async with serve(talk, "127.0.0.1", 0, process_request=upgrade, compression=None) as running:
        yield f"ws://127.0.0.1:{next(iter(running.sockets)).getsockname()[1]}/"


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def refusal(status: int, body: bytes, headers: dict[str, str]) -> Response:
    from websockets.datastructures import Headers

    return Response(status, HTTPStatus(status).phrase, Headers(headers | {"content-length": str(len(body))}), body)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Unauthorized),
        (403, Unauthorized),
        (402, OutOfQuota),
        (429, RateLimited),
        (400, Refused),
        (503, Unavailable),
    ],
)
async def test_a_refused_upgrade_is_the_error_that_its_status_means(status: int, kind: type[ProviderError]) -> None:
    async with server(echo, refusal(status, b"", {"retry-after": "7"})) as url:
        with pytest.raises(kind) as error:
            await open_socket("acme", url)
    assert (error.value.status, error.value.provider) == (status, "acme")
    assert error.value.retry_after == (7.0 if status == 429 else None)


async def test_a_provider_may_know_better_what_a_refusal_means() -> None:
    async with server(echo, refusal(400, b"no credit", {"X-Why": "money"})) as url:
        with pytest.raises(OutOfQuota):
            await open_socket(
                "acme",
                url,
                judge=lambda status, headers, body: (
                    OutOfQuota(f"{status} {headers['x-why']}") if body == b"no credit" else None
                ),
            )


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/", "http://127.0.0.1/", "ws://nowhere.invalid/"])
async def test_what_cannot_be_reached_is_unavailable(url: str) -> None:
    with pytest.raises(Unavailable):
        await open_socket("acme", url)


async def test_no_frame_and_no_header_is_logged_whoever_sets_up_logging(caplog: pytest.LogCaptureFixture) -> None:
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})  # as uvicorn does
    caplog.set_level(logging.DEBUG)
    async with server(echo) as url:
        socket = await open_socket("acme", url, {"authorization": "canary"})
        await socket.send("canary")
        assert await socket.next() == "canary"
        await socket.aclose()
    assert not [record for record in caplog.records if record.name.startswith("gateway")]


async def test_how_the_upstream_closed_is_known() -> None:
    async def closes(connection: ServerConnection) -> None:
        await connection.send("hello")
        await connection.close(4008, "enough")

    async with server(closes) as url:
        socket = await open_socket("acme", url)
        assert await socket.next() == "hello"
        assert await socket.next() is None
        assert (socket.code, socket.reason) == (4008, "enough")
        with pytest.raises(Unavailable):
            await socket.send("x")
        await socket.aclose()
        await socket.aclose()


class Parrot:
    """Says back what it is told, and is over when it was told to end."""

    keep_alive: float | None = None

    def __init__(self, broken: bool = False) -> None:
        self.finished = False
        self.broken = broken

    def begin(self) -> Iterable[Frame]:
        return ["ready"]

    def put(self, item: Input) -> Iterable[Frame]:
        if self.broken:
            raise Refused("it cannot be said", "acme")
        return [item] if isinstance(item, str) else ["turn"]

    def end(self) -> Iterable[Frame]:
        return ["end"]

    def idle(self) -> Iterable[Frame]:
        return ["alive"]

    def hear(self, frame: Frame) -> Iterable[ProviderEvent]:
        match frame:
            case "ready":
                return [Ready()]
            case "end":
                self.finished = True
                return [Finished()]
        return [TextDelta(str(frame))]

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        raise Unavailable(f"closed {code}", "acme", code)


async def talk(url: str, codec: Parrot, inputs: Channel[Input]) -> Events:
    socket = await open_socket("acme", url)
    try:
        async with aclosing(session(socket, codec, inputs.reader())) as events:
            async for event in events:
                yield event
    finally:
        await socket.aclose()


async def everything(events: Events) -> list[ProviderEvent]:
    return [event async for event in events]


async def test_a_session_says_what_it_is_told_and_ends_as_its_protocol_ends() -> None:
    inputs: Channel[Input] = Channel()
    for item in ("one", Commit()):
        inputs.put(item)
    inputs.close()
    async with server(echo) as url:
        events = await everything(talk(url, Parrot(), inputs))
    assert events == [Ready(), TextDelta("one"), TextDelta("turn"), Finished()]


async def test_a_session_is_kept_alive_while_nothing_is_said() -> None:
    codec = Parrot()
    codec.keep_alive = 0.01
    async with server(echo) as url, aclosing(talk(url, codec, Channel())) as events:
        async with asyncio.timeout(SOON):
            assert [await anext(events) for _ in range(3)] == [Ready(), TextDelta("alive"), TextDelta("alive")]


class Tired(Parrot):
    """Answers a turn itself where nobody else does."""

    def __init__(self) -> None:
        super().__init__()
        self.wait: Wait | None = None

    def put(self, item: Input) -> Iterable[Frame]:
        if item == "sound":
            return ["sound"]  # that goes on meanwhile, and is heard
        self.wait = self.wait or Wait(0.02)
        return []

    def late(self) -> Iterable[ProviderEvent]:
        self.wait = None
        return [TextDelta("late")]


async def test_what_nobody_answers_is_answered_by_a_codec_that_does_not_wait_for_ever() -> None:
    inputs: Channel[Input] = Channel()
    async with server(echo) as url, aclosing(talk(url, Tired(), inputs)) as events:
        assert await anext(events) == Ready()
        for _ in range(2):
            inputs.put(Commit())
            inputs.put("sound")
            async with asyncio.timeout(SOON):
                while await anext(events) != TextDelta("late"):
                    inputs.put("sound")
        inputs.close()
        while (event := await anext(events)) == TextDelta("sound"):
            pass
        assert event == Finished()


async def test_what_a_codec_cannot_say_ends_the_session_with_its_reason() -> None:
    inputs: Channel[Input] = Channel()
    inputs.put("one")
    async with server(echo) as url:
        with pytest.raises(Refused, match="cannot be said"):
            await asyncio.wait_for(everything(talk(url, Parrot(broken=True), inputs)), SOON)


async def test_a_socket_that_is_closed_too_soon_is_a_failure() -> None:
    async def dies(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.close(1011, "broken")

    async with server(dies) as url:
        with pytest.raises(Unavailable, match="closed 1011"):
            await everything(talk(url, Parrot(), Channel()))


async def test_leaving_closes_the_socket_at_once() -> None:
    left = asyncio.Event()

    async def notices(connection: ServerConnection) -> None:
        await echo(connection)
        left.set()

    async with server(notices) as url:
        events = talk(url, Parrot(), Channel())
        await anext(events)
        await events.aclose()
        async with asyncio.timeout(1.0):
            await left.wait()


async def test_one_stands_ready_once_one_was_wanted_and_none_is_left_behind() -> None:
    opened: list[ServerConnection] = []
    here = asyncio.Condition()

    async def counts(connection: ServerConnection) -> None:
        async with here:
            opened.append(connection)
            here.notify_all()
        await echo(connection)

    async with server(counts) as url:
        warm = WarmSockets(lambda: open_socket("acme", url))
        assert warm.ready == 0
        first = await warm.take()
        async with here, asyncio.timeout(SOON):
            await here.wait_for(lambda: len(opened) == 2)
        second = await warm.take()
        await second.send("x")
        assert await second.next() == "x"
        warm.give(second)
        await first.aclose()
        await warm.aclose()
        await warm.aclose()
        assert second.closed
        for connection in opened:
            async with asyncio.timeout(SOON):
                await connection.wait_closed()
