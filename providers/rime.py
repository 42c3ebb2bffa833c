"""Rime: text to speech over its JSON WebSocket. Models: `coda`, `arcana`, `mistv3`, `mistv2`.

    rime: {key: $RIME_API_KEY, options: {voice: astra}}

`base_url`: scheme and host (a region's), with what comes before `/ws3`. Options: `voice`, of speech that is asked for without one;
`speaking`: more of the query (`temperature: "0.5"`, ...).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import count
from urllib.parse import urlencode

from gateway.contract.duplex import session
from gateway.contract.events import Events
from gateway.contract.provider import Settings
from gateway.contract.requests import Input, Request, SpeakRequest
from gateway.contract.websocket import Socket, open_socket
from providers import _options
from providers._addresses import bearer, socket_url
from providers._clauses import Clauses
from providers._languages import lacking, plain
from providers._rime_tts import Speech
from providers._warm_voices import WarmVoices

BASE_URL = "wss://users-ws.rime.ai"
VOICE = "astra"
"""Of its documentation's examples."""
LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000
SLOWEST, FASTEST = 0.5, 2.0

# Its documentation of May 2026, and what others who resell it list. By the beginning of a model's name, the longest first.
LANGUAGES = {
    "coda": frozenset({"de", "en", "es", "fr", "ja", "pt"}),
    "arcana": frozenset({"ar", "de", "en", "es", "fr", "he", "hi", "ja", "pt", "ta"}),
    "mistv3": frozenset({"de", "en", "es", "fr", "hi"}),
    "mistv2": frozenset({"de", "en", "es", "fr"}),
    "mist": frozenset({"en"}),
}


class Provider:
    """Serves tts. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        options = _options.read(settings, voice=VOICE, speaking={})
        self._name, self._options = settings.name, options
        self._keyed = settings.key is not None or settings.base_url is not None
        self._headers = bearer(settings.key)
        self._speaks = socket_url(settings.base_url or BASE_URL, "/ws3")
        self._contexts = (f"c{number}" for number in count(1))
        self._warm = WarmVoices(self._open)

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
        rate = max(LOWEST_RATE, min(request.rate, HIGHEST_RATE))
        speaking = Clauses(self._name, Speech(self._name), rate, self._contexts)
        warm = await self._warm.of(self._address(model, request, rate))
        socket = await warm.take()
        try:
            async with aclosing(session(socket, speaking, inputs)) as events:
                async for event in events:
                    yield event
        finally:
            if speaking.finished:
                warm.give(socket)
            else:
                await socket.aclose()

    def _address(self, model: str, request: SpeakRequest, rate: int) -> str:
        query: dict[str, object] = {
            "speaker": request.voice or self._options["voice"],
            "modelId": model,
            "audioFormat": "pcm",
            "samplingRate": rate,
        }
        if request.language:
            query["lang"] = plain(request.language)
        if request.speed != 1.0:  # both say how much longer it takes
            query["speedAlpha" if model in ("mist", "mistv2") else "timeScaleFactor"] = round(1 / request.speed, 3)
        return f"{self._speaks}?{urlencode({**query, **self._options['speaking']})}"

    async def _open(self, url: str) -> Socket:
        return await open_socket(self._name, url, self._headers)
