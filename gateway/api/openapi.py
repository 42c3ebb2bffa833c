"""GET /openapi.json: what is accepted here and what comes back, for generators of clients and for fuzzing.

Written by hand, since endpoints parse their own bodies (fields.py). Objects are open: fields that are not described go along to
targets that know them. `model` lists the routes that the caller's key may use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson
from fastapi import APIRouter, Response

from gateway.access.grant import paying
from gateway.api.openapi_schemas import (
    COMPONENTS,
    ERROR,
    MESSAGE_ERROR,
    REQUESTS,
    TRANSCRIPTION,
    TRANSLATION,
    integer,
    text,
)
from gateway.contract.requests import Kind
from gateway.routing.engine import Engine
from gateway.routing.route import CallRoute

Json = dict[str, Any]
_ANY: Json = {"type": "object"}
_ENDPOINTS: Mapping[str, tuple[str, Kind, str]] = {
    "/v1/chat/completions": ("Chat", "llm", "A chat, streamed or whole."),
    "/v1/responses": ("Response", "llm", "A response. Nothing is stored."),
    "/v1/messages": ("Messages", "llm", "Anthropic's messages."),
    "/v1/messages/count_tokens": ("CountTokens", "llm", "How many tokens messages have."),
    "/v1/completions": ("Completion", "llm", "A completion, as before chats."),
    "/v1/embeddings": ("Embeddings", "embed", "Vectors of texts."),
    "/v1/audio/speech": ("Speech", "tts", "Speech of a text."),
}


def router(engine: Engine, calls: Callable[[], Mapping[str, CallRoute]] = dict, telephony: bool = False) -> APIRouter:
    """`telephony`: whether calls are served."""
    routes = APIRouter()

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        grant, kinds = paying(), {route.name: route.kind for route in engine.routes.values()}
        names: dict[str, list[str]] = {}
        for name, kind in [*kinds.items(), *((name, "call") for name in calls())]:
            if grant.allows(name):
                names.setdefault(kind, []).append(name)
        return Response(orjson.dumps(document(names, telephony)), media_type="application/json")

    return routes


def document(names: Mapping[str, Iterable[str]], telephony: bool = True) -> Json:
    """`names`: of routes, by kind."""
    paths = {path: {"post": _asking(path, *told, names)} for path, told in _ENDPOINTS.items()}
    transcribing = _transcribing("Transcription", TRANSCRIPTION, "The words of a recording.", names)
    translating = _transcribing("Translation", TRANSLATION, "The words of a recording, in English.", names)
    paths |= {"/v1/audio/transcriptions": {"post": transcribing}, "/v1/audio/translations": {"post": translating}}
    paths |= _LOOKING
    if telephony:
        paths |= _CALLS
    return {
        "openapi": "3.1.0",
        "info": {"title": "Trunkline", "version": _version()},
        "paths": paths,
        "components": {"schemas": COMPONENTS, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],
    }


def _version() -> str:
    try:
        return version("trunkline")
    except PackageNotFoundError:
        return "0"


def _asking(path: str, schema: str, kind: Kind, summary: str, names: Mapping[str, Iterable[str]]) -> Json:
    body = _of(REQUESTS[schema], names.get(kind, ()))
    answers: Json = {"application/json": {"schema": _ANY}, "text/event-stream": {}}
    if kind == "tts":
        answers = {"audio/*": {}, "text/event-stream": {}}
    error = MESSAGE_ERROR if path.startswith("/v1/messages") else ERROR
    return {
        "summary": summary,
        "operationId": schema,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": "The answer.", "content": answers}, **_errors(error)},
    }


def _transcribing(name: str, form: Json, summary: str, names: Mapping[str, Iterable[str]]) -> Json:
    form = _of(form, names.get("stt", ()))
    answers: Json = {
        "application/json": {"schema": _ANY},
        **{kind: {"schema": text()} for kind in ("text/plain", "text/vtt", "application/x-subrip")},
        "text/event-stream": {},
    }
    return {
        "summary": summary,
        "operationId": name,
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}},
        "responses": {"200": {"description": "The words.", "content": answers}, **_errors(ERROR)},
    }


def _of(request: Json, names: Iterable[str]) -> Json:
    """The request, with the routes that its `model` may name."""
    known = sorted(names)
    return {**request, "properties": {**request["properties"], "model": text(enum=known)}} if known else request


def _errors(error: Json = ERROR) -> Json:
    return {
        status: {"description": what, "content": {"application/json": {"schema": error}}}
        for status, what in (("4XX", "What is wrong with the request."), ("5XX", "Which targets failed, and why."))
    }


def _get(summary: str, kind: str = "application/json", schema: Json = _ANY, *parameters: Json, **more: Json) -> Json:
    """`more`: other operations of the path."""
    answer = {"200": {"description": summary, "content": {kind: {"schema": schema}}}, **_errors()}
    return {
        "get": {"summary": summary, "responses": answer},
        **({"parameters": parameters} if parameters else {}),
        **more,
    }


def _parameter(name: str, schema: Json, where: str = "query") -> Json:
    return {"name": name, "in": where, "required": where == "path", "schema": schema}


_ID = _parameter("call_id", text(minLength=1), "path")
_FILTERS = (
    _parameter("route", text()),
    _parameter("target", text()),
    _parameter("outcome", text()),
    _parameter("hedged", {"type": "boolean"}),
    _parameter("since", {"type": "number", "minimum": 0, "maximum": 1e12}),
    _parameter("limit", integer(1, 500)),
)
_LOOKING: Json = {
    "/v1/models": _get("The routes, and what they can do."),
    "/v1/models/{name}": _get("One route.", "application/json", _ANY, _parameter("name", text(minLength=1), "path")),
    "/v1/telemetry": _get("What happens now, as events without an end.", "text/event-stream", {}),
    "/v1/telemetry/decisions": _get(
        "Requests, and why their targets were chosen.", "application/json", _ANY, *_FILTERS
    ),
    "/v1/telemetry/costs": _get("What was spent."),
    "/healthz": _get("The process answers."),
    "/readyz": _get("It may be sent requests."),
    "/metrics": _get("For Prometheus.", "text/plain", text()),
}
_HANG_UP: Json = {"summary": "Hang up.", "responses": {"200": {"description": "It is over."}, **_errors()}}
_MODE: Json = {"type": "object", "required": ["mode"], "properties": {"mode": text(enum=["cascaded", "omni"])}}
_CALLS: Json = {
    "/v1/realtime/client_secrets": {
        "post": {
            "summary": "A key for one browser, one kind of session, and a few minutes.",
            "requestBody": {"required": True, "content": {"application/json": {"schema": _ANY}}},
            "responses": {
                "200": {"description": "It.", "content": {"application/json": {"schema": _ANY}}},
                **_errors(),
            },
        },
    },
    "/v1/realtime/ice_servers": _get(
        "ICE servers for a call (STUN, and TURN with credentials that end), where routes.yaml names any."
    ),
    "/v1/realtime/calls": {
        "post": {
            "summary": "An offer of WebRTC (WHIP, or OpenAI's form).",
            "requestBody": {
                "required": True,
                "content": {
                    "application/sdp": {"schema": text()},
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "required": ["sdp"],
                            "properties": {"sdp": text(), "session": text()},
                        }
                    },
                },
            },
            "responses": {
                "201": {"description": "The answer.", "content": {"application/sdp": {"schema": text()}}},
                **_errors(),
            },
        },
        "parameters": [_parameter("model", text())],
    },
    "/v1/realtime/calls/{call_id}": {"delete": _HANG_UP, "parameters": [_ID]},
    "/v1/realtime/calls/{call_id}/hangup": {"post": _HANG_UP, "parameters": [_ID]},
    "/v1/calls/{call_id}": _get(
        "What is going on in a call.",
        "application/json",
        _ANY,
        _ID,
        delete=_HANG_UP,
        patch={
            "summary": "Change its mode.",
            "requestBody": {"required": True, "content": {"application/json": {"schema": _MODE}}},
            "responses": {"200": {"description": "As it is now."}, **_errors()},
        },
    ),
}
