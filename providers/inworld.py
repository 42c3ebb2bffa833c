"""Inworld: text to speech over its bidirectional WebSocket. Models: `inworld-tts-1.5-max`, `inworld-tts-1.5-mini`, ...

    inworld: {key: $INWORLD_API_KEY, options: {voice: Ashley}}          # the key as the portal shows it, in base64

`base_url`: scheme and host, with what comes before `/tts/v1`. Options: `voice`, of speech that is asked for without one;
`speaking`: more of what a context is made with (`{temperature: 0.8}`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import count

from gateway.contract.duplex import session
from gateway.contract.events import Events
from gateway.contract.provider import Settings
from gateway.contract.requests import Input, Request, SpeakRequest
from gateway.contract.warm_sockets import WarmSockets
from gateway.contract.websocket import Socket, open_socket
from providers import _options
from providers._addresses import sendable, socket_url
from providers._clauses import Clauses
from providers._inworld_tts import Speech
from providers._languages import lacking, plain

BASE_URL = "wss://api.inworld.ai"
VOICE = "Ashley"
RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""Samples per second of speech that it makes."""
SLOWEST, FASTEST = 0.5, 1.5
LANGUAGES = {
    "inworld-tts-1.5": frozenset(
        ["en", "zh", "ja", "ko", "ru", "it", "es", "pt", "fr", "de", "pl", "nl", "hi", "he", "ar"]
    ),
    "inworld-tts-1": frozenset(["en", "de", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "ru", "zh", "hi"]),
}
"""By the beginning of a model's name, the longest first (its documentation); of others nothing is said: Inworld decides."""


class Provider:
    """Serves tts. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        options = _options.read(settings, deep=("speaking",), voice=VOICE, speaking={})
        self._name, self._options = settings.name, options
        self._keyed = settings.key is not None or settings.base_url is not None
        self._headers = {} if settings.key is None else {"Authorization": f"Basic {sendable(settings.key)}"}
        self._speaks = socket_url(settings.base_url or BASE_URL, "/tts/v1/voice:streamBidirectional")
        self._contexts = (f"c{number}" for number in count(1))
        self._warm = WarmSockets(self._open)

    def asleep(self, model: str) -> str | None:
        return None if self._keyed else "its row has no key"

    def cannot(self, model: str, request: Request) -> str | None:
        if not isinstance(request, SpeakRequest):
            return None
        if not SLOWEST <= request.speed <= FASTEST:
            return f"it speaks at {SLOWEST:g} to {FASTEST:g} of its speed"
        spoken = next((each for name, each in LANGUAGES.items() if model.startswith(name)), None)
        if request.language is not None and spoken is not None and plain(request.language) not in spoken:
            return lacking(request.language, spoken, model)
        return None

    async def aclose(self) -> None:
        await self._warm.aclose()

    async def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        rate = min((rate for rate in RATES if rate >= request.rate), default=RATES[-1])
        audio: dict[str, object] = {"audioEncoding": "LINEAR16", "sampleRateHertz": rate}
        if request.speed != 1.0:
            audio["speakingRate"] = request.speed
        voice = request.voice or self._options["voice"]
        create = {"voiceId": voice, "modelId": model, "audioConfig": audio, "timestampType": "WORD"}
        dialect = Speech(self._name, {**create, **self._options["speaking"]})
        speaking = Clauses(self._name, dialect, rate, self._contexts)
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

    async def _open(self) -> Socket:
        return await open_socket(self._name, self._speaks, self._headers)
