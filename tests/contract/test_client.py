"""The client's promises, on sockets. A leaner client must keep them: add it to `CLIENTS`."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest

from gateway.contract import client as clients
from gateway.contract.client import Client, drain, read_up_to
from gateway.contract.errors import Unavailable
from gateway.contract.http1 import Http1Client
from tests.upstream_scripts import bytes_as_they_are, ok, status
from tests.upstreams import Exchange, Upstream, nobody_listens

pytestmark = pytest.mark.wire
CLIENTS: list[Callable[[str], Client]] = [Http1Client]
STREAMED = b'{"stream":true}'


@pytest.fixture(params=CLIENTS)
async def client(request: pytest.FixtureRequest) -> AsyncGenerator[Client]:
    async with aclosing(request.param("acme")) as made:
        yield made


@pytest.fixture
async def upstream() -> AsyncGenerator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


async def test_it_posts_what_it_is_given_and_reads_what_comes(client: Client, upstream: Upstream) -> None:
    upstream.play(bytes_as_they_are(b"some bytes", code=202, x_one="1"))
    async with client.post(upstream.url + "/chat", {"x-mine": "yes"}, b"body") as answer:
        assert answer.status == 202
        assert answer.headers["x-one"] == "1"
        assert b"".join([data async for data in answer]) == b"some bytes"
    [asked] = upstream.received
    assert (asked.method, asked.path, asked.body) == ("POST", "/v1/chat", b"body")
    assert asked.headers["x-mine"] == "yes"
    assert asked.headers["accept-encoding"] == "identity"


async def test_bytes_come_when_they_are_sent(client: Client, upstream: Upstream) -> None:
    seen = asyncio.Event()

    async def one_then_wait(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(b"one")
        await seen.wait()
        await exchange.send(b"two")
        await exchange.end()

    upstream.play(one_then_wait)
    async with client.post(upstream.url, {}, STREAMED) as answer:
        assert await anext(answer) == b"one"
        seen.set()
        assert await anext(answer) == b"two"


async def test_an_answer_read_to_its_end_leaves_the_connection_for_the_next(client: Client, upstream: Upstream) -> None:
    for _ in range(3):
        async with client.post(upstream.url, {}, STREAMED) as answer:
            await read_up_to(answer, 1 << 20)
    assert (upstream.opened, upstream.open) == (1, 1)


async def test_leaving_in_mid_answer_closes_the_connection(client: Client, upstream: Upstream) -> None:
    upstream.play("endless")
    async with client.post(upstream.url, {}, STREAMED) as answer:
        await anext(answer)
    await upstream.until_left()
    assert (upstream.exchanges[0].outcome, upstream.open) == ("left", 0)


@pytest.mark.parametrize("script", ["silent", "headers-only", "stalls"])
async def test_cancelling_closes_the_connection(client: Client, upstream: Upstream, script: str) -> None:
    upstream.play(script)

    async def read() -> None:
        async with client.post(upstream.url, {}, STREAMED) as answer:
            await read_up_to(answer, 1 << 20)

    reading = asyncio.create_task(read())
    await upstream.until(lambda: upstream.busy == 1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await upstream.until_left()
    assert (upstream.exchanges[0].outcome, upstream.open) == ("left", 0)


async def test_closing_the_client_closes_what_was_kept(upstream: Upstream) -> None:
    for make in CLIENTS:
        async with aclosing(make("acme")) as client:
            async with client.post(upstream.url, {}, STREAMED) as answer:
                await read_up_to(answer, 1 << 20)
            assert upstream.open == 1
        await upstream.until(lambda: upstream.open == 0)


async def test_a_redirect_is_an_answer_like_any_other(client: Client, upstream: Upstream) -> None:
    async with Upstream() as elsewhere:
        upstream.play(status(307, location=elsewhere.url))
        async with client.post(upstream.url, {"authorization": "Bearer k"}, b"") as answer:
            assert answer.status == 307
        assert elsewhere.opened == 0


@pytest.mark.parametrize("script", ["reset", "hang-up", "no-http"])
async def test_an_upstream_that_breaks_before_its_head_is_unavailable(
    client: Client, upstream: Upstream, script: str
) -> None:
    upstream.play(script)
    with pytest.raises(Unavailable, match="before it answered") as caught:
        async with client.post(upstream.url, {}, STREAMED):
            pass
    assert caught.value.provider == "acme"


@pytest.mark.parametrize("reset", [False, True])
async def test_one_that_breaks_in_mid_answer_is_unavailable_after_what_came(
    client: Client, upstream: Upstream, reset: bool
) -> None:
    come = asyncio.Event()

    async def breaks(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(b"one")
        await come.wait()
        exchange.reset() if reset else exchange.hang_up()

    upstream.play(breaks)
    async with client.post(upstream.url, {}, STREAMED) as answer:
        assert await anext(answer) == b"one"
        come.set()
        with pytest.raises(Unavailable, match="in mid-answer"):
            await anext(answer)


async def test_nobody_listening_is_unavailable(client: Client) -> None:
    with nobody_listens() as url, pytest.raises(Unavailable, match="no connection"):
        async with client.post(url, {}, b""):
            pass


async def test_an_answer_that_is_compressed_all_the_same_is_not_read(client: Client, upstream: Upstream) -> None:
    upstream.play(bytes_as_they_are(b"\x1f\x8b", content_encoding="gzip"))
    async with client.post(upstream.url, {}, b"") as answer:
        with pytest.raises(Unavailable, match="compressed"):
            await anext(answer)


async def test_what_cannot_be_a_header_is_told_without_its_words(
    client: Client, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Unavailable) as caught:
        async with client.post(upstream.url, {"authorization": "Bearer canary\r\nx: y"}, b""):
            pass
    assert "canary" not in f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"
    assert not upstream.received


async def test_what_an_upstream_says_in_headers_is_not_logged(
    client: Client, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    upstream.play(bytes_as_they_are(b"", x_echo="canary"))
    async with client.post(upstream.url + "?key=canary", {}, b"") as answer:
        assert answer.headers["x-echo"] == "canary"
    assert "canary" not in caplog.text


async def test_reading_up_to_a_limit_stops_there(client: Client, upstream: Upstream) -> None:
    upstream.play("endless")
    async with client.post(upstream.url, {}, STREAMED) as answer:
        assert len(await read_up_to(answer, 1000)) == 1000
    await upstream.until_left()


async def test_draining_keeps_the_connection_of_an_answer_that_ends(client: Client, upstream: Upstream) -> None:
    upstream.play(ok(words=200))
    for _ in range(2):
        async with client.post(upstream.url, {}, STREAMED) as answer:
            await anext(answer)
            await drain(answer)
    assert upstream.opened == 1


async def test_draining_reads_little(client: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "DRAIN_SECONDS", 60.0)
    monkeypatch.setattr(clients, "DRAIN_BYTES", 1000)
    upstream.play("endless")
    async with asyncio.timeout(5.0), client.post(upstream.url, {}, STREAMED) as answer:
        await drain(answer)


@pytest.mark.parametrize("script", ["endless", "stalls", "dies"])
async def test_draining_waits_for_no_other(
    client: Client, upstream: Upstream, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "DRAIN_SECONDS", 0.02)
    upstream.play(script)
    async with client.post(upstream.url, {}, STREAMED) as answer:
        await anext(answer)
        await drain(answer)
    await upstream.until_left()
    assert upstream.open == 0
