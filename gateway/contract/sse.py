"""Server-sent events, read from bytes as they come. Pure; the format is WHATWG HTML 9.2.

Two things differ from a browser: an event that the end of the stream cuts off is still given (`end`), because upstreams
forget the last blank line; and the size of an event is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

EVENT_LIMIT = 1 << 20
"""Bytes. The largest chunks seen are a whole tool call's arguments or a picture in base64; these fit or do not matter."""

_BOM = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """An event is larger than the limit; the stream cannot be read on."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """`data`: the data lines joined by newlines. `event`: its name, empty where none was given."""

    data: bytes
    event: str = ""


class ServerEvents:
    """Bytes in, in any pieces; events out. Comments, `id` and `retry` are dropped, and events without data with them."""

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._name = ""
        self._after_cr = False
        self._start: bytes | None = b""  # the stream's first bytes while they may still be a byte order mark

    def feed(self, received: bytes) -> list[ServerEvent]:
        """The events that end within `received`. Raises EventTooLarge."""
        if self._start is not None:
            received = self._without_mark(received)
        if self._after_cr and received:
            self._after_cr = False
            if received[:1] == b"\n":
                received = received[1:]
        events: list[ServerEvent] = []
        for line in received.splitlines(keepends=True):
            content = line.rstrip(b"\r\n")
            if len(self._line) + len(content) + self._size > self._limit:
                raise EventTooLarge(f"an event of more than {self._limit} bytes")
            if len(content) == len(line):
                self._line += line
                continue
            whole = bytes(self._line) + content if self._line else content
            self._line.clear()
            self._take(whole, events)
        self._after_cr = received[-1:] == b"\r" or (self._after_cr and not received)
        return events

    @property
    def idle(self) -> bool:
        """Nothing is half read: what comes next begins an event."""
        return self._start is None and not (self._line or self._data or self._name or self._after_cr)

    def plain(self, received: bytes) -> list[bytes] | None:
        """The data of each event, if `received` is whole events of one line `data: ` and nothing else: then it needs no
        feeding. None if not."""
        if self._line or self._data or self._name or self._after_cr or self._start:
            return None
        if received[:6] != b"data: " or received[-2:] != b"\n\n" or b"\r" in received or len(received) > self._limit:
            return None
        pieces = received[6:-2].split(b"\n\ndata: ")
        if received.count(b"\n") != 2 * len(pieces):
            return None
        self._start = None
        return pieces

    def end(self) -> list[ServerEvent]:
        """What was under way when the stream ended."""
        events: list[ServerEvent] = []
        if self._start:
            self._line += self._start
        self._start = None
        if self._line:
            self._take(bytes(self._line), events)
            self._line.clear()
        self._take(b"", events)
        return events

    def _without_mark(self, received: bytes) -> bytes:
        assert self._start is not None
        received = self._start + received
        if len(received) < len(_BOM) and _BOM.startswith(received):
            self._start = received
            return b""
        self._start = None
        return received.removeprefix(_BOM)

    def _take(self, line: bytes, events: list[ServerEvent]) -> None:
        if not line:
            if self._data:
                events.append(ServerEvent(b"\n".join(self._data), self._name))
            self._data, self._size, self._name = [], 0, ""
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value) + 1
        elif field == b"event":
            self._name = value.decode(errors="replace")
