"""A client that leaves, in every phase: the upstream is closed within a second, and nothing else is tried."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from gateway.contract.audio import Audio
from gateway.contract.events import AudioDelta, Finished, TextDelta
from gateway.contract.provider import Settings
from providers.openai_compatible import Provider as OpenAICompatible
from tests.api.stage import Chats, Gateway, Hears, Plays, Speaks, stage
from tests.upstream_scripts import dies, ok
from tests.upstreams import Upstream

pytestmark = pytest.mark.wire


def chat(stream: bool) -> bytes:
    return orjson.dumps({"model": "chat", "messages": [{"role": "user", "content": "go"}], "stream": stream})


@asynccontextmanager
async def asking(
    gateway: Gateway, path: str, body: bytes, kind: str = "application/json"
) -> AsyncIterator[asyncio.StreamReader]:
    """A bare client, so that leaving is a closed socket and nothing more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.served.port)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    try:
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("straight", [True, False])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("script", ["silent", "headers-only", "role-only"])
async def test_before_the_first_word(script: str, stream: bool, straight: bool) -> None:
    async with Upstream(script) as upstream:
        provider = OpenAICompatible(Settings("up", upstream.url))
        async with stage(chat=(provider, Chats()), straight=straight) as gateway:
            async with asking(gateway, "/v1/chat/completions", chat(stream)):
                await upstream.until(lambda: upstream.busy == 1)
            left = asyncio.get_running_loop().time()
            await upstream.until_left()
            assert asyncio.get_running_loop().time() - left < 1.0
            await gone(gateway)
    assert [sample.outcome for sample in gateway.samples] == ["cancelled"]


@pytest.mark.parametrize("straight", [True, False])
async def test_between_words(straight: bool) -> None:
    async with Upstream(ok(words=1000, tick=0.05)) as upstream:
        provider = OpenAICompatible(Settings("up", upstream.url))
        async with stage(chat=provider, straight=straight) as gateway:
            async with asking(gateway, "/v1/chat/completions", chat(True)) as reader:
                await reader.readuntil(b"w1")
            await upstream.until_left()
            assert upstream.exchanges[0].outcome == "left"


async def test_while_another_target_is_tried() -> None:
    async with Upstream(dies(after=0), "silent") as upstream:
        providers = tuple(OpenAICompatible(Settings("up", upstream.url)) for _ in range(2))
        async with stage(chat=providers) as gateway:
            async with asking(gateway, "/v1/chat/completions", chat(True)):
                await upstream.until(lambda: len(upstream.received) == 2)
            await upstream.until_left()
            await gone(gateway)
    assert [sample.outcome for sample in gateway.samples][-1] == "cancelled"


@pytest.mark.parametrize("straight", [True, False])
async def test_while_its_body_is_under_way(straight: bool) -> None:
    chats = Chats(TextDelta("x"), Finished())
    async with stage(chat=chats, straight=straight) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.served.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()
        await gone(gateway)
    assert not chats.asked


async def test_while_speech_is_made() -> None:
    second = AudioDelta(Audio.silence(0.1, 24_000))
    await leaves("/v1/audio/speech", b'{"model":"it","input":"Hello.","voice":"anna"}', Speaks(second, 30.0))


async def test_before_speech_begins() -> None:
    await leaves("/v1/audio/speech", b'{"model":"it","input":"Hello.","voice":"anna"}', Speaks(30.0))


async def test_while_a_file_is_transcribed() -> None:
    boundary = "multipart/form-data; boundary=b"
    wav = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\4\0\0\0\1\0\2\0"
    body = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nit\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + wav + b"\r\n--b--\r\n"
    )
    await leaves("/v1/audio/transcriptions", body, Hears(30.0), boundary)


async def leaves(path: str, body: bytes, provider: Plays, kind: str = "application/json") -> None:
    async with stage(it=provider) as gateway:
        async with asking(gateway, path, body, kind):
            await asyncio.wait_for(provider.started.wait(), 5.0)
        await asyncio.wait_for(provider.closed.wait(), 1.0)
        await gone(gateway)


async def gone(gateway: Gateway) -> None:
    """Within a second the gateway knows that the client left, and serves nobody."""
    await asyncio.wait_for(gateway.metrics.left.wait(), 1.0)
    assert gateway.metrics.open == 0
