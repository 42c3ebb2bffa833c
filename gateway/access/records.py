"""Records: keys as JSON, as they lie in a file or in Redis. Strict: a limit that is misspelt must not mean no limit. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.access.key import Budget, Key, Limits
from gateway.contract.errors import ConfigError

_NEEDED = ("id", "name", "sha256", "created")
_KNOWN = (*_NEEDED, "routes", "requests_per_minute", "tokens_per_minute", "streams", "budget", "expires", "revoked")
MOST = 1_000_000_000


def record_of(key: Key) -> dict[str, object]:
    """What is None is left out."""
    limits = key.limits
    record: dict[str, object] = {
        "id": key.id,
        "name": key.name,
        "sha256": key.digest.hex(),
        "created": moment_text(key.created),
        "routes": list(key.routes),
        "requests_per_minute": limits.requests,
        "tokens_per_minute": limits.tokens,
        "streams": limits.streams,
        "budget": None if limits.budget is None else {"usd": limits.budget.usd, "per": limits.budget.per},
        "expires": None if key.expires is None else moment_text(key.expires),
        "revoked": None if key.revoked is None else moment_text(key.revoked),
    }
    return {name: value for name, value in record.items() if value is not None}


def key_of(record: object) -> Key:
    """Raises ValueError, which names the field."""
    if not isinstance(record, dict):
        raise ValueError("a key must be an object")
    for name in record:
        if name not in _KNOWN:
            raise ValueError(f"unknown field {name!r}; known: {', '.join(_KNOWN)}")
    for name in _NEEDED:
        if not isinstance(record.get(name), str) or not record[name]:
            raise ValueError(f"{name!r} is missing, or no text")
    digest = _hex(record["sha256"])
    routes = record.get("routes", ["*"])
    if not isinstance(routes, list) or not all(isinstance(each, str) and each for each in routes):
        raise ValueError("'routes' must be a list of names or patterns")
    return Key(
        record["id"],
        record["name"],
        digest,
        moment_of(record["created"]),
        tuple(routes),
        Limits(
            _count(record, "requests_per_minute"),
            _count(record, "tokens_per_minute"),
            _count(record, "streams"),
            _budget(record.get("budget")),
        ),
        None if record.get("expires") is None else moment_of(record["expires"]),
        None if record.get("revoked") is None else moment_of(record["revoked"]),
    )


def keys_of(text: bytes, name: str) -> list[Key]:
    """A whole file. Raises ConfigError, which names it and the key at fault."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{name}: no valid JSON: {error.msg} at character {error.pos}") from None
    given = document.get("keys") if isinstance(document, dict) and list(document) == ["keys"] else None
    if not isinstance(given, list):
        raise ConfigError(f'{name}: must be {{"keys": [...]}}')
    keys = []
    for index, record in enumerate(given):
        try:
            keys.append(key_of(record))
        except ValueError as error:
            raise ConfigError(f"{name}: keys[{index}]: {error}") from None
    if len({key.id for key in keys}) != len(keys):
        raise ConfigError(f"{name}: two keys have the same id")
    return keys


def file_of(keys: list[Key]) -> bytes:
    return orjson.dumps({"keys": [record_of(key) for key in keys]}, option=orjson.OPT_INDENT_2) + b"\n"


def moment_text(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(text: object) -> float:
    """Unix seconds of an ISO date, or a date and time; UTC unless it says otherwise. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("a date must be text, such as 2030-01-31 or 2030-01-31T12:00:00Z")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no date; write 2030-01-31 or 2030-01-31T12:00:00Z") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _hex(text: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ValueError("'sha256' must be 64 hex digits")
    return digest


def _count(record: Mapping[str, Any], name: str) -> int | None:
    value = record.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise ValueError(f"{name!r} must be a whole number from 1 to {MOST}")
    return value


def _budget(value: object) -> Budget | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"usd", "per"} or value["per"] not in ("day", "month"):
        raise ValueError('\'budget\' must be {"usd": 20, "per": "day"}, or per month')
    usd = value["usd"]
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 < usd <= MOST or not math.isfinite(usd):
        raise ValueError("'budget.usd' must be a number above 0")
    return Budget(float(usd), value["per"])
