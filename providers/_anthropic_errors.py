"""What Anthropic says when it fails -> ProviderError. Statuses and types are its documentation's; the choices are ours:

* 404 (no such model) is Unavailable: the configuration is at fault, and another target has another model.
* 413, and the 400s that speak of too many tokens in or out, are ContextTooLong: another target may take more.
* A spend limit comes as a 429, and credit that ran out as a 400: both are OutOfQuota, since waiting does not help.
* Message texts are looked at last, and only at their beginning, because callers can make an upstream quote them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

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
from providers._openai_errors import DETAIL_LIMIT, moment, retry_after, safe_word, without

_BY_TYPE: dict[str, type[ProviderError]] = {
    "invalid_request_error": Refused,
    "authentication_error": Unauthorized,
    "permission_error": Unauthorized,
    "billing_error": OutOfQuota,
    "request_too_large": ContextTooLong,
    "rate_limit_error": RateLimited,
}
_BY_STATUS: dict[int, type[ProviderError]] = {
    400: Refused,
    401: Unauthorized,
    402: OutOfQuota,
    403: Unauthorized,
    413: ContextTooLong,
    422: Refused,
    429: RateLimited,
}
_TOO_LONG = re.compile(
    r"prompt is too long|input length and `max_tokens` exceed|max_tokens: \d+ > \d+|input is too long", re.IGNORECASE
)
_NO_CREDIT = re.compile(r"your credit balance is too low", re.IGNORECASE)
_PARAM = re.compile(r"([a-z_]+(?:\.[a-z0-9_]+)*): ")
"""Messages about a field begin with its path."""
_LIMITS = ("requests", "tokens", "input-tokens", "output-tokens")


@dataclass(frozen=True, slots=True)
class _Said:
    """An error object's fields. `reason`: what its details say more exactly than its type does."""

    message: str = ""
    type: str = ""
    reason: str = ""


def of_response(
    provider: str, key: Secret | None, status: int, headers: Mapping[str, str], body: bytes
) -> ProviderError:
    """The error of an answer that is no 200. `headers`: names in lower case."""
    try:
        said = _read(orjson.loads(body))
    except orjson.JSONDecodeError:
        said = _Said()
    wait = retry_after(headers)
    if wait is None and status == 429:
        wait = _until_reset(headers)
    return _error(provider, key, status, said, wait)


def of_event(provider: str, key: Secret | None, event: object) -> ProviderError:
    """The error of an `error` event inside an answer that began as a 200, or of a whole answer that is one."""
    return _error(provider, key, None, _read(event), None)


def _error(provider: str, key: Secret | None, status: int | None, said: _Said, wait: float | None) -> ProviderError:
    kind = _kind(status, said)
    code = safe_word(said.reason or None, key) or safe_word(said.type or None, key)
    told = " ".join(filter(None, (str(status) if status is not None else "an error", f"({code})" if code else "")))
    error = kind(told, provider, status, wait, code)
    if kind in (Refused, ContextTooLong):
        error.detail = without(key, said.message)[:DETAIL_LIMIT] or None
        param = _PARAM.match(said.message)
        error.param = without(key, param[1])[:200] if param else None
    return error


def _kind(status: int | None, said: _Said) -> type[ProviderError]:
    kind = _BY_STATUS.get(status, Unavailable) if status is not None else _BY_TYPE.get(said.type, Unavailable)
    if kind is RateLimited and said.reason.endswith("spend_limit_reached"):
        return OutOfQuota
    if kind is Refused and _NO_CREDIT.match(said.message):
        return OutOfQuota
    if kind is Refused and _TOO_LONG.match(said.message.removeprefix("messages: ")):
        return ContextTooLong
    return kind


def _read(body: object) -> _Said:
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return _Said()
    details = error.get("details")
    reason = details.get("error_code") if isinstance(details, dict) else None
    return _Said(_text(error.get("message")), _text(error.get("type")), _text(reason))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _until_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until the last of the used-up limits is full again, by the answer's own clock."""
    resets = []
    for limit in _LIMITS:
        if headers.get(f"anthropic-ratelimit-{limit}-remaining") == "0":
            try:
                resets.append(datetime.fromisoformat(headers.get(f"anthropic-ratelimit-{limit}-reset", "")).timestamp())
            except ValueError:
                continue
    return max(0.0, max(resets) - (moment(headers.get("date", "")) or time.time())) if resets else None
