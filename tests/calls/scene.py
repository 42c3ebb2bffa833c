"""A call on a stage: a caller who speaks and listens in virtual time, scripted models behind the real engine.

async with Scene(stt=["hello"], llm=["Hi there."]) as scene:
    await scene.speak(1.0)              # seconds of the caller's voice
    await scene.quiet(3.0)              # and of their silence
    scene.types                         # what came on `oai-events`, in order; every event was validated
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from gateway.calls.call import Call
from gateway.calls.leg import CallRules, Names, TurnModel
from gateway.calls.registry import Registry
from gateway.calls.transport import FRAME, MIC_RATE, PLAYOUT_RATE, ClientMessage, Label, Speaker
from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import (
    Answered,
    AudioDelta,
    Events,
    Finished,
    Flushed,
    Ready,
    SpeechEnded,
    SpeechStarted,
    TextDelta,
    ToolCallDelta,
    Transcript,
    Usage,
    Word,
)
from gateway.contract.requests import (
    ChatRequest,
    Clear,
    Commit,
    ConverseRequest,
    Input,
    Respond,
    SpeakRequest,
    TranscribeRequest,
)
from gateway.routing.engine import Engine
from gateway.routing.route import CallRoute, Policy, Route, Switch, Target
from gateway.telemetry.decisions import Decision
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.sample import Sample

SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
LOUD, FAINT = 4000, 1500
"""Amplitudes of the caller's voice: clearly speech, and perhaps speech."""
SECONDS_A_CHARACTER = 0.06
"""How slowly the scripted voice speaks."""


def validated(text: str) -> dict[str, Any]:
    """An event of `oai-events`, which must be one of OpenAI's."""
    event: dict[str, Any] = json.loads(text)
    parsed = SERVER_EVENT.validate_python(event)
    assert parsed.type == event["type"]
    assert event["event_id"]
    return event


class Ear:
    """A stt. `texts`: what it hears in turn, a word every 0.25 s; an error is raised at that turn's Commit."""

    def __init__(self, texts: Sequence[str | ProviderError], delay: float = 0.05) -> None:
        self.texts, self.delay = list(texts), delay
        self.open = self.opened = 0
        self.heard: list[float] = []
        """Seconds of audio in each committed turn."""
        self.asked: list[TranscribeRequest] = []
        self.languages: list[str] = []
        """Those it says the turns are in, in turn."""

    async def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        self.open += 1
        self.opened += 1
        self.asked.append(request)
        seconds = 0.0
        try:
            yield Ready()
            async for item in inputs:
                match item:
                    case Audio():
                        seconds += item.seconds
                        yield Transcript(self._partial(seconds))
                    case Clear():
                        seconds = 0.0
                    case Commit():
                        await asyncio.sleep(self.delay)
                        text = self.texts.pop(0) if self.texts else ""
                        if isinstance(text, ProviderError):
                            raise text
                        self.heard.append(seconds)
                        seconds = 0.0
                        language = self.languages.pop(0) if self.languages else None
                        yield Transcript(text, final=True, ends_turn=True, language=language)
            yield Finished()
        finally:
            self.open -= 1

    def _partial(self, seconds: float) -> str:
        text = self.texts[0] if self.texts else ""
        return " ".join(text.split()[: int(seconds / 0.25)]) if isinstance(text, str) else ""


class Mind:
    """A llm. `answers`: one for each request, written a word at a time; an error is raised where it stands, a tool called."""

    def __init__(
        self,
        answers: Sequence[Sequence[str | ProviderError | ToolCallDelta] | str],
        delay: float = 0.1,
        word: float = 0.01,
    ) -> None:
        self.answers, self.delay, self.word = list(answers), delay, word
        self.asked: list[ChatRequest] = []
        self.open = 0

    async def chat(self, model: str, request: ChatRequest) -> Events:
        self.asked.append(request)
        self.open += 1
        answer = self.answers.pop(0) if self.answers else "Nothing more."
        parts = [answer] if isinstance(answer, str) else answer
        called = any(isinstance(part, ToolCallDelta) for part in parts)
        try:
            await asyncio.sleep(self.delay)
            for part in parts:
                if isinstance(part, ProviderError):
                    raise part
                if isinstance(part, ToolCallDelta):
                    yield part
                    continue
                for number, word in enumerate(part.split(" ")):
                    yield TextDelta(word if number == 0 else f" {word}")
                    await asyncio.sleep(self.word)
            yield Usage(input_tokens=11, output_tokens=7)
            yield Finished("tool_calls" if called else "stop")
        finally:
            self.open -= 1


class Voice:
    """A tts. `fails_at`: clauses, counted over all streams, after half of whose sound it dies. `rate`: of its audio."""

    def __init__(
        self, delay: float = 0.1, timed: bool = False, fails_at: Sequence[int] = (), rate: int = PLAYOUT_RATE
    ) -> None:
        self.delay, self.timed, self.fails_at, self.rate = delay, timed, tuple(fails_at), rate
        self.open = self.opened = self.clauses = 0
        self.said: list[str] = []
        self.made = 0.0
        """Seconds of sound given."""
        self.voices: list[str | None] = []
        self.error: ProviderError | None = None

    async def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        self.open += 1
        self.opened += 1
        self.voices.append(request.voice)
        text, at = "", 0.0
        try:
            async for item in inputs:
                match item:
                    case str():
                        text += item
                    case Commit():
                        if self.error is not None:
                            raise self.error
                        self.clauses += 1
                        if text.strip():
                            await asyncio.sleep(self.delay)
                            self.said.append(text.strip())
                        for piece in self._sound(text.strip(), at, self.clauses - 1):
                            self.made += piece.audio.seconds
                            yield piece
                        at += len(text.strip()) * SECONDS_A_CHARACTER
                        text = ""
                        yield Flushed()
            yield Finished()
        finally:
            self.open -= 1

    def _sound(self, text: str, at: float, clause: int) -> list[AudioDelta] | Any:
        done = 0
        for word in text.split():
            end = text.index(word, done) + len(word)
            if clause in self.fails_at and end > len(text) / 2:
                raise Unavailable("the voice died", "voice")
            pcm = tone((end - done) * SECONDS_A_CHARACTER, self.rate, 3000)
            span = Word(word, at + done * SECONDS_A_CHARACTER, at + end * SECONDS_A_CHARACTER)
            yield AudioDelta(Audio(pcm, self.rate), (span,) if self.timed else ())
            done = end


class Talker:
    """A speech-to-speech provider. `heard`: what it hears in turn; `answers`: what it says to each, at once as providers do; an
    error is raised half-way. Turns end after 0.3 s of silence, or by Commit."""

    def __init__(
        self, heard: Sequence[str] = (), answers: Sequence[str | ProviderError | ToolCallDelta] = (), delay: float = 0.2
    ) -> None:
        self.heard, self.answers, self.delay = list(heard), list(answers), delay
        self.opens: float | ProviderError = 0.05
        """Seconds until it is ready, or why it never is."""
        self.open = self.opened = 0
        self.asked: list[ConverseRequest] = []
        self.told: list[Input] = []

    async def converse(self, model: str, request: ConverseRequest, inputs: AsyncIterator[Input]) -> Events:
        self.open += 1
        self.opened += 1
        self.asked.append(request)
        try:
            if isinstance(self.opens, ProviderError):
                raise self.opens
            await asyncio.sleep(self.opens)
            yield Ready()
            at = quiet = 0.0
            speaking = False
            async for item in inputs:
                if not isinstance(item, Audio):
                    self.told.append(item)
                    if isinstance(item, Respond):
                        async for event in self._answer():
                            yield event
                    continue
                at += item.seconds
                loud = any(item.pcm)
                quiet = 0.0 if loud else quiet + item.seconds
                if loud and not speaking:
                    speaking = True
                    yield SpeechStarted(at - item.seconds)
                elif speaking and quiet > 0.3 - 1e-6:
                    speaking = False
                    yield SpeechEnded(at - quiet)
                    yield Transcript(self.heard.pop(0) if self.heard else "", final=True, ends_turn=True)
                    if request.answers:
                        async for event in self._answer():
                            yield event
            yield Finished()
        finally:
            self.open -= 1

    async def _answer(self) -> AsyncIterator[Any]:
        await asyncio.sleep(self.delay)
        answer = self.answers.pop(0) if self.answers else "Nothing more."
        if isinstance(answer, ToolCallDelta):
            yield answer
            yield Answered("tool_calls")
            return
        text = "This is where it" if isinstance(answer, ProviderError) else answer
        yield TextDelta(text)
        yield AudioDelta(Audio(tone(len(text) * SECONDS_A_CHARACTER, PLAYOUT_RATE, 3000), PLAYOUT_RATE))
        if isinstance(answer, ProviderError):
            raise answer
        yield Usage(input_tokens=5, output_tokens=5)
        yield Answered()


def tone(seconds: float, rate: int, amplitude: int) -> bytes:
    return np.full(round(seconds * rate), amplitude, np.int16).tobytes()


@dataclass(eq=False)
class Stage:
    """A Transport in memory."""

    mic: Channel[Audio] = field(default_factory=Channel)
    inbox: Channel[ClientMessage] = field(default_factory=Channel)
    round_trip: float = 0.0
    speaker: Speaker = lambda count: None
    sent: list[tuple[float, Label, dict[str, Any]]] = field(default_factory=list)
    closed: bool = False
    audio_in_events: bool = False

    def __post_init__(self) -> None:
        self._gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def play(self, speaker: Speaker) -> None:
        self.speaker = speaker

    def send(self, label: Label, message: str) -> None:
        assert not self.closed
        now = asyncio.get_running_loop().time()
        self.sent.append((now, label, validated(message) if label == "oai-events" else json.loads(message)))

    def has(self, label: Label) -> bool:
        return True

    async def wait_closed(self) -> str:
        return await asyncio.shield(self._gone)

    def leave(self, reason: str = "peer_gone") -> None:
        if not self._gone.done():
            self._gone.set_result(reason)

    async def aclose(self, reason: str = "") -> None:
        self.closed = True
        self.leave("closed")
        self.mic.close()
        self.inbox.close()


def loudness_vad(frame: bytes) -> float:
    level = float(np.abs(np.frombuffer(frame, np.int16).astype(np.int32)).mean())
    return 0.95 if level > 3000 else 0.6 if level > 1000 else 0.02


class Knows:
    """A turn model that says what it is told to."""

    def __init__(self, finished: float = 0.9, delay: float = 0.04) -> None:
        self.finished, self.delay, self.asked = finished, delay, 0

    async def complete(self, pcm16k: bytes) -> float:
        self.asked += 1
        await asyncio.sleep(self.delay)
        return self.finished


class Scene:
    """`stt`, `llm`, `tts`: a provider, or what one of ours should say; several stand behind each other in the route.
    `carried`: audio goes inside the events, as over a WebSocket. `others`: routes that the call may go to; they are served by
    `listen`, `chat`, `say` and `talk`, as its own."""

    def __init__(
        self,
        stt: Sequence[Any] | Ear = (),
        llm: Sequence[Any] | Mind = (),
        tts: Voice | None = None,
        *,
        spare: Sequence[Any] = (),
        session: dict[str, Any] | None = None,
        turn_model: TurnModel | None = None,
        rules: CallRules | None = None,
        greeting: str = "",
        instructions: str = "Be brief.",
        voice: str | None = None,
        vad: Callable[[bytes], float] = loudness_vad,
        s2s: Talker | None = None,
        start: Literal["cascaded", "omni"] = "cascaded",
        switch: Switch | None = None,
        carried: bool = False,
        others: Sequence[CallRoute] = (),
        apology: str = "",
        languages: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
        ledger: Ledger | None = None,
    ) -> None:
        self._others, self._languages, self._ledger = others, languages, ledger
        self.ear = stt if isinstance(stt, Ear) else Ear(stt)
        self.mind = llm if isinstance(llm, Mind) else Mind(llm)
        self.voice = tts or Voice()
        self._spare, self._session = spare, session
        self._turn_model = turn_model if turn_model is not None else Knows()
        self._rules, self._vad = rules, vad
        self.talker, self._carried = s2s, carried
        self.route = CallRoute(
            "agent",
            "listen",
            "chat",
            "say",
            instructions,
            greeting,
            voice,
            s2s="talk" if s2s is not None else None,
            start=start,
            switch=switch or Switch(),
            apology=apology,
        )
        self.out: list[tuple[float, bytes | None]] = []
        self.samples: list[Sample] = []
        self.call: Call

    async def __aenter__(self) -> Scene:
        kinds = {"listen": ("stt", "transcribe"), "chat": ("llm", "chat"), "say": ("tts", "speak")}
        providers: dict[str, object] = {"ear": self.ear, "mind": self.mind, "voice": self.voice}
        first = {"listen": "ear", "chat": "mind", "say": "voice"}
        routes = {}
        for name, (kind, verb) in kinds.items():
            targets = [Target(first[name], "one", languages=self._languages.get(first[name], ()))]
            for number, provider in enumerate(self._spare):
                if hasattr(provider, verb):
                    providers[f"spare{number}"] = provider
                    spoken = self._languages.get(f"spare{number}", ())
                    targets.append(Target(f"spare{number}", "two", languages=spoken))
            routes[name] = Route(name, kind, tuple(targets), Policy("priority", retries=0, mid_stream="error"))  # type: ignore[arg-type]
        if self.talker is not None:
            providers["talker"] = self.talker
            talker = Target("talker", "one", languages=self._languages.get("talker", ()))
            routes["talk"] = Route("talk", "s2s", (talker,), Policy("priority", retries=0))
        self.stage = Stage(audio_in_events=self._carried)
        self.engine = Engine(routes, providers, self, ledger=self._ledger)
        self.registry = Registry(self.engine, lambda: self._vad, self._turn_model, self._rules)
        others = {route.name: route for route in self._others}
        names = Names(call=others.get)
        self.call = self.registry.start(self.route, self._session, self.stage, names=names)
        self.began = asyncio.get_running_loop().time()
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.registry.aclose()
        assert (self.ear.open, self.mind.open, self.voice.open) == (0, 0, 0)
        assert self.talker is None or self.talker.open == 0

    def record(self, sample: Sample) -> None:
        self.samples.append(sample)

    def decided(self, decision: Decision) -> None:
        pass

    def settled(self, decision: Decision) -> None:
        pass

    # the caller

    async def speak(self, seconds: float, amplitude: int = LOUD) -> None:
        await self._live(seconds, amplitude)

    async def quiet(self, seconds: float) -> None:
        await self._live(seconds, 0)

    async def until(self, kind: str, within: float = 20.0) -> dict[str, Any]:
        """Silent until an event of this type comes that was not there before."""
        before = len(self.of(kind))
        for _ in range(round(within / FRAME)):
            if len(found := self.of(kind)) > before:
                return found[before]
            await self.quiet(FRAME)
        raise AssertionError(f"no {kind} within {within} s; came: {self.types[-12:]}")

    async def _live(self, seconds: float, amplitude: int) -> None:
        for _ in range(round(seconds / FRAME)):
            if not self.stage.mic.closed:
                self.stage.mic.put(Audio(tone(FRAME, MIC_RATE, amplitude), MIC_RATE))
            await self.tick()

    async def tick(self) -> None:
        """A packet goes out, and a frame's time passes."""
        self.out.append((self.now, self.stage.speaker(round(FRAME * PLAYOUT_RATE))))
        await asyncio.sleep(FRAME)

    def say(self, **event: Any) -> None:
        """On `oai-events`."""
        self.stage.inbox.put(ClientMessage("oai-events", json.dumps(event)))

    def ours(self, **message: Any) -> None:
        """On `gateway`."""
        self.stage.inbox.put(ClientMessage("gateway", json.dumps(message)))

    # what came

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time() - self.began

    @property
    def types(self) -> list[str]:
        return [event["type"] for _, label, event in self.stage.sent if label == "oai-events"]

    def of(self, kind: str, label: Label = "oai-events") -> list[dict[str, Any]]:
        return [event for _, where, event in self.stage.sent if where == label and event["type"] == kind]

    def told(self, kind: str) -> list[dict[str, Any]]:
        return self.of(kind, "gateway")

    def when(self, kind: str, which: int = 0) -> float:
        times = [at for at, _, event in self.stage.sent if event["type"] == kind]
        return times[which] - self.began

    @property
    def sounding(self) -> bool:
        """Whether the last packet had sound in it."""
        return bool(self.out) and any(self.out[-1][1] or b"")

    def silent_from(self, after: float) -> float:
        """When the first packet without sound went out, from `after` on."""
        return next(at for at, pcm in self.out if at >= after and not any(pcm or b""))

    async def history(self) -> list[tuple[str, str]]:
        self.ours(type="history")
        await asyncio.sleep(0.001)
        return [(item["role"], item["text"]) for item in self.told("history")[-1]["items"]]
