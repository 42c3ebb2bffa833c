"""Access: the keys as they are now, and what each has used. Without a file of keys it asks for none.

grant = await access.admit(access.find(shown))      # raises KeyRefused, LimitReached, BudgetSpent, AccessUnknown
...
grant.end()
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from gateway.access.grant import Clocks, Grant
from gateway.access.key import Key, Keyring
from gateway.access.key_file import KeyFile
from gateway.access.meter import Meter
from gateway.contract.errors import ConfigError

log = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between looks at the file."""


class Access:
    """`file`: where the keys are; None asks for no key whatever happens. Raises ConfigError."""

    def __init__(
        self,
        file: KeyFile | None = None,
        now: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self._file, self._clocks = file, Clocks(now, unix)
        self._seen = file.stamp() if file is not None else None
        keys = file.read() if file is not None else None
        self.guarded = keys is not None
        self._ring = Keyring(keys or ())
        self._meters: dict[str, Meter] = {}

    @property
    def keys(self) -> int:
        """How many there are that are still good."""
        return sum(key.why_not(self._clocks.unix()) is None for key in self._ring.keys.values())

    async def run(self) -> None:
        """Follow the file, until cancelled."""
        while self._file is not None:
            await asyncio.sleep(LOOK)
            stamp = self._file.stamp()
            if stamp != self._seen:
                self._seen = stamp
                self._again(self._file)

    def find(self, shown: str) -> Key:
        """Raises KeyRefused."""
        return self._ring.find(shown, self._clocks.unix())

    def open_of(self, shown: str) -> int:
        """How many requests and calls of that key are under way here."""
        return self._meter(self.find(shown)).open

    async def admit(self, key: Key) -> Grant:
        """One request that counts. Raises LimitReached, BudgetSpent, AccessUnknown."""
        meter, now = self._meter(key), self._clocks.now()
        meter.take(key.limits, now, self._clocks.unix())
        grant = Grant(key, meter, self._clocks)
        grant.left = meter.left(key.limits, now)
        return grant

    def look(self, key: Key) -> Grant:
        """One request that counts for nothing: it asks how things are, or hangs up."""
        grant = Grant(key)
        grant.left = self._meter(key).left(key.limits, self._clocks.now())
        return grant

    def _meter(self, key: Key) -> Meter:
        meter = self._meters.get(key.id)
        if meter is None:
            meter = self._meters[key.id] = Meter()
        return meter

    def _again(self, file: KeyFile) -> None:
        """A file that cannot be read, or is gone, changes nothing: what was refused stays refused."""
        try:
            keys = file.read()
        except ConfigError as error:
            log.error("the new keys are not used, the old ones stay: %s", error)
            return
        if keys is None:
            log.error("%s is gone: the keys that were in it stay", file)
            return
        self.guarded, self._ring = True, Keyring(keys)
        self._meters = {name: meter for name, meter in self._meters.items() if name in self._ring.keys}
        log.info("%s was read: %d keys are good", file, self.keys)
