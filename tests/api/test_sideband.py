"""`WS /v1/realtime?call_id=...`: a control socket of a call under way, by the official client."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.api.call_gateway import call_gateway
from tests.api.realtime_caller import RealtimeCaller, realtime
from tests.api.test_realtime import QUIET, VOICE
from tests.caller import Caller

pytestmark = pytest.mark.wire


async def closed(caller: RealtimeCaller) -> int | None:
    """The code it is closed with, whatever comes before that."""
    try:
        while True:
            await caller.next()
    except ConnectionClosed as over:
        return over.rcvd.code if over.rcvd is not None else None


async def test_it_sees_and_says_what_the_client_of_a_webrtc_call_may() -> None:
    async with call_gateway(["hello"], ["Hi there."]) as gateway, Caller(gateway.url) as caller:
        async with realtime(gateway.url, call_id=caller.location.rpartition("/")[2]) as beside:
            await beside.send(type="session.update", session={"type": "realtime", "instructions": "Be kind."})
            assert (await beside.next())["type"] == "session.updated"
            said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello!"}]}
            await beside.send(type="conversation.item.create", item=said)
            await beside.send(type="response.create")
            done = await beside.until("response.done")
            assert done["response"]["output"][0]["content"][0]["transcript"] == "Hi there."
            await beside.until("output_audio_buffer.stopped")
            assert "response.output_audio.delta" not in beside.types
            await beside.send(type="input_audio_buffer.append", audio="AAAA")
            assert (await beside.until("error"))["error"]["param"] == "type"
        assert (await caller.until("response.done")).body["response"]["id"] == done["response"]["id"]


async def test_of_a_websockets_call_it_hears_no_sound_and_ends_with_it() -> None:
    async with call_gateway(["hello"], ["Hi there."]) as gateway:
        async with realtime(gateway.url, model="agent") as caller:
            await caller.next()
            call_id = caller.call_id
            async with realtime(gateway.url, call_id=call_id) as beside:
                await caller.append(VOICE, pause=0.02)
                await caller.append(QUIET, pause=0.02)
                await beside.until("response.done")
                assert "response.output_audio_transcript.delta" in beside.types
                assert "response.output_audio.delta" not in beside.types
                async with httpx.AsyncClient(base_url=gateway.url) as http:
                    assert (await http.delete(f"/v1/calls/{call_id}")).status_code == 200
                assert await closed(beside) == 1000
            assert await closed(caller) == 1000


async def test_leaving_it_the_call_goes_on() -> None:
    async with call_gateway(["hello"], ["Hi there."]) as gateway:
        async with realtime(gateway.url, model="agent") as caller:
            await caller.next()
            async with realtime(gateway.url, call_id=caller.call_id):
                pass
            await asyncio.sleep(0)
            await caller.append(VOICE, pause=0.02)
            await caller.append(QUIET, pause=0.02)
            await caller.until("response.done")


@pytest.mark.parametrize("call_id", ["rtc_none", ""])
async def test_of_no_call_it_is_told_so(call_id: str) -> None:
    async with call_gateway() as gateway, realtime(gateway.url, call_id=call_id) as beside:
        assert (await beside.until("error"))["error"]["param"] == "call_id"
        assert await closed(beside) == 4000


async def test_the_calls_client_is_not_disturbed_by_one_who_says_nonsense() -> None:
    async with call_gateway(["hello"], ["Hi there."]) as gateway, realtime(gateway.url, model="agent") as caller:
        await caller.next()
        async with realtime(gateway.url, call_id=caller.call_id) as beside:
            await beside.connection.send_raw("{")
            assert (await beside.until("error"))["error"]["code"] == "invalid_json"
        await caller.append(VOICE, pause=0.02)
        await caller.append(QUIET, pause=0.02)
        await caller.until("response.done")


async def test_one_who_never_reads_is_closed_and_the_call_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.api.sideband.BEHIND", 1 << 16)
    async with call_gateway(["hello"], ["Hi there."]) as gateway, realtime(gateway.url, model="agent") as caller:
        await caller.next()
        reader, writer = await upgraded(gateway.url, caller.call_id)
        text = "word " * 20_000
        for number in range(60):  # more than any buffer of the kernel's holds
            content = [{"type": "input_text", "text": text}]
            item = {"id": f"item_{number}", "type": "message", "role": "user", "content": content}
            await caller.send(type="conversation.item.create", item=item)
            await caller.until("conversation.item.done")
        async with asyncio.timeout(10.0):
            assert (await reader.read(-1))[-40:].find(b"too_slow") >= 0
        writer.close()
        await caller.append(VOICE, pause=0.02)
        await caller.append(QUIET, pause=0.02)
        await caller.until("response.done")


async def upgraded(url: str, call_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A control socket, open, of which nothing is read."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 10)
    head = (
        f"GET /v1/realtime?call_id={call_id} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    )
    writer.write(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n".encode())
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer
