"""A gateway that takes calls, with scripted models behind the real engine, registry and WebRTC.

async with call_gateway(stt=["hello"], llm=["Hi there."]) as gateway:
    async with Caller(gateway.url) as caller: ...
    gateway.ear, gateway.mind, gateway.voice    # the providers; `.open` counts their streams
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI

from gateway.access.relays import Relays
from gateway.api import calls, errors
from gateway.api.front_socket import SERVING
from gateway.calls.leg import CallRules
from gateway.calls.registry import Registry
from gateway.contract.audio import Audio
from gateway.contract.events import AudioDelta, Events, Finished, Flushed
from gateway.contract.requests import Commit, Input, SpeakRequest
from gateway.media.reach import Media
from gateway.routing.engine import Engine
from gateway.routing.route import CallRoute, Policy, Route, Target
from gateway.state.store import Directory
from gateway.telemetry.decisions import Decision
from gateway.telemetry.sample import Sample
from gateway.transports.webrtc import WebRtc
from tests.calls.scene import Ear, Knows, Mind, Talker, loudness_vad
from tests.serving import serving
from tests.sounds import tone

HERTZ = 440.0
RATE = 24_000


class Singer:
    """A tts that sings HERTZ, 60 ms for every character."""

    def __init__(self) -> None:
        self.open = 0

    async def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        self.open += 1
        try:
            async for item in inputs:
                match item:
                    case str():
                        sound = tone(HERTZ, 0.06 * len(item), RATE)
                        for start in range(0, len(sound), RATE // 10):
                            yield AudioDelta(Audio(sound[start : start + RATE // 10].tobytes(), RATE))
                    case Commit():
                        yield Flushed()
            yield Finished()
        finally:
            self.open -= 1


class NoRecorder:
    def record(self, sample: Sample) -> None:
        pass

    def decided(self, decision: Decision) -> None:
        pass

    def settled(self, decision: Decision) -> None:
        pass


@dataclass(frozen=True, slots=True)
class CallGateway:
    url: str
    registry: Registry
    webrtc: WebRtc
    ear: Ear
    mind: Mind
    voice: Singer
    talker: Talker

    @property
    def streams(self) -> int:
        return self.ear.open + self.mind.open + self.voice.open + self.talker.open


@asynccontextmanager
async def call_gateway(
    stt: Sequence[str] = (),
    llm: Sequence[str] = (),
    most: int = 50,
    greeting: str = "",
    directory: Directory | None = None,
    s2s: Talker | None = None,
    rules: CallRules | None = None,
    relays: Relays | None = None,
) -> AsyncIterator[CallGateway]:
    """Routes: `agent` and `other` of kind call, `omni` of it too, `drowsy` whose tts has no target, and what they are made of."""
    ear, mind, voice, talker = Ear(list(stt)), Mind(list(llm)), Singer(), s2s or Talker()
    routes = {
        "listen": Route("listen", "stt", (Target("ear", "one"),), Policy()),
        "chat": Route("chat", "llm", (Target("mind", "one"),), Policy()),
        "say": Route("say", "tts", (Target("voice", "one"),), Policy()),
        "talk": Route("talk", "s2s", (Target("talker", "one"),), Policy()),
        "mute": Route("mute", "tts", (), Policy(), {"voice/two": "no key"}),
    }
    called = {
        "agent": CallRoute("agent", "listen", "chat", "say", "Be brief.", greeting),
        "other": CallRoute("other", "listen", "chat", "say", "Be long."),
        "omni": CallRoute("omni", "listen", "chat", "say", s2s="talk", start="omni"),
        "drowsy": CallRoute("drowsy", "listen", "chat", "mute"),
    }
    engine = Engine(routes, {"ear": ear, "mind": mind, "voice": voice, "talker": talker}, NoRecorder())
    registry = Registry(engine, lambda: loudness_vad, Knows(), rules, most=most, directory=directory)
    webrtc = WebRtc(Media(), "127.0.0.1", gone_after=1.0)
    app = FastAPI()
    errors.install(app)
    app.include_router(calls.router(registry, webrtc, routes, lambda: called, relays=relays))
    try:
        async with serving(app, **SERVING) as server:
            yield CallGateway(server.url, registry, webrtc, ear, mind, voice, talker)
    finally:
        await registry.aclose()
        await webrtc.aclose()
