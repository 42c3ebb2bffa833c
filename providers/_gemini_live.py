"""Gemini Live (BidiGenerateContent) as events of a speech-to-speech session. Implements duplex.Codec and duplex.Patient; pure.

The provider tells neither when the caller began to speak nor when they ended (a few sessions are told, by `voiceActivity`): that
they spoke shows in the transcript of it and in an answer that is interrupted or begun, and when they did is read off the sound.
Transcripts are not ordered against anything; the caller's is over when the answer to it is. There is no verb to cancel: what
still comes of an answer is dropped. An answer that calls tools goes on once it has their results, as the next one.

Where the provider says that it will drop the session (goAway) or does so, and gave a handle to go on with it, `moving` is set once
nobody speaks: the same codec begins again on another socket. Settings that may not change in a session change so, too.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.duplex import Wait
from gateway.contract.encoding import Resampler
from gateway.contract.errors import ProviderError, Unavailable
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
from gateway.contract.messages import Message, Text
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
from providers import _gemini_live_body as body
from providers import _gemini_live_said as read
from providers._gemini_live_body import HEARS, Json
from providers._speech_gate import SpeechGate

SETTLES = 1.0
"""Seconds after a turn that is not to be answered, in which its words may still come."""
KEPT = 1000
"""Frames of sound that are said again over the next socket, where one is lost: 20 s of them."""
RECENT = 3.0
"""Seconds since there was a sound, after which it was not speech that interrupted an answer."""
SHORTEST = 0.1
"""Seconds; a turn of less has nothing to be heard."""
_AT_ONCE = Wait(0.0)
_CUT_SHORT: dict[str, FinishReason] = {"MAX_TOKENS": "length", "SAFETY": "content_filter"}


class Codec:
    """One session, over one socket or several. Times are of its audio. `more`: of the generationConfig, from the row."""

    keep_alive: float | None = None  # the provider pings

    def __init__(
        self,
        model: str,
        request: ConverseRequest,
        provider: str,
        failed: Callable[[object], ProviderError],
        more: Mapping[str, Any],
    ) -> None:
        self._model, self._request, self._provider, self._failed = model, request, provider, failed
        self._more = more
        self._resampler = Resampler(HEARS)
        self._gate = SpeechGate()
        self._held: list[Frame] = []  # nothing may be sent before the setup is done
        self._tape: deque[Frame] = deque(maxlen=KEPT)  # sound that no answer was begun to
        self._notes: list[Json] = []  # turns that wait until they can be told
        self._results: list[Json] = []
        self._names: dict[str, str] = {}  # of the tools called, by id
        self._active = False  # the client decides about turns, and one is open
        self._turn_began = 0.0  # seconds of audio before it
        self._settling: Wait | None = None
        self._in_speech = False
        self._heard = ""  # of the caller's turn
        self._finals = 0  # turns whose words are still to be told
        self._due = 0
        self._answering = self._void = False
        self._odd = b""
        self._own: list[ProviderEvent] = []
        self._used = Usage()
        self._handle: str | None = None
        self._wished: ConverseRequest | None = None  # settings for the next socket
        self._leaving = self._ready = self._ended = False
        self._told_ready = False
        self.moving = False
        """The session is to go on over another socket."""
        self._over = False

    @property
    def finished(self) -> bool:
        return self._over or self.moving

    @property
    def wait(self) -> Wait | None:
        if not self._ready:
            return None
        if self._own or self._done:
            return _AT_ONCE
        return self._settling

    @property
    def _done(self) -> bool:
        return self._ended and not self._due and not self._finals

    def late(self) -> Iterable[Frame | ProviderEvent]:
        if self._settling is not None and not self._own:
            self._settling = None
            self._say_final()
        yield from self._take_own()
        if self._done:
            self._over = True
            yield self._used
            yield Finished()

    # what is sent

    def begin(self) -> Iterable[Frame]:
        self.moving = self._ready = self._leaving = False
        first = self._handle is None
        self._request, self._wished = self._wished or self._request, None
        yield _frame(body.setup(self._model, self._request, self._more, self._handle, True))
        if first and (said := body.turns(self._request.history)):
            self._held.insert(0, _frame(body.content(said, over=False)))
        self._held, self._tape = [*self._tape, *self._held], deque(maxlen=KEPT)

    def put(self, item: Input) -> Iterable[Frame]:
        frames = [_frame(each) for each in self._told(item)]
        if self._ready:
            if isinstance(item, Audio):
                self._tape += frames
            return frames
        self._held += frames
        return ()

    def end(self) -> Iterable[Frame]:
        self._ended = True
        return ()

    def idle(self) -> Iterable[Frame]:
        return ()

    def _told(self, item: Input) -> Iterable[Json]:
        match item:
            case Audio():
                return self._hear(item)
            case str(text):
                self._notes += body.turns([Message.of("user", text)])
            case Message():
                self._notes += body.turns([item])
            case Commit(answer):
                return self._commit(answer)
            case Clear():
                self._resampler.finish()
                self._turn_began = self._gate.heard
                self._tape.clear()
            case ToolResult(call_id, output) if call_id not in self._names:  # called in another session
                self._notes += body.turns([Message("tool", (Text(output),), tool_call_id=call_id)])
            case ToolResult(call_id, output):
                self._results.append(body.result(call_id, self._names[call_id], output))
            case Respond():
                return self._respond(item)
            case Truncate() if self._void:
                pass
            case Cancel() | Truncate():
                self._cancel()
            case ConverseRequest():
                wished = replace(item, history=self._request.history, voice=self._request.voice)
                self._wished = None if wished == self._request else wished
        return ()

    def _hear(self, audio: Audio) -> Iterable[Json]:
        if self._notes and not self._due and not self._answering:  # else they would stop the answer
            notes, self._notes = self._notes, []
            yield body.content(notes, over=False)
        self._gate.hear(audio)
        heard = audio if audio.rate == HEARS else self._resampler.feed(audio)
        if self._request.turns == "client" and not self._active:
            self._active = True
            yield {"realtime_input": {"activityStart": {}}}
        yield from self._sound(heard)

    @staticmethod
    def _sound(audio: Audio) -> Iterable[Json]:
        if audio.samples:
            data = base64.b64encode(audio.pcm[: audio.samples * SAMPLE_BYTES]).decode()
            yield {"realtime_input": {"audio": {"data": data, "mimeType": f"audio/pcm;rate={HEARS}"}}}

    def _commit(self, answer: bool) -> Iterable[Json]:
        seconds, self._turn_began = self._gate.heard - self._turn_began, self._gate.heard
        if seconds < SHORTEST:
            self._own += [Transcript("", final=True, ends_turn=True), *([Answered()] if answer else [])]
            return
        self._finals += 1
        yield from self._sound(self._resampler.finish())
        if answer:
            yield from self._ask()
        else:
            self._settling = Wait(SETTLES)  # what answers it ends it: there is no turn without an answer

    def _respond(self, asked: Respond) -> Iterable[Json]:
        if self._results:
            results, self._results = self._results, []
            self._due += 1
            yield {"tool_response": {"functionResponses": results}}
            return
        if asked.instructions:
            self._notes.append({"role": "user", "parts": [{"text": asked.instructions}]})
        yield from self._ask()

    def _ask(self) -> Iterable[Json]:
        self._due += 1
        notes, self._notes = self._notes, []
        if self._active:
            self._active = False
            if notes:
                yield body.content(notes, over=False)
            yield {"realtime_input": {"activityEnd": {}}}
        else:
            yield body.content(notes, over=True)

    def _cancel(self) -> None:
        if self._due or self._answering:
            self._void = True
            self._close("cancelled")

    # what is heard

    def hear(self, frame: Frame) -> Iterable[Frame | ProviderEvent]:
        """Raises ProviderError."""
        try:
            said = orjson.loads(frame)
            if "error" in said:
                raise self._failed(said["error"])
            yield from self._message(said)
        except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError, ValueError):
            raise Unavailable("garbage on its socket", self._provider) from None
        if self._ready:
            yield from self._take_own()
        leaves = self._leaving or self._wished is not None
        self.moving = self._handle is not None and leaves and self._idle

    @property
    def _idle(self) -> bool:
        """Whether nobody speaks, or waits for an answer."""
        return not (self._due or self._answering or self._in_speech or self._active or self._names)

    def closed(self, code: int | None, reason: str) -> Iterable[ProviderEvent]:
        if self._ready and self._handle is not None and not self._due and not self._answering:
            self.moving = True
            return ()
        if self._leaving and self._idle:
            return [self._used, Finished()]
        raise self._failed({"code": read.status_of(code, reason, self._told_ready), "message": reason})

    def _take_own(self) -> list[ProviderEvent]:
        own, self._own = self._own, []
        return own

    def _message(self, said: Json) -> Iterable[Frame | ProviderEvent]:
        if "setupComplete" in said:
            yield from self._set_up()
        if (update := said.get("sessionResumptionUpdate")) is not None:
            self._handle = str(update["newHandle"]) if update.get("resumable") and update.get("newHandle") else None
        if (activity := said.get("voiceActivity")) is not None:
            yield from self._activity(activity)
        if (used := said.get("usageMetadata")) is not None:
            self._used = self._used.plus(read.usage(used))
        if (content := said.get("serverContent")) is not None:
            yield from self._content(content)
        if (call := said.get("toolCall")) is not None:
            yield from self._call(call)
        if (going := said.get("goAway")) is not None:
            self._leaving = True
            if self._handle is None:
                yield GoingAway(read.seconds(going.get("timeLeft")) or 0.0)

    def _set_up(self) -> Iterable[Frame | ProviderEvent]:
        self._ready = True
        if not self._told_ready:
            self._told_ready = True
            yield Ready()
        held, self._held = self._held, []
        self._tape += held
        yield from held

    def _activity(self, said: Json) -> Iterable[ProviderEvent]:
        at = read.seconds(said.get("audioOffset"))
        if said.get("voiceActivityType") == "ACTIVITY_START" and not self._in_speech:
            self._in_speech = True
            yield SpeechStarted(self._gate.began if at is None else at)
        elif said.get("voiceActivityType") == "ACTIVITY_END":
            yield from self._speech_ended(at)

    def _content(self, said: Json) -> Iterable[Frame | ProviderEvent]:
        if (heard := said.get("inputTranscription")) is not None:
            yield from self._transcribed(str(heard.get("text") or ""))
        if said.get("interrupted"):
            if self._gate.heard - self._gate.ended < RECENT:  # else it was interrupted by what we sent
                yield from self._speech_started()
            if self._answering and not self._void:
                self._close("cancelled")
            self._void = self._answering = False
        if (spoken := said.get("outputTranscription")) is not None and (text := str(spoken.get("text") or "")):
            yield from self._begun()
            if not self._void:
                yield TextDelta(text)
        for part in (said.get("modelTurn") or {}).get("parts") or ():
            yield from self._part(part)
        if said.get("generationComplete"):
            self._say_final()
        if said.get("turnComplete"):
            if self._answering and not self._void:
                self._close(_CUT_SHORT.get(str(said.get("turnCompleteReason")), "stop"))
            self._void = self._answering = False

    def _part(self, part: Json) -> Iterable[ProviderEvent]:
        if part.get("thought") or ("text" in part and self._request.speaks):
            return  # it thinks in words, and not aloud
        if text := part.get("text"):
            yield from self._begun()
            if not self._void:
                yield TextDelta(str(text))
        elif (sound := part.get("inlineData")) is not None:
            yield from self._begun()
            pcm = self._odd + read.pcm(sound)
            whole = len(pcm) // SAMPLE_BYTES * SAMPLE_BYTES
            audio, self._odd = Audio(pcm[:whole], read.rate(sound)), pcm[whole:]
            if audio.samples and not self._void:
                yield AudioDelta(audio)

    def _call(self, said: Json) -> Iterable[ProviderEvent]:
        yield from self._begun()
        for index, call in enumerate(said.get("functionCalls") or ()):
            name = str(call["name"])
            call_id = str(call.get("id") or f"call_{index}_{name}")
            self._names[call_id] = name
            if not self._void:
                yield ToolCallDelta(index, call_id, name, orjson.dumps(call.get("args") or {}).decode())
        if not self._void:
            self._close("tool_calls")
        self._void = self._answering = False

    # turns

    def _transcribed(self, text: str) -> Iterable[ProviderEvent]:
        if not text:
            return
        if not self._answering:
            yield from self._speech_started()
        self._heard += text
        if heard := self._heard.strip():
            yield Transcript(heard)

    def _speech_started(self) -> Iterable[ProviderEvent]:
        if not self._in_speech and self._request.turns == "server":
            self._in_speech = True
            yield SpeechStarted(self._gate.began)

    def _speech_ended(self, at: float | None) -> Iterable[ProviderEvent]:
        if self._in_speech:
            self._in_speech = False
            self._due += 1
            self._finals += 1
            yield SpeechEnded(self._gate.ended if at is None else at)

    def _begun(self) -> Iterable[ProviderEvent]:
        """Something of an answer: the caller's turn is over, if one was open."""
        if self._answering:
            return
        if not self._due:
            yield from self._speech_started()  # nobody asked, so it answers what was said, of which no word came yet
        self._answering, self._odd = True, b""
        self._tape.clear()
        yield from self._speech_ended(None)

    def _say_final(self) -> None:
        """What the caller said, once for each of their turns."""
        self._settling = None
        if self._finals:
            self._finals -= 1
            self._own.append(Transcript(self._heard.strip(), final=True, ends_turn=True))
            self._heard = ""

    def _close(self, reason: FinishReason) -> None:
        """The answer is over, for who asked for it."""
        self._say_final()
        if reason != "tool_calls":
            self._names.clear()
        self._due = max(0, self._due - 1)
        self._answering = self._void  # what still comes of it is of no answer
        self._own += [self._used, Answered(reason)]


def _frame(message: Json) -> str:
    return orjson.dumps(message).decode()
