"""AssemblyAI's streaming speech to text (v3): one session as a pure codec.

A turn is told whole with every event, and ends twice where it is formatted: plain, then with its punctuation. A Commit is a
ForceEndpoint, which the end of the turn answers; where nothing was said nothing answers. Times are milliseconds of the session.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.duplex import Wait
from gateway.contract.errors import Unavailable
from gateway.contract.events import Finished, ProviderEvent, Ready, SpeechStarted, Transcript, Usage, Word
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from gateway.contract.websocket import Frame
from providers._assemblyai_errors import error_of
from providers._cleared import Cleared
from providers._commits import Commits
from providers._messages import read
from providers._sound_clock import SoundClock

LEAST, MOST = 0.05, 1.0
"""Seconds of sound in a frame; others end the session (3007)."""
PATIENCE = 1.0
"""Seconds for the answer to a ForceEndpoint. AssemblyAI names about 0.3."""
FORMATTING = 0.6
"""Seconds for a turn's formatted text after its plain one."""
SLACK = 0.1
"""Seconds by which the last word of a turn may end after the sound that was committed."""
LIVE, ITSELF = 5.0, 1.3
"""Seconds without a word after which AssemblyAI ends a turn itself, where the caller ends them (as is asked for), and elsewhere (its
default). A turn that ended longer than that before a Commit is no answer to it."""
FORCE, TERMINATE = '{"type":"ForceEndpoint"}', '{"type":"Terminate"}'


@dataclass(frozen=True, slots=True)
class _Turn:
    """`words` in AssemblyAI's seconds."""

    order: int
    ended: bool
    formatted: bool
    text: str
    words: tuple[Word, ...]
    language: str | None
    speaker: str | None


class Hearing:
    """Implements duplex.Codec and Patient. `formats`: formatted text was asked for."""

    keep_alive: float | None = None

    def __init__(self, provider: str, request: TranscribeRequest, formats: bool) -> None:
        self._provider, self._request, self._formats = provider, request, formats
        self._clock = SoundClock(request.rate)
        self._commits = Commits(PATIENCE)
        self._least, self._most = (round(each * request.rate) * SAMPLE_BYTES for each in (LEAST, MOST))
        self._itself = LIVE if live(request) else ITSELF
        self._held = b""  # sound too short to be sent
        self._fresh = False  # there is sound that was not committed
        self._cleared, self._ended = Cleared(), 0.0  # in AssemblyAI's seconds, as when the last Commit or Clear came
        self._settled = -1  # the last turn that was made final
        self._plain: _Turn | None = None  # has ended, and its formatted text is to come
        self._formatting: Wait | None = None
        self.finished = False

    @property
    def wait(self) -> Wait | None:
        return self._formatting or self._commits.wait

    def late(self) -> Iterator[ProviderEvent]:
        if self._plain is not None:
            yield from self._settle(self._plain)
        elif self._commits.give_up():
            yield Transcript("", final=True, ends_turn=True)

    def begin(self) -> Iterable[Frame]:
        return ()

    def put(self, item: Input) -> Iterator[Frame]:
        match item:
            case Audio(pcm):
                self._clock.add(item)
                self._fresh |= bool(pcm)
                self._held += pcm
                yield from self._frames()
            case Commit() | Clear():
                yield from self._end_turn(isinstance(item, Commit))

    def end(self) -> Iterator[Frame]:
        yield from self._rest()
        yield TERMINATE

    def idle(self) -> Iterable[Frame]:
        return ()

    def hear(self, frame: Frame) -> Iterator[ProviderEvent]:
        message = read(self._provider, frame)
        try:
            match message.get("type"):
                case "Begin":
                    yield Ready()
                case "Turn":
                    yield from self._heard(_turn(message))
                case "SpeechStarted":
                    yield SpeechStarted(self._clock.ours(message["timestamp"] / 1000))
                case "Termination":
                    yield from self._over(message)
                case "Error":
                    raise error_of(self._provider, message.get("error_code"), message.get("error"))
                case None if "error" in message:
                    raise error_of(self._provider, message.get("error_code"), message["error"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Unavailable("its message has another shape", self._provider) from None

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        raise error_of(self._provider, code, reason)

    def _frames(self) -> Iterator[Frame]:
        while len(self._held) >= self._least:
            frame, self._held = self._held[: self._most], self._held[self._most :]
            yield frame

    def _rest(self) -> Iterator[Frame]:
        """What is held, with silence until it can be sent."""
        if self._held:
            missing = (self._least - len(self._held)) / SAMPLE_BYTES / self._request.rate
            frame, self._held = self._held + self._clock.pad(missing), b""
            yield frame

    def _end_turn(self, commit: bool) -> Iterator[Frame]:
        fresh, self._fresh = self._fresh, False
        yield from self._rest()
        if not commit:
            self._cleared.add(self._ended, self._clock.sent)
        self._ended = self._clock.sent
        if fresh or commit:
            self._commits.add(self._clock.sent, turn=commit, told=fresh)
        if fresh:
            yield FORCE

    def _heard(self, turn: _Turn) -> Iterator[ProviderEvent]:
        if turn.order <= self._settled:
            return  # it was told already, in another form
        if self._plain is not None and turn.order > self._plain.order:
            yield from self._settle(self._plain)
        if turn.ended and (turn.formatted or not self._formats):
            yield from self._settle(turn)
        elif turn.ended:
            self._plain, self._formatting = turn, Wait(FORMATTING)
        elif self._request.partials and (text := self._kept(turn)[0]):
            yield Transcript(text, language=turn.language)

    def _settle(self, turn: _Turn) -> Iterator[ProviderEvent]:
        self._settled, self._plain, self._formatting = turn.order, None, None
        text, words = self._kept(turn)
        ends = self._request.turns == "server" and bool(text)
        waiting = self._commits.waiting
        while waiting and turn.words and waiting[0].at <= turn.words[0].start:
            if self._commits.give_up():  # nothing was said before it
                yield Transcript("", final=True, ends_turn=True)
        end = turn.words[-1].end if turn.words else waiting[0].at if waiting else 0.0
        if waiting and waiting[0].at - self._itself <= end <= waiting[0].at + SLACK:
            *before, ends = self._commits.answered(end) or [False]
            for _ in filter(None, before):
                yield Transcript("", final=True, ends_turn=True)
        if text or ends:
            times = tuple([Word(each.text, self._clock.ours(each.start), self._clock.ours(each.end)) for each in words])
            yield Transcript(text, True, ends, times, turn.language or self._request.language, turn.speaker)

    def _kept(self, turn: _Turn) -> tuple[str, tuple[Word, ...]]:
        """What of it was not cleared: the text, and its words in AssemblyAI's seconds."""
        kept = tuple([each for each in turn.words if not self._cleared.has(each)])
        if len(kept) < len(turn.words) or not turn.ended:  # words that are not final yet are in no text
            return " ".join(each.text for each in kept), kept
        return turn.text, kept

    def _over(self, message: dict[str, Any]) -> Iterator[ProviderEvent]:
        if self._plain is not None:
            yield from self._settle(self._plain)
        while self._commits.waiting:
            if self._commits.give_up():
                yield Transcript("", final=True, ends_turn=True)
        # Sessions are paid for by how long they are open, whatever is said in them (its documentation).
        paid = message.get("session_duration_seconds") or message.get("audio_duration_seconds")
        yield Usage(seconds=float(paid or self._clock.put))
        yield Finished()
        self.finished = True


def live(request: TranscribeRequest) -> bool:
    """Whether the caller ends the turns as they are spoken. Of a file AssemblyAI's own turns are the segments."""
    return request.turns == "client" and request.partials


def _turn(message: dict[str, Any]) -> _Turn:
    words = tuple([Word(each["text"], each["start"] / 1000, each["end"] / 1000) for each in message["words"]])
    return _Turn(
        message["turn_order"],
        message["end_of_turn"],
        message["turn_is_formatted"],
        str(message["transcript"]).strip(),
        words,
        message.get("language_code"),
        message.get("speaker_label"),
    )
