"""ElevenLabs: text to speech over WebSockets (`eleven_flash_v2_5`, ...), speech to text live (`scribe_v2_realtime`) and by file
(`scribe_v2`, `scribe_v1`: each turn is sent whole at its Commit).

    elevenlabs: {key: $ELEVENLABS_API_KEY, options: {voice: JBFqnCBsd6RMkjVDRZzb}}

`base_url`: scheme and host (EU's, India's), with what comes before `/v1`. Options: `voice` (its id), of speech that is asked for
without one; `voice_settings` (`{stability: 0.5, ...}`), of every voice; `listening`: more of the query of live speech to text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import count
from urllib.parse import quote, urlencode

from gateway.contract.duplex import session
from gateway.contract.events import Events
from gateway.contract.http1 import Http1Client
from gateway.contract.provider import Settings
from gateway.contract.requests import Input, Request, SpeakRequest, TranscribeRequest
from gateway.contract.websocket import Socket, open_socket
from providers import _options
from providers._addresses import request_url, sendable, socket_url
from providers._chunks import chunks
from providers._clauses import Clauses
from providers._elevenlabs_errors import Faults
from providers._elevenlabs_files import Files
from providers._elevenlabs_languages import code, spoken
from providers._elevenlabs_stt import Hearing
from providers._elevenlabs_tts import Speech
from providers._languages import lacking
from providers._relay import relay
from providers._warm_voices import WarmVoices

BASE_URL = "wss://api.elevenlabs.io"
VOICE = "JBFqnCBsd6RMkjVDRZzb"
"""Of its documentation's examples."""
SPOKEN = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
HEARD = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
"""Samples per second of speech that it makes, and that it takes live."""
SLOWEST, FASTEST = 0.7, 1.2


class Provider:
    """Serves stt and tts. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        options = _options.read(settings, deep=("voice_settings",), voice=VOICE, voice_settings={}, listening={})
        self._name, self._options = settings.name, options
        self._keyed = settings.key is not None or settings.base_url is not None
        self._faults = Faults(settings.name, settings.key)
        self._headers = {} if settings.key is None else {"xi-api-key": sendable(settings.key)}
        self._base = settings.base_url or BASE_URL
        self._client = Http1Client(settings.name)
        files = request_url(self._base, "/v1/speech-to-text")
        self._files = Files(settings.name, self._client, files, self._headers, self._faults)
        self._contexts = (f"c{number}" for number in count(1))
        self._warm = WarmVoices(self._open)

    def asleep(self, model: str) -> str | None:
        if model.startswith("eleven_v3"):
            return "eleven_v3 has no WebSocket"
        return None if self._keyed else "its row has no key"

    def cannot(self, model: str, request: Request) -> str | None:
        live = model.endswith("_realtime")
        match request:
            case TranscribeRequest(translate=True):
                return "it does not translate"
            case TranscribeRequest(diarize=True) if live:
                return f"{model} does not tell who speaks; scribe_v2 does, by file"
            case TranscribeRequest(turns="server") if not live:
                return f"{model} does not end turns by itself; scribe_v2_realtime does"
            case TranscribeRequest(rate=rate) if live and rate not in HEARD:
                return f"it does not hear {rate} samples per second"
            case SpeakRequest(speed=speed) if not SLOWEST <= speed <= FASTEST:
                return f"it speaks at {SLOWEST:g} to {FASTEST:g} of its speed"
            case TranscribeRequest(language=str(language)) | SpeakRequest(language=str(language)):
                known = spoken(model)
                if known is not None and code(language) not in known:
                    return lacking(language, known, model)
        return None

    async def aclose(self) -> None:
        await self._warm.aclose()
        await self._client.aclose()

    def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        if not model.endswith("_realtime"):
            return self._files.transcribe(model, request, inputs)
        if not request.partials:  # a relay keeps no more than minutes of a file
            return self._session(model, request, inputs)
        return relay(lambda sound: self._session(model, request, sound), inputs)

    async def _session(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        socket = await self._open(self._hears(model, request))
        try:
            async with aclosing(session(socket, Hearing(self._faults, request), chunks(inputs))) as events:
                async for event in events:
                    yield event
        finally:
            await socket.aclose()

    async def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        rate = min((rate for rate in SPOKEN if rate >= request.rate), default=SPOKEN[-1])
        settings = dict(self._options["voice_settings"])
        if request.speed != 1.0:
            settings["speed"] = request.speed
        speaking = Clauses(self._name, Speech(self._faults, settings), rate, self._contexts)
        warm = await self._warm.of(self._speaks(model, request, rate))
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

    def _hears(self, model: str, request: TranscribeRequest) -> str:
        query = [
            ("model_id", model),
            ("audio_format", f"pcm_{request.rate}"),
            ("commit_strategy", "vad" if request.turns == "server" else "manual"),
            ("include_timestamps", "true"),
        ]
        if request.language:
            query.append(("language_code", code(request.language)))
        query += [("keyterms", word) for word in request.keywords]
        asked = urlencode([*query, *self._options["listening"].items()])
        return f"{socket_url(self._base, '/v1/speech-to-text/realtime')}?{asked}"

    def _speaks(self, model: str, request: SpeakRequest, rate: int) -> str:
        voice = quote(request.voice or self._options["voice"], safe="")
        # What says the language is refused by models that find it out themselves.
        language = code(request.language) if request.language and "_v2_5" in model else None
        return socket_url(
            self._base,
            f"/v1/text-to-speech/{voice}/multi-stream-input",
            model_id=model,
            output_format=f"pcm_{rate}",
            inactivity_timeout="180",
            auto_mode="true",
            language_code=language,
        )

    async def _open(self, url: str) -> Socket:
        return await open_socket(self._name, url, self._headers, judge=self._faults.refusal)
