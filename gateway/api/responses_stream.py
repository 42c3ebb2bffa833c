"""The server-sent events of one streaming response: forwarded as they came where the upstream speaks Responses, made where
it does not, and gone on with by ours where one that was forwarded dies. Pure.

Of what was forwarded only its frame is kept, and what was said: enough to go on with it, or to end it.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from gateway.api.chunks import frame
from gateway.api.errors import Failure
from gateway.api.responses_events import Assembly, Open
from gateway.contract.events import (
    AnswerEvent,
    Finished,
    Passed,
    Rerouted,
    TextDelta,
    TextKind,
    ThoughtSealed,
    ToolCallDelta,
    Usage,
)

_TYPE = re.compile(rb'\s*\{\s*"type"\s*:\s*"([a-z_.]{1,64})"')
_PARTS: dict[object, TextKind] = {"output_text": "text", "refusal": "refusal", "summary_text": "reasoning"}


class ResponseStream:
    """`response`: as response_object made it, for those that are not forwarded."""

    def __init__(self, response: dict[str, Any]) -> None:
        self._assembly = Assembly(response)
        self._forwarded: _Forwarded | None = None
        self._held = b""  # the last event, until nothing can go wrong any more: callers leave when they have it

    def encode(self, event: AnswerEvent) -> bytes:
        """What is sent for it: whole server-sent events, or nothing."""
        match event:
            case TextDelta() | ToolCallDelta() | ThoughtSealed() | Usage() | Passed() | Finished() if (
                event.raw is not None
            ):
                if self._forwarded is None:
                    self._forwarded = _Forwarded(self._assembly.response)
                self._forwarded.saw(event, event.raw)
                told = self._held + b"event: " + _name(event.raw) + b"\n" + frame(event.raw)
                self._held = told if isinstance(event, Usage) else b""
                return b"" if self._held else told
            case Rerouted():
                return self._rerouted(event)
            case Finished() if self._forwarded is not None:
                return self._held
            case _ if self._forwarded is not None:
                return b""  # part of what was forwarded already
        return self._assembly.add(event)

    def fail(self, told: Failure) -> bytes:
        """How it ends where no target is left to go on with it."""
        self._go_on()
        return self._assembly.fail(told)

    def _rerouted(self, event: Rerouted) -> bytes:
        self._go_on()
        self._assembly.response["model"] = event.target
        told = f": rerouted from {event.origin} to {event.target}: {event.reason}"
        return " ".join(told.split()).encode() + b"\n\n"

    def _go_on(self) -> None:
        if self._forwarded is not None:
            self._assembly, self._forwarded = self._forwarded.assembly(), None


class _Forwarded:
    """What a caller was forwarded. `otherwise`: the response to go on with if it never said what it is."""

    def __init__(self, otherwise: dict[str, Any]) -> None:
        self._otherwise = otherwise
        self._seen: list[bytes | str] = []
        self._last, self._count = b"", 0

    def saw(self, event: AnswerEvent, raw: bytes) -> None:
        self._seen.append(event.text if isinstance(event, TextDelta) else raw)
        self._last = raw
        self._count += 1

    def assembly(self) -> Assembly:
        """One that goes on where it stopped."""
        replay = _Replay(self._otherwise)
        for each in self._seen:
            replay.say(each) if isinstance(each, str) else replay.see(_loads(each))
        number = _loads(self._last).get("sequence_number")
        sequence = number + 1 if isinstance(number, int) else self._count
        return Assembly(replay.response, sequence, replay.begun, replay.open)


class _Replay:
    """The response that events tell of, and what of it is still open."""

    def __init__(self, otherwise: dict[str, Any]) -> None:
        self.response, self.begun = otherwise, False
        self.open: Open | None = None

    def say(self, text: str) -> None:
        if self.open is not None:
            self.open.said.append(text)

    def see(self, told: dict[str, Any]) -> None:
        item, part, response = told.get("item"), told.get("part"), told.get("response")
        match told.get("type"):
            case "response.created" if isinstance(response, dict):
                self.response, self.begun = {**response, "output": []}, True
            case "response.output_item.added" if isinstance(item, dict):
                self.response["output"].append(item)
                self.open = _opened(len(self.response["output"]) - 1, item)
            case "response.output_item.done" if isinstance(item, dict):
                self._done(told.get("output_index"), item)
            case "response.content_part.added" | "response.reasoning_summary_part.added" if isinstance(part, dict):
                self._add(part)
            case "response.content_part.done" | "response.reasoning_summary_part.done" if isinstance(part, dict):
                self._replace(part)

    def _done(self, index: object, item: dict[str, Any]) -> None:
        if isinstance(index, int) and 0 <= index < len(self.response["output"]):
            self.response["output"][index] = item
            if self.open is not None and self.open.index == index:
                self.open = None

    def _add(self, part: dict[str, Any]) -> None:
        if self.open is None:
            return
        _parts(self.open).append(part)
        self.open.part, self.open.said = _PARTS.get(part.get("type")), []

    def _replace(self, part: dict[str, Any]) -> None:
        if self.open is not None and _parts(self.open):
            _parts(self.open)[-1] = part
            self.open.part = None


def _opened(index: int, item: dict[str, Any]) -> Open | None:
    """None for what is no message and no reasoning: a call is not gone on with."""
    if item.get("type") not in ("message", "reasoning") or not isinstance(item.get("id"), str):
        return None
    open = Open(index, item)
    _parts(open)
    return open


def _parts(open: Open) -> list[dict[str, Any]]:
    name = "summary" if open.item["type"] == "reasoning" else "content"
    if not isinstance(open.item.get(name), list):
        open.item[name] = []
    parts: list[dict[str, Any]] = open.item[name]
    return parts


def _name(raw: bytes) -> bytes:
    found = _TYPE.match(raw)
    if found is not None:
        return found[1]
    name = _loads(raw).get("type")
    return name.encode() if isinstance(name, str) and name.isascii() and name.isprintable() else b"message"


def _loads(raw: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}
