"""An upstream of OpenAI's shape over HTTP: where it is, what it is told of us, and its answers from bytes to events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urlencode, urlsplit

from gateway.contract.bypass import Bypass
from gateway.contract.client import Answer, Client, drain, read_up_to
from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import Events, ProviderEvent
from gateway.contract.http1 import Http1Client
from gateway.contract.provider import Secret, Settings
from gateway.contract.sse import EventTooLarge, ServerEvents
from providers import _openai_errors as errors
from providers._streamed import beginning

if TYPE_CHECKING:
    from gateway.contract.websocket import Socket

ANSWER_LIMIT = 64 << 20
ERROR_LIMIT = 64 << 10
"""Bytes of an answer that is not streamed, and of an error's body."""

ERROR_SECONDS = 5.0
"""An error's body that takes longer is not waited for: its status says enough."""

GRACE = 2.0
"""Seconds for usage and [DONE] after the last finish_reason; without them the answer is complete all the same."""

_STREAM, _JSON = "text/event-stream", "application/json"
MODEL = "{model}"
"""In a base_url: where the model's name goes, for upstreams that have it there (Azure's deployments)."""


class Reader(Protocol):
    """Reads the data of one stream's events. `done`: nothing more will mean anything; `finished`: the answer is complete, and
    usage may follow."""

    done: bool

    @property
    def finished(self) -> bool: ...

    def take(self, pieces: Iterable[bytes], events: list[ProviderEvent]) -> None:
        """Add what these say; nothing after it is done."""

    def end(self) -> list[ProviderEvent]: ...


class Upstream:
    """`base_url`: what paths are added to, before its query if it has one; `auth`: the header that carries the key, as
    `Bearer` where it is `authorization`. Raises ValueError for what can never work."""

    def __init__(
        self,
        settings: Settings,
        base_url: str | None,
        auth: str = "authorization",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self._key = settings.name, settings.key
        self.known = base_url is not None
        self._base, self._query = _parts(base_url, query or {}) if base_url is not None else ("", "")
        self._headers = {"content-type": "application/json", **_fields(headers or {})}
        auth = _name(auth)
        if self._key is not None:
            key = _sendable(self._key)
            self._headers[auth] = f"Bearer {key}" if auth == "authorization" else key
        self._asking = {kind: {**self._headers, "accept": kind} for kind in (_STREAM, _JSON)}
        self._client: Client = Http1Client(self.name)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def ask(
        self,
        path: str,
        model: str,
        body: Callable[[], bytes],
        whole: Callable[[bytes], list[ProviderEvent]],
        reader: Callable[[], Reader] | None = None,
        kind: str | None = None,
        bypass: Bypass | None = None,
    ) -> Events:
        """The events of the answer. `body`: writes the request; `whole`: reads an answer in one piece; `reader`: for one that
        is streamed, if that is asked for; `kind`: the content type of the request, where it is no JSON;
        `bypass`: for text that needs no reading."""
        written, headers = body(), self._asking[_STREAM if reader else _JSON]
        if kind is not None:
            headers = {**headers, "content-type": kind}
        async with self._client.post(self._url(path, model), headers, written) as answer:
            if answer.status != 200:
                raise await self.refusal(answer)
            begun = await beginning(answer) if reader else b""
            # By the body, not by its content-type: OpenAI itself has called a stream application/json.
            if not reader or begun.lstrip()[:1] == b"{":
                for event in whole(await self._whole(answer, begun)):
                    yield event
                return
            reading = _Reading(answer, begun, self.name, reader())
            if bypass is not None:
                reading.divert(bypass)
            while (events := await reading.more()) is not None:
                for event in events:
                    yield event

    def post(self, path: str, model: str, body: bytes) -> AbstractAsyncContextManager[Answer]:
        """The bare answer to a body of JSON, whatever its status."""
        return self._client.post(self._url(path, model), self._headers, body)

    async def socket(self, path: str, model: str) -> Socket:
        """A WebSocket at the same place. Raises ProviderError."""
        address = self._url(path, model).replace("http", "ws", 1)
        headers = {name: value for name, value in self._headers.items() if name != "content-type"}
        from gateway.contract.websocket import open_socket  # text alone does without its library

        return await open_socket(self.name, address, headers, judge=self._judged)

    def failed(self, error: object) -> ProviderError:
        """What an `error` object in an answer that began as a 200 means."""
        return errors.of_object(self.name, self._key, error)

    def _url(self, path: str, model: str) -> str:
        """Raises Unavailable."""
        if not self.known:
            raise Unavailable("no base_url", self.name)
        base = self._base.replace(MODEL, quote(model, safe="")) if MODEL in self._base else self._base
        path, _, asked = path.partition("?")
        return f"{base}{path}{self._query}{('&' if self._query else '?') if asked else ''}{asked}"

    def _judged(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return errors.of_response(self.name, self._key, status, headers, body)

    async def _whole(self, answer: Answer, begun: bytes) -> bytes:
        body = begun + await anext(answer, b"")
        if not answer.complete or len(body) > ANSWER_LIMIT:
            body += await read_up_to(answer, max(0, ANSWER_LIMIT + 1 - len(body)))
        if len(body) > ANSWER_LIMIT:
            raise Unavailable(f"an answer of more than {ANSWER_LIMIT >> 20} MB", self.name)
        return body

    async def refusal(self, answer: Answer) -> ProviderError:
        """What an answer that is no 200 means."""
        body = b""
        try:
            async with asyncio.timeout(ERROR_SECONDS):
                body = await read_up_to(answer, ERROR_LIMIT)
        except (TimeoutError, Unavailable):
            pass
        return errors.of_response(self.name, self._key, answer.status, answer.headers, body)


class _Reading:
    """A streamed answer, from bytes to events. `begun`: those of its bytes that were read already."""

    def __init__(self, answer: Answer, begun: bytes, provider: str, chunks: Reader) -> None:
        self._answer, self._begun, self._provider = answer, begun, provider
        self._lines, self._chunks = ServerEvents(), chunks
        # Of a reader that can tell what most reads say without taking them apart.
        self._take_plain: Callable[[bytes, list[ProviderEvent]], bool] | None = getattr(chunks, "take_plain", None)
        self._until: float | None = None
        self._read_all = self._ended = False
        self._error: ProviderError | None = None

    def divert(self, bypass: Bypass) -> None:
        """From now on, text that is nothing but that goes there while it is open."""
        lines, take_plain = self._lines, self._take_plain
        if take_plain is None:
            return

        def past(data: bytes) -> bool:
            take = bypass.take
            texts: list[ProviderEvent] = []
            if take is None or not lines.idle or not take_plain(data, texts):
                return False
            for text in texts:
                take(text)  # type: ignore[arg-type]  # it is nothing else
            return True

        self._answer.divert(past)

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
            if self._begun or self._chunks.finished:
                data = await self._bytes()
            else:
                data = await self._next()
            self._read_all = not self._read(data, events)
        except ProviderError as error:
            self._error = error
        return events

    def _read(self, data: bytes, events: list[ProviderEvent]) -> bool:
        """Add what one read brought; False if it was the last."""
        try:
            if self._take_plain is not None and self._lines.idle and self._take_plain(data, events):
                return True
            pieces = self._lines.plain(data)
            if pieces is None:
                pieces = [event.data for event in (self._lines.feed(data) if data else self._lines.end())]
            self._chunks.take(pieces, events)
        except EventTooLarge as error:
            raise Unavailable(str(error), self._provider) from None
        return bool(data) and not self._chunks.done

    async def _bytes(self) -> bytes:
        """What was read already; what comes within the grace after a complete answer, empty where nothing does."""
        if self._begun:
            begun, self._begun = self._begun, b""
            return begun
        if self._until is None:
            self._until = asyncio.get_running_loop().time() + GRACE
        try:
            async with asyncio.timeout_at(self._until):
                return await self._next()
        except (TimeoutError, Unavailable):
            return b""

    async def _next(self) -> bytes:
        """What comes next; empty at the end."""
        try:
            return await self._answer.__anext__()
        except StopAsyncIteration:
            return b""


def _parts(base: str, query: Mapping[str, str]) -> tuple[str, str]:
    """An address up to its path, and its query with `query` added. Raises ValueError."""
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("base_url must be an http:// or https:// address")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("base_url must hold neither a user, a password nor a fragment")
    asked = "&".join(filter(None, (parts.query, urlencode(query))))
    return parts._replace(path=parts.path.rstrip("/"), query="").geturl(), f"?{asked}" if asked else ""


def _sendable(key: Secret) -> str:
    """The key, if a header can carry it. Raises ValueError, without its words."""
    revealed = key.reveal()
    if not revealed or not revealed.isascii() or not revealed.isprintable() or " " in revealed:
        raise ValueError("its key is empty or holds spaces or other characters that no header can carry")
    return revealed


def _fields(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"header {name!r} has a value that no header can carry")
    return {_name(name): value for name, value in headers.items()}


def _name(header: str) -> str:
    if not header.replace("-", "").isalnum() or not header.isascii():
        raise ValueError(f"{header!r} is no header's name")
    return header.lower()
