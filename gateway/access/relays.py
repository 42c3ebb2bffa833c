"""Relays: the STUN and TURN servers that callers may use, with credentials that end by themselves. Pure.

coturn's `use-auth-secret` (draft-uberti-behave-turn-rest-00): the username is the Unix second at which it ends and a name, the
password Base64 of HMAC-SHA1 of that with the secret that coturn and we share. The secret itself never leaves.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Relays:
    """`urls`: `turn:`, `turns:` and `stun:`; `ttl`: seconds that credentials are good for; a call shows them when it begins, and
    with every refresh of what the relay holds for it."""

    urls: tuple[str, ...] = ()
    secret: str = field(default="", repr=False)
    ttl: int = 3600

    def servers(self, unix: float) -> list[dict[str, Any]]:
        """As `RTCPeerConnection` takes them (`iceServers`), with credentials nobody else has. Empty where there are none."""
        stun = [url for url in self.urls if url.startswith("stun")]
        turn = [url for url in self.urls if url.startswith("turn")]
        told: list[dict[str, Any]] = [{"urls": stun}] if stun else []
        if turn:
            username = f"{int(unix) + self.ttl}:{secrets.token_hex(4)}"
            digest = hmac.digest(self.secret.encode(), username.encode(), "sha1")
            told.append({"urls": turn, "username": username, "credential": base64.b64encode(digest).decode()})
        return told
