"""Sarvam's older streaming speech to text (/speech-to-text/ws), for models that only it has: one session as a pure codec.

No partials: a final comes after END_SPEECH or a flush. Nothing says that a flush is answered, and the server never closes.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import orjson

from gateway.contract.audio import Audio
from gateway.contract.duplex import Wait
from gateway.contract.encoding import Resampler
from gateway.contract.events import Finished, ProviderEvent, Ready, SpeechEnded, SpeechStarted, Transcript, Usage
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from gateway.contract.websocket import Frame
from providers import _sarvam_api as api
from providers._messages import read

RATE = 16_000
KEEP_ALIVE = 20.0
"""Seconds. It closes after 60 without audio, so silence is sent."""
NOTHING = 1.5
"""Seconds after a flush, or after a final that it did not bring, in which nothing came: there was nothing more."""
NO_MORE = 0.3
"""The same in a live turn of which there was a final already, and no speech since."""
FINAL = 30.0
"""Seconds for finals that are known to be coming. The engine's deadlines are shorter."""
_NOW = Wait(0.0)


@dataclass(frozen=True, slots=True)
class _Flush:
    """`turn`: for a Commit, and not for a Clear; `told`: there was something to flush."""

    turn: bool
    told: bool


class Hearing:
    """Implements duplex.Codec and Patient."""

    keep_alive: float | None = KEEP_ALIVE

    def __init__(self, provider: str, request: TranscribeRequest) -> None:
        self._provider, self._request = provider, request
        self._server = request.turns == "server"
        self._resampler = None if request.rate == RATE else Resampler(RATE)
        self._seconds = self._used = 0.0
        self._fresh = self._speaking = self._ready = self._ended = False
        self._coming = 0  # finals of speech that ended
        self._flushes: deque[_Flush] = deque()  # not answered
        self._told = False  # there was a final of the turn
        self._held: list[str] = []  # finals that came while a flush was not answered
        self._waiting: Wait | None = None
        self.finished = False

    @property
    def wait(self) -> Wait | None:
        if not self._ready or (self._ended and not self._flushes):
            return _NOW
        if self._flushes and not self._flushes[0].told:
            return _NOW
        return self._waiting if self._flushes else None

    def late(self) -> Iterator[ProviderEvent]:
        if not self._ready:
            self._ready = True
            yield Ready()
        elif self._flushes:
            yield from self._answer("", None)
        elif self._ended:
            yield Usage(seconds=self._used or self._seconds)
            yield Finished()
            self.finished = True

    def begin(self) -> Iterable[Frame]:
        return ()

    def put(self, item: Input) -> Iterator[Frame]:
        match item:
            case Audio() if item.pcm:
                self._fresh = True
                self._seconds += item.seconds
                yield from self._audio(self._resampler.feed(item) if self._resampler else item)
            case Commit():
                yield from self._flush(turn=True)
            case Clear() if self._fresh:
                yield from self._flush(turn=False)

    def end(self) -> Iterator[Frame]:
        if self._fresh:
            yield from self._flush(turn=True)
        self._ended = True

    def idle(self) -> Iterator[Frame]:
        yield from self._audio(Audio.silence(0.1, RATE))

    def hear(self, frame: Frame) -> Iterator[ProviderEvent]:
        message = read(self._provider, frame)
        data = message.get("data")
        yield from self._empties()
        if not isinstance(data, dict):
            return
        match message.get("type"), data.get("signal_type"):
            case "events", "START_SPEECH":
                if self._past():
                    yield from self._answer("", None)
                    yield from self._empties()
                self._speaking = True
                if self._server:
                    yield SpeechStarted()
            case "events", "END_SPEECH":
                self._coming += self._speaking
                self._speaking = False
                if self._server:
                    yield SpeechEnded()
            case "data", _:
                yield from self._heard(data)
            case "error", _:
                raise api.failure(self._provider, None, data.get("code"), data.get("error"))
        self._look()

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        raise api.of_close(self._provider, code, reason)

    def _audio(self, audio: Audio) -> Iterator[Frame]:
        if audio.pcm:
            data = base64.b64encode(audio.pcm).decode()
            yield _frame({"audio": {"data": data, "sample_rate": RATE, "encoding": "audio/wav"}})

    def _flush(self, turn: bool) -> Iterator[Frame]:
        fresh, self._fresh = self._fresh, False
        if fresh:
            yield _frame({"type": "flush"})
        if not self._flushes:
            self._waiting = Wait(self._patience())
        self._flushes.append(_Flush(turn, fresh))

    def _patience(self) -> float:
        if self._speaking or self._coming:
            return FINAL
        return NO_MORE if self._told and self._request.partials else NOTHING

    def _look(self) -> None:
        """How long the first flush may take, after what is known now."""
        if self._flushes and self._waiting is not None and self._waiting.seconds != self._patience():
            self._waiting = Wait(self._patience())

    def _heard(self, data: dict[str, object]) -> Iterator[ProviderEvent]:
        text, language = str(data.get("transcript") or "").strip(), api.told(data.get("language_code"))
        metrics = data.get("metrics")
        length = metrics.get("audio_duration") if isinstance(metrics, dict) else None
        self._used += float(length) if isinstance(length, int | float) else 0.0
        if self._flushes and self._speaking and not self._coming:  # no end of speech was noticed: the flush brought it
            self._speaking = False
            yield from self._answer(text, language)
            return
        self._coming = max(0, self._coming - 1)
        self._told, self._waiting = True, Wait(self._patience())
        if self._flushes and not self._server:
            self._held.append(text)
        else:
            yield Transcript(text, True, self._server, language=language)

    def _past(self) -> bool:
        """Whether speech that begins now is of a later turn than the first flush's, which had its final, and ends so."""
        later = self._fresh or any(flush.told for flush in list(self._flushes)[1:])
        return bool(self._flushes and self._told and not self._coming and later and self._request.partials)

    def _empties(self) -> Iterator[ProviderEvent]:
        while self._flushes and not self._flushes[0].told:
            yield from self._answer("", None)

    def _answer(self, text: str, language: str | None) -> Iterator[ProviderEvent]:
        """The first flush is over."""
        flush = self._flushes.popleft()
        if flush.told:
            text, self._held, self._told = " ".join(filter(None, [*self._held, text])), [], False
            self._waiting = Wait(self._patience())
        if flush.turn:
            yield Transcript(text, True, True, language=language)


def _frame(message: dict[str, object]) -> str:
    return orjson.dumps(message).decode()
