"""Replicas on one real Redis: what one knows, the other hears."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.asyncio import Redis

from gateway.contract.errors import ConfigError
from gateway.state.opening import open_store
from gateway.state.redis_store import RedisStore
from gateway.state.store import Held
from tests.needs import ROOT
from tests.redis_server import RedisServer, detour, free_port, redis_server
from tests.state.sharing import BRISK, Noted, sharing, until

pytestmark = [pytest.mark.wire, pytest.mark.needs("redis-server")]

PATIENT = replace(BRISK, find=1.0)
"""Of a machine that is busy with other tests."""
NO_URLS = (
    "http://a\r\nset-cookie: b",
    "http://a b",
    "http://\u00fc",
    "http://me:pw@a",
    "file:///etc",
    "http://a/b",
    "h" * 1000,
)
ONE = "00000000000000aa"
A, B = "chat\x1ffake/a", "chat\x1ffake/b"


def both_shared(*replicas: Noted) -> bool:
    return all(each.store.state == "shared" for each in replicas)


async def test_two_replicas_exchange_their_sums_and_never_their_own() -> None:
    async with redis_server() as redis:
        async with sharing(redis.url, {A: [1.0, 0.25]}) as one, sharing(redis.url, {B: [3.0, 4.0]}) as two:
            await until(lambda: both_shared(one, two))
            assert await until(lambda: one.merged and two.merged) < 1.5
            assert list(two.merged.values()) == [{A: [1.0, 0.25]}]
            assert list(one.merged.values()) == [{B: [3.0, 4.0]}]
            one.sums[A] = [2.0, 0.5]
            assert await until(lambda: list(two.merged.values()) == [{A: [2.0, 0.5]}]) < 2.5
            assert max(two.ages) < 1.5
        assert await redis.keys() == []


async def test_an_ejection_is_heard_at_once() -> None:
    async with redis_server() as redis, sharing(redis.url) as one, sharing(redis.url) as two:
        await until(lambda: both_shared(one, two))
        said = one.ejection("fake/a", 5.0)
        one.store.ejected(said)
        assert await until(lambda: two.ejected) < 0.5
        heard = two.ejected[0]
        assert (heard.route, heard.target, heard.reason) == ("chat", "fake/a", "3 failures")
        assert heard.until == pytest.approx(said.until, abs=0.1)
        await asyncio.sleep(2.2)  # two more statements repeat it
        assert (len(two.ejected), one.ejected) == (1, [])


async def test_one_who_comes_later_hears_of_it_too() -> None:
    async with redis_server() as redis, sharing(redis.url) as one:
        await until(lambda: both_shared(one))
        one.store.ejected(one.ejection("fake/a", 20.0))
        await asyncio.sleep(1.3)
        async with sharing(redis.url) as two:
            await until(lambda: both_shared(two))
            assert two.ejected  # before it counts as joined


async def test_a_replica_that_died_is_forgotten() -> None:
    async with redis_server() as redis, sharing(redis.url, {A: [1.0, 1.0]}, BRISK) as one:
        noted = Noted(RedisStore(redis.url, BRISK), {B: [1.0, 1.0]})
        died = asyncio.create_task(noted.store.run(noted.replica()))
        await until(lambda: one.merged)
        died.cancel()
        await asyncio.wait([died])
        assert await until(lambda: not one.merged) < 1.5 * BRISK.forget
        assert len(one.forgotten) == 1


async def test_a_call_is_found_by_the_others_until_it_ends() -> None:
    async with redis_server() as redis, sharing(redis.url, pace=BRISK) as one, sharing(redis.url, pace=PATIENT) as two:
        one.store.register("rtc_1")  # before it joined
        await until(lambda: both_shared(one, two))
        one.store.register("rtc_2")
        await asyncio.sleep(2.0 * BRISK.call)  # renewed meanwhile
        assert await two.store.find("rtc_1") == Held(one.name)
        assert await two.store.find("rtc_2") == Held(one.name)
        one.store.unregister("rtc_1")
        await asyncio.sleep(0.1)
        assert await two.store.find("rtc_1") is None
        assert await redis.keys() != []


async def test_a_call_of_a_replica_that_was_killed_is_not_found_for_long() -> None:
    async with redis_server() as redis, sharing(redis.url, pace=PATIENT) as one:
        await until(lambda: both_shared(one))
        await redis.ask("SET", "trunkline:1:call:rtc_9", "00000000000000aa 1a2b3c4d http://10.0.0.9:8080", "PX", "300")
        assert await one.store.find("rtc_9") == Held("00000000000000aa", "1a2b3c4d", "http://10.0.0.9:8080")
        await asyncio.sleep(0.4)
        assert await one.store.find("rtc_9") is None


async def test_what_is_no_replica_is_not_believed_to_hold_a_call() -> None:
    async with redis_server() as redis, sharing(redis.url, pace=PATIENT) as one:
        await until(lambda: both_shared(one))
        for held in (
            "",
            "http://a",
            "a - http://a",
            ONE,
            f"{ONE} -",
            f"{ONE} - - -",
            f"{ONE}  -",
            *(f"{ONE} - {url}" for url in NO_URLS),
        ):
            await redis.ask("SET", "trunkline:1:call:rtc_9", held)
            assert await one.store.find("rtc_9") is None
        for call_id in ("", "rtc_\u00fc", "rtc_9\r\nDEL x", "x" * 100_000):
            one.store.register(call_id)
            assert await one.store.find(call_id) is None
        assert one.store.state == "shared"


async def test_a_call_that_ends_while_redis_is_told_of_it_is_not_left_there() -> None:
    async with redis_server() as redis, detour(redis.port, 0.15) as port:
        async with sharing(f"redis://127.0.0.1:{port}", pace=replace(BRISK, call=30.0)) as one:
            await until(lambda: both_shared(one))
            for n in range(5):
                one.store.register(f"rtc_{n}")
                await asyncio.sleep(0.05)
                one.store.unregister(f"rtc_{n}")
            one.store.register("rtc_last")
            await until(lambda: both_shared(one))
            await asyncio.sleep(3.0)
            assert [key for key in await redis.keys() if ":call:" in key] == ["trunkline:1:call:rtc_last"]
            one.store.unregister("rtc_last")
            await asyncio.sleep(0.5)
            one.store.register("rtc_brief")
            await asyncio.sleep(0.05)
            one.store.unregister("rtc_brief")  # and it stops at once
        assert await redis.keys() == []


async def test_leaving_takes_everything_back_and_closes_every_connection() -> None:
    async with redis_server() as redis:
        async with sharing(redis.url, {A: [1.0, 1.0]}) as one:
            await until(lambda: both_shared(one))
            one.store.register("rtc_1")
            await asyncio.gather(*(one.store.find("rtc_2") for _ in range(100)))
            assert len((await redis.ask("CLIENT", "LIST")).splitlines()) > 1
        assert await redis.keys() == []
        assert len((await redis.ask("CLIENT", "LIST")).splitlines()) == 1  # the one who asks


async def test_databases_of_one_redis_do_not_hear_each_other() -> None:
    async with redis_server() as redis, sharing(f"{redis.url}/1") as one, sharing(f"{redis.url}/2") as two:
        await until(lambda: both_shared(one, two))
        one.store.ejected(one.ejection("fake/a", 5.0))
        await asyncio.sleep(1.3)
        assert (two.ejected, two.merged) == ([], {})


async def test_tls_and_a_password(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    cert, key = certificate(tmp_path)
    port = free_port()
    keys = ("--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-auth-clients", "no")
    async with redis_server("--tls-port", str(port), *keys, "--requirepass", "pa:ss/w@rd"):
        url = f"rediss://default:pa%3Ass%2Fw%40rd@127.0.0.1:{port}/0?ssl_ca_certs={cert}"
        async with sharing(url, {A: [1.0, 1.0]}) as one, sharing(url) as two:
            await until(lambda: both_shared(one, two) and two.merged)
            one.store.ejected(one.ejection("fake/a", 5.0))
            assert await until(lambda: two.ejected) < 0.5
        async with sharing(url.partition("?")[0], pace=BRISK) as untrusting:
            await until(lambda: untrusting.store.state == "local")
    assert "pa:ss" not in caplog.text
    assert "pa%3Ass" not in caplog.text
    assert str(port) not in caplog.text


async def test_the_rights_that_the_documentation_names_suffice() -> None:
    said = (ROOT / "docs" / "operations.md").read_text()
    named = said.partition("and the commands ")[2].partition(".\n")[0]
    commands = [f"+{word}" for word in re.findall("`([a-z]+)`", named)]
    assert len(commands) > 10
    async with redis_server() as redis:
        await redis.ask("ACL", "SETUSER", "gw", "on", ">pw", "~trunkline:1:*", "&trunkline:1:*", "-@all", *commands)
        url = redis.url.replace("//", "//gw:pw@") + "/3"
        async with sharing(url, {A: [1.0, 1.0]}, PATIENT) as one, sharing(url, pace=PATIENT) as two:
            await until(lambda: both_shared(one, two) and two.merged)
            one.store.ejected(one.ejection("fake/a", 5.0))
            one.store.register("rtc_1")
            await until(lambda: two.ejected)
            assert await two.store.find("rtc_1") == Held(one.name)
            one.store.unregister("rtc_1")
            await asyncio.sleep(0.5)
            assert both_shared(one, two)
        assert [key async for key in _keys(redis, 3)] == []


async def _keys(redis: RedisServer, database: int) -> AsyncGenerator[bytes]:
    client = Redis(port=redis.port, db=database)
    async for key in client.scan_iter():
        yield key
    await client.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "secret",
        "http://secret@host",
        "redis://:secret@host:port",
        "redis://:secret@host/0?no_such_option=1",
        "rediss://:secret@host?ssl_cert_reqs=perhaps",
        "redis://:secret@host?socket_timeout=soon",
    ],
)
def test_a_url_that_cannot_be_used_stops_the_start_and_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as told:
        open_store(url)
    assert "REDIS_URL" in str(told.value)
    assert "secret" not in str(told.value)
    assert told.value.__suppress_context__


@pytest.mark.parametrize("url", [*NO_URLS, "10.0.0.1:8080", "http://", "http://[::1"])
def test_an_url_of_its_own_that_others_cannot_use_stops_the_start(url: str) -> None:
    with pytest.raises(ConfigError, match="TRUNKLINE_URL"):
        open_store(None, url)


@pytest.mark.parametrize("url", ["http://10.0.0.1:8080", "https://gw-1.example/", "http://[fd00::1]:80", "", None])
def test_an_url_of_its_own_is_one_of_a_host(url: str | None) -> None:
    open_store(None, url)


async def test_without_a_url_nothing_is_shared() -> None:
    for nothing in (None, ""):
        store = open_store(nothing)
        noted = Noted(store, {})
        await store.run(noted.replica())
        store.ejected(noted.ejection("fake/a", 5.0))
        store.register("rtc_1")
        assert (store.state, await store.find("rtc_1")) == ("alone", None)
        store.unregister("rtc_1")


def certificate(folder: Path) -> tuple[Path, Path]:
    """Of 127.0.0.1, signed by itself: the certificate and its key, PEM."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(
        name, name, secret.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(1)
    )
    signed = made.add_extension(host, critical=False).sign(secret, hashes.SHA256())
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    key.write_bytes(secret.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return cert, key
