"""Key: who asks, and what they may do. Pure. Of the key itself only a hash is kept.

    tl_1f0c93ab_5d0e...                  what a client shows: `tl_`, 8 hex digits that name it, 48 that nobody else knows

The hash is one SHA-256: 192 random bits cannot be guessed, so a slow hash would only slow the gateway.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

from gateway.contract.errors import KeyRefused

KEY = re.compile(r"tl_([0-9a-f]{8})_[0-9a-f]{48}")
SHOWN_LONGEST = 256
"""Bytes of what is presented that are looked at."""

Period = Literal["day", "month"]


@dataclass(frozen=True, slots=True)
class Budget:
    """US dollars for each day or month of UTC."""

    usd: float
    per: Period

    def __str__(self) -> str:
        return f"{self.usd:.2f} USD a {self.per}"


@dataclass(frozen=True, slots=True)
class Limits:
    """None: as many as there are. `requests`, `tokens`: in any minute; `streams`: requests and calls under way at once."""

    requests: int | None = None
    tokens: int | None = None
    streams: int | None = None
    budget: Budget | None = None

    def divided(self, replicas: int) -> Limits:
        """The share of one of so many, rounded down: together they never exceed it."""
        if replicas == 1:
            return self
        return replace(
            self,
            requests=None if self.requests is None else self.requests // replicas,
            tokens=None if self.tokens is None else self.tokens // replicas,
            streams=None if self.streams is None else self.streams // replicas,
        )

    @property
    def exist(self) -> bool:
        return any(each is not None for each in (self.requests, self.tokens, self.streams, self.budget))


@dataclass(frozen=True, slots=True)
class Key:
    """`digest`: SHA-256 of what the client shows; `routes`: names, or patterns such as `chat*`; moments are Unix seconds."""

    id: str
    name: str
    digest: bytes = field(repr=False)
    created: float
    routes: tuple[str, ...] = ("*",)
    limits: Limits = Limits()
    expires: float | None = None
    revoked: float | None = None

    def allows(self, route: str) -> bool:
        return any(pattern == "*" or fnmatchcase(route, pattern) for pattern in self.routes)

    def why_not(self, now: float) -> str | None:
        """Why it is no good any more."""
        if self.revoked is not None:
            return "this key was revoked"
        if self.expires is not None and now >= self.expires:
            return "this key has expired"
        return None


def new_key() -> tuple[str, str, bytes]:
    """What the client gets to see once, its id, and the hash of it."""
    key_id = secrets.token_hex(4)
    shown = f"tl_{key_id}_{secrets.token_hex(24)}"
    return shown, key_id, digest_of(shown)


def digest_of(shown: str) -> bytes:
    return hashlib.sha256(shown.encode()).digest()


class Keyring:
    """Keys, found by what a client shows."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.keys: Mapping[str, Key] = {key.id: key for key in keys}

    def find(self, shown: str, now: float) -> Key:
        """Raises KeyRefused, which never quotes what was shown. `now`: Unix seconds."""
        match = KEY.fullmatch(shown) if len(shown) <= SHOWN_LONGEST else None
        key = self.keys.get(match[1]) if match is not None else None
        if key is None or not hmac.compare_digest(key.digest, digest_of(shown)):
            raise KeyRefused("this key is none that the gateway knows")
        return self.good(key.id, now)

    def good(self, key_id: str, now: float) -> Key:
        """The key of that id. Raises KeyRefused where it is good no more."""
        key = self.keys.get(key_id)
        why = "this key is gone" if key is None else key.why_not(now)
        if key is None or why is not None:
            raise KeyRefused(why or "")
        return key
