"""RedisKeys: keys in Redis, for replicas without a file in common.

trunkline:1:keys               hash: by id, the key's record
trunkline:1:keys:version       counts the changes, so that replicas look for no more than that
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import WatchError

from gateway.access.key import Key
from gateway.access.records import key_of, record_of
from gateway.access.source import KeysAway
from gateway.contract.errors import ConfigError
from gateway.state.redis_link import DOWN, PREFIX, pool_of

KEYS, VERSION = f"{PREFIX}keys", f"{PREFIX}keys:version"
WITHIN = 1.0
"""Seconds for each exchange."""


class RedisKeys:
    """Raises ConfigError for a URL that cannot be used."""

    lasting = False
    spent = None

    def __init__(self, url: str) -> None:
        self._pool = pool_of(url, WITHIN)
        self._redis = Redis(connection_pool=self._pool)
        self._version: bytes | str | None = "none yet"

    def __str__(self) -> str:
        return "Redis"

    def first(self) -> list[Key] | None:
        """Nobody is let in before they were read."""
        return []

    async def news(self) -> list[Key] | None:
        try:
            async with asyncio.timeout(WITHIN):
                version = await self._redis.get(VERSION)
                if version == self._version:
                    return None
                found = _keys(await self._redis.hgetall(KEYS))
        except DOWN as error:
            raise KeysAway(type(error).__name__) from error
        self._version = version  # of before they were read: a change meanwhile is one more to look for
        return found

    async def read(self) -> list[Key]:
        """Raises KeysAway, ConfigError."""
        try:
            async with asyncio.timeout(WITHIN):
                return _keys(await self._redis.hgetall(KEYS))
        except DOWN as error:
            raise KeysAway(type(error).__name__) from error

    async def change(self, change: Callable[[list[Key]], list[Key]]) -> None:
        """Read, change, write; one after the other, whoever else does it. Keys are added and changed, never taken out."""
        try:
            async with asyncio.timeout(5 * WITHIN), self._redis.pipeline(transaction=True) as pipe:
                while True:
                    await pipe.watch(VERSION)
                    before = {key.id: key for key in _keys(await pipe.hgetall(KEYS))}
                    after = change(list(before.values()))
                    pipe.multi()  # type: ignore[no-untyped-call]  # it has no types
                    for key in after:
                        if before.get(key.id) != key:
                            pipe.hset(KEYS, key.id, orjson.dumps(record_of(key)))
                    pipe.incr(VERSION)
                    try:
                        await pipe.execute()
                        return
                    except WatchError:
                        continue
        except DOWN as error:
            raise KeysAway(type(error).__name__) from error

    async def aclose(self) -> None:
        await self._pool.disconnect()


def _keys(found: Mapping[Any, Any]) -> list[Key]:
    keys = []
    for name, record in found.items():
        try:
            keys.append(key_of(orjson.loads(record)))
        except (orjson.JSONDecodeError, ValueError) as error:
            raise ConfigError(f"key {name.decode('ascii', 'replace')[:16]} in Redis: {error}") from None
    return keys
