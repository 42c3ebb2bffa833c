"""Routes of speech on real providers and fakes of their upstreams, for tests of what a caller notices of a failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress

from gateway.calls.timeline import Turn
from gateway.calls.transcriber import CallerTurn, Transcriber
from gateway.calls.transport import MIC_RATE
from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.errors import GatewayError
from gateway.contract.events import AnswerEvent, AudioDelta, Events, ProviderEvent, Transcript
from gateway.contract.requests import Input, Kind, Request, TranscribeRequest
from gateway.routing.engine import Answer, Engine
from gateway.routing.route import Policy, Route, Target
from gateway.telemetry.recorder import Recorder

POLICY = Policy("priority", ttft_deadline=3.0, answer=10.0, idle=5.0, total=60.0, retries=0, mid_stream="error")


def engine(kind: Kind, providers: Mapping[str, object], model: str) -> Engine:
    """One route, `speech`, of these in this order."""
    targets = tuple(Target(name, model) for name in providers)
    return Engine({"speech": Route("speech", kind, targets, POLICY)}, dict(providers), Recorder())


def channel(*items: Input, closed: bool = True) -> Channel[Input]:
    inputs: Channel[Input] = Channel()
    for item in items:
        inputs.put(item)
    if closed:
        inputs.close()
    return inputs


async def every(events: Events) -> list[ProviderEvent]:
    return [event async for event in events]


async def asked(engine: Engine, request: Request, *items: Input) -> tuple[list[AnswerEvent], str]:
    """What the route answers, and who answered."""
    async with engine.open("speech", request, channel(*items)) as answer:
        return [event async for event in answer], answer.target.provider


def said(events: Iterable[AnswerEvent]) -> list[str]:
    """Words of the finals."""
    return [word for event in events if isinstance(event, Transcript) and event.final for word in event.text.split()]


def turns(events: Iterable[AnswerEvent]) -> list[str]:
    """The texts that ended turns."""
    return [event.text for event in events if isinstance(event, Transcript) and event.ends_turn]


def sound(events: Iterable[AnswerEvent]) -> bytes:
    return b"".join(event.audio.pcm for event in events if isinstance(event, AudioDelta))


class Listener:
    """Implements transcriber.Hearing."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.served: list[str] = []
        self.heard = asyncio.Event()

    def heard_partial(self, turn: CallerTurn) -> None:
        pass

    def heard_final(self, turn: CallerTurn) -> None:
        self.texts.append(turn.text)
        self.heard.set()

    def lost(self, turn: CallerTurn, error: GatewayError) -> None:
        raise error

    def stt_served(self, answer: Answer) -> None:
        self.served.append(answer.target.provider)


@asynccontextmanager
async def calling(engine: Engine, language: str | None = None) -> AsyncIterator[tuple[Transcriber, Listener]]:
    """What a call has of its speech to text."""
    listener = Listener()
    transcriber = Transcriber(engine, "speech", TranscribeRequest(MIC_RATE, language), listener, "call")
    running = asyncio.create_task(transcriber.run())
    try:
        yield transcriber, listener
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def say(transcriber: Transcriber, pieces: Iterable[Audio]) -> None:
    """A turn, as fast as the provider takes it."""
    transcriber.begin(CallerTurn("item", Turn("turn", lambda: 0.0), 0.0))
    for piece in pieces:
        transcriber.put(piece)
        await asyncio.sleep(0.001)
    transcriber.commit()
