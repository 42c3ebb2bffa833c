"""Bypass: how text passes from the socket it comes on to the socket it goes to without waking the task in between.

Of a streamed answer nearly every read brings plain text and nothing else. Whoever waits for the next event of an attempt sets
`take` for as long as it waits; a provider that can tell such a read at a glance gives its text to `take` instead of waking the
reader. Everything else (the first word, tool calls, usage, the end, errors) goes the long way, and so does text while nobody
waits, so that nothing overtakes anything.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.contract.events import TextDelta


class Bypass:
    """Of one attempt. `take`: never raises."""

    __slots__ = ("take",)

    def __init__(self) -> None:
        self.take: Callable[[TextDelta], None] | None = None
