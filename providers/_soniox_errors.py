"""What Soniox says when it fails -> ProviderError. The codes are HTTP's, in a frame before the close (its documentation)."""

from __future__ import annotations

import re
from typing import Any

from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Refused, Unauthorized, Unavailable

_AUDIO = re.compile(r"(failed to )?decod|audio (data|stream|decode)|corrupt", re.IGNORECASE)


def error_of(provider: str, message: dict[str, Any]) -> ProviderError | None:
    """The error that a message tells, if it does. A 400 is the configuration's fault (model, voice, language): another target
    may do it. Only audio that cannot be decoded is the caller's."""
    code = message.get("error_code")
    if code is None:
        return None
    status = code if isinstance(code, int) else None
    told, words = str(status or "an error"), str(message.get("error_message") or "")
    match status:
        case 401 | 403:
            return Unauthorized(told, provider, status)
        case 402:
            return OutOfQuota(told, provider, status)
        case 429:
            return RateLimited(told, provider, status)
        case 400 if _AUDIO.search(words):
            return Refused(told, provider, status, detail="the audio cannot be decoded")
    return Unavailable(told, provider, status)
