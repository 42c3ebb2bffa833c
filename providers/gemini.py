"""Gemini, by its own protocol: generateContent, batchEmbedContents, countTokens and, for speech to speech, Live (and proxies of it).

    gemini: {key: $GEMINI_API_KEY}              # targets: gemini/gemini-2.5-flash

`base_url`: where it should go instead of Google's address; a version at its end (`/v1beta`) stands instead of the option.
Options: `version` (v1beta); `safety_settings` (a list of {category, threshold}); `generation`: further fields of every
request's generationConfig (mediaResolution, ...), which the request's own go before; `body`: further fields of every request
(cachedContent, serviceTier, labels, tools such as [{googleSearch: {}}], ...).
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from gateway.contract.client import Answer, Client, read_up_to
from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import Embedded, Events, Finished
from gateway.contract.http1 import Http1Client
from gateway.contract.messages import File, Image
from gateway.contract.provider import Secret, Settings
from gateway.contract.requests import ChatRequest, ConverseRequest, EmbedRequest, Input, Request
from providers import _gemini_errors as errors
from providers._gemini_body import encode
from providers._gemini_chunks import GeminiChunks, counted, vectors
from providers._gemini_models import generation, seals_calls, thinks
from providers._options import read
from providers._streamed import Streamed, beginning

GOOGLE = "https://generativelanguage.googleapis.com"
ANSWER_LIMIT = 64 << 20
ERROR_LIMIT = 64 << 10
EVENT_LIMIT = 8 << 20
"""Bytes of an answer that is not streamed, of an error's body, and of one event: a call comes whole, and pictures do."""

ERROR_SECONDS = 5.0
"""An error's body that takes longer is not waited for: its status says enough."""

_DEEP = ("safety_settings", "generation", "body")
MOST_STOPS = 5
_VERSIONED = re.compile(r"/v\d+((alpha|beta)\d*)?")


class Provider:
    """Serves llm, embed and s2s. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        self._name, self._key = settings.name, settings.key
        options = read(settings, _DEEP, version="v1beta", safety_settings=[], generation={}, body={})
        safety = {"safetySettings": options["safety_settings"]} if options["safety_settings"] else {}
        self._more, self._generation = {**safety, **options["body"]}, options["generation"]
        self._base = _base(settings.base_url or GOOGLE, options["version"])
        self._keyless = settings.base_url is not None
        self._headers = {"content-type": "application/json"}
        if self._key is not None:
            self._headers["x-goog-api-key"] = _sendable(self._key)
        self._client: Client = Http1Client(self._name)

    def asleep(self, model: str) -> str | None:
        return None if self._key is not None or self._keyless else "its row has no key"

    def cannot(self, model: str, request: Request) -> str | None:
        if isinstance(request, EmbedRequest):
            texts = all(isinstance(each, str) for each in request.inputs)
            return None if texts else "it embeds texts, not tokens"
        if isinstance(request, ConverseRequest):
            return _cannot_converse(request)
        return _cannot(model, request) if isinstance(request, ChatRequest) else None

    async def aclose(self) -> None:
        await self._client.aclose()

    async def chat(self, model: str, request: ChatRequest) -> Events:
        body = encode(model, request, self._more, self._generation)
        verb = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        one_call = request.parallel_tool_calls is False
        chunks = GeminiChunks(self._name, self, lambda: f"call_{secrets.token_hex(12)}", one_call)
        async with self._asked(model, verb, body, request.stream) as answer:
            begun = await beginning(answer) if request.stream else b""
            if not request.stream or begun.lstrip()[:1] in (b"{", b"["):
                for event in [*chunks.read(begun + await self._whole(answer)), *chunks.end()]:
                    yield event
                return
            reading = Streamed(answer, begun, self._name, chunks, EVENT_LIMIT)
            while (events := await reading.more()) is not None:
                for event in events:
                    yield event

    async def embed(self, model: str, request: EmbedRequest) -> Events:
        each: dict[str, Any] = {"model": _path(model)}
        if request.dimensions is not None:
            each["outputDimensionality"] = request.dimensions
        asked = [{**each, "content": {"parts": [{"text": text}]}} for text in request.inputs]
        async with self._asked(model, "batchEmbedContents", orjson.dumps({"requests": asked}), False) as answer:
            found, used = vectors(await self._whole(answer), self._name, self, len(asked))
        yield Embedded(found)
        yield used
        yield Finished()

    async def count(self, model: str, request: ChatRequest) -> int:
        """With the system's words and the tools, which count only inside of a whole request."""
        whole = {"model": _path(model), **orjson.loads(encode(model, request, self._more, self._generation))}
        asked = orjson.dumps({"generateContentRequest": whole})
        async with self._asked(model, "countTokens", asked, False) as answer:
            return counted(await self._whole(answer), self._name)

    def converse(self, model: str, request: ConverseRequest, inputs: AsyncIterator[Input]) -> Events:
        from providers._gemini_living import Place, converse  # text alone does without what it needs

        host, _, version = self._base.rpartition("/")
        url = f"{host}/ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateContent"
        headers = {name: value for name, value in self._headers.items() if name != "content-type"}
        place = Place(self._name, url.replace("http", "ws", 1), headers, self._judged, self.failed)
        return converse(place, model, request, inputs, self._generation)

    def _judged(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return errors.of_response(self._name, self._key, status, headers, body)

    @asynccontextmanager
    async def _asked(self, model: str, verb: str, body: bytes, stream: bool) -> AsyncIterator[Answer]:
        """An answer that is a 200."""
        headers = {**self._headers, "accept": "text/event-stream" if stream else "application/json"}
        async with self._client.post(f"{self._base}/{_path(model)}:{verb}", headers, body) as answer:
            if answer.status != 200:
                raise await self._error(answer)
            yield answer

    async def _whole(self, answer: Answer) -> bytes:
        body = await read_up_to(answer, ANSWER_LIMIT + 1)
        if len(body) > ANSWER_LIMIT:
            raise Unavailable(f"an answer of more than {ANSWER_LIMIT >> 20} MB", self._name)
        return body

    async def _error(self, answer: Answer) -> ProviderError:
        body = b""
        try:
            async with asyncio.timeout(ERROR_SECONDS):
                body = await read_up_to(answer, ERROR_LIMIT)
        except (TimeoutError, Unavailable):
            pass
        return errors.of_response(self._name, self._key, answer.status, answer.headers, body)

    def failed(self, error: object) -> ProviderError:
        return errors.of_object(self._name, self._key, error)

    def blocked(self, reason: str, message: object = None) -> ProviderError:
        return errors.blocked(self._name, self._key, reason, message)


def _cannot(model: str, request: ChatRequest) -> str | None:
    if request.untyped:
        return f"it cannot be told '{request.untyped[0]}'"
    if request.n > 1:
        return f"it is asked for one answer at a time, not {request.n}"
    if request.logprobs:
        return "it does not tell logprobs"
    if len(request.stop) > MOST_STOPS:
        return f"it stops at no more than {MOST_STOPS} sequences"
    effort = request.thinking.effort if request.thinking else None
    if effort not in (None, "none", "minimal") and not thinks(model):
        return "this model does not reason"
    if request.tools and request.format is not None and not seals_calls(model):
        return "this model either calls tools or answers in a format"
    return _unreachable(model, request)


def _cannot_converse(request: ConverseRequest) -> str | None:
    if request.turns == "server" and not request.answers:
        return "it answers every turn that it hears"
    if request.tool_choice is not None and request.tool_choice.mode not in ("auto", "none"):
        return "it calls tools as it sees fit"
    return None


def _unreachable(model: str, request: ChatRequest) -> str | None:
    """Google fetches what is public on https, for models since generation 2.5."""
    parts = [part for message in request.messages for part in message.parts]
    urls = [part.url for part in parts if isinstance(part, Image | File) and not part.url.startswith("data:")]
    if urls and generation(model) < 2.5:
        return "this model takes pictures and files as data URLs alone"
    return None if all(url.startswith("https:") for url in urls) else "it fetches from https:// addresses alone"


def _path(model: str) -> str:
    return quote(model if "/" in model else f"models/{model}", safe="/-._~@")


def _base(url: str, version: str) -> str:
    """Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("base_url must be an http:// or https:// address")
    if parts.username is not None or parts.password is not None or parts.fragment or parts.query:
        raise ValueError("base_url must hold neither a user, a password, a query nor a fragment")
    if not re.fullmatch(r"[a-z0-9]+", version):
        raise ValueError("option 'version' is to be like v1beta")
    path = parts.path.rstrip("/")
    if not _VERSIONED.fullmatch(path[path.rfind("/") :] if path else ""):
        path += f"/{version}"
    return parts._replace(path=path).geturl()


def _sendable(key: Secret) -> str:
    """The key, if a header can carry it. Raises ValueError, without its words."""
    revealed = key.reveal()
    if not revealed or not revealed.isascii() or not revealed.isprintable() or " " in revealed:
        raise ValueError("its key is empty or holds spaces or other characters that no header can carry")
    return revealed
