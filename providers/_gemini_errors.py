"""What Gemini's API says when it fails -> ProviderError: `{"error": {code, message, status, details}}`, in a list or not.

* A wrong key is a 400 with the reason API_KEY_INVALID; a 403 that speaks of a file is the request's, who named the file.
* RESOURCE_EXHAUSTED is a rate limit or a quota that is gone, with one status and one message. Its QuotaFailure names each
  limit that was passed: one a day is a quota, one a minute is not. Where it names none (as on the recorded wire), it is a rate.
* FAILED_PRECONDITION (the country, the project's billing) is Unavailable: another target has another account.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.contract.errors import (
    ContextTooLong,
    OutOfQuota,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from gateway.contract.provider import Secret
from providers._openai_errors import DETAIL_LIMIT, retry_after

BLOCKED = "content_policy_violation"
"""The code of what is refused for its content: OpenAI's word, which clients know."""

_TOO_LONG = re.compile(r"input token count .{0,40}exceeds the maximum number of tokens", re.IGNORECASE)
_KEY = re.compile(
    r"api key (not valid|not found|expired|was reported)|method doesn't allow unregistered", re.IGNORECASE
)
_KEY_REASONS = {"API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "ACCESS_TOKEN_EXPIRED", "CONSUMER_INVALID"}
_FILE = re.compile(r"you do not have permission to access the file", re.IGNORECASE)
_SPENT = re.compile(r"credits are depleted|spending cap", re.IGNORECASE)
_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class _Said:
    message: str = ""
    status: str | None = None
    code: int | None = None
    reason: str | None = None
    delay: float | None = None
    quotas: tuple[str, ...] = ()


def of_response(
    provider: str, key: Secret | None, status: int, headers: Mapping[str, str], body: bytes
) -> ProviderError:
    """The error of an answer that is no 200. `headers`: names in lower case."""
    try:
        said = _read(orjson.loads(body))
    except orjson.JSONDecodeError:
        said = _Said()
    return _error(provider, key, status, said, retry_after(headers))


def of_object(provider: str, key: Secret | None, error: object) -> ProviderError:
    """The error of an `error` inside an answer that began as a 200."""
    said = _read({"error": error})
    return _error(provider, key, said.code, said, None)


def blocked(provider: str, key: Secret | None, reason: str, message: object = None) -> Refused:
    """For what it will not read or write."""
    words = message if isinstance(message, str) and message else "it was blocked"
    detail = f"{_without(key, words)[:DETAIL_LIMIT]} ({reason})"
    return Refused(f"blocked ({reason})", provider, 400, code=BLOCKED, detail=detail)


def _error(provider: str, key: Secret | None, status: int | None, said: _Said, wait: float | None) -> ProviderError:
    kind = _kind(status, said)
    code = _safe(said.reason, key) or _safe(said.status, key)
    told = " ".join(filter(None, (str(status) if status is not None else "an error", f"({code})" if code else "")))
    error = kind(told, provider, status, said.delay if said.delay is not None else wait, code)
    if kind in (Refused, ContextTooLong):
        error.detail = _without(key, said.message)[:DETAIL_LIMIT] or None
    return error


def _kind(status: int | None, said: _Said) -> type[ProviderError]:
    at_fault = status in (400, 413, 422)
    if at_fault and (status == 413 or _TOO_LONG.search(said.message)):
        return ContextTooLong
    if said.reason in _KEY_REASONS or (at_fault and _KEY.match(said.message)):
        return Unauthorized
    if status == 403 and _FILE.match(said.message):
        return Refused
    if status in (401, 403):
        return Unauthorized
    if status == 429:
        spent = any("perday" in quota.lower() for quota in said.quotas) or _SPENT.search(said.message)
        return OutOfQuota if spent else RateLimited
    if status == 402:
        return OutOfQuota
    return Refused if at_fault and said.status != "FAILED_PRECONDITION" else Unavailable


def _read(body: object) -> _Said:
    if isinstance(body, list):
        body = body[0] if body else None
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return _Said(error if isinstance(error, str) else "")
    code, details = error.get("code"), list(_details(error))
    return _Said(
        message=_text(error.get("message")) or "",
        status=_text(error.get("status")),
        code=code if isinstance(code, int) and 400 <= code <= 599 else None,
        reason=next((reason for each in details if (reason := _text(each.get("reason")))), None),
        delay=next((delay for each in details if (delay := _seconds(each.get("retryDelay"))) is not None), None),
        quotas=tuple(quota for each in details for quota in _quotas(each)),
    )


def _details(error: dict[str, Any]) -> Iterator[dict[str, Any]]:
    details = error.get("details")
    yield from (each for each in details if isinstance(each, dict)) if isinstance(details, list) else ()


def _quotas(detail: dict[str, Any]) -> Iterator[str]:
    violations = detail.get("violations")
    for each in violations if isinstance(violations, list) else []:
        if isinstance(each, dict):
            yield _text(each.get("quotaId")) or _text(each.get("subject")) or ""


def _seconds(delay: object) -> float | None:
    """A protobuf duration: "12s", "3.5s"."""
    found = _DELAY.fullmatch(delay) if isinstance(delay, str) else None
    return float(found[1]) if found else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _safe(word: str | None, key: Secret | None) -> str | None:
    return word if word and _WORD.fullmatch(word) and _without(key, word) == word else None


def _without(key: Secret | None, words: str) -> str:
    return words.replace(key.reveal(), "***") if key and len(key.reveal()) >= 8 else words
