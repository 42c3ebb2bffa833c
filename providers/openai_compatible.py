"""Any upstream that speaks OpenAI's chat protocol: a row in routes.yaml, not a file.

    groq: {module: openai_compatible, base_url: "https://api.groq.com/openai/v1", key: $GROQ_API_KEY}

`base_url`: what `/chat/completions` is added to, before its query if it has one. Options: `include_usage` (default true):
ask for the usage of streams; false for upstreams that refuse to be asked (they tell it anyway).
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from gateway.contract.client import Answer, Client, drain, read_up_to
from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import Events, ProviderEvent
from gateway.contract.http1 import Http1Client
from gateway.contract.provider import Secret, Settings
from gateway.contract.requests import ChatRequest, Request
from gateway.contract.sse import EventTooLarge, ServerEvents
from providers import _openai_errors as errors
from providers._openai_body import encode
from providers._openai_chunks import ChatChunks, Failed, whole

ANSWER_LIMIT = 64 << 20
ERROR_LIMIT = 64 << 10
"""Bytes of an answer that is not streamed, and of an error's body."""

BLANK_LIMIT = 64 << 10
"""Bytes of nothing before an answer."""

ERROR_SECONDS = 5.0
"""An error's body that takes longer is not waited for: its status says enough."""

GRACE = 2.0
"""Seconds for usage and [DONE] after the last finish_reason; without them the answer is complete all the same."""


class Provider:
    """Serves llm. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        self._name, self._key = settings.name, settings.key
        self._url = _url(settings.base_url) if settings.base_url else None
        self._headers = {"content-type": "application/json"}
        if self._key is not None:
            self._headers["authorization"] = f"Bearer {_sendable(self._key)}"
        options = dict(settings.options)
        self._include_usage = options.pop("include_usage", True) is True
        if options:
            raise ValueError(f"unknown options: {', '.join(sorted(options))}; there is: include_usage")
        self._client: Client = Http1Client(self._name)

    def asleep(self, model: str) -> str | None:
        return None if self._url else "its row has no base_url"

    def cannot(self, model: str, request: Request) -> str | None:
        """Of another dialect than its own it says only what typed fields say."""
        if isinstance(request, ChatRequest) and request.dialect != "chat" and request.untyped:
            return f"it cannot be told '{request.untyped[0]}'"
        return None

    async def aclose(self) -> None:
        await self._client.aclose()

    async def chat(self, model: str, request: ChatRequest) -> Events:
        body = encode(model, request, self._include_usage)
        if self._url is None:
            raise Unavailable("no base_url", self._name)
        native = request.dialect == "chat"
        accept = "text/event-stream" if request.stream else "application/json"
        async with self._client.post(self._url, {**self._headers, "accept": accept}, body) as answer:
            if answer.status != 200:
                raise await self._error(answer)
            begun = await _beginning(answer) if request.stream else b""
            # By the body, not by its content-type: OpenAI itself has called a stream application/json.
            if not request.stream or begun.lstrip()[:1] == b"{":
                for event in await self._whole(answer, begun, request.stream or not native):
                    yield event
                return
            reading = _Reading(answer, begun, self._name, self._failed, native)
            while (events := await reading.more()) is not None:
                for event in events:
                    yield event

    async def _whole(self, answer: Answer, begun: bytes, typed: bool) -> list[ProviderEvent]:
        body = begun + await read_up_to(answer, ANSWER_LIMIT + 1)
        if len(body) > ANSWER_LIMIT:
            raise Unavailable(f"an answer of more than {ANSWER_LIMIT >> 20} MB", self._name)
        return whole(body, self._name, self._failed, forward=not typed)

    async def _error(self, answer: Answer) -> ProviderError:
        body = b""
        try:
            async with asyncio.timeout(ERROR_SECONDS):
                body = await read_up_to(answer, ERROR_LIMIT)
        except (TimeoutError, Unavailable):
            pass
        return errors.of_response(self._name, self._key, answer.status, answer.headers, body)

    def _failed(self, error: object) -> ProviderError:
        return errors.of_object(self._name, self._key, error)


class _Reading:
    """A streamed answer, from bytes to events. `begun`: those of its bytes that were read already."""

    def __init__(self, answer: Answer, begun: bytes, provider: str, failed: Failed, forward: bool) -> None:
        self._answer, self._begun, self._provider = answer, begun, provider
        self._lines, self._chunks = ServerEvents(), ChatChunks(provider, failed, forward)
        self._until: float | None = None
        self._read_all = self._ended = False
        self._error: ProviderError | None = None

    async def more(self) -> list[ProviderEvent] | None:
        """The next events, maybe none; None after the last. Raises ProviderError, after giving what came before it."""
        if self._error is not None:
            raise self._error
        if self._ended:
            return None
        events: list[ProviderEvent] = []
        try:
            if self._read_all:
                self._ended = True
                if self._chunks.done:
                    await drain(self._answer)
                return self._chunks.end()
            self._read_all = not await self._read(events)
        except ProviderError as error:
            self._error = error
        return events

    async def _read(self, events: list[ProviderEvent]) -> bool:
        """Add what one read brings; False if it was the last."""
        data = await self._bytes()
        try:
            for event in self._lines.feed(data) if data else self._lines.end():
                events += self._chunks.read(event.data)
                if self._chunks.done:
                    return False
        except EventTooLarge as error:
            raise Unavailable(str(error), self._provider) from None
        return bool(data)

    async def _bytes(self) -> bytes:
        """What comes next; empty at the end, and when nothing more needs to come."""
        if self._begun:
            begun, self._begun = self._begun, b""
            return begun
        if self._chunks.finished and self._until is None:
            self._until = asyncio.get_running_loop().time() + GRACE
        try:
            async with asyncio.timeout_at(self._until):
                return await anext(self._answer, b"")
        except (TimeoutError, Unavailable):
            if self._until is None:
                raise
            return b""


async def _beginning(answer: Answer) -> bytes:
    """The body up to the first read that is not blank."""
    begun = b""
    while not begun.strip() and len(begun) < BLANK_LIMIT:
        data = await anext(answer, b"")
        if not data:
            break
        begun += data
    return begun


def _url(base: str) -> str:
    """Raises ValueError."""
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("base_url must be an http:// or https:// address")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("base_url must hold neither a user, a password nor a fragment")
    return parts._replace(path=parts.path.rstrip("/") + "/chat/completions").geturl()


def _sendable(key: Secret) -> str:
    """The key, if a header can carry it. Raises ValueError, without its words."""
    revealed = key.reveal()
    if not revealed or not revealed.isascii() or not revealed.isprintable() or " " in revealed:
        raise ValueError("its key is empty or holds spaces or other characters that no header can carry")
    return revealed
