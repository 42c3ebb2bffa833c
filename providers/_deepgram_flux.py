"""Deepgram's Flux (listen v2) as a pure codec: sound up, turns down.

Flux decides turns itself, and says early where one may be over. Where the caller decides, its own decision is put off
(`eot_threshold=1.0`), and a Commit is a ForceEndTurn, answered by an EndOfTurn; where no turn is under way nobody answers, so a commit
that is not answered soon is over. Flux has no keep-alive: a little silence is sent instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.duplex import Wait
from gateway.contract.errors import Unavailable
from gateway.contract.events import (
    EagerTurnEnd,
    Finished,
    ProviderEvent,
    Ready,
    SpeechStarted,
    Transcript,
    TurnResumed,
    Usage,
    Word,
)
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from gateway.contract.websocket import Frame
from providers._commits import Commits
from providers._deepgram_api import Api, code_of, languages_of
from providers._sound_clock import SoundClock

PIECE = 0.08
"""Seconds of sound in a message, as Flux wants it."""
KEEP_ALIVE = 4.0
PATIENCE = 0.7
"""Seconds for the answer to a ForceEndTurn."""
NEAR = 0.3
"""Seconds before a commit from which the end of a turn is the one that was meant."""
FORCE, CLOSE = '{"type":"ForceEndTurn"}', '{"type":"CloseStream"}'


@dataclass(frozen=True, slots=True)
class Turning:
    """Thresholds of confidence that a turn is over: `end`, and `eager` (0: Flux does not guess early); `timeout`: milliseconds
    of silence that end it all the same."""

    end: float = 0.7
    eager: float = 0.0
    timeout: int = 5000


def query_of(model: str, request: TranscribeRequest, turning: Turning) -> dict[str, object]:
    spoken = languages_of(model)
    hint = (
        request.language and model.startswith("flux-general-multi") and code_of(request.language, spoken or frozenset())
    )
    theirs = request.turns == "server"
    return {
        "model": model,
        "encoding": "linear16",
        "sample_rate": request.rate,
        "eot_threshold": turning.end if theirs else 1.0,
        "eager_eot_threshold": turning.eager or None if theirs else None,
        "eot_timeout_ms": turning.timeout if theirs else 60_000,
        "keyterm": list(request.keywords) or None,
        "language_hint": hint or None,
    }


class Turns:
    """Implements duplex.Codec and duplex.Patient."""

    keep_alive: float | None = KEEP_ALIVE

    def __init__(self, api: Api, request: TranscribeRequest) -> None:
        self.finished = False
        self._api, self._request = api, request
        self._clock = SoundClock(request.rate)
        self._commits = Commits(PATIENCE)
        self._size = round(PIECE * request.rate) * SAMPLE_BYTES
        self._held = b""
        self._committed = self._cleared = 0.0
        self._shown = Transcript("")  # of the turn under way
        self._ended = False

    @property
    def wait(self) -> Wait | None:
        return self._commits.wait

    def begin(self) -> Iterable[Frame]:
        return ()

    def put(self, item: Input) -> Iterable[Frame]:
        match item:
            case Audio(pcm):
                self._clock.add(item)
                self._held += pcm
                whole = len(self._held) - len(self._held) % self._size
                sound, self._held = self._held[:whole], self._held[whole:]
                return (sound,) if sound else ()
            case Commit() | Clear():
                return self._end_turn(isinstance(item, Commit))
        return ()

    def end(self) -> Iterable[Frame]:
        self._ended = True
        return (*self._rest(), CLOSE)

    def idle(self) -> Iterable[Frame]:
        return (*self._rest(), self._clock.pad(PIECE))

    def hear(self, frame: Frame) -> Iterable[ProviderEvent]:
        message = self._api.read(frame)
        try:
            match message.get("type"):
                case "Connected":
                    return (Ready(),)
                case "TurnInfo":
                    return self._turn(message)
                case "Error":
                    raise self._api.said(message)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Unavailable("its message has another shape", self._api.name) from None
        return ()

    def late(self) -> Iterable[ProviderEvent]:
        return _ends([self._commits.give_up()])

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        """Flux says good-bye by closing, once it was told that no more comes."""
        if not self._ended or code != 1000:
            raise self._api.closed(code, reason)
        self.finished = True
        owed = [self._commits.give_up() for _ in range(len(self._commits))]
        left = self._shown
        events: list[ProviderEvent] = []
        if left.text:
            ends = True in owed
            if ends:
                owed.remove(True)
            events = [Transcript(left.text, True, ends, left.words, left.language)]
        return [*events, *_ends(owed), Usage(seconds=self._clock.put), Finished()]

    def _rest(self) -> Iterable[Frame]:
        sound, self._held = self._held, b""
        return (sound,) if sound else ()

    def _end_turn(self, commit: bool) -> Iterable[Frame]:
        sound = self._clock.put > self._committed
        self._committed = self._clock.put
        if not commit:
            self._cleared = self._clock.sent
        if sound or commit:
            self._commits.add(self._clock.sent, turn=commit, told=sound)
        return (*self._rest(), FORCE) if sound else ()

    def _turn(self, message: dict[str, Any]) -> list[ProviderEvent]:
        end, event = float(message["audio_window_end"]), message["event"]
        heard = self._heard(message)
        if event == "EndOfTurn":
            return self._over(message, heard, end)
        self._commits.heard(end)
        changed = heard.text != self._shown.text
        self._shown = heard
        events: list[ProviderEvent] = []
        if event == "StartOfTurn":
            at = heard.words[0].start if heard.words else self._clock.ours(float(message["audio_window_start"]))
            events.append(SpeechStarted(at))
        elif event == "TurnResumed":
            events.append(TurnResumed())
        if heard.text and changed and self._request.partials:
            events.append(heard)
        if event == "EagerEndOfTurn":
            events.append(EagerTurnEnd(heard.text))
        return events

    def _over(self, message: dict[str, Any], heard: Transcript, end: float) -> list[ProviderEvent]:
        self._shown = Transcript("")
        over: list[bool] = []
        ends = self._request.turns == "server"
        if self._commits and (message.get("trigger") == "manual" or end >= self._commits.waiting[0].at - NEAR):
            *over, ends = self._commits.answered(end) or [False]
        final = Transcript(heard.text, True, ends, heard.words, heard.language)
        return [*_ends(over), *([final] if heard.text or ends else [])]

    def _heard(self, message: dict[str, Any]) -> Transcript:
        """The turn so far, without what was cleared."""
        told: list[dict[str, Any]] = message["words"]
        start = float(message["audio_window_start"])
        words = [word for word in told if float(word.get("end") or start) > self._cleared or not self._cleared]
        text = str(message["transcript"]) if len(words) == len(told) else " ".join(str(word["word"]) for word in words)
        if self._cleared and not words:
            text = ""
        timed = [
            Word(str(word["word"]), self._clock.ours(float(word["start"])), self._clock.ours(float(word["end"])))
            for word in words
            if word.get("start") is not None and word.get("end") is not None
        ]
        languages = message.get("languages") or [self._request.language]
        return Transcript(text.strip(), words=tuple(timed), language=languages[0])


def _ends(owed: Iterable[bool]) -> list[ProviderEvent]:
    """Of turns of which nothing more is to be said."""
    return [Transcript("", final=True, ends_turn=True) for each in owed if each]
