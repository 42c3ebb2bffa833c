"""What Speechmatics says when it fails -> ProviderError: an `Error` message with a `type`, then a close with a code of its own (its
documentation). Where the message is lost, the code says the same."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Refused, Unauthorized, Unavailable

_CODES = {
    1003: "protocol_error",
    1008: "policy_violation",
    1011: "internal_error",
    4001: "not_authorised",
    4003: "not_allowed",
    4004: "invalid_model",
    4005: "quota_exceeded",
    4006: "timelimit_exceeded",
    4013: "job_error",
}
_KINDS: Mapping[str, type[ProviderError]] = {
    "not_authorised": Unauthorized,
    "not_allowed": Unauthorized,
    "insufficient_funds": OutOfQuota,
    "timelimit_exceeded": OutOfQuota,
    "quota_exceeded": RateLimited,  # of sessions at the same time
    "data_error": Refused,
    "invalid_audio_type": Refused,
}
WAIT = 5.0
"""Seconds that its documentation asks for before another try, where there are too many sessions."""


def said(provider: str, word: object) -> ProviderError:
    """Of an Error message, by its `type`."""
    return _error(provider, word if word in {*_CODES.values(), *_KINDS} else None, None)


def closed(provider: str, code: int | None) -> ProviderError:
    if code is None:
        return Unavailable("the connection was lost", provider)
    return _error(provider, _CODES.get(code), code)


def refusal(provider: str, status: int) -> ProviderError | None:
    """Of an upgrade, where its status alone would say too much: what is in the address is the configuration's."""
    return Unavailable(str(status), provider, status) if status in (400, 405, 422) else None


def _error(provider: str, word: object, code: int | None) -> ProviderError:
    told = f"an error ({word})" if word else f"closed with {code}" if code else "an error"
    known = str(word) if word else None
    kind = _KINDS.get(known or "", Unavailable)
    error = kind(told, provider, code, WAIT if kind is RateLimited else None, known)
    if kind is Refused:
        error.detail = "the audio cannot be decoded"
    return error
