"""Redis in every bad way: nobody waits for it, the state is told once for each change, and sharing comes back by itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gateway.state.redis_store import Pace, RedisStore
from gateway.state.store import Held
from tests.redis_server import RedisServer, detour, free_port, redis_server
from tests.state.sharing import BRISK, Lag, Noted, sharing, until

pytestmark = [pytest.mark.wire, pytest.mark.needs("redis-server")]

A = "chat\x1ffake/a"
AT_ONCE = 0.25
"""Seconds. Waiting for Redis would take `patience`, each time; a busy machine takes its time now and then."""


@asynccontextmanager
async def unmoved(one: Noted) -> AsyncIterator[None]:
    """Within: what a request may do to the store is done at once, over and over, and the event loop is not held up."""
    asking = True

    async def ask() -> list[float]:
        times = []
        while asking:
            began = time.monotonic()
            one.store.ejected(one.ejection("fake/a", 1.0))
            one.store.register("rtc_1")
            await one.store.find("rtc_2")
            one.store.unregister("rtc_1")
            times.append(time.monotonic() - began)
            await asyncio.sleep(0.02)
        return times

    async with Lag() as lag:
        asker = asyncio.create_task(ask())
        try:
            yield
        finally:
            asking = False
            times = await asker
    for measured in (times, lag.times):
        assert sorted(measured)[-3:][0] < AT_ONCE


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("gateway.state")]


async def local(one: Noted, within: float = 10.0) -> None:
    await until(lambda: one.store.state == "local", within)


async def shared(one: Noted, within: float = 10.0) -> None:
    await until(lambda: one.store.state == "shared", within)


Break = Callable[[RedisServer], Awaitable[None]]


async def freeze(redis: RedisServer) -> None:
    redis.freeze()


async def thaw(redis: RedisServer) -> None:
    redis.thaw()


async def full(redis: RedisServer) -> None:
    await redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    await redis.ask("CONFIG", "SET", "maxmemory", "1")


async def roomy(redis: RedisServer) -> None:
    await redis.ask("CONFIG", "SET", "maxmemory", "0")


async def replicate(redis: RedisServer) -> None:
    await redis.ask("REPLICAOF", "127.0.0.1", "1")  # as after a failover: writes are refused


async def lead(redis: RedisServer) -> None:
    await redis.ask("REPLICAOF", "NO", "ONE")


async def pause(redis: RedisServer) -> None:
    await redis.ask("CLIENT", "PAUSE", "1500", "ALL")


async def nothing(redis: RedisServer) -> None:
    """It passes by itself."""


FAULTS = {
    "frozen": (freeze, thaw, "TimeoutError"),
    "killed": (RedisServer.kill, RedisServer.start, "ConnectionError"),
    "out of memory": (full, roomy, "OutOfMemoryError"),
    "a replica": (replicate, lead, "ReadOnlyError"),
    "paused": (pause, nothing, "TimeoutError"),
}


@pytest.mark.parametrize(("breaks", "mends", "error"), FAULTS.values(), ids=FAULTS)
async def test_nobody_waits_and_sharing_comes_back(
    breaks: Break, mends: Break, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with redis_server() as redis, sharing(redis.url, {A: [1.0, 1.0]}, BRISK) as one:
        await shared(one)
        async with sharing(redis.url, pace=BRISK) as other, unmoved(one):
            await until(lambda: other.merged)
            await breaks(redis)
            await local(one)
            await local(other)
            await mends(redis)
            await shared(one)
            await shared(other)
            one.sums[A] = [2.0, 2.0]
            await until(lambda: list(other.merged.values()) == [{A: [2.0, 2.0]}])
        told = lines(caplog)
    assert told == ["state is shared"] * 2 + [f"state is local: {error}"] * 2 + ["state is shared"] * 2


async def test_refused_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    async with sharing(f"redis://127.0.0.1:{port}", pace=BRISK) as one, unmoved(one):
        await local(one)
        await asyncio.sleep(1.0)  # it is told once
        async with redis_server(port=port):
            await shared(one)
    assert lines(caplog)[:2] == ["state is local: ConnectionError", "state is shared"]


async def test_slow_by_two_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with redis_server() as redis, detour(redis.port, 2.0) as port:
        async with sharing(f"redis://127.0.0.1:{port}", pace=Pace(backoff=0.5)) as one, unmoved(one):
            await local(one)
            await asyncio.sleep(3.0)
            assert one.store.state == "local"
    assert lines(caplog) == ["state is local: TimeoutError"]


async def test_slow_by_less_than_its_patience_is_shared_all_the_same() -> None:
    async with redis_server() as redis, detour(redis.port, 0.15) as port:
        async with (
            sharing(f"redis://127.0.0.1:{port}", {A: [1.0, 1.0]}) as one,
            sharing(redis.url) as two,
            unmoved(one),
        ):
            await shared(one)
            await shared(two)
            said = one.ejection("fake/b", 5.0)
            one.store.ejected(said)
            assert await until(lambda: [each for each in two.ejected if each.target == "fake/b"]) < 1.5
            heard = next(each for each in two.ejected if each.target == "fake/b")
            assert heard.until == pytest.approx(said.until, abs=0.3)


async def test_a_wrong_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with redis_server("--requirepass", "right") as redis:
        url = redis.url.replace("//", "//:wrong-secret@")
        async with sharing(url, pace=BRISK) as one, unmoved(one):
            await local(one)
            await redis.ask("CONFIG", "SET", "requirepass", "wrong-secret", password="right")
            await shared(one)
    assert lines(caplog) == ["state is local: AuthenticationError", "state is shared"]
    assert "wrong-secret" not in caplog.text


async def test_evicting(caplog: pytest.LogCaptureFixture) -> None:
    """What was evicted is said again with the next beat."""
    caplog.set_level(logging.INFO)
    async with redis_server() as redis, sharing(redis.url, {A: [1.0, 1.0]}, BRISK) as one, unmoved(one):
        async with sharing(redis.url, pace=BRISK) as two:
            await until(lambda: two.merged)
            for _ in range(20):
                await redis.ask("FLUSHALL")
                await asyncio.sleep(0.05)
            assert (one.store.state, two.store.state) == ("shared", "shared")
            one.sums[A] = [2.0, 2.0]
            await until(lambda: list(two.merged.values()) == [{A: [2.0, 2.0]}])
            assert not two.forgotten
    assert lines(caplog) == ["state is shared"] * 2


async def test_that_nothing_happens_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with redis_server() as redis, sharing(redis.url, pace=BRISK) as one:
        await shared(one)
        await asyncio.sleep(1.5 * BRISK.quiet)
    assert lines(caplog) == ["state is shared"]


async def test_finding_a_call_takes_no_time_even_before_the_loss_is_noticed() -> None:
    async with redis_server() as redis, sharing(redis.url) as one:
        await shared(one)
        redis.freeze()
        began = time.monotonic()
        assert set(await asyncio.gather(*(one.store.find(f"rtc_{n}") for n in range(50)))) == {None}
        assert time.monotonic() - began < 0.5
        assert one.store.state == "shared"


async def test_calls_are_found_again_as_soon_as_redis_is_back() -> None:
    pace = replace(BRISK, call=30.0, find=1.0)
    async with redis_server() as redis, sharing(redis.url, pace=pace) as one, sharing(redis.url, pace=pace) as two:
        await shared(one)
        one.store.register("rtc_1")
        await asyncio.sleep(0.5)  # a few beats: it is not due for long
        await redis.kill()
        await local(one)
        await local(two)
        await redis.start()
        await shared(one)
        await shared(two)
        assert await two.store.find("rtc_1") == Held(one.name)


async def test_news_that_stop_coming_are_noticed(caplog: pytest.LogCaptureFixture) -> None:
    """Commands are answered, but on the other connection nothing arrives: as when a NAT has forgotten it."""
    caplog.set_level(logging.INFO)
    lost = False
    async with redis_server() as redis, detour(redis.port, loses=lambda piece: lost and b"message" in piece) as port:
        async with sharing(f"redis://127.0.0.1:{port}", pace=BRISK) as one, unmoved(one):
            await shared(one)
            lost = True
            await local(one)
            lost = False
            await shared(one)
    assert lines(caplog)[:3] == ["state is shared", "state is local: TimeoutError", "state is shared"]


async def test_a_subscription_that_redis_closed_is_made_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with redis_server() as redis, sharing(redis.url, pace=BRISK) as one, sharing(redis.url, pace=BRISK) as two:
        await shared(one)
        await shared(two)
        await redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await local(two)
        await shared(two)
        await shared(one)
        one.store.ejected(one.ejection("fake/a", 5.0))
        assert await until(lambda: two.ejected) < 1.5
    assert len(lines(caplog)) == 6


async def test_garbage_where_others_speak_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    old = "00000000000000aa"
    async with redis_server() as redis, sharing(redis.url, {A: [1.0, 1.0]}, BRISK) as one:
        await shared(one)
        await redis.ask("ZADD", "trunkline:1:replicas", "9999999999", old, "9999999999", "../../etc/passwd")
        await redis.ask("ZADD", "trunkline:1:replicas", "1700000000", "00000000000000bb")  # it was killed
        await redis.ask("SET", f"trunkline:1:replica:{old}", "x" * 10_000_000)
        await redis.ask("PUBLISH", "trunkline:1:0:news", "garbage")
        async with sharing(redis.url, pace=BRISK) as two, unmoved(one):
            await until(lambda: two.merged)
            await until(lambda: one.ages)
            one.store.ejected(one.ejection("fake/b", 5.0))
            await until(lambda: [each for each in two.ejected if each.target == "fake/b"])
            assert b"00000000000000bb" not in await redis.ask("ZRANGE", "trunkline:1:replicas", "0", "-1")
    told = lines(caplog)
    assert told.count(f"what replica {old} says is ignored: not understood") == 2  # one each
    assert told.count("news of another replica are ignored: not understood") == 1


async def test_a_key_of_another_kind_under_our_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with redis_server() as redis:
        await redis.ask("SET", "trunkline:1:replicas", "not a sorted set")
        async with sharing(redis.url, pace=BRISK) as one, unmoved(one):
            await local(one)
            await redis.ask("DEL", "trunkline:1:replicas")
            await shared(one)
    assert lines(caplog) == ["state is local: ResponseError", "state is shared"]


async def test_an_ejection_made_while_redis_was_away_is_told_on_return() -> None:
    async with redis_server() as redis, sharing(redis.url, pace=BRISK) as one, sharing(redis.url, pace=BRISK) as two:
        await shared(one)
        await shared(two)
        await redis.kill()
        await local(one)
        one.store.ejected(one.ejection("fake/a", 30.0))
        await redis.start()
        await until(lambda: two.ejected)


async def test_a_gateway_that_stops_while_redis_is_frozen_stops_at_once() -> None:
    async with redis_server() as redis:
        async with sharing(redis.url) as one:
            await shared(one)
            redis.freeze()
            began = time.monotonic()
        assert time.monotonic() - began < 1.0


async def test_a_mistake_of_ours_is_told_and_not_shared(caplog: pytest.LogCaptureFixture) -> None:
    async with redis_server() as redis:
        one = Noted(RedisStore(redis.url, BRISK), {})
        one.sums = {A: [0.0, 0.0]}
        running = asyncio.create_task(one.store.run(one.replica()))
        await shared(one)
        one.sums = {A: [object()]}  # type: ignore[list-item]  # nothing that can be said
        await asyncio.wait([running], timeout=5.0)
        assert running.exception() is not None
        assert one.store.state == "local"
        one.store.ejected(one.ejection("fake/a", 1.0))
        assert await one.store.find("rtc_1") is None
        assert len((await redis.ask("CLIENT", "LIST")).splitlines()) == 1
    assert lines(caplog) == ["state is local: TypeError"]
