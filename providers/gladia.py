"""Gladia: live speech to text (v2). Model: `solaria-1`.

    gladia: {key: $GLADIA_API_KEY, options: {region: eu-west}}

`base_url`: scheme and host, with what comes before `/v2/live`. Options: `region` (eu-west, us-west); `endpointing`: milliseconds of
silence after which an utterance is final, and a turn over where Gladia ends them.

A session is begun by a POST, whose answer has the address of its socket. Gladia has no verb that ends a turn, so every turn of a
caller's is a session, begun with the first sound of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import orjson

from gateway.contract.client import read_up_to
from gateway.contract.duplex import session
from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Unavailable
from gateway.contract.events import Events, Finished, Ready, Transcript, Usage
from gateway.contract.http1 import Http1Client
from gateway.contract.provider import Settings
from gateway.contract.requests import Clear, Commit, Input, Request, TranscribeRequest
from gateway.contract.websocket import Socket, of_status, open_socket
from providers import _options
from providers._addresses import request_url, sendable
from providers._gladia_stt import Hearing, Turns, goes_on
from providers._languages import WHISPER, lacking, plain
from providers._messages import read
from providers._openai_errors import retry_after

BASE_URL = "https://api.gladia.io"
RATES = (8_000, 16_000, 32_000, 44_100, 48_000)
"""Samples per second that it takes."""
LANGUAGES = WHISPER
"""Its client, 2.2.1: Whisper's."""
LONGEST = 60
"""Seconds after which an utterance is final without any silence: the most that there is."""
TRIES = 3
"""Times that a session goes on, on another socket."""
_ANSWER = 64 << 10
_MONEY = ("quota", "credit", "billing", "payment")


class Provider:
    """Serves stt. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        options = _options.read(settings, region=None, endpointing=300)
        region = _options.one_of(options, "region", ("eu-west", "us-west"))
        self._name = settings.name
        self._known = settings.key is not None or settings.base_url is not None
        self._endpointing = options["endpointing"] / 1000
        self._url = request_url(settings.base_url or BASE_URL, "/v2/live") + (f"?region={region}" if region else "")
        self._headers = {"content-type": "application/json"}
        if settings.key is not None:
            self._headers["x-gladia-key"] = sendable(settings.key)
        self._client = Http1Client(settings.name)

    def asleep(self, model: str) -> str | None:
        return None if self._known else "its row has no key"

    def cannot(self, model: str, request: Request) -> str | None:
        match request:
            case TranscribeRequest(translate=True):
                return "it does not translate"
            case TranscribeRequest(diarize=True):
                return "it does not tell who speaks"
            case TranscribeRequest(rate=rate) if rate not in RATES:
                return f"it takes sound at {', '.join(map(str, RATES))} samples per second"
            case TranscribeRequest(language=str(language)) if plain(language) not in LANGUAGES:
                return lacking(language, LANGUAGES)
        return None

    async def aclose(self) -> None:
        await self._client.aclose()

    async def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        config = self._config(model, request)
        turns, seconds = Turns(inputs), 0.0
        live: _Live | None = await self._begin(config)
        try:
            yield Ready()
            while (item := await turns.peek()) is not None:
                if isinstance(item, Commit | Clear):
                    turns.take()  # of nothing
                    if isinstance(item, Commit):
                        yield Transcript("", final=True, ends_turn=True)
                    continue
                if live is None or live.socket.closed:
                    live = await self._begin(config)
                hearing = Hearing(self._name, request, seconds)
                async with aclosing(self._turn(live, hearing, turns.begin())) as events:
                    async for event in events:
                        yield event
                await live.socket.aclose()
                live, seconds = None, seconds + hearing.seconds
                if isinstance(turns.cut, Commit):
                    yield replace(hearing.last or Transcript("", final=True), ends_turn=True)
                elif hearing.last is not None:
                    yield hearing.last
        finally:
            if live is not None:
                await live.socket.aclose()
        yield Usage(seconds=seconds)
        yield Finished()

    async def _turn(self, live: _Live, hearing: Hearing, turn: Turns) -> Events:
        """One session, on as many sockets as it takes."""
        for tries in range(TRIES + 1):
            try:
                async with aclosing(session(live.socket, hearing, turn)) as events:
                    async for event in events:
                        yield event
                return
            except Unavailable as error:
                if tries == TRIES or not hearing.resumable or not goes_on(error):
                    raise
            await live.socket.aclose()
            live.socket = await self._open(live.url)

    async def _begin(self, config: bytes) -> _Live:
        async with self._client.post(self._url, self._headers, config) as answer:
            body = await read_up_to(answer, _ANSWER)
            if answer.status not in (200, 201):
                raise self._refusal(answer.status, answer.headers, body)
        url = read(self._name, body).get("url")
        secure = self._url.startswith("https:")
        if not isinstance(url, str) or urlsplit(url).scheme not in (("wss",) if secure else ("ws", "wss")):
            raise Unavailable("its session has no address", self._name)
        return _Live(url, await self._open(url))

    async def _open(self, url: str) -> Socket:
        return await open_socket(self._name, url, judge=self._refusal)

    def _config(self, model: str, request: TranscribeRequest) -> bytes:
        languages = [plain(request.language)] if request.language else []
        told = ("final_transcripts", "speech_events", "acknowledgments", "lifecycle_events", "post_processing_events")
        config: dict[str, Any] = {
            "encoding": "wav/pcm",
            "bit_depth": 16,
            "sample_rate": request.rate,
            "channels": 1,
            "model": model,
            "endpointing": self._endpointing,
            "maximum_duration_without_endpointing": LONGEST,
            "language_config": {"languages": languages, "code_switching": not languages},
            "messages_config": {
                "receive_partial_transcripts": request.partials,
                **{f"receive_{each}": True for each in told},
            },
        }
        if request.keywords:
            vocabulary = {"vocabulary": list(request.keywords)}
            config["realtime_processing"] = {"custom_vocabulary": True, "custom_vocabulary_config": vocabulary}
        return orjson.dumps(config)

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """What is in a configuration or an address is not the caller's fault. Free accounts have one session at a time (429)."""
        if status in (403, 429) and any(each in body.decode("utf-8", "replace").lower() for each in _MONEY):
            return OutOfQuota(str(status), self._name, status)
        if status in (400, 404, 422):
            return Unavailable(str(status), self._name, status)
        error = of_status(self._name, status)
        if isinstance(error, RateLimited):
            error.retry_after = retry_after(headers)
        return error


class _Live:
    """A session that was begun: the address of its sockets, which holds its token, and the one that is open."""

    def __init__(self, url: str, socket: Socket) -> None:
        self.url, self.socket = url, socket
