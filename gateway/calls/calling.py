"""Calls of tools, put together from the pieces that models write them in. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gateway.contract.events import ToolCallDelta
from gateway.contract.messages import ToolCall


class Calls:
    """Those of one answer. Iterating gives them whole, in order, once the answer is over."""

    def __init__(self) -> None:
        self._calls: dict[int, ToolCall] = {}

    def __iter__(self) -> Iterator[ToolCall]:
        return iter(each for each in self._calls.values() if each.name)

    def add(self, delta: ToolCallDelta) -> None:
        call = self._calls.get(delta.index, ToolCall("", "", ""))
        self._calls[delta.index] = replace(
            call,
            id=delta.id or call.id,
            name=delta.name or call.name,
            arguments=call.arguments + delta.arguments,
            signature=delta.signature or call.signature,
        )
