"""Sarvam's text to speech (/text-to-speech/ws): one session as a pure codec.

One clause at a time: its text and a flush, then its audio and the event `final`. Nothing in an answer says of which text it is,
so the next clause is sent once that has come. There is no cancel: the socket is closed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.contract.audio import Audio
from gateway.contract.duplex import Wait
from gateway.contract.errors import Unavailable
from gateway.contract.events import AudioDelta, Finished, Flushed, ProviderEvent, Usage
from gateway.contract.requests import Cancel, Clear, Commit, Input
from gateway.contract.websocket import Frame
from providers import _sarvam_api as api
from providers._messages import read
from providers._pcm import Samples

KEEP_ALIVE = 20.0
"""Seconds. It closes after 60 without anything."""
LONGEST = 2_400
"""Characters of one message; it takes 2500."""
_NOW = Wait(0.0)


@dataclass(slots=True, eq=False)
class _Clause:
    text: str = ""
    sent: bool = False
    heard: bool = False
    silent: bool = False
    """Ended by the inputs' end: nobody waits for its Flushed."""
    dropped: bool = False

    @property
    def worded(self) -> bool:
        return any(map(str.isalnum, self.text))


class Speaking:
    """Implements duplex.Codec and Patient. `config`: the data of its first message."""

    keep_alive: float | None = KEEP_ALIVE

    def __init__(self, provider: str, config: dict[str, Any]) -> None:
        self._provider, self._config = provider, config
        self._rate = int(config["speech_sample_rate"])
        self._clauses: deque[_Clause] = deque()  # committed
        self._samples = Samples(provider, self._rate)
        self._text = ""
        self._ended = False
        self._characters = 0
        self._seconds = 0.0
        self.finished = False
        self.ghost = False
        """It speaks on of a clause that was cancelled, and nobody listens; what comes next waits for its end."""

    @property
    def wait(self) -> Wait | None:
        over = self._over(self._clauses[0]) if self._clauses else self._ended
        return _NOW if over else None

    def late(self) -> Iterator[Frame | ProviderEvent]:
        yield from self._settle()

    def begin(self) -> Iterator[Frame]:
        yield _frame({"type": "config", "data": self._config})

    def put(self, item: Input) -> Iterator[Frame]:
        match item:
            case str(text):
                self._text += text
            case Commit():
                self._commit()
                yield from self._feed()
            case Clear():
                self._text = ""
            case Cancel():
                self._text = ""
                for clause in self._clauses:
                    clause.dropped = True
                    self.ghost |= clause.sent

    def end(self) -> Iterator[Frame]:
        if self._text:
            self._commit()
            self._clauses[-1].silent = True
        self._ended = True
        yield from self._feed()

    def idle(self) -> Iterator[Frame]:
        yield _frame({"type": "ping"})

    def hear(self, frame: Frame) -> Iterator[Frame | ProviderEvent]:
        message = read(self._provider, frame)
        data = message.get("data")
        said = data if isinstance(data, dict) else {}
        clause = self._clauses[0] if self._clauses and self._clauses[0].sent else None
        final = said.get("event_type") == "final"
        match message.get("type"):
            case "error":
                status = said.get("code")
                status = status if isinstance(status, int) else None
                code = None if isinstance(said.get("code"), int) else said.get("code")
                raise api.failure(self._provider, status, code, said.get("message"))
            case "event" if self.ghost and final:
                self.ghost = False
                yield from self._settle()
            case "audio" if clause is not None and not self.ghost:
                yield from self._sounds(clause, said)
            case "event" if clause is not None and final and clause.heard:
                self._clauses.popleft()
                self._samples = Samples(self._provider, self._rate)
                if not clause.silent:
                    yield Flushed()
                yield from self._settle()

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        raise api.of_close(self._provider, code, reason)

    def _commit(self) -> None:
        self._clauses.append(_Clause(self._text))
        self._text = ""

    def _over(self, clause: _Clause) -> bool:
        return clause.dropped or not clause.worded

    def _feed(self) -> Iterator[Frame]:
        """The first clause, if it is not sent yet."""
        if self.ghost or not self._clauses or self._clauses[0].sent or self._over(self._clauses[0]):
            return
        clause = self._clauses[0]
        clause.sent = True
        self._characters += len(clause.text)
        for at in range(0, len(clause.text), LONGEST):
            yield _frame({"type": "text", "data": {"text": clause.text[at : at + LONGEST]}})
        yield _frame({"type": "flush"})

    def _sounds(self, clause: _Clause, data: dict[str, Any]) -> Iterator[ProviderEvent]:
        kind = str(data.get("content_type") or "")
        if any(other in kind for other in ("mp3", "mpeg", "ogg", "opus", "flac", "aac", "json", "html")):
            raise Unavailable("its audio is no samples", self._provider)
        pcm = self._samples.take_base64(data.get("audio"))
        if pcm:
            clause.heard = True
            audio = Audio(pcm, self._rate)
            self._seconds += audio.seconds
            yield AudioDelta(audio)

    def _settle(self) -> Iterator[Frame | ProviderEvent]:
        """Clauses that need no audio are over; the next is sent; the session ends after the last."""
        while self._clauses and self._over(self._clauses[0]):
            if not self._clauses.popleft().silent:
                yield Flushed()
        yield from self._feed()
        if self._ended and not self._clauses and not self.finished:
            yield Usage(characters=self._characters, seconds=self._seconds)
            yield Finished()
            self.finished = True


def _frame(message: dict[str, object]) -> str:
    return orjson.dumps(message).decode()
