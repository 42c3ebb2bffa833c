"""Soniox: speech to text and text to speech over WebSockets. Models: `stt-rt-v5`, `tts-rt-v1` and the like.

    soniox: {key: $SONIOX_API_KEY}

`base_url`: scheme and host for both, with what comes before `/transcribe-websocket` and `/tts-websocket`. Options: `voice`
(default Adrian) and `language` (default en), of speech that is asked for without either.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import count

from gateway.contract.duplex import session
from gateway.contract.events import Events
from gateway.contract.provider import Settings
from gateway.contract.requests import Input, Request, SpeakRequest, TranscribeRequest
from gateway.contract.warm_sockets import WarmSockets
from gateway.contract.websocket import Socket, open_socket
from providers import _options
from providers._addresses import bearer, socket_url
from providers._chunks import chunks
from providers._languages import lacking
from providers._relay import relay
from providers._soniox_stt import Hearing
from providers._soniox_tts import Speaking

HEARS, SPEAKS = "wss://stt-rt.soniox.com", "wss://tts-rt.soniox.com"
RATES = (8_000, 16_000, 24_000, 44_100, 48_000)
"""Samples per second of speech that it makes."""
SLOWEST, FASTEST = 0.7, 1.3
CAP = 300.0 * 60 - 300
"""Seconds after which a session is followed by another: it is cut off at 300 minutes."""
# Its documentation: 60 languages, the same for both. Codes of ISO 639-1.
_CODES = (
    "af ar az be bg bn bs ca cs cy da de el en es et eu fa fi fr gl gu he hi hr hu id it ja kk kn ko lt lv mk ml mr ms nl no"
    " pa pl pt ro ru sk sl sq sr sv sw ta te th tl tr uk ur vi zh"
)
LANGUAGES = frozenset(_CODES.split())
_SAME = {"nb": "no", "nn": "no", "fil": "tl", "iw": "he", "in": "id", "cmn": "zh"}


class Provider:
    """Serves stt and tts. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        options = _options.read(settings, voice="Adrian", language="en")
        self._name, self._keyed = settings.name, settings.key is not None
        self._voice: str = options["voice"]
        self._language: str = options["language"]
        self._headers = bearer(settings.key)
        self._hears = socket_url(settings.base_url or HEARS, "/transcribe-websocket")
        self._speaks = socket_url(settings.base_url or SPEAKS, "/tts-websocket")
        self._ids = (f"s{number}" for number in count())
        self._warm = WarmSockets(self._open_speaking)

    def asleep(self, model: str) -> str | None:
        return None if self._keyed else "its row has no key"

    def cannot(self, model: str, request: Request) -> str | None:
        language = request.language if isinstance(request, TranscribeRequest | SpeakRequest) else None
        if language is not None and code(language) not in LANGUAGES:
            return lacking(language, LANGUAGES)
        if isinstance(request, SpeakRequest) and not SLOWEST <= request.speed <= FASTEST:
            return f"it speaks at {SLOWEST:g} to {FASTEST:g} of its speed"
        return None

    async def aclose(self) -> None:
        await self._warm.aclose()

    def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        if not request.partials:  # an upload is all there at once, which is more than a relay keeps
            return self._session(model, request, inputs)
        return relay(lambda sound: self._session(model, request, sound), inputs, CAP)

    async def _session(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        language = code(request.language) if request.language else None
        socket = await open_socket(self._name, self._hears, self._headers)
        try:
            hearing = Hearing(self._name, model, request, language)
            async with aclosing(session(socket, hearing, chunks(inputs))) as events:
                async for event in events:
                    yield event
        finally:
            await socket.aclose()

    async def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        config = {
            "model": model,
            "language": code(request.language or self._language),
            "voice": request.voice or self._voice,
            "audio_format": "pcm_s16le",
            "sample_rate": min((rate for rate in RATES if rate >= request.rate), default=RATES[-1]),
            "return_timestamps": True,
        }
        if request.speed != 1.0:
            config["speed"] = request.speed
        speaking = Speaking(self._name, config, request, self._ids)
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

    async def _open_speaking(self) -> Socket:
        return await open_socket(self._name, self._speaks, self._headers)


def code(language: str) -> str:
    """As Soniox calls it: `hi` for hi-IN."""
    plain = language.partition("-")[0].lower()
    return _SAME.get(plain, plain)
