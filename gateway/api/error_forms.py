"""Forms: an error in the words of the protocol that its path belongs to. OpenAI's everywhere, Anthropic's below /v1/messages."""

from __future__ import annotations

import orjson

from gateway.api.errors import Failure

MESSAGES = "/v1/messages"
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_body(told: Failure, path: str, request_id: bytes) -> bytes:
    return message_error(told, request_id) if path.startswith(MESSAGES) else told.body()


def error_headers(told: Failure, path: str, request_id: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"request-id", request_id), *told.headers) if path.startswith(MESSAGES) else told.headers


def message_error(told: Failure, request_id: bytes) -> bytes:
    """`param`, `code` and `attempts` are ours, and stand where they say something."""
    kind = _TYPES.get(told.status, "invalid_request_error" if told.status < 500 else "api_error")
    ours = {name: value for name, value in told.fields().items() if value is not None}
    error = {**ours, "type": kind, "message": told.message}
    return orjson.dumps({"type": "error", "error": error, "request_id": request_id.decode()})
