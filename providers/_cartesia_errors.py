"""What Cartesia says when it fails -> ProviderError: JSON with `error_code`, `title` and `message`, as the body of a refusal or as
an `error` frame with the status that HTTP would have had (its documentation, since version 2026-03-01)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Refused, Unauthorized, Unavailable
from gateway.contract.provider import Secret
from gateway.contract.websocket import Frame
from providers._messages import read
from providers._openai_errors import DETAIL_LIMIT, retry_after, safe_word, without

_QUOTA = ("quota", "credit", "payment", "billing")
_AUDIO = ("audio", "decod")


class Faults:
    """Reads them. `provider`: whose they are."""

    def __init__(self, provider: str, key: Secret | None) -> None:
        self._provider, self._key = provider, key

    def read(self, frame: Frame) -> dict[str, Any]:
        """A message. Raises Unavailable for what is none."""
        return read(self._provider, frame)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """Of an upgrade: implements websocket.Judge."""
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError:
            said = None
        return self._error(status, said if isinstance(said, dict) else {}, retry_after(headers))

    def said(self, message: dict[str, Any]) -> ProviderError:
        """Of an `error` frame."""
        status = message.get("status_code")
        return self._error(status if isinstance(status, int) else None, message, None)

    def closed(self, code: int | None, doing: str) -> ProviderError:
        return Unavailable(f"its socket was closed before {doing}", self._provider, code)

    def _error(self, status: int | None, said: dict[str, Any], wait: float | None) -> ProviderError:
        words = " ".join(str(said.get(name) or "") for name in ("title", "message"))
        code = safe_word(str(said.get("error_code") or "") or None, self._key)
        kind = _kind(status, f"{code or ''} {words}".lower())
        told = " ".join(filter(None, (str(status or "an error"), f"({code})" if code else "")))
        error = kind(told, self._provider, status, wait, code)
        if kind is Refused:
            error.detail = without(self._key, words).strip()[:DETAIL_LIMIT] or "the audio cannot be decoded"
        return error


def _kind(status: int | None, words: str) -> type[ProviderError]:
    """A 400 is the configuration's fault (a model, a voice, a language), unless it is of the caller's audio."""
    if status == 402 or (status in (403, 429) and any(word in words for word in _QUOTA)):
        return OutOfQuota
    if status in (401, 403):
        return Unauthorized
    if status == 429:
        return RateLimited
    return Refused if status in (400, 422) and any(word in words for word in _AUDIO) else Unavailable
