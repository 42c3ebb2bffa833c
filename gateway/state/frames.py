"""Frames: what the workers of one gateway say to each other, over sockets on this machine. Pure but for reading a stream.

Four bytes of length, two of the header's length, a header in JSON, then bytes as they are.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import asdict, dataclass
from typing import Literal

import orjson

MOST = 16 << 20
"""Bytes of a frame. A worker's decision log is about 2 MB."""
_LENGTHS = struct.Struct("!IH")

FrameKind = Literal["hello", "ready", "statement", "news", "ask", "asked", "answer", "gone"]


class Garbled(ConnectionError):
    """What came is no frame: whoever sent it is not listened to any more."""


@dataclass(frozen=True, slots=True)
class Frame:
    """`by`: the worker that says it; `to`: the one it is for, of an answer; `ask`: the number of what is asked and answered;
    `what`: is asked; `of`: how many will answer."""

    kind: FrameKind
    by: str = ""
    to: str = ""
    ask: int = 0
    what: str = ""
    of: int = 0
    payload: bytes = b""

    def encode(self) -> bytes:
        header = orjson.dumps({name: value for name, value in asdict(self).items() if value and name != "payload"})
        return _LENGTHS.pack(len(header) + len(self.payload), len(header)) + header + self.payload


async def read(reader: asyncio.StreamReader) -> Frame | None:
    """The next frame; None at the end. Raises Garbled, and OSError."""
    try:
        total, head = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
        if not head <= total <= MOST:
            raise Garbled
        body = await reader.readexactly(total)
    except asyncio.IncompleteReadError:
        return None
    try:
        return Frame(**orjson.loads(body[:head]), payload=body[head:])
    except (TypeError, ValueError):
        raise Garbled from None
