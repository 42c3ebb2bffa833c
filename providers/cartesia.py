"""Cartesia: speech to text (Ink) and text to speech (Sonic) over WebSockets. Models: `ink-2`, `ink-whisper`, `sonic-3.5`, ...

    cartesia: {key: $CARTESIA_API_KEY, options: {voice: 6ccbfb76-1fc6-48f7-b71d-91ac6298247b}}

`base_url`: scheme and host, with what comes before `/stt/websocket` and `/tts/websocket`. Options: `voice` (its id) and
`language` (default en), of speech that is asked for without either; `listening`: more of the query of speech to text
(`turn_eager_end_threshold: "0.5"`, `max_silence_duration_secs`, ...); `version` of the API.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import count
from urllib.parse import urlencode

from gateway.contract.duplex import session
from gateway.contract.events import Events, Ready
from gateway.contract.provider import Settings
from gateway.contract.requests import Input, Request, SpeakRequest, TranscribeRequest
from gateway.contract.warm_sockets import WarmSockets
from gateway.contract.websocket import Socket, open_socket
from providers import _options
from providers._addresses import bearer, socket_url
from providers._cartesia_errors import Faults
from providers._cartesia_stt import Hearing
from providers._cartesia_tts import Speaking
from providers._cartesia_turns import Turns
from providers._chunks import chunks
from providers._languages import WHISPER, lacking, plain
from providers._relay import relay

BASE_URL = "wss://api.cartesia.ai"
VERSION = "2026-08-14"
VOICE = "6ccbfb76-1fc6-48f7-b71d-91ac6298247b"
"""Of its documentation's examples."""
RATES = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
"""Samples per second of speech that it makes."""
SLOWEST, FASTEST = 0.6, 1.5

# Sonic: its client, 4.2.0. Ink: its documentation, 2026.
_SONIC = (
    "ar bg bn cs da de el en es fi fr gu he hi hr hu id it ja ka kn ko ml mr ms nl no or pa pl pt ro ru sk sv ta te th tl tr uk ur"
    " vi zh"
)
LANGUAGES = {
    "sonic": frozenset(_SONIC.split()),
    "ink-2": frozenset({"en", "es", "fr", "hi", "ja"}),
    "ink-whisper": WHISPER | {"yue"},
}
"""By the beginning of a model's name; of others (ink-preview) nothing is said: Cartesia decides."""


class Provider:
    """Serves stt and tts. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        options = _options.read(settings, voice=VOICE, language="en", listening={}, version=VERSION)
        self._name, self._options = settings.name, options
        self._keyed = settings.key is not None or settings.base_url is not None
        self._faults = Faults(settings.name, settings.key)
        self._headers = {"Cartesia-Version": options["version"], **bearer(settings.key)}
        base = settings.base_url or BASE_URL
        self._hears, self._turns = socket_url(base, "/stt/websocket"), socket_url(base, "/stt/turns/websocket")
        self._speaks = socket_url(base, "/tts/websocket")
        self._contexts = (f"c{number}" for number in count(1))
        self._warm = WarmSockets(lambda: self._open(self._speaks))

    def asleep(self, model: str) -> str | None:
        return None if self._keyed else "its row has no key"

    def cannot(self, model: str, request: Request) -> str | None:
        match request:
            case TranscribeRequest(diarize=True):
                return "it does not tell who speaks"
            case TranscribeRequest(translate=True):
                return "it does not translate"
            case TranscribeRequest(turns="server") if model.startswith("ink-whisper"):
                return "ink-whisper does not end turns by itself"
            case SpeakRequest(speed=speed) if not SLOWEST <= speed <= FASTEST:
                return f"it speaks at {SLOWEST:g} to {FASTEST:g} of its speed"
            case TranscribeRequest(language=str(language)) | SpeakRequest(language=str(language)):
                spoken = next((each for name, each in LANGUAGES.items() if model.startswith(name)), None)
                if spoken is not None and code(language) not in spoken:
                    return lacking(language, spoken, model)
        return None

    async def aclose(self) -> None:
        await self._warm.aclose()

    def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        if not request.partials:  # a relay keeps no more than minutes of a file
            return self._session(model, request, inputs)
        return relay(lambda sound: self._session(model, request, sound), inputs)

    async def _session(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        query: list[tuple[str, str]] = [("model", model), ("encoding", "pcm_s16le"), ("sample_rate", str(request.rate))]
        query += [("keyterm", word) for word in request.keywords]
        if request.language and model.startswith("ink-whisper"):
            query.append(("language", code(request.language)))
        elif request.language and not model.startswith("ink-2"):
            query.append(("language_hint", code(request.language)))
        url = self._turns if request.turns == "server" else self._hears
        codec = Turns if request.turns == "server" else Hearing
        socket = await self._open(f"{url}?{urlencode([*query, *self._options['listening'].items()])}")
        try:
            if codec is Hearing:
                yield Ready()  # it says nothing before it has heard something
            async with aclosing(session(socket, codec(self._faults, request), chunks(inputs))) as events:
                async for event in events:
                    yield event
        finally:
            await socket.aclose()

    async def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        rate = min((rate for rate in RATES if rate >= request.rate), default=RATES[-1])
        fields: dict[str, object] = {
            "model_id": model,
            "voice": {"mode": "id", "id": request.voice or self._options["voice"]},
            "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": rate},
            "language": code(request.language or self._options["language"]),
            "add_timestamps": True,
            "max_buffer_delay_ms": 0,  # clauses come whole
        }
        if request.speed != 1.0:
            fields["generation_config"] = {"speed": request.speed}
        clock = asyncio.get_running_loop().time
        speaking = Speaking(self._name, self._faults, fields, rate, self._contexts, clock)
        socket = await self._warm.take()
        try:
            async with aclosing(session(socket, speaking, inputs)) as events:
                async for event in events:
                    yield event
        finally:
            if speaking.finished:
                self._warm.give(socket)
            else:
                await socket.aclose()

    async def _open(self, url: str) -> Socket:
        return await open_socket(self._name, url, self._headers, judge=self._faults.refusal)


def code(language: str) -> str:
    """As Cartesia calls it: `hi` for hi-IN."""
    return plain(language)
