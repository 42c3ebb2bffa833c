"""OpenAI's Realtime protocol as events of a speech-to-speech session. Implements duplex.Codec and duplex.Patient; pure.

A turn is an item: committed by us, or by the provider where it decides turns. Its transcript comes in its own time, often after
the answer, and is given in the order of the turns. An answer is a response; there is one at a time, so that one asked for while
another is made waits for it. What still comes of an answer that was cancelled is dropped. What the provider need not answer (a
commit of nothing, the end of the inputs) is answered here.
"""

from __future__ import annotations

import base64
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.duplex import Wait
from gateway.contract.encoding import Resampler
from gateway.contract.errors import ProviderError, Refused, Unauthorized, Unavailable
from gateway.contract.events import (
    Answered,
    AudioDelta,
    Finished,
    FinishReason,
    GoingAway,
    ProviderEvent,
    Ready,
    SpeechEnded,
    SpeechStarted,
    TextDelta,
    ToolCallDelta,
    Transcript,
    Usage,
)
from gateway.contract.messages import Message
from gateway.contract.requests import (
    Cancel,
    Clear,
    Commit,
    ConverseRequest,
    Input,
    Respond,
    ToolResult,
    Truncate,
)
from gateway.contract.websocket import Frame
from providers import _openai_converse_body as body
from providers._openai_converse_body import GA, RATE, Shape
from providers._openai_converse_turns import Turns
from providers._openai_errors import of_target

LONGEST = 60 * 60.0
"""Seconds that OpenAI lets a session last."""
NOTICE = 5 * 60.0
"""Seconds before its end at which a session is said to be going away."""
SHORTEST = 0.1
"""Seconds; a commit of less is refused as one of an empty buffer."""
_HEARD = "conversation.item.input_audio_transcription."
_BUFFER = "input_audio_buffer."
_KEY_REFUSED = 3000
_AT_ONCE = Wait(0.0)
_OURS = "ask_"
"""Begins the event_id of a response.create, so that an error can be told to be of it."""
_BUSY, _NOTHING, _EMPTY = (
    "conversation_already_has_active_response",
    "response_cancel_not_active",
    "input_audio_buffer_commit_empty",
)
_CUT_SHORT: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}


@dataclass(slots=True)
class _Spoken:
    """An item of the answer that has sound. `seconds`: of it, as far as it was made."""

    id: str
    content: int
    seconds: float = 0.0


class Codec:
    """One session. Times are of its own audio. `clock`: seconds, for how long the session has lasted."""

    keep_alive: float | None = None  # the provider pings

    def __init__(
        self,
        request: ConverseRequest,
        provider: str,
        failed: Callable[[object], ProviderError],
        shape: Shape = GA,
        longest: float = LONGEST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request, self._provider, self._failed, self._shape = request, provider, failed, shape
        self._clock, self._ends = clock, clock() + longest - min(NOTICE, longest / 2)
        self._notice = min(NOTICE, longest / 2)
        self._life: Wait | None = None
        self._resampler = Resampler(RATE)
        self._sent = self._committed = 0.0  # seconds of audio
        self._turns = Turns()
        self._response: str | None = None  # the one being made
        self._creating = False  # one was asked for, and is not being made yet
        self._waiting: deque[str] = deque()  # response.create, to be sent when none is being made
        self._number = 0
        self._sending: str = ""  # the response.create sent last
        self._void: Literal["next", "this"] | None = None  # the answer that was cancelled
        self._due = 0
        self._spoken: list[_Spoken] = []
        self._calls: dict[str, int] = {}  # by item: the arguments' length so far
        self._odd = b""  # of a sample that was cut
        self._own: list[ProviderEvent] = []  # said without the provider
        self._used = Usage()
        self._ready = self._ended = self._leaving = False
        self.finished = False

    @property
    def wait(self) -> Wait | None:
        if not self._ready:
            return None
        if self._own or self._over:
            return _AT_ONCE
        if self._leaving:
            return None
        if self._life is None:
            self._life = Wait(max(0.0, self._ends - self._clock()))
        return self._life

    @property
    def _over(self) -> bool:
        return self._ended and not self._due and not self._turns

    def late(self) -> Iterable[Frame | ProviderEvent]:
        self._life = None
        yield from self._take_own()
        if self._over:
            self.finished = True
            yield self._used
            yield Finished()
        elif not self._leaving and self._clock() >= self._ends:
            self._leaving = True
            yield GoingAway(self._notice)

    # what is sent

    def begin(self) -> Iterable[Frame]:
        yield _frame("session.update", session=body.session(self._request, self._shape))
        for message in self._request.history:
            yield from self._items(message)

    def put(self, item: Input) -> Iterable[Frame]:
        match item:
            case Audio():
                self._sent += item.seconds
                return self._append(item if item.rate == RATE else self._resampler.feed(item))
            case str(text):
                return self._items(Message.of("user", text))
            case Message():
                return self._items(item)
            case Commit(answer):
                return self._commit(answer)
            case Clear():
                self._resampler.finish()
                self._committed = self._sent
                return (_frame("input_audio_buffer.clear"),)
            case ToolResult(call_id, output):
                return (_frame("conversation.item.create", item=body.output(call_id, output)),)
            case Respond():
                return self._ask(item)
            case Cancel():
                return self._cancel()
            case Truncate(heard):
                return self._truncate(heard)
            case ConverseRequest():
                self._request = item
                return (_frame("session.update", session=body.changed(item, self._shape)),)

    def end(self) -> Iterable[Frame]:
        self._ended = True
        return ()

    def idle(self) -> Iterable[Frame]:
        return ()

    def _items(self, message: Message) -> Iterable[Frame]:
        return [_frame("conversation.item.create", item=each) for each in body.items(message)]

    def _append(self, audio: Audio) -> Iterable[Frame]:
        if not audio.samples:
            return ()
        data = audio.pcm[: audio.samples * SAMPLE_BYTES]
        return (_frame("input_audio_buffer.append", audio=base64.b64encode(data).decode()),)

    def _commit(self, answer: bool) -> Iterable[Frame]:
        seconds, self._committed = self._sent - self._committed, self._sent
        if seconds < SHORTEST:
            self._own += [Transcript("", final=True, ends_turn=True), *([Answered()] if answer else [])]
            # What there was of it must not become part of the next turn.
            return (_frame("input_audio_buffer.clear"),) if seconds else ()
        self._turns.ask()
        frames = [*self._append(self._resampler.finish()), _frame("input_audio_buffer.commit")]
        return [*frames, *self._ask(Respond())] if answer else frames

    def _ask(self, asked: Respond) -> Iterable[Frame]:
        self._due += 1
        self._number += 1
        more = body.response(asked)
        fields = {"event_id": f"{_OURS}{self._number}", **({"response": more} if more else {})}
        self._waiting.append(_frame("response.create", **fields))
        return self._next()

    def _next(self) -> Iterable[Frame]:
        """Asks for the next answer, if none is being made."""
        if self._response is not None or self._creating or not self._waiting:
            return ()
        self._creating, self._sending = True, self._waiting.popleft()
        return (self._sending,)

    def _cancel(self) -> Iterable[Frame]:
        for _ in range(len(self._waiting)):
            self._waiting.popleft()
            self._answered("cancelled")
        if self._response is not None and self._void is None:
            self._void = "this"
            return (_frame("response.cancel"),)
        if self._creating:
            self._void = "next"
        return ()

    def _answered(self, reason: FinishReason) -> None:
        self._due = max(0, self._due - 1)
        self._own += [self._used, Answered(reason)]

    def _truncate(self, heard: float) -> Iterable[Frame]:
        made = self._response is not None and self._void is None
        frames = list(self._cancel()) if made else []
        if not self._shape.truncates:
            return frames
        for each in self._spoken:
            if heard >= each.seconds:
                heard -= each.seconds
                continue
            told = {"item_id": each.id, "content_index": each.content, "audio_end_ms": int(max(0.0, heard) * 1000)}
            frames.append(_frame("conversation.item.truncate", **told))
            each.seconds = max(0.0, heard)
            heard = 0.0
        return frames

    # what is heard

    def hear(self, frame: Frame) -> Iterable[Frame | ProviderEvent]:
        """Raises ProviderError."""
        try:
            said = orjson.loads(frame)
            kind = said["type"]
            if kind.startswith(_HEARD):
                yield from self._turns.transcribed(kind.removeprefix(_HEARD), said)
            elif kind.startswith(_BUFFER):
                yield from self._buffer(kind.removeprefix(_BUFFER), said)
            elif kind.startswith("response."):
                yield from self._answer(kind.removeprefix("response."), said)
            elif kind == "session.updated" and not self._ready:
                self._ready = True
                yield Ready()
            elif kind == "error":
                self._fail(said.get("error"))
        except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError, ValueError):
            raise Unavailable("garbage on its socket", self._provider) from None
        yield from self._turns.finals()
        if self._ready:
            yield from self._take_own()

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        if code == _KEY_REFUSED:
            raise Unauthorized("its key was refused", self._provider, code)
        if self._leaving and not self._due:
            return [self._used, Finished()]
        raise Unavailable("its session was closed", self._provider, code)

    def _take_own(self) -> list[ProviderEvent]:
        own, self._own = self._own, []
        return own

    def _fail(self, error: object) -> None:
        said = error if isinstance(error, dict) else {}
        code, event_id = said.get("code"), said.get("event_id")
        ours = self._creating and isinstance(event_id, str) and event_id.startswith(_OURS)
        if code == _BUSY and ours:
            # The provider began an answer by itself meanwhile: ours is asked for after it.
            self._creating = False
            self._waiting.appendleft(self._sending)
            return
        if code == _EMPTY and self._turns.refused():
            return
        failure = of_target(self._failed(error))
        if self._ready and not ours and (code == _NOTHING or type(failure) is Refused):
            return  # of one thing we sent, and the session goes on
        raise failure

    def _buffer(self, kind: str, said: dict[str, Any]) -> Iterable[ProviderEvent]:
        item = str(said.get("item_id"))
        match kind:
            case "speech_started":
                yield SpeechStarted(_seconds(said.get("audio_start_ms")))
            case "speech_stopped":
                self._turns.ended(item)
                at = _seconds(said.get("audio_end_ms"))
                self._committed = self._sent if at is None else min(at, self._sent)
                yield SpeechEnded(at)
            case "committed":
                if not self._turns.committed(item) and self._request.answers:
                    self._due += 1

    # answers

    def _answer(self, kind: str, said: dict[str, Any]) -> Iterable[Frame | ProviderEvent]:
        if kind == "created":
            yield from self._created(said)
        elif kind == "done":
            yield from self._done(said["response"], said.get("usage"))
        elif self._void is None:
            yield from self._made(kind, said)

    def _created(self, said: dict[str, Any]) -> Iterable[Frame]:
        self._response, self._creating = str(said["response"].get("id")), False
        self._spoken, self._calls, self._odd = [], {}, b""
        if self._void == "next":
            self._void = "this"
            yield _frame("response.cancel")

    def _made(self, kind: str, said: dict[str, Any]) -> Iterable[ProviderEvent]:
        match kind:
            case "output_audio.delta" | "audio.delta":
                yield from self._sound(said)
            case "output_audio_transcript.delta" | "audio_transcript.delta" | "output_text.delta" | "text.delta":
                if text := str(said.get("delta") or ""):
                    yield TextDelta(text)
            case "output_item.added" if said["item"].get("type") == "function_call":
                item = said["item"]
                self._calls[str(item.get("id"))] = 0
                yield ToolCallDelta(int(said.get("output_index", 0)), str(item["call_id"]), str(item["name"]))
            case "function_call_arguments.delta":
                yield from self._arguments(said, str(said.get("delta") or ""))
            case "function_call_arguments.done" if not self._calls.get(str(said.get("item_id"))):
                yield from self._arguments(said, str(said.get("arguments") or ""))

    def _sound(self, said: dict[str, Any]) -> Iterable[ProviderEvent]:
        pcm = self._odd + base64.b64decode(said["delta"])
        whole = len(pcm) // SAMPLE_BYTES * SAMPLE_BYTES
        audio, self._odd = Audio(pcm[:whole], RATE), pcm[whole:]
        if not audio.samples:
            return
        item, content = str(said.get("item_id")), int(said.get("content_index", 0))
        if not self._spoken or self._spoken[-1].id != item:
            self._spoken.append(_Spoken(item, content))
        self._spoken[-1].seconds += audio.seconds
        yield AudioDelta(audio)

    def _arguments(self, said: dict[str, Any], text: str) -> Iterable[ProviderEvent]:
        item = str(said.get("item_id"))
        self._calls[item] = self._calls.get(item, 0) + len(text)
        if text:
            yield ToolCallDelta(int(said.get("output_index", 0)), arguments=text)

    def _done(self, response: dict[str, Any], beside: object) -> Iterable[Frame | ProviderEvent]:
        """`beside`: the usage, where xAI has it."""
        details = response.get("status_details")
        details = details if isinstance(details, dict) else {}  # xAI: a text
        cancelled = self._void == "this" or response.get("status") == "cancelled"
        if response.get("status") == "failed" and not cancelled:
            raise of_target(self._failed(details.get("error") or {"message": "the answer failed"}))
        self._used = self._used.plus(_usage(response.get("usage") or beside))
        self._response = self._void = None
        if cancelled:
            reason: FinishReason = "cancelled"
        elif response.get("status") == "incomplete":
            reason = _CUT_SHORT.get(str(details.get("reason")), "length")
        else:
            reason = "tool_calls" if self._calls else "stop"
        self._answered(reason)
        yield from self._next()


def _usage(said: object) -> Usage:
    """Raises ValueError, TypeError or AttributeError for what is none."""
    told: dict[str, Any] = said if isinstance(said, dict) else {}
    given, made = told.get("input_token_details") or {}, told.get("output_token_details") or {}
    return Usage(
        int(told.get("input_tokens") or 0),
        int(told.get("output_tokens") or 0),
        cached_tokens=int(given.get("cached_tokens") or 0),
        audio_input_tokens=int(given.get("audio_tokens") or 0),
        audio_output_tokens=int(made.get("audio_tokens") or 0),
        image_input_tokens=int(given.get("image_tokens") or 0),
    )


def _seconds(milliseconds: object) -> float | None:
    return milliseconds / 1000 if isinstance(milliseconds, int | float) else None


def _frame(kind: str, **fields: object) -> str:
    return orjson.dumps({"type": kind, **fields}).decode()
