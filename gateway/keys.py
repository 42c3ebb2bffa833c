"""`trunkline keys create | list | revoke`: keys of the gateway's clients, where `trunkline serve` follows them."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import orjson

from gateway.access.key import Budget, Key, Limits, Period, new_key
from gateway.access.key_file import KeyFile
from gateway.access.records import MOST, moment_of, moment_text, record_of
from gateway.contract.errors import ConfigError

if TYPE_CHECKING:
    from gateway.access.redis_keys import RedisKeys

NAME = "keys.json"
REDIS = "redis"
Done = TypeVar("Done")
_DAYS = re.compile(r"(\d{1,5})\s*([hd])")
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)/(day|month)")
_PERIODS: Mapping[str, Period] = {"day": "day", "month": "month"}
_LONGEST_NAME = 128


class Store(Protocol):
    """What the commands need of a place where keys are kept."""

    def read(self) -> list[Key] | None: ...

    def change(self, change: Callable[[list[Key]], list[Key]]) -> None: ...


class _InRedis:
    def __init__(self, url: str) -> None:
        self._url = url

    def __str__(self) -> str:
        return REDIS

    def read(self) -> list[Key]:
        return asyncio.run(self._on(lambda keys: keys.read()))

    def change(self, change: Callable[[list[Key]], list[Key]]) -> None:
        asyncio.run(self._on(lambda keys: keys.change(change)))

    async def _on(self, act: Callable[[RedisKeys], Coroutine[Any, Any, Done]]) -> Done:
        async with aclosing(redis_keys(self._url)) as keys:
            return await act(keys)


def source(asked: str | None, config: Path | None, env: Mapping[str, str]) -> KeyFile | RedisKeys:
    """Where `trunkline serve` finds the keys. Raises ConfigError."""
    named = asked or env.get("TRUNKLINE_KEYS")
    return redis_keys(_url(env)) if named == REDIS else _file(named, config)


def _store(asked: str | None, config: Path | None, env: Mapping[str, str]) -> Store:
    named = asked or env.get("TRUNKLINE_KEYS")
    return _InRedis(_url(env)) if named == REDIS else _file(named, config)


def _file(named: str | None, config: Path | None) -> KeyFile:
    """The one named, else keys.json beside routes.yaml (for the shipped one: here)."""
    return KeyFile(Path(named) if named else (config.parent if config is not None else Path()) / NAME)


def _url(env: Mapping[str, str]) -> str:
    url = env.get("REDIS_URL")
    if not url:
        raise ConfigError("keys in Redis need REDIS_URL; a file of that name is ./redis")
    return url


def redis_keys(url: str) -> RedisKeys:
    from gateway.access.redis_keys import RedisKeys  # 0.3 s of imports, for those who asked for it

    return RedisKeys(url)


def replicas(env: Mapping[str, str]) -> int:
    """TRUNKLINE_REPLICAS: how many share the limits where no Redis says so. Raises ConfigError."""
    text = env.get("TRUNKLINE_REPLICAS", "").strip() or "1"
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        raise ConfigError("TRUNKLINE_REPLICAS must be a whole number from 1 to 1000")
    return int(text)


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser], env: Mapping[str, str]) -> None:
    """Under `trunkline keys`."""
    keys = commands.add_parser("keys", help="keys of this gateway's clients: create, list, revoke")
    verbs = keys.add_subparsers(required=True, metavar="COMMAND")
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument(
        "--keys", metavar="PLACE", help="a file, or `redis`; default: TRUNKLINE_KEYS, else keys.json beside routes.yaml"
    )
    place.add_argument("--config", metavar="FILE", type=Path, help="the routes.yaml that keys.json lies beside")
    place.add_argument("--json", action="store_true", help="for programs")

    def add(name: str, does: Callable[[Store, argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, parents=[place], help=help, description=help)
        verb.set_defaults(run=lambda asked: does(_store(asked.keys, asked.config, env), asked))
        return verb

    create = add("create", _create, "make a key; it is shown once, and only its hash is kept")
    create.add_argument("name", type=_name, help="whose it is")
    create.add_argument("--routes", default="*", metavar="NAMES", help="names or patterns: chat,say*  (default: all)")
    create.add_argument("--requests", type=_count, metavar="N", help="in any minute")
    create.add_argument("--tokens", type=_count, metavar="N", help="in any minute")
    create.add_argument("--streams", type=_count, metavar="N", help="requests and calls under way at once")
    create.add_argument("--budget", type=_budget, metavar="USD/PERIOD", help="20/day or 500/month, by UTC")
    create.add_argument("--expires", type=_expiry, metavar="WHEN", help="30d, 12h, 2030-01-31 or 2030-01-31T12:00:00Z")
    add("list", _list, "show keys and what each may do; never the keys themselves")
    revoke = add("revoke", _revoke, "make a key useless, within about a second")
    revoke.add_argument("key", metavar="ID", help="its id, or its name where only one key has it")


def _create(store: Store, asked: argparse.Namespace) -> int:
    shown, key_id, digest = new_key()
    routes = tuple(each.strip() for each in asked.routes.split(",") if each.strip())
    if not routes:
        raise ConfigError("--routes names none")
    limits = Limits(asked.requests, asked.tokens, asked.streams, asked.budget)
    key = Key(key_id, asked.name, digest, time.time(), routes, limits, asked.expires)
    store.change(lambda keys: [*keys, key])
    if asked.json:
        told = {name: value for name, value in record_of(key).items() if name != "sha256"}
        print(orjson.dumps({"key": shown, **told}).decode())
    else:
        print(shown)  # alone on stdout: KEY=$(trunkline keys create ...)
        print(f"key {key_id} of {key.name}: {_may(key)}. It is shown this once; {store} keeps a hash.", file=sys.stderr)
    return 0


def _list(store: Store, asked: argparse.Namespace) -> int:
    keys = store.read() or []
    if asked.json:
        told = [{name: value for name, value in record_of(key).items() if name != "sha256"} for key in keys]
        print(orjson.dumps({"keys": told}).decode())
    elif not keys:
        print(f"{store}: no keys", file=sys.stderr)
    for key in keys if not asked.json else ():
        why = key.why_not(time.time())
        state = "good" if why is None else why.removeprefix("this key ").removeprefix("was ").removeprefix("has ")
        print(f"{key.id}  {state:8}  {moment_text(key.created)[:10]}  {key.name}: {_may(key)}")
    return 0


def _revoke(store: Store, asked: argparse.Namespace) -> int:
    revoked: list[Key] = []

    def change(keys: list[Key]) -> list[Key]:
        found = [key for key in keys if key.id == asked.key]
        found = found or [key for key in keys if key.name == asked.key and key.revoked is None]
        if len(found) != 1:
            ids = ", ".join(key.id for key in found)
            raise ConfigError(f"{len(found)} keys are named {asked.key!r}: {ids}" if found else f"no key {asked.key!r}")
        revoked.append(found[0] if found[0].revoked is not None else replace(found[0], revoked=time.time()))
        return [revoked[0] if key.id == revoked[0].id else key for key in keys]

    store.change(change)
    if asked.json:
        print(orjson.dumps({"id": revoked[0].id, "revoked": True}).decode())
    else:
        print(f"key {revoked[0].id} of {revoked[0].name} is revoked")
    return 0


def _may(key: Key) -> str:
    """In words: what it may do."""
    limits = key.limits
    parts = [
        "every route" if "*" in key.routes else f"routes {', '.join(key.routes)}",
        f"{limits.requests} requests a minute" if limits.requests is not None else "",
        f"{limits.tokens} tokens a minute" if limits.tokens is not None else "",
        f"{limits.streams} at once" if limits.streams is not None else "",
        str(limits.budget) if limits.budget is not None else "",
        f"until {moment_text(key.expires)}" if key.expires is not None else "",
    ]
    return ", ".join(part for part in parts if part)


def _name(text: str) -> str:
    if not text or len(text) > _LONGEST_NAME or not text.isprintable():
        raise argparse.ArgumentTypeError(f"a name has 1 to {_LONGEST_NAME} printable characters")
    return text


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MOST}")
    return int(text)


def _budget(text: str) -> Budget:
    match = _BUDGET.fullmatch(text)
    if match is None or not 0 < float(match[1]) <= MOST:
        raise argparse.ArgumentTypeError("write US dollars and a period: 20/day or 500/month")
    return Budget(float(match[1]), _PERIODS[match[2]])


def _expiry(text: str) -> float:
    match = _DAYS.fullmatch(text)
    if match is not None:
        return time.time() + int(match[1]) * (3600 if match[2] == "h" else 86_400)
    try:
        return moment_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
