"""Deepgram: speech to text, live (`nova-3`, `nova-2`) and by file, with turns of its own (`flux-...`); text to speech (`aura-...`).

    deepgram: {key: $DEEPGRAM_API_KEY}

`base_url`: instead of wss://api.deepgram.com (the EU's, one's own installation). Options:

* `endpointing` (default 300): milliseconds of silence that end a segment, where Deepgram decides turns.
* `eot_threshold` (0.7), `eager_eot_threshold` (0.0: never), `eot_timeout_ms` (5000): when Flux takes a turn to be over, where it decides.

A voice is a model (`aura-2-thalia-en`): a route's `voices` name them, and any other voice is the target's own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from gateway.contract.duplex import Codec, session
from gateway.contract.events import Events, Finished, Ready, Usage
from gateway.contract.http1 import Http1Client
from gateway.contract.provider import Settings
from gateway.contract.requests import Input, Request, SpeakRequest, TranscribeRequest
from gateway.contract.warm_sockets import WarmPool
from gateway.contract.websocket import Socket, open_socket
from providers import _deepgram_files, _deepgram_flux, _deepgram_listen, _options
from providers._chunks import chunks
from providers._deepgram_api import AURA_LANGUAGES, Api, code_of, languages_of
from providers._deepgram_flux import Turning, Turns
from providers._deepgram_listen import Listening
from providers._deepgram_speak import Some, Speaking, query_of, rate_of
from providers._languages import lacking
from providers._relay import relay

VOICES = ("aura-", "flux-")
SPEEDS = (0.7, 1.5)
"""Of Aura (documentation)."""


class Provider:
    """Serves stt and tts. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        options = _options.read(
            settings, endpointing=300, eot_threshold=0.7, eager_eot_threshold=0.0, eot_timeout_ms=5000
        )
        self._turning = Turning(options["eot_threshold"], options["eager_eot_threshold"], options["eot_timeout_ms"])
        self._endpointing: int = options["endpointing"]
        self._api = Api(settings)
        self._client = Http1Client(settings.name)
        self._warm = WarmPool(self._opened)

    def asleep(self, model: str) -> str | None:
        return None if self._api.known else "it has no key"

    def cannot(self, model: str, request: Request) -> str | None:
        spoken = languages_of(model)
        match request:
            case TranscribeRequest(translate=True):
                return "it does not translate"
            case TranscribeRequest(language=str(language)) if spoken is not None and code_of(language, spoken) is None:
                return lacking(language, spoken, model)
            case TranscribeRequest(diarize=True) if model.startswith("flux-"):
                return "it does not tell speakers apart"
            case SpeakRequest(speed=speed) if not SPEEDS[0] <= speed <= SPEEDS[1]:
                return f"it speaks at {SPEEDS[0]:g} to {SPEEDS[1]:g} times the usual speed"
            case SpeakRequest(language=language) if language is not None and not _speaks(
                _voice(model, request), language
            ):
                return f"it does not speak {language}"
        return None

    async def aclose(self) -> None:
        await self._warm.aclose()
        await self._client.aclose()

    def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        if not request.partials and not model.startswith("flux-"):
            return _deepgram_files.transcribe(self._api, self._client, model, request, inputs)
        return relay(lambda sound: self.session(model, request, sound), inputs)

    async def session(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        """One, on a socket of its own."""
        if model.startswith("flux-"):
            url = self._api.socket("/v2/listen", _deepgram_flux.query_of(model, request, self._turning))
            codec: Codec = Turns(self._api, request)
        else:
            url = self._api.socket("/v1/listen", _deepgram_listen.query_of(model, request, self._endpointing))
            codec = Listening(self._api, request)
        socket = await self._opened(url)
        try:
            if isinstance(codec, Listening):
                yield Ready()  # its yes is the upgrade: it says nothing before there are results
            async with aclosing(session(socket, codec, chunks(inputs))) as events:
                async for event in events:
                    yield event
        finally:
            await socket.aclose()

    async def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        url = self._api.socket("/v1/speak", query_of(_voice(model, request), request))
        some, characters, seconds = Some(inputs), 0, 0.0
        while True:
            socket = await self._warm.take(url)
            try:
                async with aclosing(session(socket, Speaking(self._api, rate_of(request.rate)), some.next())) as events:
                    async for event in events:
                        match event:
                            case Usage():
                                characters, seconds = characters + event.characters, seconds + event.seconds
                            case Finished():
                                pass
                            case _:
                                yield event
                if not some.more:
                    yield Usage(characters=characters, seconds=seconds)
                    yield Finished()
                    return
            finally:
                await socket.aclose()

    async def _opened(self, url: str) -> Socket:
        return await open_socket(self._api.name, url, self._api.headers, judge=self._api.refusal)


def _voice(model: str, request: SpeakRequest) -> str:
    """The model that is the voice asked for."""
    return request.voice if request.voice is not None and request.voice.startswith(VOICES) else model


def _speaks(voice: str, language: str) -> bool:
    """By the end of the voice's name; where it has none, Deepgram decides."""
    spoken = voice.rpartition("-")[2]
    return spoken not in AURA_LANGUAGES or code_of(language, frozenset({spoken})) is not None
