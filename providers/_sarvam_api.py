"""Sarvam: what it speaks, and what it says when it fails. From the vendor's SDK (sarvamai 0.1.39).

Errors are HTTP's before an upgrade (a wrong key is a 403) with {"error": {"message", "code", "request_id"}}; after it frames
of three shapes, one an endpoint; and closes: 1003 rate, quota or key, 1008 inactivity, 1011 internal, 4000 rejected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Refused, Unauthorized, Unavailable
from providers._openai_errors import retry_after

BASE = "wss://api.sarvam.ai"

# The SDK's types SpeechToTextLanguage and TextToSpeechLanguage; Odia is `or` here, as BCP 47 has it.
_HEARD = "as bn brx doi en gu hi kn kok ks mai ml mni mr ne or pa sa sat sd ta te ur"
_SPOKEN = "bn en gu hi kn ml mr or pa ta te"
LANGUAGES = frozenset(f"{each}-IN" for each in _HEARD.split())
"""That it hears: the 22 of India, and English."""
SPOKEN = frozenset(f"{each}-IN" for each in _SPOKEN.split())

_QUOTA, _RATE = {"insufficient_quota_error"}, {"rate_limit_exceeded_error"}
_KEY = {"invalid_api_key_error", "authentication_error"}
_REQUEST = {"invalid_request_error", "unprocessable_entity_error"}
_AUDIO = re.compile(r"decod|audio (file|data|format|codec|is)|corrupt|base64|not a valid (wav|audio)", re.IGNORECASE)


def tag(language: str) -> str:
    """`hi-IN` for hi, hi-IN or HI; `or-IN` for both names of Odia. English of any sort is en-IN."""
    plain = language.replace("_", "-").partition("-")[0].lower()
    return f"{'or' if plain in ('od', 'ori', 'ory') else plain}-IN"


def odia(language: str) -> str:
    """As every endpoint but the realtime one spells it."""
    return "od-IN" if language == "or-IN" else language


def told(language: object) -> str | None:
    """The language that an answer names, as BCP 47 has it."""
    return tag(language) if isinstance(language, str) and language not in ("", "auto", "unknown") else None


def failure(provider: str, status: int | None, code: object, words: object, wait: float | None = None) -> ProviderError:
    """`code`: its word for it; `words`: what it says. A rejected setting is the target's fault, bad audio the caller's."""
    code = code if isinstance(code, str) and re.fullmatch(r"[a-z_]{1,64}", code) else None
    said = f"{status if status is not None else 'an error'}" + (f" ({code})" if code else "")
    if status == 402 or code in _QUOTA:
        return OutOfQuota(said, provider, status, None, code)
    if status in (401, 403) or code in _KEY:
        return Unauthorized(said, provider, status, None, code)
    if status == 429 or code in _RATE:
        return RateLimited(said, provider, status, wait, code)
    at_fault = status in (400, 413, 415, 422) or (status is None and (code is None or code in _REQUEST))
    if at_fault and isinstance(words, str) and _AUDIO.search(words):
        return Refused(said, provider, status, None, code, detail="the audio cannot be read")
    return Unavailable(said, provider, status, None, code)


def of_response(provider: str, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """Of an upgrade or a request that was refused."""
    try:
        error = orjson.loads(body).get("error")
    except (orjson.JSONDecodeError, AttributeError):
        error = None
    said = error if isinstance(error, dict) else {}
    return failure(provider, status, said.get("code"), said.get("message"), retry_after(headers))


def of_close(provider: str, code: int | None, reason: str) -> ProviderError:
    """A socket that was closed too soon. `reason` is looked at, and never told."""
    words = reason.lower()
    if code == 1003:
        if "quota" in words or "credit" in words or "balance" in words:
            return OutOfQuota("closed with 1003", provider, code)
        if "key" in words or "auth" in words or "credential" in words:
            return Unauthorized("closed with 1003", provider, code)
        return RateLimited("closed with 1003", provider, code)
    return Unavailable("the connection was lost" if code is None else f"closed with {code}", provider, code)
