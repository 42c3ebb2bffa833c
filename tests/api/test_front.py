"""The short way from a connection to an endpoint, where it must do what ASGI's does: framing, keep-alive, pipelining, cuts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from gateway.contract.errors import Unavailable
from gateway.contract.events import Finished, TextDelta
from gateway.contract.provider import Settings
from providers.openai_compatible import Provider as OpenAICompatible
from tests.api.stage import Chats, Gateway, stage
from tests.upstream_scripts import DONE, chunk, event, role, word
from tests.upstreams import Exchange, Upstream

pytestmark = pytest.mark.wire
WAYS = pytest.mark.parametrize("straight", [True, False])


def asks(stream: bool = False, head: str = "", version: str = "1.1") -> bytes:
    body = orjson.dumps({"model": "chat", "messages": [{"role": "user", "content": "go"}], "stream": stream})
    lines = f"POST /v1/chat/completions HTTP/{version}\r\nHost: x\r\nContent-Type: application/json\r\n{head}"
    return f"{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def connected(gateway: Gateway) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.served.port)
    try:
        async with asyncio.timeout(5.0):
            yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head, and the body in whichever of the two framings."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"content-length: " in head:
        return head, await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
    assert b"transfer-encoding: chunked\r\n" in head
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    assert await reader.readexactly(2) == b"\r\n"
    return head, body


@WAYS
@pytest.mark.parametrize("stream", [True, False])
async def test_a_connection_serves_one_request_after_the_other(stream: bool, straight: bool) -> None:
    async with stage(chat=Chats(TextDelta("hi"), Finished()), straight=straight) as gateway:
        async with connected(gateway) as (reader, writer):
            for _ in range(3):
                writer.write(asks(stream))
                head, body = await answer(reader)
                assert head.startswith(b"http/1.1 200 ok\r\n")
                assert b'"content":"hi"' in body
                assert body.endswith(b"data: [DONE]\n\n") is stream


@WAYS
async def test_requests_that_come_at_once_are_answered_in_order(straight: bool) -> None:
    async with stage(chat=Chats(TextDelta("hi"), 0.01, Finished()), straight=straight) as gateway:
        async with connected(gateway) as (reader, writer):
            writer.write(asks(True, "X-Request-Id: a\r\n") + asks(False, "X-Request-Id: b\r\n") + asks(True))
            heads = [(await answer(reader))[0] for _ in range(3)]
    assert b"x-request-id: a\r\n" in heads[0]
    assert b"x-request-id: b\r\n" in heads[1]
    assert b"x-request-id: req_" in heads[2]


@WAYS
async def test_a_body_that_comes_in_pieces_and_late(straight: bool) -> None:
    async with stage(chat=Chats(TextDelta("hi"), Finished()), straight=straight) as gateway:
        async with connected(gateway) as (reader, writer):
            asked = asks(head="Expect: 100-continue\r\n")
            at = asked.index(b"\r\n\r\n") + 4
            writer.write(asked[:at])
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            for byte in asked[at:]:
                writer.write(bytes([byte]))
                await writer.drain()
            assert b'"content":"hi"' in (await answer(reader))[1]


@WAYS
async def test_who_asks_for_it_finds_the_connection_closed(straight: bool) -> None:
    async with stage(chat=Chats(TextDelta("hi"), Finished()), straight=straight) as gateway:
        async with connected(gateway) as (reader, writer):
            writer.write(asks(True, "Connection: close\r\n"))
            assert b"connection: close\r\n" in (await answer(reader))[0]
            assert await reader.read() == b""


async def test_a_client_of_http_1_0_is_served_too() -> None:
    async with stage(chat=Chats(TextDelta("hi"), Finished())) as gateway:
        async with connected(gateway) as (reader, writer):
            writer.write(asks(version="1.0"))
            assert b'"content":"hi"' in await reader.read()


@WAYS
async def test_a_refused_body_is_answered_and_the_connection_closed(straight: bool) -> None:
    async with stage(chat=Chats(TextDelta("hi"), Finished()), straight=straight) as gateway:
        async with connected(gateway) as (reader, writer):
            writer.write(asks().replace(b"application/json", b"text/plain"))
            head, body = await answer(reader)
            assert head.startswith(b"http/1.1 415 ")
            assert b"connection: close\r\n" in head
            assert b"application/json" in body
            assert await reader.read() == b""


@WAYS
async def test_a_failure_leaves_the_connection_usable(straight: bool) -> None:
    chats = Chats(TextDelta("hi"), 0.01, Unavailable("gone"))
    async with stage(chat=chats, straight=straight) as gateway:
        async with connected(gateway) as (reader, writer):
            writer.write(asks(True))
            _, body = await answer(reader)
            assert b'"error"' in body
            assert not body.endswith(b"data: [DONE]\n\n")
            writer.write(asks(False))
            assert (await answer(reader))[0].startswith(b"http/1.1 502 ")


@WAYS
async def test_a_target_that_names_header_lines_writes_none(straight: bool) -> None:
    async with stage(chat=Chats(TextDelta("hi"), Finished()), straight=straight) as gateway:
        async with connected(gateway) as (reader, writer):
            writer.write(asks(head="X-Request-Id: a\x01b\r\n".replace("\x01", "%0d%0ax: y")))
            head, _ = await answer(reader)
            assert b"x-request-id: req_" in head


@WAYS
@pytest.mark.parametrize("pause", [None, 0.0], ids=["any-cut", "event-by-event"])
async def test_a_slow_reader_slows_the_upstream_down_and_loses_nothing(straight: bool, pause: float | None) -> None:
    """What is held for it are the kernel's buffers and a little: memory does not grow with the answer."""
    words, sent = 4_000, 0
    long = event(chunk({"content": "x" * 8_000}))

    async def floods(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.head(200, {"content-type": "text/event-stream"})
        for _ in range(words):
            await exchange.send(long)
            sent += 1
            if pause is not None:
                await asyncio.sleep(pause)
        await exchange.send(event(chunk({}, "stop")) + DONE)
        await exchange.end()

    async with Upstream(floods) as upstream:
        provider = OpenAICompatible(Settings("up", upstream.url))
        async with stage(chat=provider, straight=straight) as gateway, connected(gateway) as (reader, writer):
            writer.write(asks(True))
            await reader.readuntil(b"xxxx")
            before = -1
            while sent != before:  # until it stands still
                before = sent
                await asyncio.sleep(0.1)
            assert sent < words * 0.6  # 32 MB in all
            got = b""
            while not got.endswith(b"0\r\n\r\n"):
                got = got[-16:] + await reader.read(1 << 20)
            assert b"[DONE]" in got
            assert sent == words


@WAYS
@pytest.mark.parametrize("seed", range(8))
async def test_what_an_upstream_says_keeps_its_order_however_it_is_cut(straight: bool, seed: int) -> None:
    """Plain text takes a shorter way through the gateway than everything else."""
    rng = random.Random(seed)
    odd = [
        {"content": 'say "é\n"'},
        {"content": ""},
        {"content": "w", "reasoning_content": "hm"},
        {"role": "assistant"},
    ]
    said = [event(role()), *(event(word(n) if rng.random() < 0.8 else chunk(rng.choice(odd))) for n in range(1, 200))]
    said += [event(chunk({}, "stop")), DONE]

    async def speaks(exchange: Exchange) -> None:
        await exchange.head(200, {"content-type": "text/event-stream"})
        left = b"".join(said)
        while left:
            size = rng.choice([len(said[5]), 40, 1000, 4000])
            await exchange.send(left[:size])
            left = left[size:]
            await asyncio.sleep(rng.choice([0.0, 0.0, 0.001]))
        await exchange.end()

    async with Upstream(speaks) as upstream:
        provider = OpenAICompatible(Settings("up", upstream.url))
        async with stage(chat=provider, straight=straight) as gateway, connected(gateway) as (reader, writer):
            writer.write(asks(True))
            _, body = await answer(reader)
            assert body == b"".join(said)
