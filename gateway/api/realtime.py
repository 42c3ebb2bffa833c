"""`WS /v1/realtime`: OpenAI's Realtime protocol (GA) over a WebSocket, with a call's route, or a stt route alone.

    ?model=agent                            a call: the route of kind call, cascaded or omni
    ?intent=transcription[&model=listen]    only what the caller says; a name that is no route's means the first of kind stt
    ?call_id=rtc_...                        a control socket of a call that is under way (sideband.py)

A key is shown as `Authorization: Bearer`, or as the subprotocol `openai-insecure-api-key.KEY`; it may be a client secret.
Errors come after the handshake: see socket_errors.py. Where no keys are asked for, pages of other sites are refused (403):
browsers let any page open a WebSocket to any host, this one's loopback included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.types import Receive, Scope, Send

from gateway.access.grant import Grant, paying
from gateway.access.secrets import Secrets
from gateway.api.call_routes import CallRoutes, call_of
from gateway.api.client_secrets import bound, secret_of
from gateway.api.errors import Failure
from gateway.api.exchange import Watch
from gateway.api.sideband import Sideband
from gateway.api.socket_errors import MissingModel, accept, say, say_why
from gateway.calls.registry import CallsFull, Registry, new_id
from gateway.contract.errors import BadRequest, GatewayError
from gateway.routing.route import CallRoute
from gateway.transports.websocket import WebSocketTransport

LONGEST_NAME = 256
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Realtime:
    """An ASGI application for WebSockets. `watch`: told of each."""

    def __init__(
        self, registry: Registry, routes: CallRoutes, secrets: Secrets | None = None, watch: Watch | None = None
    ) -> None:
        self._registry, self._routes, self._watch = registry, routes, watch
        self._secrets = secrets or Secrets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        if paying().key is None and foreign(scope):
            await send({"type": "websocket.close", "code": 1008})
            return
        if self._watch is not None:
            self._watch.began("realtime")
        try:
            await self._serve(scope, receive, send)
        finally:
            if self._watch is not None:
                self._watch.ended("realtime", 101)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if b"call_id=" in scope["query_string"]:
            await self._beside(scope, receive, send)
            return
        call_id = new_id("rtc")
        await accept(scope, send, (b"x-call-id", call_id.encode()))
        transport = WebSocketTransport(receive, send)
        grant = paying()
        try:
            route, session = self._wanted(scope, grant)
            self._registry.check(session)
            self._registry.start(route, session, transport, call_id, self._routes.names(grant))
        except CallsFull as full:
            await say(send, Failure(503, str(full), "server_error"), "calls_full")
            return
        except GatewayError as error:
            await say_why(scope, send, error)
            return
        transport.start()
        try:
            await transport.over()
        finally:
            await self._registry.end(call_id, "shutdown")

    async def _beside(self, scope: Scope, receive: Receive, send: Send) -> None:
        await accept(scope, send)
        try:
            if secret_of(scope, self._secrets) is not None:
                raise BadRequest(
                    "a client secret opens calls of its own; another's control socket takes the key", "call_id"
                )
            call = await call_of(self._registry, _query(scope).get("call_id", ""), paying())
        except GatewayError as error:
            await say_why(scope, send, error)
            return
        await Sideband(receive, send).serve(call)

    def _wanted(self, scope: Scope, grant: Grant) -> tuple[CallRoute, dict[str, Any] | None]:
        """The route, and what the session begins with."""
        query = _query(scope)
        name = query.get("model") or None
        if name is not None and len(name) > LONGEST_NAME:
            raise BadRequest(f"'model' must be a string of at most {LONGEST_NAME} characters", "model")
        secret = secret_of(scope, self._secrets)
        if secret is not None:
            return bound(secret, name, self._routes, grant), dict(secret.session)
        if query.get("intent") == "transcription":
            return self._routes.hearing(name, grant), {"type": "transcription"}
        if name is None:
            raise MissingModel
        return self._routes.call(name, grant), None


def _query(scope: Scope) -> Mapping[str, str]:
    try:
        given = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=32)
    except ValueError:
        raise BadRequest("the query has too many fields") from None
    return {name: values[0] for name, values in given.items()}


def foreign(scope: Scope) -> bool:
    """Whether a page of another site asks. Programs send no Origin; pages of this machine may."""
    headers = dict(scope["headers"])
    origin = headers.get(b"origin")
    if origin is None:
        return False
    try:
        asking = urlsplit(origin.decode("latin-1"))
        here = urlsplit("//" + headers.get(b"host", b"").decode("latin-1"))
        return asking.hostname not in _LOOPBACK and (asking.netloc != here.netloc or not asking.netloc)
    except ValueError:
        return True
