"""What replicas say to each other, as bytes. Pure. Whatever is read may come from an older release, or from an enemy.

    {"at": 1763858665.123, "sums": {"chat\\u001fopenai/gpt-4o-mini": [...]}, "out": {...}}    every replica, each second
    {"by": "5f0c...", "out": {"chat\\u001fopenai/gpt-4o-mini": [1763858670.123, "3 failures"]}}    at once
    5f0c... 1a2b3c4d http://10.0.0.1:8080    who holds a call, for which key, and is reached where; `-` for none

Moments are Unix seconds by Redis' clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.state.store import SEPARATOR, Held, Sums

LARGEST = 256 * 1024
"""Bytes of a statement: about 300 targets with all their sums."""
_ROWS, _NUMBERS, _KEY, _REASON = 2048, 256, 512, 80
_HUGE = 1e15
_NONE = "-"
_OWNER = re.compile(r"-|[0-9a-zA-Z_]{1,64}")
_URL = re.compile(r"https?://(\[[0-9a-fA-F:.]{2,45}\]|[a-zA-Z0-9._-]{1,200})(:[0-9]{1,5})?")
_NUMERIC = frozenset((int, float))

Out = Mapping[str, tuple[float, str]]
"""Ejections: until when and why, by key."""


class Garbled(Exception):
    """It is none of ours."""


@dataclass(frozen=True, slots=True)
class Statement:
    at: float
    sums: Sums
    out: Out


@dataclass(frozen=True, slots=True)
class News:
    by: str
    out: Out


def encode(said: Statement | News) -> bytes:
    match said:
        case Statement(at, sums, out):
            return orjson.dumps({"at": round(at, 3), "sums": sums, "out": _rounded(out)})
        case News(by, out):
            return orjson.dumps({"by": by, "out": _rounded(out)})


def decode_statement(raw: bytes) -> Statement:
    """Raises Garbled."""
    said = _object(raw)
    sums = _mapping(said.get("sums"))
    if any(len(key) > _KEY for key in sums):
        raise Garbled
    return Statement(_number(said.get("at")), {key: _row(row) for key, row in sums.items()}, _out(said.get("out")))


def decode_news(raw: bytes) -> News:
    """Raises Garbled."""
    said = _object(raw)
    by = said.get("by")
    if not isinstance(by, str) or not is_replica(by):
        raise Garbled
    return News(by, _out(said.get("out")))


def is_replica(name: str) -> bool:
    """Whether it is a name that replicas give themselves: 16 hexadecimal digits, fit to be logged."""
    return len(name) == 16 and all(each in "0123456789abcdef" for each in name)


def is_url(text: str) -> bool:
    """Whether it is the URL of a host and no more: whoever is told it puts it into a header or a request."""
    return _URL.fullmatch(text) is not None


def encode_held(held: Held) -> bytes:
    return f"{held.replica} {held.owner or _NONE} {held.url or _NONE}".encode()


def decode_held(raw: bytes) -> Held:
    """Raises Garbled."""
    match raw.decode("latin-1").split(" "):
        case [replica, owner, url] if is_replica(replica) and _OWNER.fullmatch(owner) and (url == _NONE or is_url(url)):
            return Held(replica, None if owner == _NONE else owner, None if url == _NONE else url)
    raise Garbled


def _rounded(out: Out) -> dict[str, tuple[float, str]]:
    return {key: (round(until, 3), reason[:_REASON]) for key, (until, reason) in out.items()}


def _object(raw: bytes) -> dict[str, Any]:
    if len(raw) > LARGEST:
        raise Garbled
    try:
        said = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Garbled from None
    if not isinstance(said, dict):
        raise Garbled
    return said


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > _ROWS:
        raise Garbled
    return value


def _out(value: object) -> Out:
    read: dict[str, tuple[float, str]] = {}
    for key, entry in _mapping(value).items():
        if not isinstance(entry, list) or len(entry) != 2:
            raise Garbled
        until, reason = entry
        if not isinstance(reason, str) or len(reason) > _REASON or not reason.isprintable():
            raise Garbled
        if len(key) > _KEY or key.count(SEPARATOR) != 1:
            raise Garbled
        read[key] = (_number(until), reason)
    return read


def _row(row: object) -> Sequence[float]:
    # At once for all: 50 numbers of 100 targets come each second. `type`, as a bool is an int; JSON has no NaN.
    if not isinstance(row, list) or len(row) > _NUMBERS or not _NUMERIC.issuperset(map(type, row)):
        raise Garbled
    if row and max(max(row), -min(row)) >= _HUGE:
        raise Garbled
    return row


def _number(value: object) -> float:
    return float(_row([value])[0])
