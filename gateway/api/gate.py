"""Gate: stands before everything that needs a key, and hands the request on with what that key grants (`access.grant.paying`).

Where keys are configured, all but the console's page, health and metrics needs one: what is added later is behind it by
itself. Where none is, the gate does nothing. Preflights of CORS pass: browsers send no key with them.

Counted against a key's limits is what makes models work: POST, and WebSockets. Everything else only needs the key, so that
one who has used up their minute can still hang up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access.access import Access
from gateway.access.grant import Grant, pay, unpay
from gateway.access.key import Key
from gateway.access.meter import Left
from gateway.access.secrets import PREFIX, Secrets
from gateway.api.exchange import Endpoint, Exchange, Headers, Watch
from gateway.api.shown import key_shown
from gateway.api.socket_errors import refuse
from gateway.contract.errors import BadRequest, GatewayError, KeyRefused

SECRET_PATHS = frozenset({"/v1/realtime", "/v1/realtime/calls", "/v1/realtime/ice_servers"})
OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/metrics"})
SMALL = 1 << 16
"""Bytes of a refused request's body that are read to keep its connection; larger ones end with it."""

_IN_ADDRESS = re.compile(
    rb"(?:^|&)(?:api[_-]?key|access[_-]?token|token|key|authorization)=|tl_[0-9a-f]{8}_", re.IGNORECASE
)
_CORS = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Location, X-Request-Id, Retry-After"),
)


class Gate:
    """An ASGI application around another. `watch`: told of what is refused here."""

    def __init__(
        self, app: ASGIApp, access: Access, watch: Watch | None = None, secrets: Secrets | None = None
    ) -> None:
        self._app, self._access, self._watch = app, access, watch
        self._secrets = secrets or Secrets()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if not self._access.guarded or scope["type"] == "lifespan" or _is_open(scope):
            return self._app(scope, receive, send)
        return self._guarded(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        key: Key | None = None
        try:
            key = self._key(scope)
            grant = await self._access.admit(key) if _counts(scope) else self._access.look(key)
        except GatewayError as error:
            await self._refuse(scope, receive, send, error, key)
            return
        paying = pay(grant)
        try:
            await self._app(scope, receive, _telling(send, _headers(grant)))
        finally:
            unpay(paying)
            grant.end()

    def serve(self, endpoint: Endpoint, exchange: Exchange) -> Awaitable[None]:
        """The same for what came to an endpoint straight (front.py)."""
        return self._serve(endpoint, exchange) if self._access.guarded else endpoint.serve(exchange)

    async def _serve(self, endpoint: Endpoint, exchange: Exchange) -> None:
        key: Key | None = None
        try:
            key = self._key(exchange.scope)
            grant = await self._access.admit(key) if _counts(exchange.scope) else self._access.look(key)
        except GatewayError as error:
            exchange.always = (*(_headers(self._access.look(key)) if key is not None else ()), *_CORS)
            await self._refusing(error, key).serve(exchange)
            return
        exchange.always = _headers(grant)
        paying = pay(grant)
        try:
            await endpoint.serve(exchange)
        finally:
            unpay(paying)
            grant.end()

    def _key(self, scope: Scope) -> Key:
        """Raises KeyRefused, BadRequest, AccessUnknown."""
        shown = _shown(scope)
        if not shown.startswith(PREFIX):
            return self._access.find(shown)
        if scope["path"] not in SECRET_PATHS:
            raise KeyRefused("a client secret is good for realtime sessions alone")
        key_id = self._secrets.find(shown).key_id
        if key_id is None:
            raise KeyRefused("this client secret is of a time when no keys were asked for")
        return self._access.find_id(key_id)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, error: GatewayError, key: Key | None) -> None:
        if scope["type"] == "websocket":
            await refuse(scope, receive, send, error)
            return

        told = _headers(self._access.look(key)) if key is not None else []
        await self._refusing(error, key)(scope, receive, _telling(send, [*told, *_CORS]))

    def _refusing(self, error: GatewayError, key: Key | None) -> Endpoint:
        async def handle(exchange: Exchange) -> None:
            size = exchange.header(b"content-length") or b"0"
            if key is not None and size.isdigit() and int(size) <= SMALL:
                await exchange.read(SMALL)
            raise error

        return Endpoint("gate", handle, self._watch)


def _is_open(scope: Scope) -> bool:
    path = scope["path"]
    return path in OPEN_PATHS or path.startswith("/console/") or scope.get("method") == "OPTIONS"


def _counts(scope: Scope) -> bool:
    if scope["type"] == "websocket":
        return True
    return scope["method"] == "POST" and not scope["path"].endswith("/hangup")


def _shown(scope: Scope) -> str:
    """The key in the headers. Raises KeyRefused, BadRequest."""
    if scope["query_string"] and _IN_ADDRESS.search(scope["query_string"]):
        # Addresses are written down by every proxy and browser on the way.
        raise BadRequest("a key must not stand in the address, where logs would keep it: send Authorization: Bearer")
    shown = key_shown(scope)
    if not shown:
        raise KeyRefused("this gateway asks for a key: send it as Authorization: Bearer tl_...")
    return shown


def _headers(grant: Grant) -> list[tuple[bytes, bytes]]:
    told: list[tuple[bytes, bytes]] = []
    for name, left in zip((b"requests", b"tokens"), grant.left):
        if left is not None:
            told += _left(name, left)
    return told


def _left(name: bytes, left: Left) -> Headers:
    yield b"x-ratelimit-limit-" + name, b"%d" % left.limit
    yield b"x-ratelimit-remaining-" + name, b"%d" % left.remaining
    yield b"x-ratelimit-reset-" + name, b"%ds" % math.ceil(left.reset)


def _telling(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    """`send`, with these headers on the answer."""
    if not headers:
        return send

    def sending(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        return send(message)

    return sending
