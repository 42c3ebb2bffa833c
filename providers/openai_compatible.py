"""Any upstream that speaks OpenAI's protocols of chats, embeddings, transcription, speech or realtime: a row, not a file.

    groq: {module: openai_compatible, base_url: "https://api.groq.com/openai/v1", key: $GROQ_API_KEY}

`base_url`: what `/chat/completions` is added to, before its query if it has one; `{model}` in it is where the model's name
goes. Options, for what upstreams do in ways of their own (docs/providers.md has a row for each):

* `include_usage` (default true): ask for the usage of streams; false for upstreams that refuse to be asked (they tell it anyway).
* `max_tokens_field`: what this upstream calls the limit of an answer, `max_tokens` or `max_completion_tokens`.
* `drop`: fields of a request that this upstream refuses, and that are left out.
* `auth_header`: the header for the key alone, where it is not `Authorization: Bearer`.
* `headers`, `query`: more of either, for every request.
* `voice`: the voice where nobody names one; `speech_format`: `pcm` (of 24 kHz), or `wav` for who makes nothing else;
  `longest_text`: characters of one request for speech.
* `transcripts`: how a file's transcript is asked for, `json`, `stream`, `verbose_json` or `diarized_json`; by default as the
  model's name says (`whisper`: `verbose_json`). `realtime`: live streams go over `/realtime`.
* `session`: how its speech-to-speech sessions over `/realtime` are, `openai` or `xai`; `listener`: the model that writes down what
  the caller says in them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

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
from providers import _openai_audio, _openai_chat, _openai_embeddings, _options
from providers._openai_body import LIMITS, Quirks
from providers._openai_converse_body import GA, XAI
from providers._openai_languages import WHISPER
from providers._openai_upstream import Upstream

LANGUAGES = {"whisper": frozenset(WHISPER.values())}
"""Of models that have this in their names. What others speak, their routes may say."""


class Provider:
    """Serves llm, embed, stt, tts and s2s. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        options = _options.read(
            settings,
            include_usage=True,
            max_tokens_field=None,
            drop=[],
            auth_header="authorization",
            headers={},
            query={},
            realtime=False,
            session="openai",
            listener=None,
            **_openai_audio.OPTIONS,
        )
        limit = _options.one_of(options, "max_tokens_field", LIMITS)
        self._quirks = Quirks(options["include_usage"], limit, frozenset(options["drop"]))
        told = (options["auth_header"], options["headers"], options["query"])
        self._upstream = Upstream(settings, settings.base_url, *told)
        self._speech = _openai_audio.Speech(self._upstream, options)
        shape = XAI if _options.one_of(options, "session", ("openai", "xai")) == "xai" else GA
        self._shape = replace(shape, hears=options["listener"] or shape.hears)

    def asleep(self, model: str) -> str | None:
        return None if self._upstream.known else "its row has no base_url"

    def cannot(self, model: str, request: Request) -> str | None:
        """Of other dialects than its own it says what a chat has words for."""
        if isinstance(request, TranscribeRequest | SpeakRequest):
            spoken = next((known for name, known in LANGUAGES.items() if name in model), None)
            return self._speech.cannot(model, request, spoken)
        if isinstance(request, ConverseRequest):
            return None if request.speaks or not self._shape.flat else "its sessions answer by voice"
        return _openai_chat.cannot(request)

    async def aclose(self) -> None:
        await self._upstream.aclose()

    def chat(self, model: str, request: ChatRequest) -> Events:
        return _openai_chat.ask(self._upstream, model, request, self._quirks)

    def chat_with_bypass(self, model: str, request: ChatRequest, bypass: Bypass) -> Events:
        return _openai_chat.ask(self._upstream, model, request, self._quirks, bypass)

    def embed(self, model: str, request: EmbedRequest) -> Events:
        return _openai_embeddings.ask(self._upstream, model, request)

    def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        return self._speech.transcribe(model, request, inputs)

    def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        return self._speech.speak(model, request, inputs)

    def converse(self, model: str, request: ConverseRequest, inputs: AsyncIterator[Input]) -> Events:
        from providers._openai_conversing import converse  # text alone does without what it needs

        return converse(self._upstream, model, request, inputs, self._shape)
