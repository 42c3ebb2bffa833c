"""Rime's text to speech over its JSON WebSocket (ws3): the dialect of a session (providers/_clauses.py).

A flush belongs to the connection and not to a context: one clause at a time, so that nobody takes its `done` for another's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.websocket import Frame
from providers._clauses import Piece
from providers._messages import read


class Speech:
    """Implements _clauses.Dialect."""

    keep_alive: float | None = None
    at_a_time = 1

    def __init__(self, provider: str) -> None:
        self._provider = provider

    def say(self, context: str, text: str) -> Iterator[Frame]:
        yield _frame({"text": text, "contextId": context})
        yield _frame({"operation": "flush"})

    def cancel(self, context: str) -> Iterator[Frame]:
        yield _frame({"operation": "clear"})

    def alive(self, context: str | None) -> Iterable[Frame]:
        return ()

    def read(self, frame: Frame) -> Iterator[Piece]:
        message = read(self._provider, frame)
        context = message.get("contextId")
        match message.get("type"):
            case "chunk":
                yield Piece(context, message.get("data"))
            case "timestamps":
                yield Piece(context, words=tuple(_words(message.get("word_timestamps"))), since="word")
            case "done":
                yield Piece(context, over=True)
            case "error":  # words without a code; whose fault it is they do not say
                raise Unavailable("an error", self._provider)

    def lost(self, code: int | None, reason: str) -> ProviderError:
        return Unavailable("its socket was closed before everything was spoken", self._provider, code)


def _words(told: Any) -> Iterator[tuple[str, float, float]]:
    """Marks come alone: each goes with the word before it."""
    told = told if isinstance(told, dict) else {}
    held: tuple[str, float, float] | None = None
    for word, start, end in zip(told.get("words") or (), told.get("start") or (), told.get("end") or ()):
        if held is not None and not any(map(str.isalnum, word)):
            held = (held[0] + word.strip(), held[1], max(held[2], end))
            continue
        if held is not None:
            yield held
        held = (word.strip(), start, end)
    if held is not None:
        yield held


def _frame(message: Mapping[str, object]) -> str:
    return orjson.dumps(message).decode()
