"""The HTTP/1.1 client beyond the client's own promises (test_client.py): framing, what is kept, limits, TLS."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import pytest

from gateway.contract import http1, http1_connection
from gateway.contract.client import read_up_to
from gateway.contract.errors import Unavailable
from gateway.contract.http1 import Http1Client
from tests.tls import loopback
from tests.upstream_scripts import ok
from tests.upstreams import Exchange, Script, Upstream

pytestmark = pytest.mark.wire
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
async def upstream() -> AsyncGenerator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def client() -> AsyncGenerator[Http1Client]:
    async with aclosing(Http1Client("acme")) as client:
        yield client


def says(*pieces: bytes, close: bool = False) -> Script:
    """These bytes, each in a write of its own."""

    async def play(exchange: Exchange) -> None:
        for piece in pieces:
            await exchange.raw(piece)
        if close:
            exchange.hang_up()

    return play


async def ask(client: Http1Client, url: str, body: bytes = b"{}") -> tuple[int, dict[str, str], bytes]:
    async with client.post(url, {}, body) as answer:
        return answer.status, dict(answer.headers), await read_up_to(answer, 1 << 24)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK + b"content-length: 5\r\n\r\nhello", b"hello"),
        (OK + b"content-length: 0\r\n\r\n", b""),
        (OK + b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\nx-trailer: 1\r\n\r\n", b"hello"),
        (OK + b"Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\nx: 1\r\n\r\n" + OK + b"content-length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + OK + b"content-length: 5\r\n\r\nhello", b"hello"),
    ],
)
@pytest.mark.parametrize("piece", [1000, 1])
async def test_answers_that_leave_the_connection_to_the_next(
    client: Http1Client, upstream: Upstream, answer: bytes, body: bytes, piece: int
) -> None:
    upstream.play(says(*(answer[at : at + piece] for at in range(0, len(answer), piece))))
    for _ in range(2):
        _, headers, got = await ask(client, upstream.url)
        assert got == body
        assert "x" not in headers
        assert "x-trailer" not in headers
    assert upstream.opened == 1


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK + b"\r\nhello", b"hello"),
        (OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
    ],
)
async def test_answers_that_end_with_the_connection(
    client: Http1Client, upstream: Upstream, answer: bytes, body: bytes
) -> None:
    upstream.play(says(answer, close=True))
    for _ in range(2):
        assert (await ask(client, upstream.url))[2] == body
    assert upstream.opened == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 OK 200\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        OK + b"content-length: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello",
        OK + b"x: " + b"y" * 70_000,
        OK + b"x: y\r\n" * 20_000,
    ],
)
async def test_what_is_no_answer(client: Http1Client, upstream: Upstream, answer: bytes) -> None:
    upstream.play(says(answer))
    with pytest.raises(Unavailable, match="before it answered"):
        await ask(client, upstream.url)
    await upstream.until(lambda: upstream.open == 0)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"content-length: 6\r\n\r\nhello",
        OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nXX\r\n",
    ],
)
async def test_a_body_that_does_not_end_as_promised(client: Http1Client, upstream: Upstream, answer: bytes) -> None:
    upstream.play(says(answer, close=True))
    with pytest.raises(Unavailable, match="in mid-answer"):
        await ask(client, upstream.url)


async def test_headers_that_come_twice_are_joined(client: Http1Client, upstream: Upstream) -> None:
    upstream.play(says(OK + b"X-One: a\r\nx-one: b\r\ncontent-length: 0\r\n\r\n"))
    assert (await ask(client, upstream.url))[1]["x-one"] == "a, b"


async def test_bytes_nobody_asked_for_close_the_connection(client: Http1Client, upstream: Upstream) -> None:
    upstream.play(says(OK + b"content-length: 0\r\n\r\n" + OK + b"content-length: 5\r\n\r\nwrong"))
    for _ in range(2):
        assert (await ask(client, upstream.url))[2] == b""
    assert upstream.opened == 2

    async def speaks_up(exchange: Exchange) -> None:
        await exchange.answer(200, b"right")
        await exchange.raw(OK + b"content-length: 5\r\n\r\nwrong")

    upstream.play(speaks_up, "hang-up")
    assert (await ask(client, upstream.url))[2] == b"right"
    await upstream.until(lambda: upstream.open == 0)


async def test_a_connection_the_upstream_closed_meanwhile_is_not_used(client: Http1Client, upstream: Upstream) -> None:
    async def closes(exchange: Exchange) -> None:
        await exchange.answer(200, b"bye")
        exchange.hang_up()

    upstream.play(closes)
    for _ in range(3):
        assert (await ask(client, upstream.url))[2] == b"bye"
        await upstream.until(lambda: upstream.open == 0)


async def test_a_connection_is_not_kept_for_long(
    client: Http1Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "KEPT_SECONDS", 0.05)
    monkeypatch.setattr(http1, "SWEEP_SECONDS", 0.05)
    for _ in range(2):
        await ask(client, upstream.url)
        assert upstream.open == 1
        await upstream.until(lambda: upstream.open == 0)
    assert upstream.opened == 2


async def test_a_connection_in_use_does_not_expire(
    client: Http1Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http1, "KEPT_SECONDS", 0.05)
    upstream.play("ok", ok(words=10, tick=0.01))
    await ask(client, upstream.url)
    monkeypatch.setattr(http1, "KEPT_SECONDS", 30.0)
    await ask(client, upstream.url, b'{"stream":true}')
    assert (upstream.opened, upstream.open, caplog.records) == (1, 1, [])


async def test_the_freshest_connection_is_used_first(client: Http1Client, upstream: Upstream) -> None:
    async with client.post(upstream.url, {}, b"{}") as first, client.post(upstream.url, {}, b"{}") as second:
        assert [len(await read_up_to(answer, 1 << 20)) > 0 for answer in (first, second)] == [True, True]
    # The first was left last.
    for _ in range(5):
        await ask(client, upstream.url)
    assert {each.client for each in upstream.received[2:]} == {upstream.received[0].client}


async def test_connections_are_limited(
    client: Http1Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "MAX_CONNECTIONS", 2)
    upstream.play("endless")
    async with client.post(upstream.url, {}, b'{"stream":true}'), client.post(upstream.url, {}, b'{"stream":true}'):
        with pytest.raises(Unavailable, match="2 connections are in use"):
            await ask(client, upstream.url)
    upstream.play("ok")
    await upstream.until_left()
    await ask(client, upstream.url)


async def test_an_upstream_faster_than_the_reader_waits(
    client: Http1Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1_connection, "AHEAD", 100_000)
    size = 64 << 20
    sent = 0

    async def floods(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.raw(OK + b"content-length: %d\r\n\r\n" % size)
        while sent < size:
            await exchange.raw(bytes(1 << 16))
            sent += 1 << 16

    upstream.play(floods)
    async with client.post(upstream.url, {}, b"") as answer:
        got = len(await anext(answer))
        before = -1
        while sent != before:  # until it stands still
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 16 << 20  # the kernel's buffers, and a little
        async for data in answer:
            got += len(data)
            assert len(data) < 1 << 20
    assert got == size


async def test_what_comes_goes_past_who_waits_for_it_and_overtakes_nothing(
    client: Http1Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[http1_connection.Connection] = []
    received = http1_connection.Connection.data_received

    def noted(self: http1_connection.Connection, data: bytes) -> None:
        reads.append(self)
        received(self, data)

    monkeypatch.setattr(http1_connection.Connection, "data_received", noted)
    upstream.play("headers-only")
    past: list[bytes] = []

    def take(data: bytes) -> bool:
        if data.isdigit():
            past.append(data)
        return data.isdigit()

    async with client.post(upstream.url, {}, b"{}") as answer:
        answer.divert(take)
        reading = asyncio.ensure_future(anext(answer))
        await asyncio.sleep(0)
        for data in (b"1\r\n1\r\n1\r\n2\r\n", b"1\r\na\r\n", b"1\r\n3\r\n"):  # before the reader gets to run
            received(reads[-1], data)
        assert (past, await reading) == ([b"12"], b"a3")
        received(reads[-1], b"1\r\n4\r\n")  # while nobody waits
        assert (past, await anext(answer)) == ([b"12"], b"4")


async def test_an_answer_left_behind_reads_nothing_of_the_next(client: Http1Client, upstream: Upstream) -> None:
    async with client.post(upstream.url, {}, b"{}") as first:
        await read_up_to(first, 1 << 20)
    async with client.post(upstream.url, {}, b"{}") as second:
        assert [data async for data in first] == []
        assert await read_up_to(second, 1 << 20)
    assert upstream.opened == 1


async def test_closing_the_client_breaks_what_is_under_way(upstream: Upstream) -> None:
    upstream.play("stalls")
    client = Http1Client("acme")
    async with client.post(upstream.url, {}, b'{"stream":true}') as answer:
        await anext(answer)
        await client.aclose()
        with pytest.raises(Unavailable, match="in mid-answer"):
            await read_up_to(answer, 1 << 20)
    assert upstream.open == 0
    with pytest.raises(Unavailable, match="the provider is closed"):
        await ask(client, upstream.url)
    await client.aclose()
    assert upstream.opened == 1


async def test_large_requests_arrive_whole(client: Http1Client, upstream: Upstream) -> None:
    body = bytes(range(256)) * 40_000
    await ask(client, upstream.url, body)
    assert upstream.received[0].body == body


@pytest.mark.parametrize("url", ["ftp://x/", "http:///x", "x", "http://x/a b", "http://x/\r\nx: y", "http://x/é"])
async def test_addresses_that_are_none(client: Http1Client, url: str) -> None:
    with pytest.raises(Unavailable, match="address"):
        await ask(client, url)


async def test_a_host_that_does_not_exist(client: Http1Client) -> None:
    for host in ("no-such-host.invalid", "x" * 64 + ".invalid"):
        with pytest.raises(Unavailable, match="no such host"):
            await ask(client, f"http://{host}/")


async def test_a_host_that_does_not_answer(client: Http1Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(http1, "CONNECT_TIMEOUT", 0.05)
    monkeypatch.setattr(http1, "connect", never)
    with pytest.raises(Unavailable, match="no connection within"):
        await ask(client, "http://x/")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's context, and a client's that trusts it."""
    return loopback(tmp_path_factory.mktemp("tls"))


async def test_https(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, trust = tls
    async with Upstream(tls=server) as upstream, aclosing(Http1Client("acme", trust)) as client:
        for _ in range(2):
            assert (await ask(client, upstream.url))[0] == 200
        assert upstream.opened == 1
        upstream.play("endless")
        async with client.post(upstream.url, {}, b'{"stream":true}') as answer:
            await anext(answer)
        await upstream.until_left()
        assert upstream.open == 0


async def test_a_certificate_nobody_vouches_for(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with Upstream(tls=tls[0]) as upstream, aclosing(Http1Client("acme")) as client:
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await ask(client, upstream.url)
        assert not upstream.received
        await upstream.until(lambda: upstream.open == 0)


async def test_https_to_who_speaks_http(client: Http1Client) -> None:
    class Plain(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            cast(asyncio.Transport, transport).write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            transport.close()

    server = await asyncio.get_running_loop().create_server(Plain, "127.0.0.1", 0)
    with pytest.raises(Unavailable, match="no TLS connection"):
        await ask(client, "https://{}:{}/".format(*server.sockets[0].getsockname()))
    server.close()


async def test_cancelling_at_any_step_of_https_leaves_nothing(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, trust = tls
    async with Upstream("silent", tls=server) as upstream, aclosing(Http1Client("acme", trust)) as client:
        for steps in range(60):
            task = asyncio.create_task(ask(client, upstream.url))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await upstream.until(lambda: upstream.open == 0)
