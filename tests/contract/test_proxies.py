"""Proxies of the environment, on sockets; and the addresses that nothing connects to."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.contract import sockets
from gateway.contract.errors import Unavailable
from gateway.contract.http1 import Http1Client
from gateway.contract.proxies import Proxy, proxy_for
from tests.contract.test_http1 import ask, tls  # noqa: F401  a fixture
from tests.upstreams import Upstream

wire = pytest.mark.wire


class Proxying:
    """An HTTP proxy that connects to `to` whatever it is asked for. `heads`: of the requests it got."""

    def __init__(self, to: int, refuses: bytes = b"") -> None:
        self.heads: list[str] = []
        self.port = 0
        self._to, self._refuses = to, refuses

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode())
        if self._refuses:
            writer.write(self._refuses)
        else:
            up_reader, up = await asyncio.open_connection("127.0.0.1", self._to)
            if head.startswith(b"CONNECT "):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                up.write(head)
            await asyncio.gather(pump(reader, up), pump(up_reader, writer))
        writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@asynccontextmanager
async def proxying(to: int, refuses: bytes = b"") -> AsyncGenerator[Proxying]:
    proxy = Proxying(to, refuses)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()


def port_of(upstream: Upstream) -> int:
    return urlsplit(upstream.url).port or 0


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@wire
async def test_plain_http_goes_to_the_proxy_with_the_whole_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Upstream() as upstream, proxying(port_of(upstream)) as proxy, aclosing(Http1Client("acme")) as client:
        monkeypatch.setenv("http_proxy", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        for _ in range(2):
            assert (await ask(client, "http://acme.test:81/v1/x?y=1"))[0] == 200
    (head,) = proxy.heads  # the connection is kept
    assert head.startswith("POST http://acme.test:81/v1/x?y=1 HTTP/1.1\r\nhost: acme.test:81\r\n")
    assert "proxy-authorization: Basic bWU6cEBzcw==\r\n" in head


@wire
async def test_https_goes_through_a_tunnel(
    monkeypatch: pytest.MonkeyPatch,
    tls: tuple[ssl.SSLContext, ssl.SSLContext],  # noqa: F811
) -> None:
    server, trust = tls
    trust.check_hostname = False  # the certificate is the address's, not the name's
    async with Upstream(tls=server) as upstream, proxying(port_of(upstream)) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"me:secret@127.0.0.1:{proxy.port}")
        async with aclosing(Http1Client("acme", trust)) as client:
            for _ in range(2):
                assert (await ask(client, "https://acme.test/v1"))[0] == 200
        assert "proxy-authorization" not in upstream.received[0].headers
    trust.check_hostname = True
    (head,) = proxy.heads
    assert head.startswith("CONNECT acme.test:443 HTTP/1.1\r\nhost: acme.test:443\r\nproxy-authorization: Basic ")


@wire
@pytest.mark.parametrize(
    ("says", "told"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy refused: 407"),
        (b"SSH-2.0\r\n\r\n", "the proxy speaks no HTTP"),
        (b"HTTP/1.1 200", "the proxy did not answer"),
    ],
)
async def test_a_proxy_that_makes_no_connection(monkeypatch: pytest.MonkeyPatch, says: bytes, told: str) -> None:
    async with proxying(0, says) as proxy, aclosing(Http1Client("acme")) as client:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(Unavailable, match=told):
            await ask(client, "https://acme.test/v1")


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, ("http", "acme.test", 80), None),
        ({"HTTPS_PROXY": "http://p:1"}, ("http", "acme.test", 80), None),
        ({"HTTPS_PROXY": "http://p:1"}, ("https", "acme.test", 443), Proxy("p", 1)),
        ({"ALL_PROXY": "p"}, ("https", "acme.test", 443), Proxy("p", 80)),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "acme.test"}, ("https", "api.acme.test", 443), None),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "acme.test:8443"}, ("https", "acme.test", 8443), None),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "other.test"}, ("https", "acme.test", 443), Proxy("p", 80)),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "*"}, ("https", "acme.test", 443), None),
        ({"ALL_PROXY": "http://p"}, ("http", "127.0.0.1", 8000), None),
        ({"ALL_PROXY": "http://p"}, ("http", "localhost", 8000), None),
        ({"ALL_PROXY": "http://p"}, ("http", "::1", 8000), None),
    ],
)
def test_what_goes_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: tuple[str, str, int], proxy: Proxy | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(*url) == proxy


@pytest.mark.parametrize("address", ["socks5://p:1", "https://p:1", "http://:80", "http://p:port"])
async def test_a_proxy_of_another_kind_is_told(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("ALL_PROXY", address)
    async with aclosing(Http1Client("acme")) as client:
        with pytest.raises(Unavailable, match="the proxy that the environment names"):
            await ask(client, "https://acme.test/v1")


METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "fd00:ec2::254",
    "FD00:EC2:0::254",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
]


@wire
@pytest.mark.parametrize("host", [*METADATA, "2852039166", "0xa9fea9fe", "0251.0376.0251.0376"])
async def test_a_metadata_service_is_not_connected_to(host: str) -> None:
    shown = f"[{host}]" if ":" in host else host
    async with aclosing(Http1Client("acme")) as client:
        with pytest.raises(Unavailable, match="a cloud's metadata service"):
            await ask(client, f"http://{shown}/latest/meta-data")


@pytest.mark.parametrize("address", METADATA)
async def test_nor_is_it_by_any_name(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Looked at are the addresses connected to: a name that means another a moment later gains nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    async def getaddrinfo(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(family, socket.SOCK_STREAM, 6, "", (address, 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(sockets.Forbidden):
        await sockets.connect(asyncio.Protocol, "metadata.acme.test", 80, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "192.168.1.1", "::1", "fd00::1", "8.8.8.8", "acme.test"])
def test_a_server_in_the_own_network_is_ordinary(host: str) -> None:
    assert not sockets.is_metadata(host)


@wire
async def test_an_address_of_ipv6() -> None:
    if not socket.has_ipv6:
        return

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    heads: list[str] = []
    server = await asyncio.start_server(serve, "::1", 0)
    port = server.sockets[0].getsockname()[1]
    async with aclosing(Http1Client("acme")) as client:
        assert (await ask(client, f"http://[::1]:{port}/v1"))[0] == 204
    server.close()
    assert f"host: [::1]:{port}\r\n" in heads[0]
