"""What goes over the pipes between the gateway and a worker process, and what an engine sees of a job.

A frame is two big-endian 32-bit lengths, a JSON object and raw bytes. The gateway sends the engine's options, then any of
`{"job": n, "relaxed": ..., "fields": {...}}`, `{"cancel": n}` and `{"report": n}`. The worker sends `{"ready": true}` or
`{"failed": why}`, then for each job any number of `{"of": n, "piece": {...}}` and one `{"of": n, "end": true}` or
`{"of": n, "error": code, "message": ...}`, and `{"of": n, "report": {...}}`. Of a cancelled job nothing more is sent.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

LENGTHS = struct.Struct(">II")
LARGEST = 64 * 1024 * 1024

Fields = Mapping[str, Any]
"""JSON values by name."""


class JobFailed(Exception):
    """What an engine raises to fail a job in a way the provider knows. `code`: its word for it; the message is safe to show."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class NotReady(Exception):
    """What an engine raises when it cannot start: a few words, with what to do about it."""


class Emit(Protocol):
    def __call__(self, fields: Fields, payload: bytes = b"") -> None: ...


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its engine sees it. `emit(fields, payload)` sends a piece of the result; `cancelled()` is cheap: poll it.

    `when_cancelled(stop)`: `stop` is called, once and from another thread, as soon as it is; for libraries that can be told.
    """

    fields: Fields
    payload: bytes
    emit: Emit = field(repr=False)
    cancelled: Callable[[], bool] = field(repr=False)
    when_cancelled: Callable[[Callable[[], None]], None] = field(repr=False)


class Engine(Protocol):
    """Runs one job at a time, in the worker's main thread. Returns early once the job is cancelled."""

    def run(self, job: Job) -> None: ...


def pack(header: Fields, payload: bytes = b"") -> bytes:
    head = orjson.dumps(header)
    return b"".join((LENGTHS.pack(len(head), len(payload)), head, payload))


def lengths(raw: bytes) -> tuple[int, int]:
    """Lengths of the header and the payload that follow. ValueError if these bytes begin no frame."""
    head, payload = LENGTHS.unpack(raw)
    if head + payload > LARGEST:
        raise ValueError("a frame too large")
    return head, payload
