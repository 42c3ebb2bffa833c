"""Speech providers against their fakes: alone, on a route with another target, and under a call's ear.

events = await heard(provider, "nova-3", *pieces("k01_kokoro_af_heart"), Commit())
engine = route("stt", "nova-3", first, second)          # targets one/nova-3, two/nova-3, in this order
texts = await transcribed(engine, ["k01_kokoro_af_heart", ...])
"""

from __future__ import annotations

import asyncio
import random
import wave
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

from gateway.calls.events import CallEvent, Rerouted
from gateway.calls.history import History
from gateway.calls.leg import CallRules, Line
from gateway.calls.playout import Playout
from gateway.calls.reply import Reply
from gateway.calls.session import Session as CallSession
from gateway.calls.session import Settings as CallSettings
from gateway.calls.timeline import Timeline, Turn
from gateway.calls.transcriber import CallerTurn, Transcriber
from gateway.calls.transport import MIC_RATE, PLAYOUT_RATE
from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.errors import GatewayError
from gateway.contract.events import AnswerEvent, AudioDelta, ProviderEvent, Transcript
from gateway.contract.provider import Closable, Secret, Settings, SpeechToText, TextToSpeech
from gateway.contract.requests import Input, Kind, SpeakRequest, TranscribeRequest
from gateway.routing.engine import Answer, Engine
from gateway.routing.route import CallRoute, Policy, Route, Target
from gateway.telemetry.decisions import Decision
from gateway.telemetry.sample import Sample
from tests.needs import ROOT

SPEECH = ROOT / "tests" / "data" / "speech"
UTTERANCES = ("k01_kokoro_af_heart", "k02_kokoro_am_michael", "k03_kokoro_af_heart", "k05_kokoro_af_heart")
RATE = 16_000
KEY = Secret("key-0123456789")
POLICY = Policy("priority", ttft_deadline=2.0, answer=10.0, idle=2.0, total=60.0, retries=0)


def said(name: str) -> str:
    """What is said in an utterance."""
    return " ".join((SPEECH / f"{name}.txt").read_text().split())


def pieces(name: str, seconds: float = 0.1, quiet: float = 0.3) -> list[Audio]:
    """An utterance in pieces, with some silence after it."""
    with wave.open(str(SPEECH / f"{name}.wav")) as file:
        pcm = file.readframes(file.getnframes()) + bytes(round(quiet * RATE) * 2)
    size = round(seconds * RATE) * 2
    return [Audio(pcm[at : at + size], RATE) for at in range(0, len(pcm), size)]


@asynccontextmanager
async def closing(provider: Any) -> AsyncIterator[Any]:
    """The provider, closed at the end."""
    try:
        yield provider
    finally:
        if isinstance(provider, Closable):
            await provider.aclose()


def settings(url: str, **options: object) -> Settings:
    return Settings("acme", url, KEY, options)


def inputs(*items: Input) -> Channel[Input]:
    """Closed, with these."""
    channel: Channel[Input] = Channel(seconds=3600.0)
    for item in items:
        channel.put(item)
    channel.close()
    return channel


async def heard(
    provider: SpeechToText, model: str, *items: Input, request: TranscribeRequest | None = None
) -> list[ProviderEvent]:
    events = provider.transcribe(model, request or TranscribeRequest(RATE), inputs(*items).reader())
    async with aclosing(events), asyncio.timeout(20.0):
        return [event async for event in events]


async def spoken(
    provider: TextToSpeech, model: str, *items: Input, request: SpeakRequest | None = None
) -> list[ProviderEvent]:
    events = provider.speak(model, request or SpeakRequest(), inputs(*items).reader())
    async with aclosing(events), asyncio.timeout(20.0):
        return [event async for event in events]


def finals(events: Sequence[AnswerEvent]) -> list[Transcript]:
    return [event for event in events if isinstance(event, Transcript) and event.final]


def text_of(events: Sequence[AnswerEvent]) -> str:
    """What was heard, finally."""
    return " ".join(final.text for final in finals(events) if final.text)


def turns(events: Sequence[AnswerEvent]) -> list[str]:
    """The text of each turn that was ended."""
    told, text = [], []
    for final in finals(events):
        text += [final.text] if final.text else []
        if final.ends_turn:
            told.append(" ".join(text))
            text = []
    return told


def audio_of(events: Sequence[AnswerEvent]) -> bytes:
    """What was spoken."""
    return b"".join(event.audio.pcm for event in events if isinstance(event, AudioDelta))


class _Recorder:
    def record(self, sample: Sample) -> None:
        pass

    def decided(self, decision: Decision) -> None:
        pass

    def settled(self, decision: Decision) -> None:
        pass


def route(kind: Kind, model: str, *providers: object, policy: Policy = POLICY) -> Engine:
    """An engine with a route `r` of these providers, asked in this order."""
    names = [f"p{number}" for number in range(1, len(providers) + 1)]
    targets = tuple([Target(name, model) for name in names])
    routes = {"r": Route("r", kind, targets, policy)}
    return Engine(routes, dict(zip(names, providers, strict=True)), _Recorder(), random.Random(1))


async def answered(engine: Engine, request: SpeakRequest | TranscribeRequest, *items: Input) -> list[AnswerEvent]:
    """All events of the route's answer."""
    async with asyncio.timeout(20.0), engine.open("r", request, inputs(*items)) as answer:
        return [event async for event in answer]


class _Call:
    """Who is told what the caller said."""

    def __init__(self) -> None:
        self.texts: asyncio.Queue[str] = asyncio.Queue()
        self.targets: list[str] = []

    def heard_partial(self, turn: CallerTurn) -> None:
        pass

    def heard_final(self, turn: CallerTurn) -> None:
        self.texts.put_nowait(turn.text)

    def lost(self, turn: CallerTurn, error: GatewayError) -> None:
        self.texts.put_nowait(f"lost: {error}")

    def stt_served(self, answer: Answer) -> None:
        self.targets.append(str(answer.target))


async def transcribed(engine: Engine, names: Sequence[str], targets: list[str] | None = None) -> list[str]:
    """What a call hears of these utterances, turn by turn. `targets`: gets those that served."""
    call = _Call()
    transcriber = Transcriber(engine, "r", TranscribeRequest(MIC_RATE), call, "call")
    running = asyncio.create_task(transcriber.run())
    try:
        texts = []
        async with asyncio.timeout(20.0):
            for number, name in enumerate(names):
                clock = asyncio.get_running_loop().time
                transcriber.begin(CallerTurn(f"item{number}", Turn(f"turn{number}", clock), 0.0))
                for piece in pieces(name):
                    transcriber.put(piece)
                    await asyncio.sleep(0)
                transcriber.commit()
                texts.append(await call.texts.get())
        return texts
    finally:
        if targets is not None:
            targets += call.targets
        running.cancel()
        await asyncio.wait([running])


async def said_in_call(engine: Engine, text: str, ahead: float = 0.1) -> tuple[bytes, list[str]]:
    """What the caller hears of an answer with this text, and the targets that the call was told of as it moved. `ahead`: seconds
    that are pulled at once and heard, of what was made."""
    clock = asyncio.get_running_loop().time
    playout, timeline = Playout(clock), Timeline(clock)
    told: list[CallEvent] = []
    line = Line(
        CallRoute("agent", "r", "r", "r"),
        CallSession("sess", CallSettings(type="realtime")),
        cast(Any, engine),
        Channel(),
        History(),
        playout,
        timeline,
        told.append,
        lambda prefix: f"{prefix}_{len(told)}",
        cast(Any, None),  # nobody listens
        None,
        CallRules(),
    )
    reply = Reply(line, line.route, timeline.turn(), script=text)
    heard: list[bytes] = []

    async def listen() -> None:
        while True:
            heard.append(playout.pull(round(ahead * PLAYOUT_RATE)) or b"")
            await asyncio.sleep(ahead)

    listening = asyncio.create_task(listen())
    try:
        reply.begin()
        async with asyncio.timeout(20.0):
            await reply.run()
    finally:
        listening.cancel()
        await asyncio.wait([listening])
    while (piece := playout.pull(PLAYOUT_RATE)) is not None:
        heard.append(piece)
    return b"".join(heard), [event.target for event in told if isinstance(event, Rerouted)]
