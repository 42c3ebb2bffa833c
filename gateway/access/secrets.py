"""Secrets: `ek_` keys that a server makes for a browser, each for one kind of session and a few minutes.

    value, expires = secrets.make("1f0c93ab", "agent", {"type": "realtime"}, 600)
    secret = secrets.find(value)            # raises KeyRefused

They live in this process and die with it. Of the value only a hash is kept.
"""

from __future__ import annotations

import secrets as random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.access.key import SHOWN_LONGEST, digest_of
from gateway.contract.errors import KeyRefused, LimitReached

PREFIX = "ek_"
SHORTEST, LONGEST, USUAL = 10, 7200, 600
"""Seconds for which one may be good (OpenAI's limits)."""
MOST = 10_000
"""Secrets that are good at once."""


@dataclass(frozen=True, slots=True)
class Secret:
    """`key_id`: who pays, None where no keys are asked for; `session`: what a connection made with it begins with; `expires`: Unix
    seconds."""

    key_id: str | None
    route: str
    session: Mapping[str, Any] = field(repr=False)
    expires: float


class Secrets:
    def __init__(self, unix: Callable[[], float] = time.time) -> None:
        self.unix = unix
        self._known: dict[bytes, Secret] = {}

    def make(self, key_id: str | None, route: str, session: Mapping[str, Any], seconds: int) -> tuple[str, Secret]:
        """What the client shows, and what it stands for. Raises LimitReached."""
        now = self.unix()
        self._known = {digest: each for digest, each in self._known.items() if each.expires > now}
        if len(self._known) >= MOST:
            soonest = min(each.expires for each in self._known.values())
            raise LimitReached(f"{MOST} client secrets at once, of all keys together", soonest - now)
        value, secret = PREFIX + random.token_hex(24), Secret(key_id, route, session, now + seconds)
        self._known[digest_of(value)] = secret
        return value, secret

    def find(self, shown: str) -> Secret:
        """Raises KeyRefused, which never quotes what was shown."""
        secret = self._known.get(digest_of(shown)) if len(shown) <= SHOWN_LONGEST else None
        if secret is None:
            raise KeyRefused("this client secret is none that the gateway knows, or it has expired")
        if secret.expires <= self.unix():
            raise KeyRefused("this client secret has expired")
        return secret
