"""RedisLink: what is asked of Redis, each within its time. It decides nothing, and whatever goes wrong is one of `DOWN`.

    trunkline:1:replicas           sorted set: names of replicas by when they last spoke, by Redis' clock
    trunkline:1:replica:NAME       what it says; gone when it was silent for `forget`
    trunkline:1:call:ID            the replica that holds the call; gone when it was not renewed
    trunkline:1:DB:news            channel: ejections. Channels know no databases, hence the number
    trunkline:1:DB:echo:NAME       channel: a replica to itself, so that it knows when it is not heard any more

Plain commands only, none on more than a few keys of ours: no script that could be missing, no scan of somebody else's keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.contract.errors import ConfigError
from gateway.state.exchange import PEERS
from gateway.state.store import Held
from gateway.state.wire import LARGEST, Garbled, decode_held, is_replica

PREFIX = "trunkline:1:"
"""The number changes when what is said changes its meaning: old and new replicas then do not hear each other."""
DOWN = (RedisError, OSError, TimeoutError)
CONNECTIONS = 16
_HELD = 256
"""Bytes that say who holds a call."""


class RedisLink:
    """`patience`: seconds for connecting, and for each exchange. Raises ConfigError, which never shows the URL."""

    def __init__(self, url: str, me: str, patience: float) -> None:
        self._me, self._patience = me, patience
        self._pool = pool_of(url, patience)
        self._redis = Redis(connection_pool=self._pool)
        database = f"{PREFIX}{self._pool.connection_kwargs.get('db', 0)}:"
        self._news, self._echo = f"{database}news", f"{database}echo:{me}"

    async def time(self) -> float:
        """Unix seconds by Redis' clock."""
        async with self._in_time():
            seconds, micros = await self._redis.time()
        return float(seconds) + float(micros) * 1e-6

    async def speak(self, said: bytes, at: float, keep: float) -> list[str]:
        """Leave a statement that stays for `keep` seconds. Returns the other replicas that spoke since then."""
        async with self._in_time(), self._redis.pipeline(transaction=False) as pipe:
            pipe.set(_replica(self._me), said, px=_ms(keep))
            pipe.zadd(f"{PREFIX}replicas", {self._me: at})
            pipe.zremrangebyscore(f"{PREFIX}replicas", "-inf", at - keep)
            pipe.expire(f"{PREFIX}replicas", int(keep) + 1)
            pipe.publish(self._echo, b"")
            pipe.zrange(f"{PREFIX}replicas", 0, PEERS)
            *_, found = await pipe.execute()
        names = [name.decode("latin-1") for name in found]
        return [name for name in names if name != self._me and is_replica(name)]

    async def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """What these replicas said last; never more of it than may be."""
        async with self._in_time(), self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.getrange(_replica(name), 0, LARGEST)
            found = await pipe.execute()
        return {name: raw for name, raw in zip(names, found) if raw}

    async def publish(self, news: bytes) -> None:
        async with self._in_time():
            await self._redis.publish(self._news, news)

    async def subscribe(self) -> Subscription:
        async with self._in_time():
            connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        subscription = Subscription(self._pool, connection, self._news.encode())
        try:
            async with self._in_time():
                await connection.send_command("SUBSCRIBE", self._news, self._echo)
        except BaseException:
            await subscription.aclose()
            raise
        return subscription

    async def hold(self, calls: Mapping[str, bytes], keep: float) -> None:
        """These calls are held by those, for `keep` seconds."""
        async with self._in_time(), self._redis.pipeline(transaction=False) as pipe:
            for call_id, held in calls.items():
                pipe.set(_call(call_id), held, px=_ms(keep))
            await pipe.execute()

    async def release(self, calls: Collection[str]) -> None:
        if calls:
            async with self._in_time():
                await self._redis.delete(*map(_call, calls))

    async def find(self, call_id: str) -> Held | None:
        async with self._in_time():
            found = await self._redis.getrange(_call(call_id), 0, _HELD)
        try:
            return decode_held(found if isinstance(found, bytes) else b"")
        except Garbled:
            return None

    async def leave(self) -> None:
        async with self._in_time(), self._redis.pipeline(transaction=False) as pipe:
            pipe.delete(_replica(self._me))
            pipe.zrem(f"{PREFIX}replicas", self._me)
            await pipe.execute()

    async def aclose(self) -> None:
        """Close every connection. It may be used again."""
        await self._pool.disconnect()

    def _in_time(self) -> asyncio.Timeout:
        return asyncio.timeout(self._patience)


class Subscription:
    """A connection of its own on which news arrive."""

    def __init__(self, pool: ConnectionPool, connection: AbstractConnection, news: bytes) -> None:
        self._pool, self._connection, self._news = pool, connection, news

    async def next(self, within: float) -> bytes | None:
        """News; None for our own echo. Raises TimeoutError when not even that came within `within` seconds."""
        answer = await self._connection.read_response(timeout=within)
        if answer is None:
            raise TimeoutError
        return answer[2] if answer[0] == b"message" and answer[1] == self._news else None

    async def aclose(self) -> None:
        try:
            await self._connection.disconnect(nowait=True)
        finally:
            await self._pool.release(self._connection)


def pool_of(url: str, patience: float) -> ConnectionPool:
    try:
        asked: dict[str, Any] = dict(parse_url(url))
        ours = {
            # Ours are around each exchange: redis-py's are asyncio.wait_for, which before Python 3.12 loses a cancellation
            # that comes together with the result; a gateway that stops would then go on (seen).
            "socket_timeout": None,
            "socket_connect_timeout": patience,
            "retry": Retry(NoBackoff(), 0),  # when to try again is for the store to say
            "protocol": 2,
            "driver_info": None,
            "max_connections": CONNECTIONS,
        }
        pool = ConnectionPool(**{**asked, **ours})
        pool.make_connection()  # type: ignore[no-untyped-call]  # connects nothing, but knows what it is told
    except (TypeError, ValueError, RedisError):
        raise ConfigError(
            "REDIS_URL is not one that can be used: redis://, rediss:// or unix://, see docs/operations.md"
        ) from None
    return pool


def _replica(name: str) -> str:
    return f"{PREFIX}replica:{name}"


def _call(call_id: str) -> str:
    return f"{PREFIX}call:{call_id}"


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
