"""Gladia's live speech to text (v2): one session as a pure codec.

There is no verb that ends a turn: a session ends with `stop_recording`, which makes all final, so that a Commit ends one. A session
whose socket was closed goes on, on another, from the bytes that were acknowledged. Times are seconds of the session.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.duplex import Wait
from gateway.contract.errors import ProviderError, RateLimited, Refused, Unavailable
from gateway.contract.events import ProviderEvent, SpeechEnded, SpeechStarted, Transcript, Word
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from gateway.contract.websocket import Frame
from providers._messages import read

ENDING = 10.0
"""Seconds for all to be final after `stop_recording`."""
KEPT = 60.0
"""Seconds of sound without an acknowledgement that can be sent again."""
FRAME = 512 << 10
"""Bytes of a frame of sound that is sent again; more than 1 MiB is refused."""
STOP = '{"type":"stop_recording"}'


class Hearing:
    """Implements duplex.Codec and Patient. `before`: seconds of the stream's sound before the session."""

    keep_alive: float | None = None

    def __init__(self, provider: str, request: TranscribeRequest, before: float) -> None:
        self._provider, self._request, self._before = provider, request, before
        self._most = round(KEPT * request.rate) * SAMPLE_BYTES
        self._unheard = b""  # not acknowledged
        self._acknowledged = 0  # bytes
        self._void = self._stopped = False
        self._ending: Wait | None = None
        self.seconds = 0.0
        """Of its sound."""
        self.last: Transcript | None = None
        """The final that is not told yet, since it may be the one that ends the turn."""
        self.resumable = True
        """What was not acknowledged can be sent again."""
        self.finished = False

    @property
    def wait(self) -> Wait | None:
        return self._ending

    def late(self) -> Iterable[ProviderEvent]:
        raise Unavailable(f"not everything was final {ENDING:g} s after the end", self._provider)

    def begin(self) -> Iterator[Frame]:
        for at in range(0, len(self._unheard), FRAME):
            yield self._unheard[at : at + FRAME]

    def put(self, item: Input) -> Iterator[Frame]:
        match item:
            case Audio(pcm) if pcm:
                self.seconds += item.seconds
                self._unheard += pcm
                if len(self._unheard) > self._most:
                    self._unheard, self.resumable = b"", False
                yield pcm
            case Clear():
                self._void, self.last = True, None

    def end(self) -> Iterator[Frame]:
        self._stopped, self._ending = True, Wait(ENDING)
        yield STOP

    def idle(self) -> Iterable[Frame]:
        return ()

    def hear(self, frame: Frame) -> Iterator[ProviderEvent]:
        message = read(self._provider, frame)
        try:
            match message.get("type"):
                case "audio_chunk" | "stop_recording" if not message["acknowledged"]:
                    raise self._refused(message.get("error") or {})
                case "audio_chunk":
                    self._heard(int(message["data"]["byte_range"][1]))
                case "speech_start" if not self._void:
                    yield SpeechStarted(self._before + message["data"]["time"])
                case "speech_end" if not self._void:
                    yield SpeechEnded(self._before + message["data"]["time"])
                case "transcript" if not self._void:
                    yield from self._told(message["data"]["is_final"], message["data"]["utterance"])
                case "post_transcript" | "post_final_transcript" | "end_session":
                    self.finished = True
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise Unavailable("its message has another shape", self._provider) from None

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        if self._stopped and code == 1000:
            return ()
        raise closed(self._provider, code)

    def _heard(self, byte: int) -> None:
        self._unheard = self._unheard[max(0, byte - self._acknowledged) :]
        self._acknowledged = max(self._acknowledged, byte)

    def _told(self, final: bool, utterance: dict[str, Any]) -> Iterator[ProviderEvent]:
        text, language = str(utterance["text"]).strip(), utterance.get("language") or self._request.language
        if final and text:
            words = tuple(
                [
                    Word(str(each["word"]).strip(), self._before + each["start"], self._before + each["end"])
                    for each in utterance["words"]
                ]
            )
            told = Transcript(text, True, self._request.turns == "server", words, language)
            last, self.last = (told, None) if told.ends_turn else (self.last, told)
            if last is not None:
                yield last
        elif text and self._request.partials:
            yield Transcript(f"{self.last.text} {text}" if self.last else text, language=language)

    def _refused(self, error: dict[str, Any]) -> ProviderError:
        if error.get("status_code") in (400, 415, 422):
            return Refused("its sound was refused", self._provider, 400, detail="the audio cannot be decoded")
        return Unavailable("what was sent was not taken", self._provider)


class Turns:
    """Inputs, cut after each Commit and Clear; iterate one turn after `begin`. A cancelled read loses nothing.

    `cut`: the Commit or Clear that ended the turn; None where the inputs ended.
    """

    def __init__(self, inputs: AsyncIterator[Input]) -> None:
        self._inputs = inputs
        self._next: Input | None = None
        self._over = True
        self.cut: Commit | Clear | None = None

    async def peek(self) -> Input | None:
        """What comes next; None after the last."""
        if self._next is None:
            self._next = await anext(self._inputs, None)
        return self._next

    def take(self) -> None:
        """What was peeked at is done with."""
        self._next = None

    def begin(self) -> Turns:
        self._over, self.cut = False, None
        return self

    def __aiter__(self) -> Turns:
        return self

    async def __anext__(self) -> Input:
        item = None if self._over else await self.peek()
        self._over |= item is None or isinstance(item, Commit | Clear)
        if isinstance(item, Commit | Clear):
            self.cut = item
            self.take()
        if item is None or isinstance(item, Commit):
            raise StopAsyncIteration
        self.take()
        return item


def closed(provider: str, code: int | None) -> ProviderError:
    """A session that was closed before its time: those from 4400 say, as in HTTP, that it is over."""
    if code is None:
        return Unavailable("the connection was lost", provider)
    return (RateLimited if code == 4429 else Unavailable)(f"closed with {code}", provider, code)


def goes_on(error: ProviderError) -> bool:
    """Whether the session does, on another socket: as the vendor's client has it. Not where the connection was lost without a
    close: acknowledgements may be lost with it, and what is sent twice is heard twice."""
    return error.status is not None and (1002 <= error.status < 4400 or error.status >= 4500)
