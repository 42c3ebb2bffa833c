"""Speechmatics: real-time speech to text. Models: `enhanced`, `standard`, `melia-1`.

    speechmatics: {key: $SPEECHMATICS_API_KEY, options: {language: de}}

`base_url`: scheme and host, with what comes before `/v2` (wss://us.rt.speechmatics.com in America). Options: `language` of requests
that name none (default en; melia-1 finds it out); `endpointing`: milliseconds of silence that end a turn where Speechmatics ends
them; `max_delay`: milliseconds after which a word is final, 700 to 4000.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from gateway.contract.duplex import session
from gateway.contract.errors import ProviderError
from gateway.contract.events import Events
from gateway.contract.provider import Settings
from gateway.contract.requests import Input, Request, TranscribeRequest
from gateway.contract.websocket import open_socket
from providers import _options
from providers._addresses import bearer, socket_url
from providers._chunks import chunks
from providers._languages import lacking, plain
from providers._relay import relay
from providers._speechmatics_errors import refusal
from providers._speechmatics_stt import Hearing

BASE_URL = "wss://eu2.rt.speechmatics.com"
CAP = 47 * 3600.0
"""Seconds after which a session is followed by another: Speechmatics ends them after 48 hours."""
TERMS = 1000
"""Of additional_vocab."""
UPLOAD = 4.0
"""Seconds after which a word of a file is final: the most that there is, and the best."""
_CODES = (
    "ar ba be bg bn ca cmn cs cy da de el en eo es et eu fa fi fr ga gl he hi hr hu ia id it ja ko lt lv mn mr ms mt nl no pl pt ro ru"
    " sk sl sv sw ta th tl tr ug uk ur vi yue"
)
LANGUAGES = frozenset(_CODES.split())
"""Its documentation, 2026. Packs of two and more languages (cmn_en, en_ta, ...) go by `language` in the options."""
_SAME = {"zh": "cmn", "nb": "no", "nn": "no", "fil": "tl", "iw": "he", "in": "id"}
_MANY = "melia"
"""Models that understand many languages at once."""


class Provider:
    """Serves stt. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        options = _options.read(settings, language="en", endpointing=500, max_delay=1000)
        if not 700 <= options["max_delay"] <= 4000 or options["endpointing"] >= options["max_delay"]:
            raise ValueError("option 'max_delay' is to be 700 to 4000 milliseconds, and more than 'endpointing'")
        self._name = settings.name
        self._known = settings.key is not None or settings.base_url is not None
        self._language: str = options["language"]
        self._endpointing, self._delay = options["endpointing"] / 1000, options["max_delay"] / 1000
        self._url = socket_url(settings.base_url or BASE_URL, "/v2")
        self._headers = bearer(settings.key)

    def asleep(self, model: str) -> str | None:
        return None if self._known else "its row has no key"

    def cannot(self, model: str, request: Request) -> str | None:
        match request:
            case TranscribeRequest(translate=True):
                return "it does not translate"
            case TranscribeRequest(language=str(language)) if plain(language, _SAME) not in LANGUAGES:
                return lacking(language, LANGUAGES)
        return None

    async def aclose(self) -> None:
        pass

    def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        if not request.partials:  # a relay keeps no more than minutes of a file
            return self._session(model, request, inputs)
        return relay(lambda sound: self._session(model, request, sound), inputs, CAP)

    async def _session(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        socket = await open_socket(self._name, self._url, self._headers, judge=self._refusal)
        try:
            hearing = Hearing(self._name, {"transcription_config": self._config(model, request)}, request)
            async with aclosing(session(socket, hearing, chunks(inputs))) as events:
                async for event in events:
                    yield event
        finally:
            await socket.aclose()

    def _config(self, model: str, request: TranscribeRequest) -> dict[str, Any]:
        language = plain(request.language, _SAME) if request.language else None
        config: dict[str, Any] = {
            "model": model,
            "language": language or self._language,
            "enable_partials": request.partials,
            "max_delay": self._delay if request.partials else UPLOAD,
        }
        if model.startswith(_MANY):
            config |= {"language": "multi"} | ({"language_hints": [language]} if language else {})
        if request.turns == "server":
            config["conversation_config"] = {"end_of_utterance_silence_trigger": self._endpointing}
        if request.diarize:
            config["diarization"] = "speaker"
        if request.keywords:
            config["additional_vocab"] = [{"content": each} for each in request.keywords[:TERMS]]
        return config

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError | None:
        return refusal(self._name, status)
