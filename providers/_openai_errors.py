"""What OpenAI-shaped upstreams say when they fail -> ProviderError. The tables are theirs; the choices are ours:

* 404 (no such model, no such path) is Unavailable: the configuration is at fault, and another target has another model.
* 413 is ContextTooLong: this target takes no request of this size (Groq says it for its tokens-per-minute limit too).
* `tool_use_failed` and the like are Unavailable, though a 400: the model failed, not the request.
* A 403 that shows moderation (OpenRouter) is Refused: else a caller could get a target's key called invalid.
* Message texts are looked at last and narrowly, because callers can make upstreams quote them.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
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

DETAIL_LIMIT = 2000
"""Characters of an upstream's reason that are passed on."""

_QUOTA = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance"}
_RATE = {"rate_limit_exceeded", "rate_limit_error", "rate_limit_reached", "too_many_requests"}
_KEY = {"invalid_api_key", "authentication_error", "permission_error", "unauthorized"}
_CONTEXT = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length", "request_too_large"}
# Said with a 400 by Groq and others, and not the request's fault.
_MODEL = {
    "tool_use_failed",
    "json_validate_failed",
    "output_parse_failed",
    "model_not_found",
    "model_decommissioned",
    "model_not_active",
    "model_terms_required",
}
_REFUSED = {"invalid_request_error", "content_policy_violation", "content_filter", "invalid_prompt", "moderation"}

# vLLM, DeepSeek, OpenRouter; xAI; Groq; Mistral; Fireworks; Together. All in messages of a 400 or 422 without a code.
_TOO_LONG = re.compile(
    r"maximum context length|maximum prompt length|reduce the length of the messages|too large for model"
    r"|prompt is too long|`inputs` tokens \+ `max_new_tokens`|exceeds the available context size",
    re.IGNORECASE,
)
# xAI and Gemini answer 400 to a wrong key. Only where the message begins with it: what follows may be the caller's words.
_WRONG_KEY = re.compile(r"incorrect api key|api key not valid|invalid api key", re.IGNORECASE)
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class _Said:
    """An error object's fields, whatever its shape. `status`: as the object itself says it."""

    message: str = ""
    code: str | None = None
    kind: str | None = None
    param: str | None = None
    status: int | None = None
    moderated: bool = False

    @property
    def words(self) -> set[str]:
        return {word.lower() for word in (self.code, self.kind) if word}


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
    return _error(provider, key, said.status, said, None)


_OF_THE_TARGET = re.compile(
    r"voice|model|language|response_format|speed|instructions|stream_format|format|rate|granularities"
)
"""Fields that the target's row, or its model, decides about: another target may have a voice of that name."""


def of_target(error: ProviderError) -> ProviderError:
    """Of speech, what refused a voice, a language or a format is the target's fault: another may have it."""
    if type(error) is not Refused:
        return error
    at_fault = bool(_OF_THE_TARGET.search(error.param or ""))
    named = bool(_OF_THE_TARGET.search(error.code or ""))
    listed = re.search(r"'loc': \('body', '(\w+)'", error.detail or "")  # as OpenAI's speech endpoint says it
    if at_fault or named or (listed and _OF_THE_TARGET.search(listed[1])):
        return Unavailable(str(error), error.provider, error.status, error.retry_after, error.code)
    return error


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds: `retry-after-ms`, else `retry-after` in seconds or as a date (measured against the answer's own, if it has one)."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    until = moment(headers.get("retry-after", ""))
    if until is None:
        return None
    return max(0.0, until - (moment(headers.get("date", "")) or time.time()))


def moment(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


def _error(provider: str, key: Secret | None, status: int | None, said: _Said, wait: float | None) -> ProviderError:
    kind = _kind(status, said)
    code = safe_word(said.code, key) or safe_word(said.kind, key)
    told = " ".join(filter(None, (str(status) if status is not None else "an error", f"({code})" if code else "")))
    error = kind(told, provider, status, wait, code)
    if kind in (Refused, ContextTooLong):
        error.detail = without(key, said.message)[:DETAIL_LIMIT] or None
        error.param = without(key, said.param or "")[:200] or None
    return error


def _kind(status: int | None, said: _Said) -> type[ProviderError]:
    words = said.words
    at_fault = status in (400, 422) or (status is None and bool(words & _REFUSED))
    if status == 402 or words & _QUOTA:
        return OutOfQuota
    if words & _MODEL:
        return Unavailable
    if status == 413 or words & _CONTEXT or (at_fault and _TOO_LONG.search(said.message)):
        return ContextTooLong
    if said.moderated:
        return Refused
    if status in (401, 403) or words & _KEY or (at_fault and _WRONG_KEY.match(said.message)):
        return Unauthorized
    if status == 429 or (status is None and words & _RATE):
        return RateLimited
    return Refused if at_fault else Unavailable


def _read(body: object) -> _Said:
    """Shapes: {"error": {...}} (most), {"error": "words"} (xAI, Ollama), the object itself (Mistral, vLLM), {"detail": ...}
    (FastAPI), all of it in a list (Gemini)."""
    if isinstance(body, list):
        body = body[0] if body else None
    if not isinstance(body, dict):
        return _Said(body if isinstance(body, str) else "")
    error: Any = body.get("error", body)
    if not isinstance(error, dict):
        error = {**body, "message": error}
    extra = error.get("metadata") if isinstance(error.get("metadata"), dict) else {}
    told = [_words(error.get("message") or error.get("detail")), _words(extra.get("raw"))]
    return _Said(
        message=": ".join(filter(None, told)),
        code=_word(error.get("code")),
        kind=_word(error.get("type")),
        param=_word(error.get("param")),
        status=_status(error.get("status_code")) or _status(error.get("code")) or _status(error.get("status")),
        moderated=bool(extra.get("reasons") or extra.get("flagged_input")),
    )


def _words(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return orjson.dumps(value).decode()


def _word(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) and value != "" else None


def _status(value: object) -> int | None:
    try:
        number = int(value) if isinstance(value, str | int) else 0
    except ValueError:
        return None
    return number if 400 <= number <= 599 else None


def safe_word(word: str | None, key: Secret | None) -> str | None:
    """A code as it may be logged; None if it is no code but a sentence, or holds the key."""
    if word is None or not _CODE.fullmatch(word) or without(key, word) != word:
        return None
    return word


def without(key: Secret | None, words: str) -> str:
    # What is shorter is no secret but what a local server is given ("none", "ollama"), and a word like others.
    return words.replace(key.reveal(), "***") if key and len(key.reveal()) >= 8 else words
