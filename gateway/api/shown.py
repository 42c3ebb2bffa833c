"""Shown: the key that a request shows, wherever its client puts it."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.types import Scope

from gateway.access.key import SHOWN_LONGEST
from gateway.access.secrets import PREFIX

IN_SUBPROTOCOL = "openai-insecure-api-key."
"""Browsers can set no headers of a WebSocket: OpenAI's clients send the key as one of its subprotocols."""


def key_shown(scope: Scope) -> str:
    """As OpenAI's clients send it, as Anthropic's do, or as Azure's; empty if there is none."""
    found = [each for each in _found(scope) if each]
    # A client may send another service's key besides.
    ours = (each for each in found if each.startswith(("tl_", PREFIX)))
    return next(ours, found[0] if found else "")[: SHOWN_LONGEST + 1]


def subprotocols(scope: Scope) -> list[str]:
    """Those that a WebSocket's client offers. Never to be logged: one may be a key."""
    return [
        offered.strip()
        for name, value in scope["headers"]
        if name == b"sec-websocket-protocol"
        for offered in value.decode("latin-1").split(",")
    ]


def _found(scope: Scope) -> Iterator[str]:
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, token = value.partition(b" ")
            if kind.lower() == b"bearer":
                yield token.strip().decode("latin-1")
        elif name in (b"x-api-key", b"api-key"):
            yield value.strip().decode("latin-1")
    if scope["type"] == "websocket":
        for offered in subprotocols(scope):
            if offered.startswith(IN_SUBPROTOCOL):
                yield offered.removeprefix(IN_SUBPROTOCOL)
