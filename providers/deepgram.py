"""Deepgram: speech to text, live (`nova-3`, `nova-2`) and by file, with turns of its own (`flux-...`); text to speech (`aura-...`).

    deepgram: {key: $DEEPGRAM_API_KEY}

`base_url`: instead of wss://api.deepgram.com (the EU's, one's own installation). Options:

* `endpointing` (default 300): milliseconds of silence that end a segment, where Deepgram decides turns.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from gateway.contract.duplex import session
from gateway.contract.events import Events, Ready
from gateway.contract.provider import Settings
from gateway.contract.requests import Input, Request, TranscribeRequest
from gateway.contract.websocket import open_socket
from providers import _options
from providers._deepgram_api import Api, code_of, languages_of
from providers._deepgram_listen import Listening, query_of
from providers._relay import relay


class Provider:
    """Serves stt. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        options = _options.read(settings, endpointing=300)
        self._endpointing: int = options["endpointing"]
        self._api = Api(settings)

    def asleep(self, model: str) -> str | None:
        return None if self._api.known else "it has no key"

    def cannot(self, model: str, request: Request) -> str | None:
        spoken = languages_of(model)
        match request:
            case TranscribeRequest(translate=True):
                return "it does not translate"
            case TranscribeRequest(language=str(language)) if spoken is not None and code_of(language, spoken) is None:
                return f"it does not speak {language}"
        return None

    async def aclose(self) -> None:
        pass

    def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        return relay(lambda sound: self.session(model, request, sound), inputs)

    async def session(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        """One, on a socket of its own."""
        url = self._api.socket("/v1/listen", query_of(model, request, self._endpointing))
        socket = await open_socket(self._api.name, url, self._api.headers, judge=self._api.refusal)
        try:
            yield Ready()  # Deepgram's yes is the upgrade: it says nothing before there are results
            async with aclosing(session(socket, Listening(self._api, request), inputs)) as events:
                async for event in events:
                    yield event
        finally:
            await socket.aclose()
