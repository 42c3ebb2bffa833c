"""`POST /v1/realtime/client_secrets`: a server makes a key for one browser, for one kind of session and a few minutes.

    {"expires_after": {"anchor": "created_at", "seconds": 600}, "session": {"type": "realtime", "model": "agent"}}
    -> {"value": "ek_...", "expires_at": 1785217650, "session": {...}, "ice_servers": [...]}

`ice_servers` is there where routes.yaml names relays.

It opens WebSockets and WebRTC calls with that session, as many as its key may until it expires, and is good for nothing else.
"""

from __future__ import annotations

import orjson
from starlette.types import Scope

from gateway.access.grant import Grant
from gateway.access.relays import Relays
from gateway.access.secrets import LONGEST, PREFIX, SHORTEST, USUAL, Secret, Secrets
from gateway.api.call_routes import CallRoutes
from gateway.api.exchange import Exchange
from gateway.api.fields import Fields, read_object
from gateway.api.shown import key_shown
from gateway.calls.registry import Registry
from gateway.contract.errors import BadRequest, RouteNotAllowed
from gateway.routing.route import CallRoute

LONGEST_NAME = 256


class ClientSecrets:
    def __init__(self, registry: Registry, routes: CallRoutes, secrets: Secrets, relays: Relays) -> None:
        self._registry, self._routes, self._secrets, self._relays = registry, routes, secrets, relays

    async def make(self, exchange: Exchange) -> None:
        """Whatever a connection made with it could be refused for is found now."""
        body = await read_object(exchange)
        seconds = _seconds(body)
        asked = body.inner("session") or Fields({})
        session = {"type": "realtime", **dict(asked.mapping)}
        grant = exchange.grant
        if session["type"] == "transcription":
            route = self._routes.hearing(_heard_model(asked), grant)
        else:
            route = self._routes.call(asked.text("model", LONGEST_NAME), grant)
        told = self._registry.described(route, session)
        value, secret = self._secrets.make(grant.key_id, route.name, session, seconds)
        answer = {"value": value, "expires_at": int(secret.expires), "session": {**told, "expires_at": 0}}
        if servers := self._relays.servers(self._secrets.unix()):
            answer["ice_servers"] = servers
        await exchange.reply(200, orjson.dumps(answer), headers=((b"cache-control", b"no-store"),))


def secret_of(scope: Scope, secrets: Secrets) -> Secret | None:
    """The client secret that was shown. Raises KeyRefused if it is no good (any more)."""
    shown = key_shown(scope)
    return secrets.find(shown) if shown.startswith(PREFIX) else None


def bound(secret: Secret, name: str | None, routes: CallRoutes, grant: Grant) -> CallRoute:
    """The route of a connection made with it, where the address names `name`. Raises RouteNotAllowed for another."""
    if secret.session["type"] == "transcription":
        return routes.hearing(secret.route, grant)
    if name not in (None, secret.route, secret.session.get("model")):
        raise RouteNotAllowed(str(name), [secret.route])
    return routes.call(secret.route, grant)


def _seconds(body: Fields) -> int:
    after = body.inner("expires_after")
    if after is None:
        return USUAL
    after.choice("anchor", ("created_at",), "created_at")
    return after.whole("seconds", SHORTEST, LONGEST) or USUAL


def _heard_model(session: Fields) -> str | None:
    fields: Fields | None = session
    for name in ("audio", "input", "transcription"):
        fields = fields.inner(name) if fields is not None else None
    model = fields.text("model") if fields is not None else None
    if model is not None and len(model) > LONGEST_NAME:
        raise BadRequest(f"'model' must be a string of at most {LONGEST_NAME} characters", "session.audio.input")
    return model
