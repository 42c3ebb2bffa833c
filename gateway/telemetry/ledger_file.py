"""LedgerFile: every attempt as a line of JSON in a file, for whoever has to bill. Names and numbers, never words.

{"at": Unix seconds, "route", "target", "kind", "outcome", "key", "usd": null where unknown, "input_tokens", ...}
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import orjson

from gateway.contract.events import Usage
from gateway.telemetry.sample import Sample

log = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two writes."""
HELD = 100_000
"""Attempts that wait for a disk that does not take them; beyond, the oldest are lost, and the log says how many."""
_COUNTS = [name for name in Usage.__slots__ if name != "raw"]


class LedgerFile:
    """`sample` is a sink of the recorder. `run` writes until it is cancelled, and then what is left."""

    def __init__(self, path: Path, unix: Callable[[], float] = time.time) -> None:
        self._path, self._unix = path, unix
        self._held: deque[bytes] = deque()
        self._lost = 0
        self._told = False

    def sample(self, sample: Sample) -> None:
        if sample.part == "turn":
            return
        usage = sample.usage
        line = {
            "at": self._unix(),
            "route": sample.route,
            "target": sample.target,
            "kind": sample.kind,
            "outcome": sample.outcome,
            "key": sample.payer,
            "usd": sample.cost,
            **{name: count for name in _COUNTS if (count := getattr(usage, name))},
        }
        if len(self._held) >= HELD:
            self._held.popleft()
            self._lost += 1
        self._held.append(orjson.dumps(line) + b"\n")

    async def run(self) -> None:
        try:
            while True:
                await asyncio.sleep(EVERY)
                await asyncio.shield(asyncio.to_thread(self._write))
        finally:
            self._write()

    def _write(self) -> None:
        lines = [self._held.popleft() for _ in range(len(self._held))]
        if not lines:
            return
        try:
            with self._path.open("ab") as file:
                file.write(b"".join(lines))
        except OSError as error:
            self._held.extendleft(reversed(lines))
            if not self._told:
                log.error("the ledger cannot be written (%s); it is kept until it can", type(error).__name__)
            self._told = True
            return
        if self._lost:
            log.error("%d attempts are missing in the ledger: it could not be written for too long", self._lost)
        self._told, self._lost = False, 0


def open_ledger_file(named: str | None) -> LedgerFile | None:
    """`named`: TRUNKLINE_LEDGER. Raises OSError where it cannot be written."""
    if not named:
        return None
    path = Path(named).expanduser()
    with suppress(FileExistsError):
        path.touch(mode=0o600, exist_ok=False)
    with path.open("ab"):
        return LedgerFile(path)
