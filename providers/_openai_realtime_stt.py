"""OpenAI's realtime transcription (`/realtime?intent=transcription`) as events. Implements duplex.Codec and duplex.Patient; pure.

A turn is an item: it is committed by us (or by the provider, where it decides turns), transcribed in its own time, and given in the
order of the turns. The provider answers no commit of nothing: that is answered here.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.duplex import Wait
from gateway.contract.encoding import Resampler
from gateway.contract.errors import ProviderError, Unauthorized, Unavailable
from gateway.contract.events import Finished, ProviderEvent, Ready, SpeechEnded, SpeechStarted, Transcript, Usage
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from gateway.contract.websocket import Frame
from providers._openai_errors import of_target
from providers._openai_languages import code, told
from providers._openai_transcripts import segment, usage

RATE = 24_000
"""Samples per second; others are refused."""
SHORTEST = 0.1
"""Seconds; less is refused as an empty buffer."""
_ITEM = "conversation.item.input_audio_transcription."
_NO_AUDIO = "input_audio_buffer_commit_empty"
_KEY_REFUSED = 3000
_AT_ONCE = Wait(0.0)


@dataclass(slots=True)
class _Turn:
    """`id`: of its item, once it has one; `start`, `seconds`: of its audio; `text`: so far; `events`: that wait for their turn."""

    id: str | None = None
    start: float = 0.0
    seconds: float = 0.0
    text: str = ""
    events: list[ProviderEvent] = field(default_factory=list)
    over: bool = False


class Codec:
    """One session. Times are of its own audio."""

    keep_alive: float | None = None  # the provider pings

    def __init__(
        self,
        model: str,
        request: TranscribeRequest,
        provider: str,
        failed: Callable[[object], ProviderError],
    ) -> None:
        self._model, self._request, self._provider, self._failed = model, request, provider, failed
        self._resampler = Resampler(RATE)
        self._sent = self._committed = self._cleared = 0.0  # seconds of audio
        self._turns: deque[_Turn] = deque()
        self._asked: deque[_Turn] = deque()  # committed by us, and not yet items
        self._endpointed: set[str] = set()  # items that the provider committed by itself
        self._used = Usage()
        self._ready = self._ended = False
        self.finished = False

    @property
    def wait(self) -> Wait | None:
        """None, or what is said without the provider is due."""
        due = self._turns[0].over if self._turns else self._ended
        return _AT_ONCE if due and self._ready else None

    def begin(self) -> Iterable[Frame]:
        asked = self._request
        transcription: dict[str, Any] = {"model": self._model}
        if asked.language is not None:
            transcription["language"] = code(asked.language)
        prompt = ", ".join(filter(None, (asked.prompt, *asked.keywords)))
        if prompt and "diarize" not in self._model and "realtime" not in self._model:
            transcription["prompt"] = prompt
        heard = {
            "format": {"type": "audio/pcm", "rate": RATE},
            "transcription": transcription,
            "turn_detection": {"type": "server_vad"} if asked.turns == "server" else None,
        }
        yield _frame({"type": "session.update", "session": {"type": "transcription", "audio": {"input": heard}}})

    def put(self, item: Input) -> Iterable[Frame]:
        match item:
            case Audio():
                self._sent += item.seconds
                yield from self._append(item if item.rate == RATE else self._resampler.feed(item))
            case Commit():
                yield from self._commit()
            case Clear():
                self._resampler.finish()
                self._cleared = self._sent
                yield _frame({"type": "input_audio_buffer.clear"})

    def end(self) -> Iterable[Frame]:
        self._ended = True
        if self._sent - max(self._committed, self._cleared) >= SHORTEST:
            yield from self._commit()

    def idle(self) -> Iterable[Frame]:
        return ()

    def late(self) -> Iterable[Frame | ProviderEvent]:
        """What needs no answer of the provider's: commits of nothing, and the end."""
        yield from self._given()
        if self._ended and not self._turns:
            self.finished = True
            yield self._used if self._used != Usage() else Usage(seconds=self._sent)
            yield Finished()

    def hear(self, frame: Frame) -> Iterable[Frame | ProviderEvent]:
        """Raises ProviderError."""
        try:
            said = orjson.loads(frame)
            kind = said["type"]
        except (orjson.JSONDecodeError, TypeError, KeyError):
            raise Unavailable("garbage on its socket", self._provider) from None
        if kind == "error":
            self._fail(said.get("error"))
        elif kind == "session.updated" and not self._ready:
            self._ready = True
            yield Ready()
        elif kind == "input_audio_buffer.speech_started":
            yield SpeechStarted(self._at(said.get("audio_start_ms")))
        elif kind == "input_audio_buffer.speech_stopped":
            self._endpointed.add(str(said.get("item_id")))
            ended = self._at(said.get("audio_end_ms"))
            self._committed = self._committed if ended is None else ended
            yield SpeechEnded(ended)
        elif kind == "input_audio_buffer.committed":
            self._is_item(str(said.get("item_id")))
        elif isinstance(kind, str) and kind.startswith(_ITEM):
            yield from self._transcribed(kind.removeprefix(_ITEM), said)
        yield from self._given()

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        if code == _KEY_REFUSED:
            raise Unauthorized("its key was refused", self._provider, code)
        raise Unavailable("its session was closed", self._provider, code)

    def _append(self, audio: Audio) -> Iterable[Frame]:
        if audio.samples:
            data = audio.pcm[: audio.samples * SAMPLE_BYTES]
            return (_frame({"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode()}),)
        return ()

    def _commit(self) -> Iterable[Frame]:
        begun = max(self._committed, self._cleared)
        turn = _Turn(start=begun, seconds=self._sent - begun)
        self._committed = self._sent
        self._turns.append(turn)
        if turn.seconds < SHORTEST:
            turn.over = True
            turn.events.append(Transcript("", final=True, ends_turn=True))
            # What there was of it must not become part of the next turn.
            return (_frame({"type": "input_audio_buffer.clear"}),) if turn.seconds else ()
        self._asked.append(turn)
        return (*self._append(self._resampler.finish()), _frame({"type": "input_audio_buffer.commit"}))

    def _is_item(self, item: str) -> None:
        """An item was made of the buffer: by our commit, or by the provider, who ended a turn."""
        known = self._known(item)
        if item not in self._endpointed and self._asked:
            turn = self._asked.popleft()
            turn.id = item
            if known is not None:  # it was heard of before it was committed
                turn.text, turn.events = known.text + turn.text, known.events + turn.events
                self._turns.remove(known)
        elif known is None:
            self._turns.append(_Turn(item, self._committed))

    def _transcribed(self, kind: str, said: dict[str, Any]) -> Iterable[ProviderEvent]:
        item = str(said.get("item_id"))
        turn = self._known(item)
        if turn is None:
            turn = _Turn(item, self._committed)
            self._turns.append(turn)
        match kind:
            case "delta":
                turn.text += str(said.get("delta") or "")
                if turn is self._turns[0] and turn.text.strip():
                    yield Transcript(turn.text.strip())
            case "segment":
                turn.events += segment(said, turn.start, self._provider)
            case "completed":
                self._complete(turn, said)
            case "failed":
                raise of_target(self._failed(said.get("error")))

    def _complete(self, turn: _Turn, said: dict[str, Any]) -> None:
        text = "" if turn.events else str(said.get("transcript") or "").strip()
        languages = said.get("languages")
        first = languages[0] if isinstance(languages, list) and languages else None
        language = told(first.get("code") if isinstance(first, dict) else first)
        self._used = self._used.plus(usage(said.get("usage"), turn.seconds))
        turn.events += [Transcript(text, final=True, ends_turn=True, language=language), self._used]
        turn.over = True

    def _given(self) -> Iterable[ProviderEvent]:
        """What the turns that are over say, in order, and what the next has said so far."""
        moved = False
        while self._turns and self._turns[0].over:
            yield from self._turns.popleft().events
            moved = True
        if moved and self._turns and self._turns[0].text.strip():
            yield Transcript(self._turns[0].text.strip())

    def _fail(self, error: object) -> None:
        said = error if isinstance(error, dict) else {}
        if said.get("code") == _NO_AUDIO and self._asked:
            turn = self._asked.popleft()
            turn.events.append(Transcript("", final=True, ends_turn=True))
            turn.over = True
            return
        raise of_target(self._failed(error))

    def _known(self, item: str) -> _Turn | None:
        return next((turn for turn in self._turns if turn.id == item), None)

    def _at(self, milliseconds: object) -> float | None:
        return milliseconds / 1000 if isinstance(milliseconds, int | float) else None


def _frame(message: object) -> str:
    return orjson.dumps(message).decode()
