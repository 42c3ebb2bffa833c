"""Reading what Gemini Live says: durations, sound, usage, and why it closed a socket. Pure."""

from __future__ import annotations

import base64
import re

from gateway.contract.events import Usage
from providers._gemini_live_body import SPEAKS, Json

_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")
_CLOSES: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"api key|unauthenticated|authentication|permission|credential", re.IGNORECASE), 401),
    (re.compile(r"billing|credits|quota.{0,80}per ?day", re.IGNORECASE), 402),
    (re.compile(r"quota|rate limit|resource.?exhausted|too many|concurrent", re.IGNORECASE), 429),
)
"""The HTTP status that the reason of a close stands for: there is no error before it."""
_INVALID = 1007


def status_of(code: int | None, reason: str, accepted: bool) -> int:
    """The HTTP status that a close stands for. `accepted`: the setup was."""
    otherwise = 400 if code == _INVALID and not accepted else 503
    return next((status for pattern, status in _CLOSES if pattern.search(reason)), otherwise)


def seconds(said: object) -> float | None:
    """Of a protobuf duration: "50s"."""
    found = _DURATION.fullmatch(said) if isinstance(said, str) else None
    return float(found[1]) if found else None


def pcm(sound: Json) -> bytes:
    """In either alphabet of base64: recordings hold the one for URLs. Raises ValueError and KeyError."""
    return base64.urlsafe_b64decode(str(sound["data"]).translate(_URL_SAFE))


_URL_SAFE = str.maketrans("+/", "-_")


def rate(sound: Json) -> int:
    _, _, rate = str(sound.get("mimeType", "")).partition("rate=")
    return int(rate) if rate.isdigit() and int(rate) else SPEAKS


def usage(said: Json) -> Usage:
    return Usage(
        int(said.get("promptTokenCount") or 0),
        int(said.get("responseTokenCount") or 0) + int(said.get("thoughtsTokenCount") or 0),
        cached_tokens=int(said.get("cachedContentTokenCount") or 0),
        reasoning_tokens=int(said.get("thoughtsTokenCount") or 0),
        audio_input_tokens=_spoken(said.get("promptTokensDetails")),
        audio_output_tokens=_spoken(said.get("responseTokensDetails")),
    )


def _spoken(details: object) -> int:
    given = details if isinstance(details, list) else []
    return sum(int(each.get("tokenCount") or 0) for each in given if each.get("modality") == "AUDIO")
