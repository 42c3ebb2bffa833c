"""Connecting: the first of a host's addresses that answers, and no other socket left."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest

from gateway.contract import sockets
from gateway.contract.sockets import connect

pytestmark = pytest.mark.wire
V4, V6 = socket.AF_INET, socket.AF_INET6


class Quiet(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    @property
    def peer(self) -> Any:
        return self.transport.get_extra_info("peername")[:2]

    def close(self) -> None:
        self.transport.close()


@pytest.fixture
async def port() -> AsyncGenerator[int]:
    """Somebody listens there, on 127.0.0.1."""
    server = await asyncio.get_running_loop().create_server(Quiet, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
def refused() -> Generator[int]:
    """Nobody does there."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def silent() -> Generator[int]:
    """Connections there are neither refused nor accepted: the queue of those that wait is full."""
    with socket.socket() as listening, socket.socket() as waiting:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting.connect(listening.getsockname())
        yield listening.getsockname()[1]


def resolved(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """A name that stands for these ports of this machine. (uvloop connects by way of its own getaddrinfo: not patched.)"""

    async def addresses(*_: object) -> list[sockets.Address]:
        return [(V4, ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr(sockets, "_addresses", addresses)


async def test_an_address_that_refuses_is_passed_over(port: int, refused: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "STAGGER", 60.0)  # it is not waited for
    resolved(monkeypatch, refused, refused, port)
    protocol = await connect(Quiet, "acme.test", 1, None)
    assert protocol.peer == ("127.0.0.1", port)
    protocol.close()


async def test_one_that_is_silent_is_not_waited_for(port: int, silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "STAGGER", 0.05)
    resolved(monkeypatch, silent, port)
    async with asyncio.timeout(1.0):
        protocol = await connect(Quiet, "acme.test", 1, None)
    assert protocol.peer == ("127.0.0.1", port)
    protocol.close()


async def test_if_all_refuse_so_does_it(refused: int, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved(monkeypatch, refused, refused)
    with pytest.raises(ConnectionRefusedError):
        await connect(Quiet, "acme.test", 1, None)
    resolved(monkeypatch)
    with pytest.raises(OSError, match="no address"):
        await connect(Quiet, "acme.test", 1, None)


async def test_cancelling_at_any_step_leaves_no_socket(
    port: int, silent: int, refused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[socket.socket] = []

    class Counted(socket.socket):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if "fileno" not in kwargs:  # those are the server's
                made.append(self)

    monkeypatch.setattr(sockets, "STAGGER", 0.0)
    resolved(monkeypatch, silent, refused, port, port)
    monkeypatch.setattr(socket, "socket", Counted)
    for steps in range(40):
        task = asyncio.create_task(connect(Quiet, "acme.test", 1, None))
        for _ in range(steps):
            await asyncio.sleep(0)
        if not task.done():
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            task.result().close()
        for _ in range(3):  # a transport that is closed closes its socket a little later
            await asyncio.sleep(0)
        assert all(each.fileno() == -1 for each in made), steps


def looked_up(monkeypatch: pytest.MonkeyPatch, *found: tuple[int, str]) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(family, socket.SOCK_STREAM, 6, "", (host, 1)) for family, host in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    ("found", "order"),
    [
        ([(V6, "a"), (V6, "b"), (V6, "c"), (V4, "d")], "adbc"),
        ([(V4, "a"), (V6, "b"), (V4, "c")], "abc"),
        ([(V4, "a")], "a"),
        ([], ""),
    ],
)
async def test_the_families_take_turns(
    monkeypatch: pytest.MonkeyPatch, found: list[tuple[int, str]], order: str
) -> None:
    looked_up(monkeypatch, *found)
    assert "".join(address[0] for _, address in await sockets._addresses("acme.test", 1)) == order


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", V4), ("::1", V6)])
async def test_an_address_is_not_looked_up(monkeypatch: pytest.MonkeyPatch, host: str, family: int) -> None:
    looked_up(monkeypatch)
    assert await sockets._addresses(host, 80) == [(family, (host, 80))]
