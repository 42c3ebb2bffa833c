"""OpenAI: chat completions, responses, embeddings, transcription, speech, and speech to speech over the realtime socket.

    openai: {key: $OPENAI_API_KEY}
    azure:  {module: openai, base_url: "https://NAME.openai.azure.com/openai/v1", key: $AZURE_KEY, options: {auth_header: api-key}}

`base_url` (default OpenAI's own): of anybody who serves the same paths. A request that came as a response is sent as one, in
the caller's own words; every other is a chat. Options: `organization` and `project`, which bill the request; `auth_header`,
`headers`, `query`, `voice`, `transcripts` and the like as of openai_compatible; `realtime: false` where live streams are to be
uploaded turn by turn, instead of going over the realtime socket; `listener`, the model that writes down what the caller of a
speech-to-speech session says (Azure: the name of its deployment).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from gateway.contract.bypass import Bypass
from gateway.contract.events import Events
from gateway.contract.provider import Settings
from gateway.contract.requests import (
    ChatRequest,
    ConverseRequest,
    EmbedRequest,
    Input,
    Request,
    SpeakRequest,
    TranscribeRequest,
)
from providers import _openai_audio, _openai_chat, _openai_embeddings, _openai_responses, _options
from providers._openai_body import Quirks
from providers._openai_converse_body import GA, Shape
from providers._openai_languages import NAMED
from providers._openai_upstream import Upstream

BASE_URL = "https://api.openai.com/v1"

LANGUAGES = NAMED
"""Of its ears and of its voices: OpenAI names the same for both."""

_REASONS = re.compile(r"(o[1-9]|gpt-[5-9])(?![0-9])")
"""Models that reason refuse `max_tokens`, which older ones know beside `max_completion_tokens`."""
_AS_ASKED, _RENAMED = Quirks(), Quirks(limit="max_completion_tokens")


class Provider:
    """Serves llm, embed, stt, tts and s2s. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        options = _options.read(
            settings,
            organization=None,
            project=None,
            auth_header="authorization",
            headers={},
            query={},
            realtime=True,
            listener=GA.hears,
            **_openai_audio.OPTIONS,
        )
        named = {"openai-organization": options["organization"], "openai-project": options["project"]}
        headers = {name: value for name, value in named.items() if value is not None} | options["headers"]
        self._needs_key = settings.base_url is None and settings.key is None
        base_url = settings.base_url or BASE_URL
        self._upstream = Upstream(settings, base_url, options["auth_header"], headers, options["query"])
        self._speech = _openai_audio.Speech(self._upstream, options)
        self._shape = Shape(options["listener"])

    def asleep(self, model: str) -> str | None:
        return "its row has no key" if self._needs_key else None

    def cannot(self, model: str, request: Request) -> str | None:
        """Of other dialects than its own it says what a chat has words for."""
        if isinstance(request, TranscribeRequest | SpeakRequest):
            return self._speech.cannot(model, request, LANGUAGES)
        if isinstance(request, ConverseRequest):
            return None
        native = isinstance(request, ChatRequest) and request.dialect == "responses" and request.body is not None
        return None if native else _openai_chat.cannot(request)

    async def aclose(self) -> None:
        await self._upstream.aclose()

    def chat(self, model: str, request: ChatRequest) -> Events:
        return self.chat_with_bypass(model, request, None)

    def chat_with_bypass(self, model: str, request: ChatRequest, bypass: Bypass | None) -> Events:
        if request.dialect == "responses" and request.body is not None:
            return _openai_responses.ask(self._upstream, model, request)
        own = request.dialect == "chat" and request.body is not None
        quirks = _AS_ASKED if own and not _REASONS.match(model) else _RENAMED
        return _openai_chat.ask(self._upstream, model, request, quirks, bypass)

    def embed(self, model: str, request: EmbedRequest) -> Events:
        return _openai_embeddings.ask(self._upstream, model, request)

    def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        return self._speech.transcribe(model, request, inputs)

    def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        return self._speech.speak(model, request, inputs)

    def converse(self, model: str, request: ConverseRequest, inputs: AsyncIterator[Input]) -> Events:
        from providers._openai_conversing import converse  # text alone does without what it needs

        return converse(self._upstream, model, request, inputs, self._shape)
