"""Errors as OpenAI's clients expect them: {"error": {"message", "type", "param", "code"}}, a status, and what to do next.

`attempts` is ours, where several targets were tried, and so are `replica` and `url`, where another one holds the call.
`x-should-retry: false` says that trying again now is no use: the gateway has done it (openai-python obeys it). Messages name
routes, providers, statuses and limits, never what was said.
"""

from __future__ import annotations

import http
import logging
import math
import random
import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.contract.errors import (
    AccessUnknown,
    AllTargetsFailed,
    BadRequest,
    BudgetSpent,
    CallElsewhere,
    ContextTooLong,
    FailedAttempt,
    GatewayError,
    KeyRefused,
    LimitReached,
    NoSuchRoute,
    NoTargetAwake,
    NoThreads,
    OutOfQuota,
    ProviderError,
    RateLimited,
    Refused,
    RouteNotAllowed,
    Unauthorized,
    WrongKind,
)

log = logging.getLogger(__name__)

RATE_LIMIT_PAUSE = 2.0
"""Seconds of Retry-After where every target was rate limited and none said for how long."""

_NO_RETRY = (b"x-should-retry", b"false")
_CALLER, _SERVER, _RATE = "invalid_request_error", "server_error", "rate_limit_error"


_HARMLESS = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


def request_id(scope: Scope) -> bytes:
    """The caller's X-Request-Id where it is harmless, else a new one; the same for the whole request."""
    known = scope.get("trunkline.request_id")
    if known is None:
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                known = value if _HARMLESS.fullmatch(value) else None
                break
        if known is None:
            known = b"req_%024x" % random.getrandbits(96)
        scope["trunkline.request_id"] = known
    assert isinstance(known, bytes)
    return known


@dataclass(frozen=True, slots=True)
class Failure:
    """What is told of an error. `attempts`: the targets that were tried; `more`: fields of ours."""

    status: int
    message: str
    type: str = _CALLER
    param: str | None = None
    code: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    attempts: tuple[FailedAttempt, ...] = ()
    more: tuple[tuple[str, object], ...] = ()

    def fields(self) -> dict[str, object]:
        error: dict[str, object] = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
            **dict(self.more),
        }
        if self.attempts:
            error["attempts"] = [
                {
                    "target": attempt.target,
                    "error": str(attempt.error),
                    "status": attempt.error.status,
                    "seconds": round(attempt.seconds, 3),
                }
                for attempt in self.attempts
            ]
        return error

    def body(self) -> bytes:
        return orjson.dumps({"error": self.fields()})


def failure(error: BaseException, request_id: str) -> Failure:
    """What to tell the caller. Anything that is no GatewayError is told by the request's id alone."""
    match error:
        case NoSuchRoute():
            return Failure(404, str(error), param="model", code="model_not_found")
        case WrongKind():
            return Failure(400, str(error), param="model", code="wrong_kind")
        case NoThreads():
            # In Anthropic's words, on which its clients go on without a thread.
            details = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
            return Failure(400, str(error), param=error.param, more=(("details", details),))
        case BadRequest():
            return Failure(error.status, str(error), param=error.param, code=_CODES.get(error.status))
        case KeyRefused() | RouteNotAllowed() | LimitReached() | BudgetSpent() | AccessUnknown():
            return _denied(error)
        case CallElsewhere():
            held = (("replica", error.replica), ("url", error.url))
            return Failure(421, str(error), code="call_elsewhere", more=held)
        case NoTargetAwake():
            return Failure(503, str(error), _SERVER, "model", "no_target_awake", (_NO_RETRY,))
        case AllTargetsFailed():
            return _exhausted(error, error.attempts)
        case ProviderError():
            return _single(error)
        case HTTPException():
            return _http(error)
    message = f"The gateway failed to serve this request; its log says why under {request_id}."
    return Failure(500, message, _SERVER, code="internal_error")


def where(error: BaseException) -> str:
    """The innermost line of an exception, as file:line in function; no values."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    path = "/".join(frames[-1].filename.rsplit("/", 3)[1:])
    return f"{path}:{frames[-1].lineno} in {frames[-1].name}"


def _denied(error: KeyRefused | RouteNotAllowed | LimitReached | BudgetSpent | AccessUnknown) -> Failure:
    """What a key may not do, or not now."""
    match error:
        case KeyRefused():
            return Failure(
                401, str(error), code="invalid_api_key", headers=((b"www-authenticate", b"Bearer"), _NO_RETRY)
            )
        case RouteNotAllowed():
            return Failure(403, str(error), param="model", code="route_not_allowed", headers=(_NO_RETRY,))
        case BudgetSpent():
            told, quota = (_retry_after(error.begins_anew), _NO_RETRY), "insufficient_quota"
            return Failure(402, str(error), quota, code=quota, headers=told)
        case AccessUnknown():
            return Failure(503, str(error), _SERVER, code="access_unknown", headers=(_retry_after(RATE_LIMIT_PAUSE),))
    headers = (_NO_RETRY,) if error.retry_after is None else (_retry_after(error.retry_after),)
    return Failure(429, str(error), _RATE, code="rate_limit_exceeded", headers=headers)


def _exhausted(error: AllTargetsFailed, attempts: Sequence[FailedAttempt]) -> Failure:
    errors = [attempt.error for attempt in attempts]
    tried = tuple(attempts)
    if errors and all(isinstance(each, RateLimited) for each in errors):
        pauses = [each.retry_after for each in errors if each.retry_after is not None]
        headers = (_retry_after(min(pauses, default=RATE_LIMIT_PAUSE)),)
        return Failure(429, str(error), _RATE, code="rate_limit_exceeded", headers=headers, attempts=tried)
    if errors and all(isinstance(each, ContextTooLong) for each in errors):
        told = _told(error, errors[-1].detail)
        code = "context_length_exceeded"
        return Failure(400, told, param="messages", code=code, headers=(_NO_RETRY,), attempts=tried)
    return Failure(503, str(error), _SERVER, code="all_targets_failed", headers=(_NO_RETRY,), attempts=tried)


def _single(error: ProviderError) -> Failure:
    """One provider's failure: the request was at fault, or it came too late to try another."""
    match error:
        case Refused():
            status = error.status if error.status is not None and 400 <= error.status < 500 else 400
            told = _told(error, error.detail)
            return Failure(status, told, param=error.param, code=error.code, headers=(_NO_RETRY,))
        case ContextTooLong():
            told, code = _told(error, error.detail), "context_length_exceeded"
            return Failure(400, told, param=error.param or "messages", code=code, headers=(_NO_RETRY,))
        case RateLimited():
            pause = RATE_LIMIT_PAUSE if error.retry_after is None else error.retry_after
            return Failure(429, str(error), _RATE, code="rate_limit_exceeded", headers=(_retry_after(pause),))
        case Unauthorized() | OutOfQuota():
            # The key is ours, not the caller's: a 401 would send them looking for a fault in theirs.
            return Failure(502, str(error), _SERVER, code="upstream_refused_key", headers=(_NO_RETRY,))
    told = f"{error.provider}: {error}" if error.provider else str(error)
    return Failure(502, told, _SERVER, code="upstream_failed")


def _told(error: Exception, detail: str | None) -> str:
    """With the upstream's own reason, which is for the caller alone: no log line is made of this."""
    return f"{error}: {detail}" if detail else str(error)


def _retry_after(seconds: float) -> tuple[bytes, bytes]:
    return (b"retry-after", b"%d" % max(1, math.ceil(min(seconds, 86_400.0))))


def _http(error: HTTPException) -> Failure:
    allowed = error.headers or {}
    headers = tuple((name.lower().encode(), value.encode()) for name, value in allowed.items())
    return Failure(error.status_code, error.detail, code=_CODES.get(error.status_code), headers=headers)


_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "request_too_large",
    415: "unsupported_media_type",
}


def install(app: FastAPI) -> None:
    """Give the whole application this form of errors: unknown paths, wrong methods, and whatever its endpoints raise."""
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(GatewayError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_middleware(LastResort)


def response(told: Failure, request_id: bytes) -> Response:
    answer = Response(told.body(), told.status, media_type="application/json")
    answer.raw_headers.extend([(b"x-request-id", request_id), *told.headers])
    return answer


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.detail == http.HTTPStatus(error.status_code).phrase and error.status_code in (404, 405):
        method, path = request.method, request.url.path[:200]
        problem = "Invalid URL" if error.status_code == 404 else "Not allowed"
        error = HTTPException(error.status_code, f"{problem} ({method} {path})", error.headers)
    identity = request_id(request.scope)
    return response(failure(error, identity.decode()), identity)


async def _on_error(request: Request, error: Exception) -> Response:
    identity = request_id(request.scope)
    return response(failure(error, identity.decode()), identity)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = next(iter(error.errors()), {})
    place = [str(part) for part in first.get("loc", ()) if part != "body"]
    param = ".".join(place) or None
    told = Failure(400, f"{param or 'the body'}: {first.get('msg', 'not valid')}", param=param)
    return response(told, request_id(request.scope))


class LastResort:
    """Whatever else an endpoint raises: 500 with the request's id, logged by its class and place. Never what it says."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:  # noqa: BLE001  the API's last resort
            identity = request_id(scope)
            log.error("request %s: %s at %s", identity.decode(), type(error).__name__, where(error))
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1011})
            elif not started:
                await response(failure(error, identity.decode()), identity)(scope, receive, send)
