"""ElevenLabs' text to speech over its multi-context WebSocket: the dialect of a session (providers/_clauses.py).

A flush is not answered, the end of a context is (`isFinal`): so a clause is a context.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from gateway.contract.websocket import Frame
from providers._clauses import Piece
from providers._elevenlabs_errors import Faults


class Speech:
    """Implements _clauses.Dialect. `voice`: settings of the voice."""

    keep_alive: float | None = 10.0
    at_a_time = 2

    def __init__(self, faults: Faults, voice: Mapping[str, object]) -> None:
        self._faults, self._voice = faults, voice

    def say(self, context: str, text: str) -> Iterator[Frame]:
        first: dict[str, object] = {"text": " ", "context_id": context}
        yield _frame({**first, "voice_settings": self._voice} if self._voice else first)
        yield _frame({"text": text.rstrip() + " ", "context_id": context, "flush": True})
        yield _frame({"context_id": context, "close_context": True})

    def cancel(self, context: str) -> Iterable[Frame]:
        """It was closed when it was sent, and speaks on: what comes of it is dropped."""
        return ()

    def alive(self, context: str | None) -> Iterator[Frame]:
        if context is not None:
            yield _frame({"text": "", "context_id": context})

    def read(self, frame: Frame) -> Iterator[Piece]:
        message = self._faults.read(frame)
        if message.get("error"):
            code = message.get("code")
            words = str(message.get("message") or "")
            raise self._faults.error(str(message["error"]), words, code if isinstance(code, int) else None)
        context = message.get("contextId")
        characters = tuple(_characters(message.get("alignment")))
        over = bool(message.get("isFinal") or message.get("is_final"))
        yield Piece(context, message.get("audio"), characters=characters, since="piece", over=over)

    def lost(self, code: int | None, reason: str) -> Exception:
        return self._faults.closed(code, reason, "everything was spoken")


def _characters(alignment: Any) -> Iterator[tuple[str, float, float]]:
    told = alignment if isinstance(alignment, dict) else {}
    names = ("chars", "charStartTimesMs", "charDurationsMs")
    for character, start, lasts in zip(*(told.get(name) or () for name in names)):
        yield str(character), start / 1000, (start + lasts) / 1000


def _frame(message: Mapping[str, object]) -> str:
    return orjson.dumps(message).decode()
