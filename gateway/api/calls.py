"""Calls over HTTP: OpenAI's `/v1/realtime/calls`, WHIP (RFC 9725) on the same paths, and `/v1/calls/{id}`, which is ours.

    WS     /v1/realtime                     a call without WebRTC: see realtime.py
    POST   /v1/realtime/client_secrets      a key for one browser: see client_secrets.py
    GET    /v1/realtime/ice_servers         what a browser should be told beside it: STUN and TURN servers, with credentials
    POST   /v1/realtime/calls               an offer; 201, the answer, and where the call is
    PATCH  /v1/realtime/calls/{id}          more candidates (application/trickle-ice-sdpfrag)
    DELETE /v1/realtime/calls/{id}          hang up; so does POST .../hangup
    GET    /v1/calls/{id}                   what is going on; PATCH {"mode": "omni"} changes its mode, DELETE hangs up

A call lives in one process. Another replica answers 421 for it, with who holds it, where both share a Redis.

An offer is SDP as it is (`application/sdp`), or OpenAI's form of `sdp` and `session`. The call's route is the query's
`model`, else the session's, else the first route of kind call. The answer's type is the one that Accept names; for `*/*`
it is `application/sdp` after SDP (WHIP demands it) and `text/plain` after a form (which is what OpenAI sends).
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import orjson
from fastapi import APIRouter
from starlette.routing import Route as Path
from starlette.routing import WebSocketRoute

from gateway.access.relays import Relays
from gateway.access.secrets import Secrets
from gateway.api.call_routes import CallRoutes, call_of
from gateway.api.client_secrets import ClientSecrets, bound, secret_of
from gateway.api.cors import Open
from gateway.api.errors import Failure
from gateway.api.exchange import Endpoint, Exchange, Watch
from gateway.api.fields import read_object
from gateway.api.form import read_form
from gateway.api.realtime import Realtime, foreign
from gateway.calls.call import Call
from gateway.calls.events import Mode
from gateway.calls.gateway_codec import turn_json
from gateway.calls.registry import CallsFull, Registry
from gateway.contract.errors import BadRequest
from gateway.routing.route import CallRoute, Route
from gateway.transports.webrtc import WebRtc, WebRtcTransport

BODY_LIMIT = 1 << 20
"""Bytes of a request's body that are read. An offer may have fewer; see transports.offer."""
LONGEST_NAME = 256
_SDP, _PLAIN, _FRAGMENT = "application/sdp", "text/plain; charset=utf-8", "application/trickle-ice-sdpfrag"


def router(
    registry: Registry,
    webrtc: WebRtc,
    routes: Mapping[str, Route],
    calls: Callable[[], Mapping[str, CallRoute]],
    watch: Watch | None = None,
    secrets: Secrets | None = None,
    relays: Relays | None = None,
) -> APIRouter:
    """`routes`: the engine's; `calls`: the routes of kind call, as they are now."""
    relays = relays or Relays()
    known, secrets = CallRoutes(routes, calls), secrets or Secrets()
    served, made = Calls(registry, webrtc, known, secrets), ClientSecrets(registry, known, secrets, relays)

    async def ice_servers(exchange: Exchange) -> None:
        await exchange.read(BODY_LIMIT)
        if exchange.grant.key is None and foreign(exchange.scope):
            raise BadRequest("pages of other sites are told no relays where no keys are asked for", status=403)
        told = {"ice_servers": relays.servers(secrets.unix())}
        await exchange.reply(200, orjson.dumps(told), headers=((b"cache-control", b"no-store"),))

    def path(path: str, name: str, accepts: str = "", **handlers: Callable[[Exchange], Awaitable[None]]) -> Path:
        async def handle(exchange: Exchange) -> None:
            method = exchange.scope["method"]
            await handlers["GET" if method == "HEAD" else method](exchange)

        methods = [*handlers, "OPTIONS"]
        return Path(path, Open(Endpoint(name, handle, watch), methods, accepts), methods=methods, name=name)

    return APIRouter(
        routes=[
            WebSocketRoute("/v1/realtime", Realtime(registry, known, secrets, watch), name="realtime"),
            path("/v1/realtime/client_secrets", "client_secrets", POST=made.make),
            path("/v1/realtime/ice_servers", "ice_servers", GET=ice_servers),
            path("/v1/realtime/calls", "calls", _SDP, POST=served.offer),
            path("/v1/realtime/calls/{call_id}", "call", PATCH=served.trickle, DELETE=served.hang_up),
            path("/v1/realtime/calls/{call_id}/hangup", "call_hangup", POST=served.hang_up),
            path("/v1/calls/{call_id}", "call_state", GET=served.show, PATCH=served.change, DELETE=served.hang_up),
        ]
    )


@dataclass(frozen=True, slots=True)
class _Offer:
    sdp: str
    session: dict[str, Any] | None
    kind: str  # content type of the answer, where the caller takes any


class Calls:
    def __init__(self, registry: Registry, webrtc: WebRtc, routes: CallRoutes, secrets: Secrets) -> None:
        self._registry, self._webrtc, self._routes, self._secrets = registry, webrtc, routes, secrets
        self._transports: weakref.WeakValueDictionary[str, WebRtcTransport] = weakref.WeakValueDictionary()

    async def offer(self, exchange: Exchange) -> None:
        """Everything that can be wrong is found before there is a connection."""
        given = await _read_offer(exchange)
        try:
            route, session = self._wanted(exchange, given)
            self._registry.check(session)
            transport, answer = await self._webrtc.answer(given.sdp)
            try:
                call = self._registry.start(route, session, transport, names=self._routes.names(exchange.grant))
            except BaseException:
                await transport.aclose()
                raise
        except CallsFull as full:
            told = Failure(503, str(full), "server_error", code="calls_full")
            retry = (b"retry-after", b"%d" % max(1, round(full.retry_after)))
            await exchange.reply(503, told.body(), headers=(retry,))
            return
        self._transports[call.id] = transport
        location = (b"location", f"/v1/realtime/calls/{call.id}".encode())
        kind = _preferred(exchange.header(b"accept") or b"", given.kind)
        await exchange.reply(201, answer.encode(), kind.encode(), (location, (b"accept-patch", _FRAGMENT.encode())))

    def _wanted(self, exchange: Exchange, given: _Offer) -> tuple[CallRoute, dict[str, Any] | None]:
        secret = secret_of(exchange.scope, self._secrets)
        if secret is None:
            return self._routes.call(_model(exchange, given.session), exchange.grant), given.session
        named = _model(exchange, given.session)
        return bound(secret, named, self._routes, exchange.grant), {**(given.session or {}), **secret.session}

    async def trickle(self, exchange: Exchange) -> None:
        if _content_type(exchange) != _FRAGMENT:
            raise BadRequest(f"send candidates as {_FRAGMENT}", status=415)
        body = await exchange.read(BODY_LIMIT)
        call = await self._call(exchange)
        transport = self._transports.get(call.id)
        if transport is None:
            raise BadRequest("this call is not one of WebRTC", status=405)
        await transport.trickle(_text(body))
        await exchange.start(204)
        await exchange.finish()

    async def hang_up(self, exchange: Exchange) -> None:
        await exchange.read(BODY_LIMIT)
        call = await self._call(exchange)
        await self._registry.end(call.id)
        await exchange.reply(200, b"")

    async def show(self, exchange: Exchange) -> None:
        await exchange.read(BODY_LIMIT)
        call = await self._call(exchange)
        transport = self._transports.get(call.id)
        told = {
            "id": call.id,
            "object": "call",
            "route": call.line.route.name,
            "mode": call.leg.mode,
            "modes": call.lead.modes,
            "state": "connecting" if transport is not None and not transport.connected else "live",
            "seconds": round(call.line.timeline.now(), 3),
            "turns": [turn_json(turn) for turn in call.line.timeline.turns],
        }
        await exchange.reply(200, orjson.dumps(told), headers=((b"cache-control", b"no-store"),))

    async def change(self, exchange: Exchange) -> None:
        """202: the call stays as it is until the other leg is ready; `GET`, and the `gateway` channel, tell when it is."""
        body = await read_object(exchange)
        call = await self._call(exchange)
        mode: Mode = "omni" if body.choice("mode", ("cascaded", "omni"), "") == "omni" else "cascaded"
        if body.text("mode") is None:
            raise body.fault("mode", "is missing")
        if not call.change_mode(mode, "it was asked for over HTTP"):
            raise BadRequest(f"this call's route has no {mode} mode", "mode", 409)
        told = {"id": call.id, "mode": call.leg.mode, "wished": mode}
        await exchange.reply(202, orjson.dumps(told), headers=((b"cache-control", b"no-store"),))

    async def _call(self, exchange: Exchange) -> Call:
        return await call_of(self._registry, exchange.scope["path_params"]["call_id"], exchange.grant)


def _model(exchange: Exchange, session: dict[str, Any] | None) -> str | None:
    """The query's, else the session's: clients' sessions may name a model of their own beside the URL's."""
    try:
        query = parse_qs(exchange.scope["query_string"].decode("latin-1"), max_num_fields=32).get("model")
    except ValueError:
        raise BadRequest("the query has too many fields") from None
    name = query[0] if query else (session or {}).get("model")
    if name is not None and (not isinstance(name, str) or len(name) > LONGEST_NAME):
        raise BadRequest(f"'model' must be a string of at most {LONGEST_NAME} characters", "model")
    return name or None


async def _read_offer(exchange: Exchange) -> _Offer:
    match _content_type(exchange):
        case "application/sdp":
            return _Offer(_text(await exchange.read(BODY_LIMIT)), None, _SDP)
        case "multipart/form-data":
            form = await read_form(exchange, BODY_LIMIT)
            sdp = form.fields.get("sdp") or (form.file and _text(form.file))
            if not sdp:
                raise BadRequest("the form has no part named 'sdp'", "sdp")
            return _Offer(sdp, _session(form.fields.get("session")), _PLAIN)
    raise BadRequest(f"send the offer as {_SDP}, or as multipart/form-data with 'sdp' and 'session'", status=415)


def _session(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        session = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadRequest("'session' is no valid JSON", "session") from None
    if not isinstance(session, dict):
        raise BadRequest("'session' must be a JSON object", "session")
    return session


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise BadRequest("the SDP is no valid UTF-8", "sdp") from None


def _content_type(exchange: Exchange) -> str:
    return (exchange.header(b"content-type") or b"").partition(b";")[0].strip().lower().decode("latin-1")


def _preferred(accept: bytes, otherwise: str) -> str:
    accepted = {each.partition(b";")[0].strip().lower() for each in accept.split(b",")}
    if b"application/sdp" in accepted:
        return _SDP
    return _PLAIN if b"text/plain" in accepted else otherwise
