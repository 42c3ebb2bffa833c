"""Soniox's real-time speech to text: one session as a pure codec.

Tokens are parts of words. Final ones come once, the others are sent anew with every message. `<fin>` answers a finalize,
`<end>` is an endpoint of its own. An empty frame ends the audio; `finished` answers it. Times are milliseconds of the stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson

from gateway.contract.audio import Audio
from gateway.contract.duplex import Wait
from gateway.contract.errors import Unavailable
from gateway.contract.events import Finished, ProviderEvent, Ready, SpeechStarted, Transcript, Usage, Word
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from gateway.contract.websocket import Frame
from providers._messages import read
from providers._owed import Owed
from providers._soniox_errors import error_of

KEEP_ALIVE = 5.0
"""Seconds. Soniox closes a session that is silent for 20."""
SETTLED = 0.3
"""Seconds without a word after which the session counts as accepted: nothing is said then, and a wrong key is told at once."""
_UNSPACED = ("zh", "ja", "th", "lo", "km", "my")
"""Languages whose words no spaces part: each token counts as one."""
_NOW = Wait(0.0)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    start: float | None
    end: float | None
    speaker: str | None
    language: str | None

    @property
    def opens(self) -> bool:
        """Whether a word begins with it."""
        return self.text[:1].isspace() or self.language in _UNSPACED


class Hearing:
    """Implements duplex.Codec and Patient."""

    keep_alive: float | None = KEEP_ALIVE

    def __init__(self, provider: str, model: str, request: TranscribeRequest, language: str | None) -> None:
        """`language`: of the request, as Soniox calls it."""
        self._provider, self._model, self._request, self._language = provider, model, request, language
        self._server = request.turns == "server"
        self._owed = Owed()
        self._accepting = Wait(SETTLED)
        self._ready = False
        self._tokens: list[_Token] = []
        self._partial = ""
        self._speaking = False
        self._seconds = 0.0
        self.finished = False

    @property
    def wait(self) -> Wait | None:
        if not self._ready:
            return self._accepting
        return _NOW if self._owed.ours else None

    def late(self) -> Iterator[ProviderEvent]:
        yield from self._accepted()
        yield from self._empties()

    def begin(self) -> Iterator[Frame]:
        request = self._request
        config: dict[str, Any] = {
            "model": self._model,
            "audio_format": "pcm_s16le",
            "sample_rate": request.rate,
            "num_channels": 1,
            "enable_language_identification": True,
            # Of an upload the endpoints are where one segment ends and the next begins.
            "enable_endpoint_detection": self._server or not request.partials,
        }
        if self._language is not None:
            config["language_hints"] = [self._language]
        if request.diarize:
            config["enable_speaker_diarization"] = True
        if request.translate:
            config["translation"] = {"type": "one_way", "target_language": "en"}
        context = {"text": request.prompt, "terms": list(request.keywords)}
        if told := {name: value for name, value in context.items() if value}:
            config["context"] = told
        yield orjson.dumps(config).decode()

    def put(self, item: Input) -> Iterator[Frame]:
        match item:
            case Audio(pcm) if pcm:
                self._seconds += item.seconds
                self._owed.fresh = True
                yield pcm
            case Commit() if self._owed.commit():
                yield '{"type":"finalize"}'
            case Clear() if self._owed.clear():
                yield '{"type":"finalize"}'

    def end(self) -> Iterator[Frame]:
        yield ""

    def idle(self) -> Iterator[Frame]:
        yield '{"type":"keepalive"}'

    def hear(self, frame: Frame) -> Iterator[ProviderEvent]:
        message = read(self._provider, frame)
        if (error := error_of(self._provider, message)) is not None:
            raise error
        yield from self._accepted()
        yield from self._empties()
        open_tokens: list[_Token] = []
        for token in self._wanted(message.get("tokens") or ()):
            match token.get("text"), token.get("is_final"):
                case "<fin>", _:
                    yield from self._answer()
                case "<end>", _:
                    yield from self._endpoint()
                case _, True:
                    self._tokens.append(_token(token))
                case _:
                    open_tokens.append(_token(token))
        yield from self._told(open_tokens)
        if message.get("finished"):
            yield from self._finish(message)

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        raise Unavailable("its socket was closed before it had finished", self._provider, code)

    def _accepted(self) -> Iterator[ProviderEvent]:
        if not self._ready:
            self._ready = True
            yield Ready()

    def _wanted(self, tokens: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Of a translation only what was translated, or was English already."""
        for token in tokens:
            if isinstance(token, dict) and not (
                self._request.translate and token.get("translation_status") == "original"
            ):
                yield token

    def _told(self, open_tokens: list[_Token]) -> Iterator[ProviderEvent]:
        """What is heard of the turn so far."""
        heard = [*self._tokens, *open_tokens]
        if not heard or self._owed.void:
            return
        if self._server and not self._speaking:
            self._speaking = True
            yield SpeechStarted(heard[0].start)
        text = _text(heard)
        if self._request.partials and text and text != self._partial:
            self._partial = text
            yield Transcript(text, language=_language(heard))

    def _answer(self) -> Iterator[ProviderEvent]:
        """A finalize was answered."""
        if self._owed.answered():
            yield from self._settle(ends=True)
        self._forget()
        yield from self._empties()

    def _endpoint(self) -> Iterator[ProviderEvent]:
        if not self._owed.void:
            yield from self._settle(ends=self._server)
            self._forget()

    def _empties(self) -> Iterator[ProviderEvent]:
        for _ in range(self._owed.empties()):
            yield Transcript("", final=True, ends_turn=True)

    def _finish(self, message: dict[str, Any]) -> Iterator[ProviderEvent]:
        void = self._owed.void
        waiting = self._owed.rest()
        if not void and (_text(self._tokens) or waiting):
            yield from self._settle(ends=True)
            waiting -= 1
        self._forget()
        for _ in range(waiting):
            yield Transcript("", final=True, ends_turn=True)
        heard = message.get("total_audio_proc_ms")
        yield Usage(seconds=heard / 1000 if isinstance(heard, int | float) and heard else self._seconds)
        yield Finished()
        self.finished = True

    def _settle(self, *, ends: bool) -> Iterator[ProviderEvent]:
        """What was heard becomes final: a transcript for each speaker in turn, the last of them maybe a turn's."""
        runs = [list(run) for _, run in groupby(self._tokens, lambda token: token.speaker)]
        said = [run for run in runs if _text(run)] or ([[]] if ends else [])
        for run in said:
            speaker = run[0].speaker if run else None
            ended = ends and run is said[-1]
            yield Transcript(_text(run), True, ended, tuple(_words(run)), _language(run), speaker)

    def _forget(self) -> None:
        self._tokens, self._partial, self._speaking = [], "", False


def _token(token: dict[str, Any]) -> _Token:
    start, end = token.get("start_ms"), token.get("end_ms")
    return _Token(
        str(token.get("text") or ""),
        start / 1000 if isinstance(start, int | float) else None,
        end / 1000 if isinstance(end, int | float) else None,
        token.get("speaker"),
        token.get("language"),
    )


def _text(tokens: Sequence[_Token]) -> str:
    return "".join(token.text for token in tokens).strip()


def _language(tokens: Sequence[_Token]) -> str | None:
    return next((token.language for token in tokens if token.language), None)


def _words(tokens: Sequence[_Token]) -> Iterator[Word]:
    """Tokens joined to words; those that have no times (a translation's) are none."""
    held: list[_Token] = []
    for token in [*tokens, None]:
        if held and (token is None or token.opens):
            text, start, end = _text(held), held[0].start, held[-1].end
            if text and start is not None and end is not None:
                yield Word(text, start, end)
            held = []
        if token is not None:
            held.append(token)
