"""The fake: all kinds on a script, for tests and for trying routes without any provider.

A model's name is its behaviour, several joined by "+": `fake/ok`, `fake/slow-2s+words-50`, `fake/error-429+retry-2s+times-1`.
`trunkline check` lists them all for a name it does not know. What it says is deterministic:

* llm: numbered words, `says-...`, or the last message (`echo`).
* embed: a vector of length one for each input, always the same for the same.
* tts: a tone for each word, at 24 kHz, with word times.
* stt: two words for each second of audio, or `says-...`.
* s2s: the caller's own audio, or tones for `says-...`; turns end by half a second of silence, or by Commit.

It sleeps on the event loop's clock only, so virtual time works. It reads inputs between answers, not during them.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import orjson

from gateway.contract.audio import Audio
from gateway.contract.errors import Unavailable
from gateway.contract.events import (
    Answered,
    AudioDelta,
    Embedded,
    Events,
    Finished,
    FinishReason,
    Flushed,
    GoingAway,
    ProviderEvent,
    Ready,
    SpeechEnded,
    SpeechStarted,
    TextDelta,
    ToolCallDelta,
    Transcript,
    Usage,
    Word,
)
from gateway.contract.messages import Message
from gateway.contract.provider import Settings
from gateway.contract.requests import (
    Cancel,
    ChatRequest,
    Clear,
    Commit,
    ConverseRequest,
    EmbedRequest,
    Input,
    Request,
    Respond,
    SpeakRequest,
    ToolResult,
    TranscribeRequest,
)
from providers._fake_script import Script, read
from providers._fake_sound import WORDS_PER_SECOND, Ear, counted, pieces, speech

REMEMBERED = 1000
DIMENSIONS = 8


class Provider:
    """Serves llm, embed, stt, tts and s2s. `live`: streams open now; `opened`: ever; `asked`: the latest requests, with their models."""

    def __init__(self, settings: Settings) -> None:
        if settings.options:
            raise ValueError("the fake has no options; its models' names say what it does")
        self._name = settings.name
        self._requests: Counter[str] = Counter()
        self.live = self.opened = 0
        self.asked: deque[tuple[str, Request]] = deque(maxlen=REMEMBERED)

    def asleep(self, model: str) -> str | None:
        try:
            read(model)
        except ValueError as error:
            return str(error)
        return None

    async def chat(self, model: str, request: ChatRequest) -> Events:
        with self._stream(model, request) as stream:
            await stream.begin()
            await stream.first()
            events, reason = _answer(stream.script, request)
            for event in events:
                await stream.content()
                yield event
            yield Usage(sum(len(m.text.split()) for m in request.messages), len(events))
            yield Finished(reason)

    async def embed(self, model: str, request: EmbedRequest) -> Events:
        with self._stream(model, request) as stream:
            await stream.begin()
            await stream.first()
            yield Embedded(tuple([_vector(each, request.dimensions or DIMENSIONS) for each in request.inputs]))
            yield Usage(sum(len(each.split() if isinstance(each, str) else each) for each in request.inputs))
            yield Finished()

    async def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        with self._stream(model, request) as stream:
            await stream.begin()
            voice = _Voice(stream)
            async for item in inputs:
                match item:
                    case str(text):
                        voice.text += text
                    case Cancel() | Clear():
                        voice.text = ""
                    case Commit():
                        for audio in await voice.say():
                            await stream.content()
                            yield audio
                        yield Flushed()
            for audio in await voice.say():
                await stream.content()
                yield audio
            yield Usage(characters=voice.characters, seconds=voice.seconds)
            yield Finished()

    async def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        with self._stream(model, request) as stream:
            await stream.begin()
            await asyncio.sleep(stream.script.ready)
            yield Ready()
            turn = _Turn(stream.script)
            async for item in inputs:
                match item:
                    case Audio():
                        if turn.hear(item) and request.partials:
                            await stream.content()
                            yield turn.transcript()
                    case Clear():
                        turn.begin()
                    case Commit() if not stream.script.never_final:
                        await stream.first()
                        await stream.content()
                        yield turn.final()
                        turn.begin()
            yield Usage(seconds=turn.end)
            yield Finished()

    async def converse(self, model: str, request: ConverseRequest, inputs: AsyncIterator[Input]) -> Events:
        with self._stream(model, request) as stream:
            await stream.begin()
            await asyncio.sleep(stream.script.ready)
            yield Ready()
            ear, turn, echo = Ear(), _Turn(stream.script), _Echo(stream.script)
            drops: float | None = None
            while (item := await _input(inputs, drops)) is not None:
                asked = isinstance(item, Respond)
                over = asked or isinstance(item, Commit)
                match item:
                    case ConverseRequest():
                        request = item
                    case Message() if item.role == "user":
                        echo.text += item.text
                    case ToolResult():
                        echo.text += item.output
                    case Audio():
                        turn.hear(item)
                        echo.audio.append(item)
                        for started, at in ear.hear(item) if request.turns == "server" else ():
                            over |= not started
                            yield SpeechStarted(at) if started else SpeechEnded(at)
                    case str(text):
                        echo.text += text
                    case Clear():
                        turn.begin()
                        echo.clear()
                if over and not stream.script.never_final:
                    if not asked:
                        yield turn.final()
                    if not (asked or (item.answer if isinstance(item, Commit) else request.answers)):
                        turn.begin()
                        continue
                    await stream.first()
                    for event in echo.answer():
                        await stream.content()
                        yield event
                    yield Usage(seconds=turn.end)
                    yield Answered()
                    turn.begin()
                    echo.clear()
                    if stream.script.go_away is not None and drops is None:
                        drops = asyncio.get_running_loop().time() + stream.script.go_away
                        yield GoingAway(stream.script.go_away)
            yield Finished()

    @contextmanager
    def _stream(self, model: str, request: Request) -> Iterator[_Stream]:
        try:
            script = read(model)
        except ValueError:
            raise Unavailable("no such behaviour", self._name, 404, code="model_not_found") from None
        self._requests[model] += 1
        if script.times is not None and self._requests[model] > script.times:
            script = script.well()
        self.opened += 1
        self.live += 1
        self.asked.append((model, request))
        try:
            yield _Stream(script, self._name)
        finally:
            self.live -= 1


class _Stream:
    """One request under its script: when it waits, breaks off and falls silent."""

    def __init__(self, script: Script, provider: str) -> None:
        self.script, self._provider = script, provider
        self._given = 0

    async def begin(self) -> None:
        """Raises the error it begins with."""
        failure = self.script.failure(self._provider)
        if failure is not None:
            raise failure
        if self.script.hang:
            await _forever()

    async def first(self) -> None:
        """Before the first content of a turn."""
        await asyncio.sleep(self.script.slow)

    async def content(self) -> None:
        """Before every event with content."""
        if self._given == self.script.cut_after:
            raise Unavailable("cut off: the stream ended without finishing", self._provider)
        if self._given == self.script.hang_after:
            await _forever()
        if self._given:
            await asyncio.sleep(self.script.tick)
        self._given += 1


class _Voice:
    """Text waiting to be spoken, and how much was."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self.text = ""
        self.characters = 0
        self.seconds = 0.0

    async def say(self) -> list[AudioDelta]:
        """The text, spoken; returns when its first audio is due."""
        text, self.text = self.text, ""
        self.characters += len(text)
        if not text.strip() or self._stream.script.empty:
            return []
        await self._stream.first()
        said = list(speech(text, self.seconds, self._stream.script.silence))
        self.seconds += sum(event.audio.seconds for event in said)
        return said


class _Turn:
    """What is heard of one turn. `start`, `end`: seconds of audio before it, and so far."""

    def __init__(self, script: Script) -> None:
        self._says = script.says.split() if script.says is not None else None
        self._empty = script.empty
        self.start = self.end = 0.0
        self._told = 0

    def begin(self) -> None:
        self.start, self._told = self.end, 0

    def hear(self, audio: Audio) -> bool:
        """Whether there is a word more to tell."""
        self.end += audio.seconds
        told, self._told = self._told, len(self._words())
        return self._told > told

    def transcript(self) -> Transcript:
        return Transcript(" ".join(self._words()))

    def final(self) -> Transcript:
        heard = self._says if self._says is not None and self.end > self.start else self._words()
        length = (self.end - self.start) / max(1, len(heard))
        times = [(self.start + n * length, self.start + (n + 1) * length) for n in range(len(heard))]
        words = tuple(Word(word, *time) for word, time in zip(heard, times))
        return Transcript(" ".join(heard), final=True, ends_turn=True, words=words)

    def _words(self) -> list[str]:
        if self._empty:
            return []
        count = int((self.end - self.start) * WORDS_PER_SECOND + 1e-6)
        return self._says[:count] if self._says is not None else counted(count).replace(".", "").split()


class _Echo:
    """What s2s answers: what it was told, as it was told."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.clear()

    def clear(self) -> None:
        self.audio: list[Audio] = []
        self.text = ""

    def answer(self) -> Iterator[ProviderEvent]:
        if self._script.empty:
            return
        text = self._script.says or self.text
        if text:
            yield TextDelta(text)
            yield from speech(text, 0.0, self._script.silence)
            return
        for audio in self.audio:
            for piece in pieces(audio):
                yield AudioDelta(Audio(bytes(len(piece.pcm)), piece.rate) if self._script.silence else piece)


def _answer(script: Script, request: ChatRequest) -> tuple[list[ProviderEvent], FinishReason]:
    """Of the llm: its events with content, and how it ends."""
    if script.empty:
        return [], "stop"
    events: list[ProviderEvent] = [TextDelta("I count.", "reasoning")] if script.reasoning else []
    answered = bool(request.messages) and request.messages[-1].role == "tool"
    if script.tools and not answered:
        name = request.tools[0].name if request.tools else "look"
        arguments = orjson.dumps({"number": script.words}).decode()
        halves = arguments[:4], arguments[4:]
        call_id = f"call_{sum(len(message.tool_calls) for message in request.messages)}"
        events += [ToolCallDelta(0, call_id, name), *(ToolCallDelta(0, arguments=half) for half in halves)]
        return events, "tool_calls"
    text = counted(script.words) if script.says is None else script.says
    if script.echo:
        text = request.messages[-1].text if request.messages else ""
    words = text.split()
    kept = words[: request.max_tokens]
    events += [TextDelta(word if n == 0 else f" {word}") for n, word in enumerate(kept)]
    return events, "stop" if len(kept) == len(words) else "length"


def _vector(of: str | tuple[int, ...], dimensions: int) -> tuple[float, ...]:
    """Of length one, and the same for the same input."""
    rng = random.Random(repr(of))
    drawn = [rng.gauss(0.0, 1.0) for _ in range(dimensions)]
    length = math.sqrt(sum(each * each for each in drawn))
    return tuple([each / length for each in drawn])


async def _input(inputs: AsyncIterator[Input], until: float | None) -> Input | None:
    """The next one; None where there are no more, or none came until then."""
    try:
        async with asyncio.timeout_at(until):
            return await anext(inputs, None)
    except TimeoutError:
        return None


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()
