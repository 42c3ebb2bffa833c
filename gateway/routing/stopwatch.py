"""Stopwatch: reads the marks of TTFT off inputs and events passing by. Pure: times are handed in.

| kind | the engine commits at | asked | first |
|---|---|---|---|
| llm | first text, reasoning or tool delta | open | same event |
| embed | the vectors | open | same event |
| tts | first audible audio | first text not yet flushed | same event |
| stt | Ready; an upload's first final Transcript | Commit, or SpeechEnded | the final Transcript that ends the turn |
| s2s | Ready | Commit, Respond, or SpeechEnded | first audible AudioDelta (TextDelta where it does not speak) |

Where a SpeechEnded tells when the speech ended, TTFT is from when that sound was put; deadlines are from when it was told.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.contract.audio import Audio
from gateway.contract.events import (
    Answered,
    AudioDelta,
    Embedded,
    Flushed,
    ProviderEvent,
    Ready,
    SpeechEnded,
    TextDelta,
    ToolCallDelta,
    Transcript,
)
from gateway.contract.requests import Cancel, Commit, ConverseRequest, Input, Kind, Respond

AUDIBLE = 16
"""A sample from this size on may be heard (-66 dB): below it is what a broken voice sends."""


def audible(audio: Audio) -> bool:
    if not audio.pcm.strip(b"\0"):
        return False
    samples = array("h", audio.pcm[: audio.samples * 2])
    if sys.byteorder == "big":
        samples.byteswap()
    return max(samples) >= AUDIBLE or min(samples) <= -AUDIBLE


class FirstWord:
    """The clock of an attempt at an llm or an embedder, which owe an answer from the start: a stopwatch with less to watch."""

    __slots__ = ("asked", "committed")
    upload = worded = mute = unspoken = False
    owed, silent = True, 0.0

    def __init__(self, opened: float) -> None:
        self.asked: float | None = opened
        self.committed = False

    def input(self, item: Input, at: float) -> None:
        pass

    def event(self, event: ProviderEvent, at: float) -> float | None:
        if type(event) not in _WORDS:
            return None
        self.committed = True
        asked, self.asked = self.asked, None
        return None if asked is None else at - asked


_WORDS = frozenset({TextDelta, ToolCallDelta, Embedded})


@dataclass(slots=True)
class Stopwatch:
    """One attempt's clock. `asked`: when the answer now owed was asked for, None while nothing is owed; `upload`: all input
    is there and no partial is wanted, so a target that is ready and then fails can still be left; `silent`: seconds of
    audio in which nothing can be heard, so far (tts) or where an answer should begin (s2s); `worded`: a tts stream was given
    something that has a sound; `mute`: an answer ended (s2s) of which nothing was heard and no tool was called; `answers`: turns
    that the provider ends are answered without being asked to (s2s); `speaks`: by sound, not by text alone; `dated`: when what is at
    that second of its sound was put, None where nobody knows."""

    kind: Kind
    opened: float
    upload: bool = False
    asked: float | None = None
    committed: bool = False
    silent: float = 0.0
    worded: bool = False
    mute: bool = False
    answers: bool = True
    speaks: bool = True
    dated: Callable[[float], float | None] = lambda second: None
    _text: bool = field(default=False)  # tts: text was put since the last Commit
    _unanswered: int = field(default=0)  # Commits (s2s: and turns the provider ended) not yet answered
    _spoke: float | None = field(default=None)  # when what ended the turn was put, where that is told

    @property
    def unspoken(self) -> bool:
        """Whether a Commit of a stream, or a turn of a session, was not answered."""
        return self._unanswered > 0

    @property
    def owed(self) -> bool:
        """Whether the caller waits for something now."""
        if self.kind == "stt":
            return self.asked is not None
        return self.asked is not None or self._unanswered > 0 or (self.kind == "tts" and self._text)

    def input(self, item: Input, at: float) -> None:
        """`at`: when it was put; what was put before the attempt opened counts from its opening."""
        at = max(at, self.opened)
        if self.kind == "tts":
            if isinstance(item, str) and item.strip():
                if not self.owed:
                    self.asked = at
                self._text = True
                self.worded |= any(map(str.isalnum, item))
            elif isinstance(item, Commit):
                self._text = False
                self._unanswered += 1
        elif isinstance(item, Respond) or (isinstance(item, Commit) and (item.answer or self.kind == "stt")):
            self._ask(at, self._unanswered + 1)
            if self.kind == "stt":
                self._unanswered += 1
        elif isinstance(item, ConverseRequest):
            self.converses(item)
        elif isinstance(item, Cancel) and self.kind == "s2s":
            self.asked = None  # it need not begin any more, but must say that it ended

    def event(self, event: ProviderEvent, at: float) -> float | None:
        """Seconds from asked to `event` where it is the first that was waited for; else None. Sets `committed`."""
        match event:
            case AudioDelta(audio) if self.kind in ("tts", "s2s"):
                if not self.committed or (self.kind == "s2s" and self.asked is not None):
                    if not audible(audio):
                        self.silent += audio.seconds
                        return None
                    self.committed, self.silent = True, 0.0
                return self._first(at)
            case ToolCallDelta() if self.kind == "s2s":
                self.asked = None
            case Answered(reason) if self.kind == "s2s":
                self.mute |= self.asked is not None and reason in ("stop", "length", "tool_calls")
                self._unanswered = max(0, self._unanswered - 1)
                self.asked, self.silent = at if self._unanswered else None, 0.0
            case Transcript(final=True) if self.kind == "stt":
                self.committed = True
                if not event.ends_turn:
                    return None
                self._unanswered = max(0, self._unanswered - 1)
                return self._first(at)
            case Ready() if self.kind in ("stt", "s2s"):
                self.committed |= not self.upload
            case TextDelta() if self.kind == "s2s" and not self.speaks:
                return self._first(at)
            case SpeechEnded(ended) if self.kind in ("stt", "s2s") and self.answers:
                if self.asked is None and ended is not None and (spoke := self.dated(ended)) is not None:
                    self._spoke = max(spoke, self.opened)
                self._ask(at, max(1, self._unanswered))  # it may be the end of a turn that was committed
            case Flushed() if self.kind == "tts":
                self._unanswered = max(0, self._unanswered - 1)
                if not self._unanswered and not self._text:
                    self.asked = None
        return None

    def converses(self, request: ConverseRequest) -> None:
        """How the session is, from now on."""
        self.answers, self.speaks = request.answers and request.turns == "server", request.speaks

    def _ask(self, at: float, turns: int) -> None:
        if self.asked is None:
            self.asked, self.silent = at, 0.0
        if self.kind == "s2s":
            self._unanswered = turns

    def _first(self, at: float) -> float | None:
        asked, self.asked = self.asked, None
        spoke, self._spoke = self._spoke, None
        return None if asked is None else at - (asked if spoke is None else min(asked, spoke))
