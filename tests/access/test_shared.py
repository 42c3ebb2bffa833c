"""Limits that replicas keep together, on a real Redis: each is an Access of its own, all in the test's loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from gateway.access.access import Access
from gateway.access.grant import Grant
from gateway.access.key import Budget, Key, Limits
from gateway.access.key_file import KeyFile
from gateway.access.redis_keys import RedisKeys
from gateway.contract.errors import AccessUnknown, BudgetSpent, LimitReached
from tests.access.stage import Clock, made
from tests.redis_server import RedisServer, detour, free_port, redis_server

pytestmark = [pytest.mark.wire, pytest.mark.needs("redis-server")]


class Replicas(list[Access]):
    """All of one key. `clock`: theirs; Redis has its own."""

    def __init__(self, key: Key) -> None:
        super().__init__()
        self.key, self.clock = key, Clock(now=time.monotonic())

    async def admit(self, n: int) -> Grant:
        return await self[n].admit(self.key)

    async def many(self, count: int) -> Sequence[Grant | BaseException]:
        """So many at once, each at the next replica."""
        asked = (self[n % len(self)].admit(self.key) for n in range(count))
        return await asyncio.gather(*asked, return_exceptions=True)

    async def until(self, shared: bool) -> None:
        for _ in range(1000):
            if all(each.local is not shared for each in self):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"limits are not {'shared' if shared else 'local'}")


@asynccontextmanager
async def replicas(
    folder: Path, url: str, limits: Limits, count: int = 2, **more: bool | int
) -> AsyncIterator[Replicas]:
    """`more`: as of Access."""
    _, key = made(limits)
    file = KeyFile(folder / "keys.json")
    file.change(lambda _: [key])
    made_here = Replicas(key)
    clock = made_here.clock
    async with AsyncExitStack() as stack:
        for _ in range(count):
            access = Access(file, lambda: clock.now, lambda: clock.unix, url, **more)  # type: ignore[arg-type]  # bools and ints
            made_here.append(access)
            await stack.enter_async_context(running(access))
        yield made_here


@asynccontextmanager
async def running(access: Access) -> AsyncIterator[None]:
    task = asyncio.create_task(access.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def granted(answers: Sequence[Grant | BaseException]) -> list[Grant]:
    assert all(isinstance(each, Grant | LimitReached) for each in answers), answers
    return [each for each in answers if isinstance(each, Grant)]


async def settled(holds: object) -> None:
    """Until a thing told in the background is so; at most 5 s."""
    assert callable(holds)
    for _ in range(500):
        if await holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


async def test_requests_are_exact_and_what_is_left_is_told(tmp_path: Path) -> None:
    async with redis_server() as redis, replicas(tmp_path, redis.url, Limits(requests=50), 4) as both:
        await both.until(shared=True)
        first = await both.admit(0)
        left, _ = first.left
        assert left is not None
        assert (left.limit, left.remaining) == (50, 49)
        assert 59.9 < left.reset <= 61.0
        assert len(granted(await both.many(400))) == 49
        with pytest.raises(LimitReached, match="50 requests a minute"):
            await both.admit(3)


async def test_tokens_that_one_used_are_missing_to_the_other(tmp_path: Path) -> None:
    async with redis_server() as redis, replicas(tmp_path, redis.url, Limits(tokens=1000)) as both:
        await both.until(shared=True)
        grant = await both.admit(0)
        grant.reserve(600)
        with pytest.raises(LimitReached):
            grant.reserve(600)
        grant.tokens(900)
        grant.end()

        async def told() -> bool:
            left = (await both.admit(1)).left[1]
            return left is not None and left.remaining == 100

        await settled(told)
        other = await both.admit(1)
        other.reserve(100)
        with pytest.raises(LimitReached):
            other.reserve(1)
        other.tokens(100)
        await settled(lambda: refused(both, 0, LimitReached))


async def refused(both: Replicas, n: int, error: type[Exception]) -> bool:
    try:
        (await both.admit(n)).end()
    except error:
        return True
    return False


async def test_streams_are_exact_and_one_that_ends_makes_place_elsewhere(tmp_path: Path) -> None:
    async with redis_server() as redis, replicas(tmp_path, redis.url, Limits(streams=5)) as both:
        await both.until(shared=True)
        held = granted(await both.many(60))
        assert len(held) == 5
        held.pop().end()

        async def place() -> bool:
            return not await refused(both, 0, LimitReached) or not await refused(both, 1, LimitReached)

        await settled(place)


async def test_a_budget_is_one_for_all_and_begins_anew_with_its_period(tmp_path: Path) -> None:
    limits = Limits(budget=Budget(10.0, "month"))
    async with redis_server() as redis, replicas(tmp_path, redis.url, limits) as both:
        await both.until(shared=True)
        (await both.admit(0)).charge(6.0)
        (await both.admit(1)).charge(4.5)
        await settled(lambda: refused(both, 0, BudgetSpent))
        await settled(lambda: refused(both, 1, BudgetSpent))
        both.clock.unix += 31 * 86_400
        assert not await refused(both, 0, BudgetSpent)


async def test_a_redis_that_lost_everything_is_told_what_was_spent(tmp_path: Path) -> None:
    limits = Limits(requests=1000, budget=Budget(10.0, "day"))
    async with redis_server() as redis, replicas(tmp_path, redis.url, limits) as both:
        await both.until(shared=True)
        for n in range(2):
            (await both.admit(n)).charge(4.0)
        await redis.ask("FLUSHALL")
        await redis.ask("SCRIPT", "FLUSH")
        (await both.admit(0)).charge(1.0)
        (await both.admit(1)).charge(1.0)
        assert all(not each.local for each in both)
        await settled(lambda: refused(both, 0, BudgetSpent))


async def slowest(both: Replicas, count: int) -> tuple[float, int]:
    """The longest wait of so many, one after the other, and how many were granted."""
    longest, let_in = 0.0, 0
    for n in range(count):
        began = time.monotonic()
        let_in += not await refused(both, n % 2, LimitReached)
        longest = max(longest, time.monotonic() - began)
    return longest, let_in


@pytest.mark.parametrize("how", ["frozen", "killed", "full", "password"])
async def test_without_redis_each_keeps_to_its_share_and_nobody_waits(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with redis_server() as redis, replicas(tmp_path, redis.url, Limits(requests=40), replicas=2) as both:
        await both.until(shared=True)
        assert not await refused(both, 0, LimitReached)
        await lose(redis, how)
        longest, let_in = await slowest(both, 100)
        assert longest < 0.25  # 50 ms, and what a busy machine adds
        assert let_in in (
            38,
            39,
        )  # twenty each, of which one was had before; the one that found out may have counted elsewhere
        assert all(each.local for each in both)
        await restore(redis, how)
        await both.until(shared=True)
        await settled(lambda: counted(redis, both, "r", let_in))  # what was used meanwhile was told
    told = [line.getMessage() for line in caplog.records if "limits are" in line.getMessage()]
    assert len(told) == 6
    assert str(redis.port) not in "".join(told)


async def counted(redis: RedisServer, both: Replicas, kind: str, least: int) -> bool:
    """Redis has counted so many requests (`r`) or tokens (`t`), in any second."""
    found: dict[bytes, bytes] = await redis.ask("HGETALL", f"trunkline:1:use:{both.key.id}")
    return sum(int(value) for name, value in found.items() if name.startswith(kind.encode())) >= least


async def test_what_redis_was_not_there_to_hear_it_is_told_later(tmp_path: Path) -> None:
    async with redis_server() as redis, replicas(tmp_path, redis.url, Limits(tokens=1000)) as both:
        await both.until(shared=True)
        grant = await both.admit(0)
        await redis.kill()
        grant.tokens(700)
        await settled(lambda: alone(both[0]))
        grant.tokens(200)
        await redis.start()
        await settled(lambda: counted(redis, both, "t", 900))


async def alone(access: Access) -> bool:
    return access.local


async def lose(redis: RedisServer, how: str) -> None:
    match how:
        case "frozen":
            redis.freeze()
        case "killed":
            await redis.kill()
        case "full":
            await redis.ask("CONFIG", "SET", "maxmemory", "1")
        case "password":
            await redis.ask("CONFIG", "SET", "requirepass", "other")
            await redis.ask("CLIENT", "KILL", "TYPE", "normal", password="other")


async def restore(redis: RedisServer, how: str) -> None:
    match how:
        case "frozen":
            redis.thaw()
        case "killed":
            await redis.start()
        case "full":
            await redis.ask("CONFIG", "SET", "maxmemory", "0")
        case "password":
            await redis.ask("CONFIG", "SET", "requirepass", "", password="other")


async def test_a_redis_that_takes_two_seconds_is_not_waited_for(tmp_path: Path) -> None:
    async with redis_server() as redis, detour(redis.port, 2.0) as port:
        async with replicas(tmp_path, f"redis://127.0.0.1:{port}", Limits(requests=40), replicas=2) as both:
            longest, let_in = await slowest(both, 60)
    assert longest < 0.25
    assert let_in == 40


async def test_without_redis_a_budget_is_closed_after_a_minute_of_grace(tmp_path: Path) -> None:
    limits = Limits(budget=Budget(10.0, "day"))
    async with redis_server() as redis, replicas(tmp_path, redis.url, limits) as both:
        await both.until(shared=True)
        (await both.admit(0)).charge(6.0)
        (await both.admit(1)).charge(1.0)
        await settled(lambda: knows(both))
        await redis.kill()
        await settled(lambda: lost(both))
        assert not await refused(both, 0, BudgetSpent)
        both.clock.now += 59.0
        (await both.admit(0)).charge(3.0)
        assert await refused(both, 0, BudgetSpent)  # with what the other had spent when it was last heard
        both.clock.now += 2.0
        for n in range(2):
            with pytest.raises(AccessUnknown):
                await both.admit(n)
        await redis.start()
        await both.until(shared=True)
        await settled(lambda: refused(both, 1, BudgetSpent))


async def knows(both: Replicas) -> bool:
    """Each has heard what the other spent."""
    for n in range(2):
        (await both.admit(n)).end()
    return all(sum(each.spent_by_others(both.key)) > 0 for each in both)


async def lost(both: Replicas) -> bool:
    with suppress(AccessUnknown):
        for n in range(2):
            (await both.admit(n)).end()
    return all(each.local for each in both)


async def test_a_gateway_that_may_goes_by_what_it_knows_of_budgets(tmp_path: Path) -> None:
    limits = Limits(budget=Budget(10.0, "day"))
    url = f"redis://127.0.0.1:{free_port()}"
    async with replicas(tmp_path, url, limits, 1, closed=False) as one:
        (await one.admit(0)).charge(9.0)
        one.clock.now += 1000.0
        assert not await refused(one, 0, BudgetSpent)
        (await one.admit(0)).charge(1.0)
        assert await refused(one, 0, BudgetSpent)
    async with replicas(tmp_path, url, limits, 1) as strict:
        with pytest.raises(AccessUnknown):
            await strict.admit(0)


async def test_keys_that_cannot_be_read_again_are_good_for_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    shown, key = made()
    async with redis_server() as redis:
        writer = RedisKeys(redis.url)
        await writer.change(lambda keys: [*keys, key])
        await writer.aclose()
        clock = Clock()
        access = Access(RedisKeys(redis.url), lambda: clock.now, lambda: clock.unix)
        with pytest.raises(AccessUnknown):  # not read yet
            access.find(shown)
        async with running(access):
            await settled(lambda: finds(access, shown))
            await redis.kill()
            await settled(lambda: said(caplog, "the keys in Redis cannot be reached"))
            clock.now += 59.0
            assert access.find(shown) == key
            clock.now += 2.0
            with pytest.raises(AccessUnknown):
                access.find(shown)
    assert str(redis.port) not in caplog.text


async def finds(access: Access, shown: str) -> bool:
    with suppress(AccessUnknown):
        return access.find(shown).name == "ada"
    return False


async def said(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return words in caplog.text
