"""What LiteLLM raises -> ProviderError, by the names of its classes. Pure; knows no LiteLLM.

Its messages name addresses and repeat requests, so only a refusal's is passed on, to the caller whose request it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gateway.contract.errors import (
    ContextTooLong,
    OutOfQuota,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from providers._openai_errors import DETAIL_LIMIT, retry_after

_KINDS: Mapping[str, type[ProviderError]] = MappingProxyType(
    {
        "ContextWindowExceededError": ContextTooLong,
        "ContentPolicyViolationError": Refused,
        "RejectedRequestError": Refused,
        "AuthenticationError": Unauthorized,
        "PermissionDeniedError": Unauthorized,
        "PaymentRequiredError": OutOfQuota,
        "RateLimitError": RateLimited,
        "NotFoundError": Unavailable,
        "LiteLLMUnknownProvider": Unavailable,
        "UnsupportedParamsError": Unavailable,  # this model takes less than others may
        "BadRequestError": Refused,
        "ImageFetchError": Refused,
        "UnprocessableEntityError": Refused,
    }
)
"""All others are Unavailable: time-outs, connections, 5xx, and whatever else goes wrong in it."""

_BY_STATUS: Mapping[int | None, type[ProviderError]] = MappingProxyType(
    {
        400: Refused,
        401: Unauthorized,
        402: OutOfQuota,
        403: Unauthorized,
        413: ContextTooLong,
        422: Refused,
        429: RateLimited,
    }
)
"""For those that have no class of their own (it gives a plain APIError for a 403)."""

_CODES = MappingProxyType({"ContentPolicyViolationError": "content_policy_violation"})
_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_PREFIX = re.compile(r"(litellm\.)?\w+(Error|Exception)( - |: )")
_SECRET = re.compile(r"key|secret|token|password|credential", re.IGNORECASE)


class Words:
    """`where`: the keywords that LiteLLM is given beside requests, of which those that are secrets are told to nobody."""

    def __init__(self, provider: str, where: Mapping[str, Any]) -> None:
        self._provider = provider
        secrets = (value for name, value in where.items() if _SECRET.search(name) and isinstance(value, str))
        self._secrets = [secret for secret in secrets if len(secret) >= 8]

    def error(self, error: BaseException) -> ProviderError:
        inner = getattr(error, "original_exception", None)  # of MidStreamFallbackError
        if isinstance(inner, Exception):
            return self.error(inner)
        named = next((each.__name__ for each in type(error).__mro__ if each.__name__ in _KINDS), "")
        status = _status(error)
        kind = _KINDS.get(named) or _BY_STATUS.get(status, Unavailable)
        if kind is RateLimited and _spent(error):
            kind = OutOfQuota
        code = _CODES.get(named)
        wait = _wait(error) if kind is RateLimited else None
        told = f"{status or 'failed'} ({code or type(error).__name__})"
        failure = kind(told, self._provider, status, wait, code)
        if kind in (Refused, ContextTooLong):
            failure.detail = self._detail(getattr(error, "message", None) or "")
        return failure

    def of_object(self, error: object) -> ProviderError:
        return Unavailable("an error in the answer", self._provider)

    def _detail(self, message: object) -> str | None:
        words = str(message)
        while (prefix := _PREFIX.match(words)) is not None:
            words = words[prefix.end() :]
        for secret in self._secrets:
            words = words.replace(secret, "***")
        return words[:DETAIL_LIMIT] or None


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and 400 <= status <= 599 else None


def _spent(error: BaseException) -> bool:
    body = getattr(error, "body", None)
    words = body.values() if isinstance(body, dict) else ()
    return any(isinstance(each, str) and each in _QUOTA for each in words)


def _wait(error: BaseException) -> float | None:
    headers = getattr(error, "litellm_response_headers", None) or getattr(error, "headers", None)
    return retry_after({str(k).lower(): str(v) for k, v in headers.items()}) if headers else None
