"""Sarvam's realtime speech to text (/speech-to-text-realtime/ws): one session as a pure codec.

With `endpointing=manual` we say where an utterance begins and ends, and each is answered by a final; with `vad` the server does:
where the caller wants that, and for uploads, whose utterances are then segments. No words have times here; utterances do.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from gateway.contract.audio import Audio
from gateway.contract.duplex import Wait
from gateway.contract.encoding import Resampler
from gateway.contract.errors import Unavailable
from gateway.contract.events import Finished, ProviderEvent, Ready, SpeechEnded, SpeechStarted, Transcript, Usage
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from gateway.contract.websocket import Frame
from providers import _sarvam_api as api
from providers._commits import Commits
from providers._messages import read

KEEP_ALIVE = 15.0
NOTHING = 1.5
"""Seconds after an utterance of which nothing at all was heard: there was nothing in it."""
FINAL = 30.0
"""Seconds that the final of an utterance may take of which something was heard. The engine's deadlines are shorter."""
QUIET = 1.2
"""Seconds of silence that end an utterance where the server listens for its end."""
RATES = (8_000, 16_000)


def heard_at(rate: int) -> int:
    """The rate it is sent at: that of the audio, where Sarvam takes it."""
    return rate if rate in RATES else RATES[-1]


class Hearing:
    """Implements duplex.Codec and Patient. What is asked for is in the address (see sarvam.py)."""

    keep_alive: float | None = KEEP_ALIVE

    def __init__(self, provider: str, request: TranscribeRequest, manual: bool) -> None:
        self._provider, self._request, self._manual = provider, request, manual
        self._resampler = None if request.rate in RATES else Resampler(heard_at(request.rate))
        self._commits = Commits(NOTHING)
        self._seconds = 0.0
        self._speaking = False
        """There is an utterance that was not ended."""
        self._ready = self._ending = False
        self.finished = False

    @property
    def wait(self) -> Wait | None:
        return self._commits.wait if self._ready else None

    def late(self) -> Iterator[ProviderEvent]:
        if self._commits.give_up():
            yield Transcript("", final=True, ends_turn=True)

    def begin(self) -> Iterable[Frame]:
        return ()

    def put(self, item: Input) -> Iterator[Frame]:
        match item:
            case Audio() if item.pcm:
                if self._manual and not self._speaking:
                    yield _frame(event="speech_start")
                self._speaking = True
                self._seconds += item.seconds
                yield from self._audio(self._resampler.feed(item) if self._resampler else item)
            case Commit():
                yield from self._over(turn=True)
            case Clear() if self._speaking:
                yield from self._over(turn=False)

    def end(self) -> Iterator[Frame]:
        if self._resampler is not None:
            yield from self._audio(self._resampler.finish())
        self._ending = True
        yield _frame(event="end")

    def idle(self) -> Iterator[Frame]:
        yield _frame(event="ping")

    def hear(self, frame: Frame) -> Iterator[ProviderEvent]:
        message = read(self._provider, frame)
        match message.get("event"):
            case "session.begin" if not self._ready:
                self._ready = True
                yield Ready()
            case "vad.speech_start" if self._request.turns == "server":
                yield SpeechStarted()
            case "vad.speech_end" if self._request.turns == "server":
                yield SpeechEnded()
            case "transcript.partial":
                yield from self._partial(message)
            case "transcript.final":
                yield from self._final(message)
            case "error" if message.get("is_fatal") is not False:
                status = message.get("status_code")
                code, words = message.get("code"), message.get("message")
                raise api.failure(self._provider, status if isinstance(status, int) else None, code, words)
            case "session.end":
                yield from self._finish(message)

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        raise api.of_close(self._provider, code, reason)

    def _audio(self, audio: Audio) -> Iterator[Frame]:
        if audio.pcm:
            yield _frame(event="audio_input", audio=base64.b64encode(audio.pcm).decode())

    def _over(self, turn: bool) -> Iterator[Frame]:
        """The utterance is, as far as we are concerned. Where the server listens for its end it hears silence."""
        spoke, self._speaking = self._speaking, False
        whole = self._upload
        if spoke and self._manual:
            yield _frame(event="speech_end")
        elif spoke and not whole:
            yield from self._audio(Audio.silence(QUIET, heard_at(self._request.rate)))
        if not whole:  # the end of the session answers it
            self._commits.add(self._seconds, turn, told=spoke)

    @property
    def _upload(self) -> bool:
        """All of it is one turn, its utterances segments."""
        return not self._manual and self._request.turns == "client"

    def _partial(self, message: dict[str, Any]) -> Iterator[ProviderEvent]:
        text, waiting = str(message.get("text") or "").strip(), self._commits.waiting
        if not text:
            return
        if waiting and waiting[0].wait.seconds:
            waiting[0].wait = Wait(FINAL)  # something was said in it: it will have a final
        if self._request.partials and not (waiting and not waiting[0].turn):
            yield Transcript(text, language=api.told(message.get("language")))

    def _final(self, message: dict[str, Any]) -> Iterator[ProviderEvent]:
        text, language = str(message.get("text") or "").strip(), api.told(message.get("language"))
        start, end = _seconds(message.get("start_s")), _seconds(message.get("end_s"))
        if self._upload:
            yield SpeechStarted(start)
            yield SpeechEnded(end)
            yield Transcript(text, True, language=language)
        elif not self._manual:
            if self._commits:
                self._commits.waiting.popleft()
            yield Transcript(text, True, True, language=language)
        elif not self._commits:  # it ended one itself, or this is late
            yield Transcript(text, True, language=language)
        else:
            over = self._commits.answered(self._commits.waiting[0].at if end is None else end)
            for turn in over[:-1]:
                if turn:
                    yield Transcript("", True, True)
            if over and over[-1]:
                yield Transcript(text, True, True, language=language)

    def _finish(self, message: dict[str, Any]) -> Iterator[ProviderEvent]:
        if not self._ending:
            raise Unavailable("it ended the session", self._provider)
        owed = [asked for asked in self._commits.waiting if asked.turn]
        for _ in range(1 if self._upload else len(owed)):
            yield Transcript("", True, True)
        used = _seconds(message.get("audio_duration_s"))
        yield Usage(seconds=self._seconds if used is None else used)
        yield Finished()
        self.finished = True


def _frame(**message: object) -> str:
    return orjson.dumps(message).decode()


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
