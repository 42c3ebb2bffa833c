"""Inworld's text to speech over its bidirectional WebSocket: the dialect of a session (providers/_clauses.py).

Errors are gRPC's codes, in `result.status` of a context or as `error` of the connection, also for a wrong key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Unauthorized, Unavailable
from gateway.contract.websocket import Frame
from providers._clauses import Piece
from providers._messages import read

LONGEST = 2_000
"""Characters of one text."""
_UNAUTHENTICATED, _DENIED, _EXHAUSTED = 16, 7, 8


class Speech:
    """Implements _clauses.Dialect. `create`: what a context is made with."""

    keep_alive: float | None = None
    at_a_time = 2

    def __init__(self, provider: str, create: Mapping[str, object]) -> None:
        self._provider, self._create = provider, create

    def say(self, context: str, text: str) -> Iterator[Frame]:
        yield _frame({"create": self._create, "contextId": context})
        for at in range(0, len(text), LONGEST):
            yield _frame({"send_text": {"text": text[at : at + LONGEST]}, "contextId": context})
        yield _frame({"flush_context": {}, "contextId": context})
        yield _frame({"close_context": {}, "contextId": context})

    def cancel(self, context: str) -> Iterable[Frame]:
        """It was closed when it was sent, and speaks on: what comes of it is dropped."""
        return ()

    def alive(self, context: str | None) -> Iterable[Frame]:
        return ()

    def read(self, frame: Frame) -> Iterator[Piece]:
        message = read(self._provider, frame)
        result = message.get("result") or {}
        for said in (message.get("error"), result.get("status")):
            if isinstance(said, dict) and said.get("code"):
                raise self._fault(said)
        context = result.get("contextId")
        if isinstance(chunk := result.get("audioChunk"), dict):
            words = tuple(_words(chunk.get("timestampInfo")))
            yield Piece(context, chunk.get("audioContent"), words)
        elif "contextClosed" in result:
            yield Piece(context, over=True)

    def lost(self, code: int | None, reason: str) -> ProviderError:
        return Unavailable("its socket was closed before everything was spoken", self._provider, code)

    def _fault(self, said: Mapping[str, Any]) -> ProviderError:
        """A resource that is exhausted is the rate, or the quota where the words speak of that."""
        code, words = said.get("code"), str(said.get("message") or "").lower()
        told = f"an error ({code})"
        match code:
            case 401 | 403:
                return Unauthorized(told, self._provider, code)
            case _ if code in (_UNAUTHENTICATED, _DENIED):
                return Unauthorized(told, self._provider, code)
            case _ if code in (_EXHAUSTED, 429) and any(each in words for each in ("quota", "credit", "billing")):
                return OutOfQuota(told, self._provider, code)
            case _ if code in (_EXHAUSTED, 429):
                return RateLimited(told, self._provider, code)
        return Unavailable(told, self._provider, code if isinstance(code, int) else None)


def _words(told: Any) -> Iterator[tuple[str, float, float]]:
    words = told.get("wordAlignment") if isinstance(told, dict) else None
    if isinstance(words, dict):
        names = ("words", "wordStartTimeSeconds", "wordEndTimeSeconds")
        for word, start, end in zip(*(words.get(name) or () for name in names)):
            yield str(word).strip(), float(start), float(end)


def _frame(message: Mapping[str, object]) -> str:
    return orjson.dumps(message).decode()
