"""Deepgram's speak v1 as a pure codec: text up, raw sound down.

A Commit is a Flush, answered by Flushed after its sound. Deepgram takes 20 flushes a minute on a connection: a stream of more clauses
goes on over the next connection (`FLUSHES`, providers/deepgram.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Literal

import orjson

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.duplex import Wait
from gateway.contract.errors import RateLimited
from gateway.contract.events import AudioDelta, Finished, Flushed, ProviderEvent, Usage
from gateway.contract.requests import Cancel, Clear, Commit, Input, SpeakRequest
from gateway.contract.websocket import Frame
from providers._deepgram_api import Api

FLUSHES = 20
"""That Deepgram takes in a minute on one connection."""
RATES = (8_000, 16_000, 24_000, 32_000, 48_000)
LONGEST = 2_000
"""Characters of one Speak."""
FLUSH, CLEAR = '{"type":"Flush"}', '{"type":"Clear"}'

Owed = Literal["clause", "rest", "nothing"]
"""What is to be answered: a Commit with sound, the text after the last Commit (no event), a Commit of nothing (at once)."""
_AT_ONCE = Wait(0.0)


def rate_of(wished: int) -> int:
    """The lowest that loses nothing."""
    return next((rate for rate in RATES if rate >= wished), RATES[-1])


def query_of(model: str, request: SpeakRequest) -> dict[str, object]:
    speed = None if request.speed == 1.0 else request.speed
    return {"model": model, "encoding": "linear16", "sample_rate": rate_of(request.rate), "speed": speed}


class Some:
    """The inputs, so many clauses at a time. `more`: there may be others. A cancelled read loses nothing."""

    def __init__(self, inputs: AsyncIterator[Input]) -> None:
        self.more = True
        self._inputs, self._left = inputs, 0

    def next(self) -> Some:
        """The following ones."""
        self._left = FLUSHES - 1  # and one for what comes after the last Commit
        return self

    def __aiter__(self) -> Some:
        return self

    async def __anext__(self) -> Input:
        if not self._left:
            raise StopAsyncIteration
        try:
            item = await anext(self._inputs)
        except StopAsyncIteration:
            self.more = False
            raise
        self._left -= isinstance(item, Commit)
        return item


class Speaking:
    """Implements duplex.Codec and duplex.Patient."""

    keep_alive: float | None = None

    def __init__(self, api: Api, rate: int) -> None:
        self.finished = False
        self._api, self._rate = api, rate
        self._text = ""  # not sent: nothing of it can be said yet
        self._worded = False  # something was sent since the last Flush
        self._owed: deque[Owed] = deque()
        self._clearing: deque[int] = deque()  # for each Clear, how many of those are over with it
        self._ended = False
        self._half = b""
        self._samples = self._characters = 0

    @property
    def wait(self) -> Wait | None:
        over = self._ended and not self._owed and not self._clearing
        return _AT_ONCE if over or (self._owed and self._owed[0] == "nothing") else None

    def begin(self) -> Iterable[Frame]:
        return ()

    def put(self, item: Input) -> Iterable[Frame]:
        match item:
            case str(text):
                return self._say(text)
            case Commit():
                return self._flush("clause")
            case Cancel() | Clear():
                return self._clear()
        return ()

    def end(self) -> Iterable[Frame]:
        self._ended = True
        return self._flush("rest")

    def idle(self) -> Iterable[Frame]:
        return ()

    def hear(self, frame: Frame) -> Iterable[ProviderEvent]:
        if isinstance(frame, bytes):
            return self._sound(frame)
        message = self._api.read(frame)
        match message.get("type"):
            case "Flushed" if self._owed:
                self._clearing = deque(max(0, owed - 1) for owed in self._clearing)
                return (Flushed(),) if self._owed.popleft() == "clause" else ()
            case "Cleared":
                return self._cleared()
            case "Warning" if "FLUSH" in str(message.get("code", "")).upper():
                raise RateLimited("too many flushes", self._api.name)
            case "Error":
                raise self._api.said(message)
        return ()

    def late(self) -> Iterable[ProviderEvent]:
        if self._owed:
            self._owed.popleft()
            return (Flushed(),)
        self.finished = True
        return (Usage(characters=self._characters, seconds=self._samples / self._rate), Finished())

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        raise self._api.closed(code, reason)

    def _say(self, text: str) -> list[Frame]:
        self._text += text
        if not any(map(str.isalnum, self._text)):
            return []  # marks alone have no sound: whether Deepgram answers their flush was never seen
        text, self._text, self._worded = self._text, "", True
        self._characters += len(text)
        return [_speak(text[at : at + LONGEST]) for at in range(0, len(text), LONGEST)]

    def _flush(self, owed: Owed) -> Iterable[Frame]:
        worded, self._worded, self._text = self._worded, False, ""
        if worded:
            self._owed.append(owed)
            return (FLUSH,)
        if owed == "clause":
            self._owed.append("nothing")
        return ()

    def _clear(self) -> Iterable[Frame]:
        sent = self._worded or bool(self._owed)
        self._worded, self._text = False, ""
        if not sent:
            return ()
        self._clearing.append(len(self._owed))
        return (CLEAR,)

    def _cleared(self) -> Iterable[ProviderEvent]:
        """What was owed when it was told is over, and what came until now was dropped."""
        self._half = b""
        owed = self._clearing.popleft() if self._clearing else 0
        self._clearing = deque(each - owed for each in self._clearing)
        return [Flushed() for _ in range(owed) if self._owed.popleft() != "rest"]

    def _sound(self, data: bytes) -> Iterable[ProviderEvent]:
        if self._clearing:
            return ()
        data = self._half + data
        whole = len(data) - len(data) % SAMPLE_BYTES
        self._half = data[whole:]
        if not whole:
            return ()
        self._samples += whole // SAMPLE_BYTES
        return (AudioDelta(Audio(data[:whole], self._rate)),)


def _speak(text: str) -> str:
    return orjson.dumps({"type": "Speak", "text": text}).decode()
