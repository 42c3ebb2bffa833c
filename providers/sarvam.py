"""Sarvam: speech to text for the 22 languages of India and Indian English, and Bulbul's text to speech for ten of them and English.

    sarvam: {key: $SARVAM_API_KEY}

Models: `saaras:v3-realtime` and `saaras:v4` (realtime endpoint), `saaras:v3` (the older streaming one); `bulbul:v3`,
`bulbul:v4-flash`. An upload of 30 seconds and less goes by request, where the model is no realtime one. `base_url`: scheme and
host, for sockets and requests alike. Options: `voice` (default shubh) and `language` (default en-IN), of speech that is asked
for without either; `mode` (transcribe, verbatim, translit, codemix); `stream_type` (balanced, or fast for earlier partials).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing

import orjson

from gateway.contract.audio import Audio
from gateway.contract.duplex import Codec, session
from gateway.contract.events import Events, Finished, ProviderEvent, Ready, Transcript, Usage
from gateway.contract.http1 import Http1Client
from gateway.contract.provider import Settings
from gateway.contract.requests import Clear, Commit, Input, Request, SpeakRequest, TranscribeRequest
from gateway.contract.warm_sockets import WarmSockets
from gateway.contract.websocket import Socket, open_socket
from providers import _options, _sarvam_realtime, _sarvam_streaming
from providers import _sarvam_api as api
from providers import _sarvam_upload as upload
from providers._addresses import request_url, sendable, socket_url
from providers._chunks import chunks
from providers._languages import lacking
from providers._relay import relay
from providers._sarvam_tts import Speaking

RATES = (8_000, 16_000, 22_050, 24_000)
SLOWEST, FASTEST = 0.5, 2.0
MODES = ("transcribe", "verbatim", "translit", "codemix")
TERMS, LONGEST_TERM = 50, 64


class Provider:
    """Serves stt and tts. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        options = _options.read(settings, voice="shubh", language="en-IN", mode="transcribe", stream_type="balanced")
        self._name, self._keyed = settings.name, settings.key is not None
        self._voice: str = options["voice"]
        self._language: str = options["language"]
        self._mode: str = _options.one_of(options, "mode", MODES)
        self._stream: str = _options.one_of(options, "stream_type", ("balanced", "fast"))
        self._base = settings.base_url or api.BASE
        self._post_to = request_url(self._base, "/speech-to-text")
        self._headers = {} if settings.key is None else {"api-subscription-key": sendable(settings.key)}
        self._client = Http1Client(self._name)
        self._warm: dict[str, WarmSockets] = {}

    def asleep(self, model: str) -> str | None:
        return None if self._keyed else "its row has no key"

    def cannot(self, model: str, request: Request) -> str | None:
        match request:
            case TranscribeRequest(language=str(language)) if api.tag(language) not in api.LANGUAGES:
                return lacking(language, api.LANGUAGES)
            case TranscribeRequest(diarize=True):
                return "it does not tell speakers apart in live speech"
            case SpeakRequest(language=str(language)) if api.tag(language) not in api.SPOKEN:
                return lacking(language, api.SPOKEN)
            case SpeakRequest(speed=speed) if not SLOWEST <= speed <= FASTEST:
                return f"it speaks at {SLOWEST:g} to {FASTEST:g} of its speed"
        return None

    async def aclose(self) -> None:
        for warm in self._warm.values():
            await warm.aclose()
        await self._client.aclose()

    def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        if request.partials:
            return relay(lambda sound: self._live(model, request, sound), inputs)
        # An upload is all there at once, which is more than a relay keeps.
        by_file = request.turns == "client" and "realtime" not in model
        return self._by_file(model, request, inputs) if by_file else self._live(model, request, inputs)

    async def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        config: dict[str, object] = {
            "language_code": api.odia(api.tag(request.language or self._language)),
            "speaker": request.voice or self._voice,
            "speech_sample_rate": min((rate for rate in RATES if rate >= request.rate), default=RATES[-1]),
            "output_audio_codec": "linear16",
        }
        if request.speed != 1.0:
            config["pace"] = request.speed
        if model not in self._warm:
            self._warm[model] = WarmSockets(lambda: self._open_speaking(model))
        warm, speaking = self._warm[model], Speaking(self._name, config)
        socket = await warm.take()
        try:
            async with aclosing(session(socket, speaking, inputs)) as events:
                async for event in events:
                    yield event
        finally:
            if speaking.finished and not speaking.ghost:
                warm.give(socket)
            else:
                await socket.aclose()

    async def _open_speaking(self, model: str) -> Socket:
        return await self._open("/text-to-speech/ws", model=model, send_completion_event="true")

    async def _open(self, path: str, **query: str | None) -> Socket:
        return await open_socket(
            self._name,
            socket_url(self._base, path, **query),
            self._headers,
            judge=lambda status, headers, body: api.of_response(self._name, status, headers, body),
        )

    async def _live(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        older = model == "saaras:v3" or model.startswith("saarika")
        codec, socket = await (self._older if older else self._realtime)(model, request)
        try:
            async with aclosing(session(socket, codec, chunks(inputs))) as events:
                async for event in events:
                    yield event
        finally:
            await socket.aclose()

    async def _realtime(self, model: str, request: TranscribeRequest) -> tuple[Codec, Socket]:
        manual = request.turns == "client" and request.partials
        query = {
            "language_code": api.tag(request.language) if request.language else "auto",
            "model": model,
            "stream_type": self._stream if request.partials else "simulated",
            "mode": self._task(request),
            "endpointing": "manual" if manual else "vad",
            "encoding": "linear16",
            "sample_rate": str(_sarvam_realtime.heard_at(request.rate)),
            "return_timestamps": "true",
            "prompt": request.prompt,
            "keyterms": _terms(model, request),
        }
        codec = _sarvam_realtime.Hearing(self._name, request, manual)
        return codec, await self._open("/speech-to-text-realtime/ws", **query)

    async def _older(self, model: str, request: TranscribeRequest) -> tuple[Codec, Socket]:
        query = {
            "language-code": api.odia(api.tag(request.language)) if request.language else "unknown",
            "model": model,
            "mode": self._task(request),
            "sample_rate": str(_sarvam_streaming.RATE),
            "vad_signals": "true",
            "flush_signal": "true",
            "input_audio_codec": "pcm_s16le",
            "keyterms": _terms(model, request),
        }
        codec = _sarvam_streaming.Hearing(self._name, request)
        return codec, await self._open("/speech-to-text/ws", **query)

    def _task(self, request: TranscribeRequest) -> str:
        return "translate" if request.translate else self._mode

    async def _by_file(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        """Each turn a file; from the first on that is too long for one, a live session."""
        fields = {"model": model, "mode": self._task(request), "with_timestamps": "true"}
        fields["language_code"] = api.odia(api.tag(request.language)) if request.language else "unknown"
        if (terms := _terms(model, request)) is not None:
            fields["keyterms"] = terms
        ready, seconds = False, 0.0
        while True:
            heard, committed = await _turn(inputs)
            length = sum(piece.seconds for piece in heard)
            if length > upload.LONGEST:
                rest = _Chained([*heard, *([Commit()] if committed else [])], inputs)
                async with aclosing(self._live(model, request, rest)) as events:
                    async for event in events:
                        if not (ready and isinstance(event, Ready)):
                            yield event
                return
            finals: list[ProviderEvent] = [Transcript("", True, True)] if committed else []
            if heard:
                audio = Audio(b"".join(piece.pcm for piece in heard), heard[0].rate)
                finals, _ = await upload.transcribed(
                    self._client, self._name, self._post_to, self._headers, fields, audio
                )
            if not ready:
                ready = True
                yield Ready()
            for event in finals:
                yield event
            seconds += length
            if not committed:
                break
        yield Usage(seconds=seconds)
        yield Finished()


def _terms(model: str, request: TranscribeRequest) -> str | None:
    """Only saaras:v4 takes any."""
    terms = [term[:LONGEST_TERM] for term in request.keywords][:TERMS]
    return orjson.dumps(terms).decode() if terms and model == "saaras:v4" else None


async def _turn(inputs: AsyncIterator[Input]) -> tuple[list[Audio], bool]:
    """The audio of the next turn, and whether it was committed; of one that is too long, what shows it."""
    heard: list[Audio] = []
    seconds = 0.0
    while seconds <= upload.LONGEST:
        match await anext(inputs, None):
            case Audio() as piece if piece.pcm:
                heard.append(piece)
                seconds += piece.seconds
            case Clear():
                heard, seconds = [], 0.0
            case Commit():
                return heard, True
            case None:
                break
    return heard, False


class _Chained:
    """Inputs with some before them that were read already. No generator: a cancelled read must lose nothing."""

    def __init__(self, first: list[Input], rest: AsyncIterator[Input]) -> None:
        self._first, self._rest = deque(first), rest

    def __aiter__(self) -> _Chained:
        return self

    async def __anext__(self) -> Input:
        return self._first.popleft() if self._first else await anext(self._rest)
