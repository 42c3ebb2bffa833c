"""What ElevenLabs says when it fails -> ProviderError. Three forms (its documentation and SDK): `{"detail": {"status", "message"}}` as
the body of an HTTP answer (detail may be words, or a list of faults in fields), `{"message", "error", "code"}` before a close of
text to speech, and `{"message_type", "error"}` of speech to text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Refused, Unauthorized, Unavailable
from gateway.contract.provider import Secret
from gateway.contract.websocket import Frame
from providers._messages import read
from providers._openai_errors import DETAIL_LIMIT, retry_after, safe_word, without

_QUOTA = {"quota_exceeded", "payment_required", "subscription_required", "insufficient_credits"}
_KEY = {
    "invalid_api_key",
    "needs_authorization",
    "missing_permissions",
    "unauthorized",
    "auth_error",
    "unaccepted_terms",
}
_RATE = {"too_many_concurrent_requests", "rate_limited", "rate_limit_exceeded", "concurrent_limit_exceeded"}
_RATE_LATER = {"max_active_conversations", "system_busy", "resource_exhausted", "queue_overflow"}
_AUDIO = {"input_error", "invalid_audio", "audio_too_short", "corrupted_audio", "invalid_audio_file", "empty_file"}


class Faults:
    """Reads them. `provider`: whose they are."""

    def __init__(self, provider: str, key: Secret | None) -> None:
        self._provider, self._key = provider, key

    def read(self, frame: Frame) -> dict[str, Any]:
        """A message. Raises Unavailable for what is none."""
        return read(self._provider, frame)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """Of an upgrade, or of a file: implements websocket.Judge."""
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError:
            said = None
        detail = said.get("detail") if isinstance(said, dict) else None
        told = detail if isinstance(detail, dict) else {"message": detail if isinstance(detail, str) else ""}
        code = str(told.get("status") or told.get("code") or "")
        return self.error(code, str(told.get("message") or ""), status, retry_after(headers))

    def error(self, code: str, words: str, status: int | None = None, wait: float | None = None) -> ProviderError:
        """`code`: its own word for it."""
        kind = _kind(status, code)
        safe = safe_word(code or None, self._key)
        told = " ".join(filter(None, (str(status or "an error"), f"({safe})" if safe else "")))
        error = kind(told, self._provider, status, wait, safe)
        if kind is Refused:
            error.detail = without(self._key, words).strip()[:DETAIL_LIMIT] or "the audio cannot be decoded"
        return error

    def closed(self, code: int | None, reason: str, doing: str) -> ProviderError:
        if code == 1008 and (safe := safe_word(reason, self._key)):
            return self.error(safe, "", code)
        return Unavailable(f"its socket was closed before {doing}", self._provider, code)


def _kind(status: int | None, code: str) -> type[ProviderError]:
    """A 400 or 422 is the configuration's fault (a model, a voice, a format), unless it is of the caller's audio."""
    if status == 402 or code in _QUOTA:
        return OutOfQuota
    if code in _RATE or (status == 429 and code not in _RATE_LATER):
        return RateLimited
    if code in _AUDIO:
        return Refused
    if code in _KEY or status in (401, 403):
        return Unauthorized
    return Unavailable
