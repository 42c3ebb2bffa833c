"""What a caller of `/v1/realtime` can get wrong, or try: the error that OpenAI sends or a close code, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from gateway.transports import websocket
from tests.api.call_gateway import CallGateway, call_gateway
from tests.api.realtime_caller import encoded
from tests.calls.scene import validated
from tests.sounds import tone

pytestmark = pytest.mark.wire


@asynccontextmanager
async def dialled(gateway: CallGateway, query: str = "model=agent", **more: Any) -> AsyncIterator[ClientConnection]:
    url = gateway.url.replace("http", "ws") + f"/v1/realtime?{query}"
    more = {"max_size": 16 << 20, "compression": None, "proxy": None, **more}
    async with connect(url, **more) as socket, asyncio.timeout(15.0):
        yield socket


async def event(socket: ClientConnection) -> dict[str, Any]:
    return validated(str(await socket.recv()))


async def error(socket: ClientConnection) -> dict[str, Any]:
    while (told := await event(socket))["type"] != "error":
        pass
    return dict(told["error"])


async def closed(socket: ClientConnection) -> tuple[int, str]:
    with suppress(ConnectionClosed):
        async for _ in socket:
            pass
    assert socket.close_code is not None
    return socket.close_code, socket.close_reason or ""


@pytest.mark.parametrize(
    ("sent", "code", "param"),
    [
        (b"\x00\x01", "invalid_event", None),
        ("{", "invalid_json", None),
        ("[]", "invalid_json", None),
        ({"type": "input_audio_buffer.fly"}, "invalid_value", "type"),
        ({"type": "session.update", "session": {"type": "realtime", "speed": 3}}, "unknown_parameter", "session.speed"),
        ({"type": "session.update", "session": {"type": "transcription"}}, "invalid_value", "session.type"),
        ({"type": "input_audio_buffer.append", "audio": "no base64!"}, "invalid_value", "audio"),
        ({"type": "input_audio_buffer.append", "audio": 7}, "invalid_type", "audio"),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
        ({"type": "response.cancel"}, "response_cancel_not_active", None),
    ],
)
async def test_a_wrong_event_is_told_and_the_session_goes_on(sent: Any, code: str, param: str | None) -> None:
    async with call_gateway() as gateway, dialled(gateway) as socket:
        marked = isinstance(sent, dict)
        await socket.send(json.dumps({**sent, "event_id": "mine"}) if marked else sent)
        told = await error(socket)
        assert (told["code"], told["param"]) == (code, param)
        assert told["event_id"] == ("mine" if marked else None)
        assert "no base64!" not in json.dumps(told)
        await socket.send(json.dumps({"type": "input_audio_buffer.clear"}))
        assert (await event(socket))["type"] == "input_audio_buffer.cleared"


@pytest.mark.parametrize(
    ("query", "code", "close"),
    [
        ("", "missing_model", 4000),
        ("model=nobody", "invalid_model", 4000),
        ("model=chat", "invalid_model", 4000),
        ("model=drowsy", "no_target_awake", 1013),
        ("intent=transcription&model=chat", "invalid_model", 4000),
    ],
)
async def test_what_cannot_be_had_is_told_after_the_handshake(query: str, code: str, close: int) -> None:
    async with call_gateway() as gateway, dialled(gateway, query) as socket:
        assert (await error(socket))["code"] == code
        told, reason = await closed(socket)
        assert (told, reason.rpartition(".")[2]) == (close, code)
        assert len(gateway.registry) == 0


async def test_a_call_too_many_is_told_to_come_again() -> None:
    async with call_gateway(most=1) as gateway, dialled(gateway) as first:
        await event(first)
        async with dialled(gateway) as second:
            assert (await closed(second))[0] == 1013


async def test_the_key_among_the_subprotocols_is_not_echoed() -> None:
    offered = [Subprotocol("realtime"), Subprotocol("openai-insecure-api-key.sk-canary")]
    async with call_gateway() as gateway, dialled(gateway, subprotocols=offered) as socket:
        assert socket.subprotocol == "realtime"
        assert socket.response is not None
        assert "canary" not in str(list(socket.response.headers.raw_items()))
        assert (await event(socket))["type"] == "session.created"


@pytest.mark.parametrize(
    ("origin", "passes"),
    [("https://evil.example", False), ("null", False), ("http://localhost:5173", True), ("own", True)],
)
async def test_where_no_key_is_asked_for_pages_of_other_sites_are_refused(origin: str, passes: bool) -> None:
    async with call_gateway() as gateway:
        given = Origin(gateway.url if origin == "own" else origin)
        if passes:
            async with dialled(gateway, origin=given) as socket:
                assert (await event(socket))["type"] == "session.created"
            return
        with pytest.raises(InvalidStatus) as refused:
            async with dialled(gateway, origin=given):
                pass
        assert refused.value.response.status_code == 403


async def test_a_message_that_is_too_large_ends_its_connection_alone() -> None:
    async with call_gateway() as gateway, dialled(gateway) as other, dialled(gateway) as socket:
        before = psutil.Process().memory_info().rss
        large = "x" * (100 << 20)
        with suppress(ConnectionClosed):
            await socket.send(large)
        await socket.wait_closed()
        del large
        assert socket.close_code == 1009
        assert psutil.Process().memory_info().rss - before < 300 << 20
        await event(other)
        await until(lambda: len(gateway.registry) == 1)


async def test_many_tiny_messages_cost_no_memory_and_the_last_is_answered() -> None:
    async with call_gateway() as gateway, dialled(gateway) as socket:
        reading = asyncio.create_task(_count_errors(socket, 3000))
        for _ in range(3000):
            await socket.send("{}")
        await reading


async def test_a_client_that_never_reads_is_let_go_while_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "BEHIND", 1 << 18)
    async with call_gateway() as gateway:
        deaf = await deaf_client(gateway)
        async with dialled(gateway) as other:
            await event(other)
            worst = 0.0
            while len(gateway.registry) > 1:
                asked = time.perf_counter()
                await other.send(json.dumps({"type": "input_audio_buffer.clear"}))
                await event(other)
                worst = max(worst, time.perf_counter() - asked)
                await asyncio.sleep(0.01)
            assert worst < 0.5
            await event_after(other)
        deaf.close()


async def test_audio_faster_than_real_time_waits_in_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    async with call_gateway(["hello"]) as gateway, dialled(gateway) as socket:
        await event(socket)
        quiet = json.dumps({"type": "input_audio_buffer.append", "audio": encoded(bytes(24_000 * 2))})
        (call, _) = next(iter(gateway.registry._calls.values()))

        async def flood() -> None:
            while True:
                await socket.send(quiet)

        flooding = asyncio.create_task(flood())
        await asyncio.sleep(1.5)
        assert 30.0 <= call.line.mic.end * 0.02 < 34.0
        assert call.line.mic.lost == 0.0
        flooding.cancel()
        await asyncio.wait([flooding])
        socket.transport.abort()


async def test_a_client_that_vanishes_leaves_nothing_open() -> None:
    async with call_gateway(["hello"], ["An answer that goes on for quite a while, if nobody stops it."]) as gateway:
        async with dialled(gateway) as socket:
            await event(socket)
            voice = np.concatenate([tone(300, 0.6, 24_000), np.zeros(24_000, np.int16)]).astype(np.int16)
            await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": encoded(voice.tobytes())}))
            while (await event(socket))["type"] != "response.output_audio.delta":
                pass
            socket.transport.abort()
        await until(lambda: gateway.streams == 0 and len(gateway.registry) == 0)


async def _count_errors(socket: ClientConnection, count: int) -> None:
    for _ in range(count):
        assert (await error(socket))["code"] == "missing_required_parameter"


async def deaf_client(gateway: CallGateway) -> Any:
    """Asks for more and more and reads nothing, on a small receive buffer."""
    port = int(gateway.url.rpartition(":")[2])
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, ("127.0.0.1", port))
    head = "GET /v1/realtime?model=agent HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    await loop.sock_sendall(raw, head.encode())
    update = json.dumps({"type": "session.update", "session": {"type": "realtime", "instructions": "x" * 60_000}})
    payload = update.encode()
    frame = bytes([0x81, 0x80 | 126]) + len(payload).to_bytes(2, "big") + bytes(4) + payload  # masked with zeros
    for _ in range(120):
        await loop.sock_sendall(raw, frame)
    return raw


async def event_after(socket: ClientConnection) -> None:
    await socket.send(json.dumps({"type": "input_audio_buffer.clear"}))
    assert (await event(socket))["type"] == "input_audio_buffer.cleared"


async def until(holds: Any) -> None:
    async with asyncio.timeout(5.0):
        while not holds():  # noqa: ASYNC110  what is asked has no event
            await asyncio.sleep(0.01)
