"""What callers are told of STUN and TURN servers: a real coturn takes it, and nothing that was altered."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from aioice import stun, turn

from gateway.config import BadConfig, parse
from gateway.loader import load
from tests.access.stage import ROUTES, bearer, guarded
from tests.access.test_client_secrets import made
from tests.coturn import coturn

SECRET = "shared-with-coturn-0123456789"
PATH = "/v1/realtime/ice_servers"


def relays(*urls: str, ttl: str = "1h") -> str:
    return (
        f"{ROUTES}\nmedia: {{relays: {{urls: [{', '.join(repr(url) for url in urls)}], secret: $TURN, ttl: {ttl}}}}}\n"
    )


async def allocate(port: int, username: str, credential: str) -> None:
    """Raises where the relay will not have them. The socket is ours: aioice's own is closed some time after."""
    loop, server = asyncio.get_running_loop(), ("127.0.0.1", port)
    transport, client = await loop.create_datagram_endpoint(
        lambda: turn.TurnClientUdpProtocol(server, username, credential, 600, 500), remote_addr=server
    )
    try:
        async with asyncio.timeout(10.0):
            assert (await client.connect())[0] == "127.0.0.1"
            await client.delete()
    finally:
        transport.close()


@pytest.mark.wire
@pytest.mark.needs("turnserver")
async def test_a_real_turn_server_takes_the_credentials_and_none_that_were_altered(tmp_path: Path) -> None:
    async with coturn(SECRET) as port:
        routes = relays(f"turn:127.0.0.1:{port}", f"stun:127.0.0.1:{port}")
        async with guarded(tmp_path, written=routes, env={"TURN": SECRET}) as gateway:
            told = await gateway.http.get(PATH, headers=bearer(gateway.key))
            assert told.headers["cache-control"] == "no-store"
            plain, relay = told.json()["ice_servers"]
            assert (plain, relay["urls"]) == ({"urls": [f"stun:127.0.0.1:{port}"]}, [f"turn:127.0.0.1:{port}"])
            assert SECRET not in told.text
            await allocate(port, relay["username"], relay["credential"])
            until, _, name = relay["username"].partition(":")
            for altered in (f"{int(until) + 60}:{name}", f"{until}:other"):
                with pytest.raises(stun.TransactionFailed, match="401"):
                    await allocate(port, altered, relay["credential"])
            gateway.clock.unix = time.time() - 3601.0
            [_, old] = (await gateway.http.get(PATH, headers=bearer(gateway.key))).json()["ice_servers"]
            with pytest.raises(stun.TransactionFailed, match="401"):
                await allocate(port, old["username"], old["credential"])


@pytest.mark.wire
async def test_each_caller_is_given_their_own_beside_a_client_secret_and_for_one(tmp_path: Path) -> None:
    routes = relays("turn:turn.example.org:3478", "turns:turn.example.org:443?transport=tcp", ttl="10m")
    async with guarded(tmp_path, written=routes, env={"TURN": SECRET}) as gateway:
        secret: dict[str, Any] = await made(gateway)
        [beside] = secret["ice_servers"]
        told = (await gateway.http.get(PATH, headers=bearer(secret["value"]))).json()
        assert beside["urls"] == ["turn:turn.example.org:3478", "turns:turn.example.org:443?transport=tcp"]
        assert int(beside["username"].partition(":")[0]) == int(gateway.clock.unix) + 600
        assert told["ice_servers"][0]["username"] != beside["username"]
        assert (await gateway.http.get(PATH)).status_code == 401


@pytest.mark.wire
async def test_without_relays_there_are_none(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        assert (await gateway.http.get(PATH, headers=bearer(gateway.key))).json() == {"ice_servers": []}
        assert "ice_servers" not in await made(gateway)


def test_without_the_secret_callers_are_told_of_no_turn_server(caplog: pytest.LogCaptureFixture) -> None:
    loaded = load(parse(relays("turn:turn.example.org", "stun:stun.example.org")), {})
    assert loaded.relays.servers(0.0) == [{"urls": ["stun:stun.example.org"]}]
    assert "TURN is not set" in caplog.text


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('{urls: ["http://turn.example.org"], secret: s}', "media.relays.urls"),
        ('{urls: ["turn:turn.example.org"]}', "needs the secret"),
        ("{urls: [], secret: s}", "media.relays.urls"),
        ('{urls: ["turn:turn.example.org"], secret: s, ttl: 2h}', "media.relays.ttl"),
    ],
)
def test_a_row_that_cannot_work_is_refused(row: str, why: str) -> None:
    with pytest.raises(BadConfig, match=why):
        load(parse(f"{ROUTES}\nmedia: {{relays: {row}}}\n"), {})
