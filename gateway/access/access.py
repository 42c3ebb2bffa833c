"""Access: the keys as they are now, and what each has used. Without any it asks for none.

grant = await access.admit(access.find(shown))      # raises KeyRefused, LimitReached, BudgetSpent, AccessUnknown
...
grant.end()
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.access.grant import Clocks, Grant
from gateway.access.key import Key, Keyring
from gateway.access.meter import Meter
from gateway.access.source import KeysAway, Source
from gateway.access.spent_file import Spent, SpentFile
from gateway.contract.errors import AccessUnknown, ConfigError

if TYPE_CHECKING:
    from gateway.access.shared import Shared

log = logging.getLogger(__name__)

LOOK, KEEP = 1.0, 2.0
"""Seconds between looks at the keys, and between writing down what was spent."""
GRACE = 60.0
"""Seconds for which keys that can no longer be read are still good."""
FRESH = 1.0
"""Seconds for which what replicas have left together is worth telling."""


class Access:
    """`source`: where the keys are; None asks for no key whatever happens. `redis`: the URL of what replicas share; `closed`: see
    Shared; `replicas`: how many there are at least; `spent`: the file of what keys spent, which Redis makes needless.
    Raises ConfigError."""

    def __init__(
        self,
        source: Source | None = None,
        now: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
        redis: str | None = None,
        closed: bool = True,
        replicas: int = 1,
        spent: Path | None = None,
    ) -> None:
        self._source, self._clocks, self._replicas = source, Clocks(now, unix), replicas
        self._shared = _shared(redis, self._clocks, closed, replicas) if source is not None and redis else None
        keys = source.first() if source is not None else None
        self.guarded = keys is not None
        self._first_key = asyncio.Event()
        if self.guarded:
            self._first_key.set()
        self._heard = now() if source is None or source.lasting else -math.inf
        self._closed, self._away, self._problem = closed, False, ""
        self._ring = Keyring(keys or ())
        self._meters: dict[str, Meter] = {}
        self._spent = SpentFile(spent) if spent is not None and self._shared is None else None
        if self._spent is not None and self.guarded:
            self._learn(self._spent.sync({}, unix()), {})

    @property
    def unix(self) -> Callable[[], float]:
        """The clock that keys expire by."""
        return self._clocks.unix

    @property
    def keys(self) -> int:
        """How many there are that are still good."""
        return sum(key.why_not(self._clocks.unix()) is None for key in self._ring.keys.values())

    @property
    def local(self) -> bool:
        """Limits that should be shared are not."""
        return self.guarded and self._shared is not None and not self._shared.up

    async def run(self) -> None:
        """Follow the keys, and keep their limits together with other replicas, until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._source is not None:
                group.create_task(self._follow(self._source), name="keys: source")
            if self._shared is not None:
                group.create_task(self._share(self._shared), name="keys: limits")
            if self._spent is not None:
                group.create_task(self._keep(self._spent), name="keys: spent")

    async def _share(self, shared: Shared) -> None:
        await self._first_key.wait()
        await shared.run()

    async def _follow(self, source: Source) -> None:
        """What cannot be read, or is gone, changes nothing: what was refused stays refused."""
        try:
            while True:
                try:
                    keys = await source.news()
                    self._heard = self._clocks.now()
                    self._became(False)
                    if keys is not None:
                        self._take(keys, source)
                except KeysAway as error:
                    self._became(True, error)
                except ConfigError as error:
                    if str(error) != self._problem:
                        self._problem = str(error)
                        log.error("the new keys are not used, the old ones stay: %s", error)
                await asyncio.sleep(LOOK)
        finally:
            await source.aclose()

    async def _keep(self, file: SpentFile) -> None:
        try:
            while True:
                await asyncio.sleep(KEEP)
                if any(key.limits.budget is not None for key in self._ring.keys.values()):
                    known = self._spending()
                    self._learn(await asyncio.to_thread(file.sync, known, self._clocks.unix()), known)
        finally:
            file.sync(self._spending(), self._clocks.unix())

    def _spending(self) -> Spent:
        """Here, since the start."""
        return {name: dict(meter.spent) for name, meter in self._meters.items() if meter.spent}

    def _learn(self, total: Spent | None, known: Spent) -> None:
        for name, periods in (total or {}).items():
            here = known.get(name, {})
            meter = self._meters.setdefault(name, Meter())
            meter.others_spent = {period: usd - here.get(period, 0.0) for period, usd in periods.items()}

    def find(self, shown: str) -> Key:
        """Raises KeyRefused; AccessUnknown where a key may have been revoked without our hearing of it."""
        self._check_heard()
        return self._ring.find(shown, self._clocks.unix())

    def _check_heard(self) -> None:
        never = self._heard == -math.inf
        if never or (self._away and self._closed and self._clocks.now() - self._heard > GRACE):
            raise AccessUnknown("may do")

    def find_id(self, key_id: str) -> Key:
        """The key that made a client secret; raises as `find` does."""
        self._check_heard()
        return self._ring.good(key_id, self._clocks.unix())

    def open_of(self, shown: str) -> int:
        """How many requests and calls of that key are under way here."""
        return self._meter(self.find(shown)).open

    def spent_by_others(self, key: Key) -> list[float]:
        """US dollars, as other replicas last told, by day or month."""
        return list(self._meter(key).others_spent.values())

    async def admit(self, key: Key) -> Grant:
        """One request that counts. Raises LimitReached, BudgetSpent, AccessUnknown."""
        meter = self._meter(key)
        if self._shared is not None and key.limits.exist:
            grant = Grant(key, meter, self._clocks, self._shared.changed)
            grant.left = await self._shared.take(key, meter)
            return grant
        limits, now = key.limits.divided(self._replicas), self._clocks.now()
        meter.take(limits, now, self._clocks.unix())
        grant = Grant(key, meter, self._clocks)
        grant.left = meter.left(limits, now)
        return grant

    def look(self, key: Key) -> Grant:
        """One request that counts for nothing: it asks how things are, or hangs up."""
        grant, meter, now = Grant(key), self._meter(key), self._clocks.now()
        if self._shared is None or not self._shared.up:
            grant.left = meter.left(key.limits.divided(self._replicas), now)
        elif now - meter.told_left[2] < FRESH:
            grant.left = meter.told_left[:2]
        return grant

    def _meter(self, key: Key) -> Meter:
        meter = self._meters.get(key.id)
        if meter is None:
            meter = self._meters[key.id] = Meter()
        return meter

    def _take(self, keys: list[Key], source: Source) -> None:
        self.guarded, self._ring, self._problem = True, Keyring(keys), ""
        self._first_key.set()
        self._meters = {name: meter for name, meter in self._meters.items() if name in self._ring.keys}
        log.info("%s was read: %d keys are good", source, self.keys)

    def _became(self, away: bool, why: KeysAway | None = None) -> None:
        """One line for each change."""
        if away and not self._away:
            log.warning("%s", why)
        self._away = away


def _shared(url: str, clocks: Clocks, closed: bool, replicas: int) -> Shared:
    from gateway.access.shared import Shared  # 0.3 s of imports, for those who asked for it

    return Shared(url, clocks, closed, replicas)
