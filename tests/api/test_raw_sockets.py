"""What a client can do to the connection itself: requests whose end is told twice, heads and bodies that never end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from gateway.api import exchange, front
from gateway.contract.events import Finished, TextDelta
from tests.api.stage import Chats, Gateway, stage

pytestmark = pytest.mark.wire
WAYS = pytest.mark.parametrize("straight", [True, False], ids=["straight", "asgi"])
BODY = orjson.dumps({"model": "chat", "messages": [{"role": "user", "content": "go"}]})
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNK = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)

UNCLEAR: dict[str, bytes] = {
    "two lengths": HEAD + LENGTH + LENGTH + b"\r\n" + BODY,
    "two lengths that differ": HEAD + LENGTH + b"Content-Length: 3\r\n\r\n" + BODY,
    "a list of lengths": HEAD + LENGTH.replace(b"\r\n", b", %d\r\n" % len(BODY)) + b"\r\n" + BODY,
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n" + BODY,
    "a signed length": HEAD + b"Content-Length: +9\r\n\r\n" + BODY,
    "a length and chunks": HEAD + LENGTH + CHUNKED + b"\r\n" + CHUNK,
    "chunks and a length": HEAD + CHUNKED + LENGTH + b"\r\n" + CHUNK,
    "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNK,
    "a folded line": HEAD + b"X-A: b\r\n c: d\r\n" + LENGTH + b"\r\n" + BODY,
    "a space before the colon": HEAD + LENGTH.replace(b":", b" :") + b"\r\n" + BODY,
    "a zero byte": HEAD + b"X-A: a\0b\r\n" + LENGTH + b"\r\n" + BODY,
    "lines without a return": (HEAD + LENGTH).replace(b"\r\n", b"\n") + b"\n" + BODY,
    "a chunk without a size": HEAD + CHUNKED + b"\r\nzz\r\n" + BODY,
    "an extension with a bare newline": HEAD + CHUNKED + b"\r\n" + CHUNK.replace(b"\r\n", b";a\nb\r\n", 1),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@asynccontextmanager
async def connected(gateway: Gateway) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.served.port)
    try:
        async with asyncio.timeout(5.0):
            yield reader, writer
    finally:
        writer.close()


async def healthy(gateway: Gateway) -> bool:
    return (await gateway.http.get("/healthz")).status_code == 200


@WAYS
async def test_a_request_whose_end_is_unclear_is_refused_and_its_connection_closed(straight: bool) -> None:
    async with stage(chat=Chats(TextDelta("hi"), Finished()), straight=straight) as gateway:
        for name, request in UNCLEAR.items():
            async with connected(gateway) as (reader, writer):
                writer.write(request + b"GET /healthz HTTP/1.1\r\nHost: smuggled\r\n\r\n")
                answer = await reader.read()  # up to the close
            assert answer.startswith(b"HTTP/1.1 400 "), name
            assert answer.count(b"HTTP/1.1 ") == 1, name
        assert not gateway.samples
        assert await healthy(gateway)


@pytest.mark.parametrize("sent", [b"", b"POST /v1/cha", HEAD, HEAD + b"X-A: "], ids=["nothing", "path", "head", "line"])
async def test_a_head_that_does_not_end_is_given_up(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "HEAD_WITHIN", 0.3)
    async with stage(chat=Chats(TextDelta("hi"), Finished())) as gateway:
        async with connected(gateway) as (reader, writer):
            writer.write(sent)
            reading = asyncio.create_task(reader.read())
            assert await healthy(gateway)
            answer = await reading
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_second_head_that_drips_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "HEAD_WITHIN", 0.3)
    async with stage(chat=Chats(TextDelta("hi"), Finished())) as gateway:
        async with connected(gateway) as (reader, writer):
            writer.write(HEAD + LENGTH + b"\r\n" + BODY)
            await reader.readuntil(b"}}}")  # the usage ends the answer
            dripping = asyncio.create_task(drip(writer))
            rest = await reader.read()
            dripping.cancel()
    assert b"HTTP/1.1 408 " in rest


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    while not writer.is_closing():
        writer.write(b"X-A: b\r\n")
        await asyncio.sleep(0.05)


async def test_a_head_without_bounds_is_cut() -> None:
    async with stage(chat=Chats(TextDelta("hi"), Finished())) as gateway:
        async with connected(gateway) as (reader, writer):
            writer.write(HEAD)
            endless = asyncio.create_task(pour(writer))
            answer = await reader.read(64)
            await endless
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert await healthy(gateway)


async def pour(writer: asyncio.StreamWriter) -> int:
    sent = 0
    try:
        while sent < 64 << 20:
            writer.write(b"X-A: " + b"a" * 8187)
            sent += 8192
            await writer.drain()
    except ConnectionError:
        pass
    assert sent < 64 << 20
    return sent


@WAYS
async def test_a_body_that_drips_is_given_up(straight: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BODY_WITHIN", 0.3)
    monkeypatch.setattr(exchange, "LINGER", 0.1)
    async with stage(chat=Chats(TextDelta("hi"), Finished()), straight=straight) as gateway:
        async with connected(gateway) as (reader, writer):
            writer.write(HEAD + LENGTH + b"\r\n" + BODY[:5])
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert await healthy(gateway)
    assert answer.startswith(b"http/1.1 408 ")
    assert b"connection: close\r\n" in answer
