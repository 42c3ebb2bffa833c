"""Anthropic's Messages API.

    anthropic: {key: $ANTHROPIC_API_KEY}

`base_url` (default https://api.anthropic.com): what `/v1/messages` is added to, `/messages` if it ends in /v1. Options:
`max_tokens` (default 8192) of an answer where the caller does not say; `thinking`: how the row's models are asked to think,
`adaptive` (the default, from Claude 4.6 on) or `budget` (those before); `sampling` (default false): they take temperature, top_p
and top_k, as those before did; `betas`: a list of names for `anthropic-beta`; `version` (2023-06-01), where the caller names none.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from gateway.contract.client import Answer, Client, read_up_to
from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import Events, ProviderEvent
from gateway.contract.http1 import Http1Client
from gateway.contract.provider import Secret, Settings
from gateway.contract.requests import ChatRequest, Request
from gateway.contract.sse import EVENT_LIMIT
from providers import _anthropic_errors as errors
from providers import _options
from providers._anthropic_body import Defaults, cannot, encode, encode_count
from providers._anthropic_events import MessageEvents, counted, whole
from providers._streamed import Streamed, beginning

BASE_URL = "https://api.anthropic.com"
ANSWER_LIMIT = 64 << 20
ERROR_LIMIT = 64 << 10
"""Bytes of an answer that is not streamed, and of an error's body."""

ERROR_SECONDS = 5.0
"""An error's body that takes longer is not waited for: its status says enough."""


class Provider:
    """Serves llm. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        self._name, self._key = settings.name, settings.key
        self._url = _url(settings.base_url or BASE_URL)
        options = _options.read(
            settings, max_tokens=8192, thinking="adaptive", sampling=False, betas=[], version="2023-06-01"
        )
        thinking = _options.one_of(options, "thinking", ("adaptive", "budget"))
        self._defaults = Defaults(options["max_tokens"], thinking, options["sampling"])
        self._betas: list[str] = options["betas"]
        self._headers = {"content-type": "application/json", "anthropic-version": options["version"]}
        if self._key is not None:
            self._headers["x-api-key"] = _sendable(self._key)
        self._keyless = self._key is None and settings.base_url is None
        self._client: Client = Http1Client(self._name)

    def asleep(self, model: str) -> str | None:
        return "its row has no key" if self._keyless else None

    def cannot(self, model: str, request: Request) -> str | None:
        return cannot(request, self._defaults) if isinstance(request, ChatRequest) else None

    async def aclose(self) -> None:
        await self._client.aclose()

    async def chat(self, model: str, request: ChatRequest) -> Events:
        body = encode(model, request, self._defaults)
        native = request.dialect == "messages" and request.body is not None
        async with self._client.post(self._url, self._fields(request, native), body) as answer:
            if answer.status != 200:
                raise await self._error(answer)
            begun = await beginning(answer) if request.stream else b""
            if not request.stream or begun.lstrip()[:1] == b"{":
                for event in await self._whole(answer, begun, native and not request.stream):
                    yield event
                return
            events_of = MessageEvents(self._name, self._failed, native)
            reading = Streamed(answer, begun, self._name, events_of, EVENT_LIMIT)
            while (events := await reading.more()) is not None:
                for event in events:
                    yield event

    async def count(self, model: str, request: ChatRequest) -> int:
        native = request.dialect == "messages" and request.body is not None
        headers = {**self._fields(request, native), "accept": "application/json"}
        body = encode_count(model, request, self._defaults)
        async with self._client.post(f"{self._url}/count_tokens", headers, body) as answer:
            if answer.status != 200:
                raise await self._error(answer)
            return counted(await read_up_to(answer, ERROR_LIMIT), self._name)

    def _fields(self, request: ChatRequest, native: bool) -> dict[str, str]:
        told = [*self._betas, request.headers.get("anthropic-beta", "") if native else ""]
        betas = {"anthropic-beta": ",".join(filter(None, told))} if any(told) else {}
        version = {name: told for name, told in request.headers.items() if native and name == "anthropic-version"}
        accept = "text/event-stream" if request.stream else "application/json"
        return {**self._headers, **version, **betas, "accept": accept}

    async def _whole(self, answer: Answer, begun: bytes, forward: bool) -> list[ProviderEvent]:
        body = begun + await read_up_to(answer, ANSWER_LIMIT + 1)
        if len(body) > ANSWER_LIMIT:
            raise Unavailable(f"an answer of more than {ANSWER_LIMIT >> 20} MB", self._name)
        return whole(body, self._name, self._failed, forward)

    async def _error(self, answer: Answer) -> ProviderError:
        body = b""
        try:
            async with asyncio.timeout(ERROR_SECONDS):
                body = await read_up_to(answer, ERROR_LIMIT)
        except (TimeoutError, Unavailable):
            pass
        return errors.of_response(self._name, self._key, answer.status, answer.headers, body)

    def _failed(self, event: object) -> ProviderError:
        return errors.of_event(self._name, self._key, event)


def _url(base: str) -> str:
    """Raises ValueError."""
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("base_url must be an http:// or https:// address")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("base_url must hold neither a user, a password, a query nor a fragment")
    path = parts.path.rstrip("/")
    return parts._replace(path=path + ("/messages" if path.endswith("/v1") else "/v1/messages")).geturl()


def _sendable(key: Secret) -> str:
    """The key, if a header can carry it. Raises ValueError, without its words."""
    revealed = key.reveal()
    if not revealed or not revealed.isascii() or not revealed.isprintable() or " " in revealed:
        raise ValueError("its key is empty or holds spaces or other characters that no header can carry")
    return revealed
