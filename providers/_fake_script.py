"""The fake's model names, read: `slow-2s+words-50+cut-after-20` is a script. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
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

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s)")


@dataclass(frozen=True, slots=True)
class Script:
    """What a model name asks for. Durations in seconds; counts are of events with content (text, audio, transcripts)."""

    error: int | None = None
    times: int | None = None
    retry: float | None = None
    ready: float = 0.0
    slow: float = 0.0
    tick: float = 0.0
    cut_after: int | None = None
    hang_after: int | None = None
    go_away: float | None = None
    hang: bool = False
    garbage: bool = False
    empty: bool = False
    silence: bool = False
    never_final: bool = False
    words: int = 20
    says: str | None = None
    echo: bool = False
    tools: bool = False
    reasoning: bool = False

    def well(self) -> Script:
        """The same without its faults: how it is after `times` requests."""
        return replace(self, **{name: _DEFAULTS[name] for name in _FAULTS})

    def failure(self, provider: str) -> ProviderError | None:
        """The error it begins with, if it does."""
        if self.garbage:
            return Unavailable("garbage instead of an answer", provider)
        if self.error is None:
            return None
        kind = _ERRORS.get(self.error, Unavailable)
        detail = "the fake refuses this request" if kind in (Refused, ContextTooLong) else None
        wait = self.retry if kind is not Refused else None
        return kind(str(self.error), provider, self.error, wait, f"fake_{self.error}", detail=detail)


_DEFAULTS: dict[str, Any] = {each.name: each.default for each in fields(Script)}
_FAULTS = [
    "error",
    "ready",
    "slow",
    "cut_after",
    "hang_after",
    "go_away",
    "hang",
    "garbage",
    "empty",
    "silence",
    "never_final",
]
_ERRORS: Mapping[int, type[ProviderError]] = MappingProxyType(
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


def _seconds(value: str) -> float:
    match = _DURATION.fullmatch(value)
    if match is None:
        raise ValueError("a duration is 500ms or 2s")
    return float(match[1]) * (0.001 if match[2] == "ms" else 1.0)


def _count(value: str) -> int:
    if not value.isdecimal():
        raise ValueError("a count is a whole number")
    return int(value)


def _status(value: str) -> int:
    if not (value.isdecimal() and 400 <= int(value) <= 599):
        raise ValueError("an error is 400 to 599")
    return int(value)


def _text(value: str) -> str:
    return value.replace("-", " ")


_TAKES: Mapping[str, tuple[str, str, Callable[[str], Any]]] = MappingProxyType(
    {
        "slow": ("2s", "first content that late, in every turn", _seconds),
        "ready": ("2s", "Ready that late (stt, s2s)", _seconds),
        "tick": ("20ms", "a pause between events", _seconds),
        "error": ("503", "that status", _status),
        "retry": ("2s", "its Retry-After", _seconds),
        "times": ("1", "faults in the first requests only", _count),
        "cut-after": ("20", "breaks off in mid-stream", _count),
        "hang-after": ("20", "silent in mid-stream", _count),
        "go-away": (
            "2s",
            "says after its first answer that it drops the session that much later, and does (s2s)",
            _seconds,
        ),
        "words": ("20", "length of the answer", _count),
        "says": ("hello-there", "this text", _text),
    }
)
_PLAIN: Mapping[str, str] = MappingProxyType(
    {
        "ok": "nothing amiss",
        "hang": "never a first event",
        "garbage": "nothing intelligible",
        "empty": "finishes without content",
        "silence": "audio without sound (tts, s2s)",
        "never-final": "a Commit is not answered (stt, s2s)",
        "echo": "says what it was told (llm)",
        "tools": "calls the first tool, until the last message is what one said (llm)",
        "reasoning": "thinks aloud first (llm)",
    }
)


def known() -> str:
    """The behaviours, for people."""
    told = [f"{name}-{example} ({meaning})" for name, (example, meaning, _) in _TAKES.items()]
    return ", ".join(told + [f"{name} ({meaning})" for name, meaning in _PLAIN.items()])


def read(model: str) -> Script:
    """Raises ValueError, saying what there is."""
    asked: dict[str, Any] = {}
    for part in model.split("+"):
        name = next((name for name in _TAKES if part.startswith(f"{name}-")), part)
        if part not in _PLAIN and name == part:
            raise ValueError(f"the fake does not know {part!r}; joined by +, a model's name may hold: {known()}")
        try:
            value = True if part in _PLAIN else _TAKES[name][2](part.removeprefix(f"{name}-"))
        except ValueError as error:
            raise ValueError(f"the fake does not understand {part!r}: {error}") from None
        if part != "ok":
            asked[(part if part in _PLAIN else name).replace("-", "_")] = value
    return Script(**asked)
