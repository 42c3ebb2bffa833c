"""Stopwatch: reads the marks of TTFT off inputs and events passing by. Pure: times are handed in.

| kind | the engine commits at | asked | first |
|---|---|---|---|
| llm | first text, reasoning or tool delta | open | same event |
| tts | first audio | first text not yet flushed | same event |
| stt | Ready | Commit, or SpeechEnded | the final Transcript that ends the turn |
| s2s | Ready | Commit, or SpeechEnded | first AudioDelta |
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.contract.events import (
    AudioDelta,
    Flushed,
    ProviderEvent,
    Ready,
    SpeechEnded,
    TextDelta,
    ToolCallDelta,
    Transcript,
)
from gateway.contract.requests import Commit, Input, Kind


@dataclass(slots=True)
class Stopwatch:
    """One attempt's clock. `asked`: when the answer now owed was asked for, None while nothing is owed."""

    kind: Kind
    opened: float
    asked: float | None = None
    committed: bool = False
    _text: bool = field(default=False)  # tts: text was put since the last Commit
    _unflushed: int = field(default=0)  # tts: Commits not yet answered

    def __post_init__(self) -> None:
        if self.kind == "llm":
            self.asked = self.opened

    @property
    def owed(self) -> bool:
        """Whether the caller waits for something now."""
        if self.kind == "llm":
            return True
        if self.kind == "tts":
            return self.asked is not None or self._text or self._unflushed > 0
        return self.asked is not None

    def input(self, item: Input, at: float) -> None:
        """`at`: when it was put; what was put before the attempt opened counts from its opening."""
        at = max(at, self.opened)
        if self.kind == "tts":
            if isinstance(item, str) and item.strip():
                if not self.owed:
                    self.asked = at
                self._text = True
            elif isinstance(item, Commit):
                self._text = False
                self._unflushed += 1
        elif isinstance(item, Commit) and self.asked is None:
            self.asked = at

    def event(self, event: ProviderEvent, at: float) -> float | None:
        """Seconds from asked to `event` where it is the first that was waited for; else None. Sets `committed`."""
        match event:
            case TextDelta() | ToolCallDelta() if self.kind == "llm":
                self.committed = True
                return self._first(at)
            case AudioDelta() if self.kind in ("tts", "s2s"):
                self.committed |= self.kind == "tts"
                return self._first(at)
            case Transcript(ends_turn=True) if self.kind == "stt":
                return self._first(at)
            case Ready() if self.kind in ("stt", "s2s"):
                self.committed = True
            case SpeechEnded() if self.kind in ("stt", "s2s") and self.asked is None:
                self.asked = at
            case Flushed() if self.kind == "tts":
                self._unflushed = max(0, self._unflushed - 1)
                if not self._unflushed and not self._text:
                    self.asked = None
        return None

    def _first(self, at: float) -> float | None:
        asked, self.asked = self.asked, None
        return None if asked is None else at - asked
