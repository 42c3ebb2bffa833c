"""AssemblyAI: streaming speech to text (v3). Models: `universal-streaming-english`, `universal-streaming-multilingual`, `u3-rt-pro`,
`whisper-rt` and the like.

    assemblyai: {key: $ASSEMBLYAI_API_KEY, options: {format: false}}

`base_url`: scheme and host, with what comes before `/v3/ws` (wss://streaming.eu.assemblyai.com in Europe). Options: `format`: false
for text without punctuation, a little sooner; `listening`: more of the query (`vad_threshold: "0.6"`, ...). Sound goes no faster
than real time, but for the first seconds: AssemblyAI closes other sessions, so a long file takes as long as it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

import orjson

from gateway.contract.duplex import session
from gateway.contract.errors import ProviderError
from gateway.contract.events import Events
from gateway.contract.provider import Settings
from gateway.contract.requests import Input, Request, TranscribeRequest
from gateway.contract.websocket import open_socket
from providers import _options
from providers._addresses import sendable, socket_url
from providers._assemblyai_errors import refusal
from providers._assemblyai_stt import LIVE, Hearing, live
from providers._languages import WHISPER, lacking, plain
from providers._paced import Paced
from providers._relay import relay

BASE_URL = "wss://streaming.assemblyai.com"
VERSION = "2025-05-12"
"""Of the API: what its client (1.8.2) sends."""
AHEAD = 5.0
"""Seconds of sound that go at once. How many AssemblyAI allows is not documented."""
CAP = 3 * 3600.0 - 300.0
"""Seconds after which a session is followed by another: AssemblyAI ends them after three hours."""
TERMS, LETTERS = 100, 50
"""Of keyterms_prompt: how many, and how long each."""

_SIX = frozenset({"de", "en", "es", "fr", "it", "pt"})
# By the beginning of a model's name; of others nothing is said: AssemblyAI decides. Its documentation, 2026.
LANGUAGES: Mapping[str, frozenset[str]] = {
    "universal-streaming-english": frozenset({"en"}),
    "universal-streaming-multilingual": _SIX,
    "u3-rt-pro": _SIX,
    "whisper-rt": WHISPER | {"yue"},
}


class Provider:
    """Serves stt. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        options = _options.read(settings, format=True, listening={})
        self._name = settings.name
        self._known = settings.key is not None or settings.base_url is not None
        self._formats: bool = options["format"]
        self._more: Mapping[str, str] = options["listening"]
        self._base = settings.base_url or BASE_URL
        socket_url(self._base, "/v3/ws")
        self._headers = {"AssemblyAI-Version": VERSION}
        if settings.key is not None:
            self._headers["Authorization"] = sendable(settings.key)

    def asleep(self, model: str) -> str | None:
        return None if self._known else "its row has no key"

    def cannot(self, model: str, request: Request) -> str | None:
        spoken = next((each for name, each in LANGUAGES.items() if model.startswith(name)), None)
        match request:
            case TranscribeRequest(translate=True):
                return "it does not translate"
            case TranscribeRequest(language=str(language)) if spoken is not None and plain(language) not in spoken:
                return lacking(language, spoken, model)
        return None

    async def aclose(self) -> None:
        pass

    def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        if not request.partials:  # a file waits for its time, and a relay keeps no more than minutes of it
            return self._session(model, request, inputs)
        return relay(lambda sound: self._session(model, request, sound), inputs, CAP)

    async def _session(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        url = socket_url(self._base, "/v3/ws", **{**self._query(model, request), **self._more})
        socket = await open_socket(self._name, url, self._headers, judge=self._refusal)
        try:
            hearing = Hearing(self._name, request, self._formats)
            async with aclosing(session(socket, hearing, Paced(inputs, AHEAD))) as events:
                async for event in events:
                    yield event
        finally:
            await socket.aclose()

    def _query(self, model: str, request: TranscribeRequest) -> dict[str, str | None]:
        query: dict[str, str | None] = {
            "sample_rate": str(request.rate),
            "encoding": "pcm_s16le",
            "speech_model": model,
            "format_turns": _flag(self._formats),
        }
        if live(request):  # ForceEndpoint comes long before
            silence = str(round(LIVE * 1000))
            query |= {"min_turn_silence": silence, "max_turn_silence": silence}
            if model.startswith("universal-streaming"):
                query["end_of_turn_confidence_threshold"] = "1.0"
        if model != "universal-streaming-english":
            query["language_detection"] = _flag(True)
            query["language_codes"] = orjson.dumps([plain(request.language)]).decode() if request.language else None
        if request.diarize:
            query["speaker_labels"] = _flag(True)
        if terms := [each for each in request.keywords if len(each) <= LETTERS][:TERMS]:
            query["keyterms_prompt"] = orjson.dumps(terms).decode()
        if request.prompt and model.startswith(("u3", "universal-3")):
            query["prompt"] = request.prompt
        return query

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError | None:
        return refusal(self._name, status, headers, body)


def _flag(value: bool) -> str:
    return "true" if value else "false"
