"""Keys of `/v1/realtime`: in the header or, from browsers, among the subprotocols; what is no good is told after the handshake."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gateway.access.key import Limits
from tests.access.stage import Guarded, bearer, guarded
from tests.access.test_gate import until
from tests.calls.scene import validated

pytestmark = pytest.mark.wire


@asynccontextmanager
async def dialled(gateway: Guarded, query: str = "model=agent", **more: Any) -> AsyncIterator[ClientConnection]:
    url = gateway.url.replace("http", "ws") + f"/v1/realtime?{query}"
    async with connect(url, proxy=None, **more) as socket:
        yield socket


def browser(key: str) -> dict[str, Any]:
    return {"subprotocols": [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{key}")]}


async def first(socket: ClientConnection) -> dict[str, Any]:
    return validated(str(await socket.recv()))


@pytest.mark.parametrize("way", ["header", "subprotocol"])
async def test_a_good_key_opens_a_session(tmp_path: Path, way: str) -> None:
    async with guarded(tmp_path) as gateway:
        shown = browser(gateway.key) if way == "subprotocol" else {"additional_headers": bearer(gateway.key)}
        async with dialled(gateway, **shown) as socket:
            assert (await first(socket))["type"] == "session.created"
            assert gateway.access.open_of(gateway.key) == 1
            call = await gateway.http.get(
                f"/v1/calls/{socket.response.headers['x-call-id'] if socket.response else ''}",
                headers=bearer(gateway.key),
            )
            assert call.json()["route"] == "agent"


@pytest.mark.parametrize(
    ("key", "query", "code", "close", "reason"),
    [
        ("tl_00000000_" + "0" * 48, "model=agent", "invalid_api_key", 3000, "invalid_request_error.invalid_api_key"),
        ("", "model=agent", "invalid_api_key", 3000, "invalid_request_error.invalid_api_key"),
        ("good", "model=secret", "route_not_allowed", 4000, "invalid_request_error.route_not_allowed"),
        ("good", "model=agent&api_key=sk-1", None, 4000, "invalid_request_error.invalid_value"),
    ],
)
async def test_what_is_no_good_is_told_after_the_handshake(
    tmp_path: Path, key: str, query: str, code: str | None, close: int, reason: str
) -> None:
    async with guarded(tmp_path, routes=("agent",)) as gateway:
        shown = browser(gateway.key if key == "good" else key) if key else {}
        async with dialled(gateway, query, **shown) as socket:
            told = await first(socket)
            assert told["error"]["code"] == (code or "invalid_value")
            assert "0" * 48 not in json.dumps(told)
            await socket.wait_closed()
            assert (socket.close_code, socket.close_reason) == (close, reason)


async def test_calls_at_once_are_held_to_the_keys_number(tmp_path: Path) -> None:
    async with guarded(tmp_path, Limits(streams=1)) as gateway:
        async with dialled(gateway, **browser(gateway.key)) as socket:
            await first(socket)
            async with dialled(gateway, **browser(gateway.key)) as second:
                assert (await first(second))["error"]["code"] == "rate_limit_exceeded"
                await second.wait_closed()
                assert second.close_code == 1013
        await until(lambda: gateway.access.open_of(gateway.key) == 0)
        async with dialled(gateway, **browser(gateway.key)) as third:
            assert (await first(third))["type"] == "session.created"


async def test_no_key_is_logged_or_echoed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets").setLevel(logging.WARNING)  # the client's own log shows what it sends
    async with guarded(tmp_path) as gateway:
        for key in (gateway.key, "tl_00000000_" + "c" * 48):
            async with dialled(gateway, **browser(key)) as socket:
                assert socket.subprotocol == "realtime"
                assert key not in json.dumps(await first(socket))
        assert gateway.key not in caplog.text
        assert "c" * 48 not in caplog.text
