"""ElevenLabs' realtime speech to text: one session as a pure codec.

A turn ends by `commit`, or where it hears silence. There is no message that ends a session: it is over when the last commit was answered;
where it ends turns itself too, when nothing has come for a while, since nothing tells its turns from ours.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from gateway.contract.audio import Audio
from gateway.contract.duplex import Wait
from gateway.contract.events import Finished, ProviderEvent, Ready, Transcript, Usage, Word
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from gateway.contract.websocket import Frame
from providers._elevenlabs_errors import Faults
from providers._owed import Owed
from providers._sound_clock import SoundClock

KEEP_ALIVE = 5.0
"""Seconds without audio after which a little silence is sent: a session without activity is ended."""
SILENCE = 0.1
ENDED = 1.0
"""Seconds without anything after the last commit, where it ends turns itself."""
_NOW = Wait(0.0)
_BACK = 0.5
"""Seconds that a text may begin before the end of the last one; more, and its times count from that end."""
_IGNORED = {
    "warning",
    "committed_transcript_entities",
    "redacted_transcript",
    "edited_transcript",
    "committed_transcript",  # it comes again, with times
}


class Hearing:
    """Implements duplex.Codec and Patient."""

    keep_alive: float | None = KEEP_ALIVE

    def __init__(self, faults: Faults, request: TranscribeRequest) -> None:
        self._faults, self._request = faults, request
        self._clock = SoundClock(request.rate)
        self._owed = Owed()
        self._begun = False  # the text before the first audio was sent
        self._last = self._base = 0.0  # the provider's seconds: the end of the last text; where its times count from
        self._unasked = False  # nobody asked for the last turn's end: the inputs ended
        self._server = request.turns == "server"
        self._ended: Wait | None = None
        self._language = request.language
        self.finished = False

    @property
    def wait(self) -> Wait | None:
        """What nobody said is answered here, and the end is told here."""
        if self._owed.ours or (self._ended is not None and not self._server and not len(self._owed)):
            return _NOW
        return self._ended if self._server else None

    def late(self) -> Iterator[ProviderEvent]:
        waiting = self._owed.empties()
        if self._ended is not None and self._server and not waiting:
            waiting = self._owed.rest() - self._unasked
        for _ in range(waiting):
            yield Transcript("", True, True)
        yield from self._finish()

    def begin(self) -> Iterable[Frame]:
        return ()

    def put(self, item: Input) -> Iterator[Frame]:
        match item:
            case Audio(pcm) if pcm:
                self._clock.add(item)
                self._owed.fresh = True
                yield self._chunk(pcm)
            case Commit() if self._owed.commit():
                yield self._chunk(b"", commit=True)
            case Clear() if self._owed.clear():
                yield self._chunk(b"", commit=True)

    def end(self) -> Iterator[Frame]:
        self._unasked = self._owed.fresh
        if self._owed.fresh and self._owed.commit():
            yield self._chunk(b"", commit=True)
        self._ended = Wait(ENDED)

    def idle(self) -> Iterator[Frame]:
        yield self._chunk(self._clock.pad(SILENCE))

    def hear(self, frame: Frame) -> Iterator[ProviderEvent]:
        message = self._faults.read(frame)
        self._ended = Wait(ENDED) if self._ended is not None else None
        kind = str(message.get("message_type") or "")
        text = str(message.get("text") or "").strip()
        match kind:
            case "session_started":
                yield Ready()
            case "partial_transcript":
                if self._request.partials and text and not self._owed.void:
                    yield Transcript(text, language=self._language)
            case "committed_transcript_with_timestamps":
                yield from self._committed(text, message)
            case "commit_throttled":  # so little was said that there is nothing to commit
                yield from self._committed("", {})
            case _ if kind not in _IGNORED:
                raise self._faults.error(kind, str(message.get("error") or ""))

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        raise self._faults.closed(code, reason, "it had finished")

    def _committed(self, text: str, message: dict[str, Any]) -> Iterator[ProviderEvent]:
        self._language = message.get("language_code") or self._language
        waited = len(self._owed) > 0
        ends = waited or self._server  # else so much was said that it made an end of some of it
        words = tuple(self._words(message.get("words") or ()))
        last = self._unasked and len(self._owed) == 1
        wanted = self._owed.answered() if waited else True
        if wanted and (text or (waited and not last)):
            yield Transcript(text, True, ends, words, self._language)
        for _ in range(self._owed.empties()):
            yield Transcript("", True, True)
        if not self._server:
            yield from self._finish()

    def _words(self, told: Iterable[Any]) -> Iterator[Word]:
        times = [each for each in told if isinstance(each, dict) and each.get("type", "word") == "word"]
        if times and self._base + float(times[0].get("start") or 0.0) < self._last - _BACK:
            self._base = self._last
        for each in times:
            start, end = self._base + float(each["start"]), self._base + float(each["end"])
            self._last = max(self._last, end)
            yield Word(str(each["text"]).strip(), self._clock.ours(start), self._clock.ours(end))

    def _finish(self) -> Iterator[ProviderEvent]:
        if self._ended is not None and not len(self._owed) and not self.finished:
            yield Usage(seconds=self._clock.put)
            yield Finished()
            self.finished = True

    def _chunk(self, pcm: bytes, *, commit: bool = False) -> str:
        message: dict[str, object] = {
            "message_type": "input_audio_chunk",
            "audio_base_64": base64.b64encode(pcm).decode(),
            "commit": commit,
            "sample_rate": self._request.rate,
        }
        if not self._begun and self._request.prompt:
            message["previous_text"] = self._request.prompt
        self._begun = True
        return orjson.dumps(message).decode()
