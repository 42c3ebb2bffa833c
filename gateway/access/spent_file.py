"""SpentFile: what keys have spent, beside the file of keys, so that a restart forgets no budget. Where Redis is, that remembers.

    {"1f0c93ab": {"2030-01-31": 1.25, "2030-01": 3.5}}

Several processes of one machine may share it: each adds what it spent since the last time, and hears what the others did.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from threading import Lock

import orjson

from gateway.access.key_file import locked, written
from gateway.access.meter import period_of

log = logging.getLogger(__name__)

Spent = Mapping[str, Mapping[str, float]]
"""US dollars, by key and by day or month."""


class SpentFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: dict[tuple[str, str], float] = {}
        self._failed = False
        self._syncing = Lock()

    def sync(self, spent: Spent, unix: float) -> Spent | None:
        """`spent`: here, since the start. Returns what all have spent; None where the file cannot be read or written."""
        with self._syncing:
            now = {period_of("day", unix), period_of("month", unix)}
            at = {
                (key, period): usd for key, periods in spent.items() for period, usd in periods.items() if period in now
            }
            fresh = {each: usd - self._told.get(each, 0.0) for each, usd in at.items()}
            try:
                total = self._add({each: usd for each, usd in fresh.items() if usd > 0}, now)
            except OSError as error:
                if not self._failed:
                    why = type(error).__name__
                    log.error("%s cannot be kept: %s; a restart would forget what was spent", self._path, why)
                self._failed = True
                return None
            self._told, self._failed = {**self._told, **at}, False
            return total

    def _add(self, fresh: Mapping[tuple[str, str], float], now: set[str]) -> dict[str, dict[str, float]]:
        with locked(self._path.parent):
            total = self._read(now)
            for (key, period), usd in fresh.items():
                periods = total.setdefault(key, {})
                periods[period] = periods.get(period, 0.0) + usd
            if fresh:
                written(self._path, orjson.dumps(total))
        return total

    def _read(self, now: set[str]) -> dict[str, dict[str, float]]:
        """Only what still matters. What is no such file counts as empty, and is written anew."""
        try:
            found = orjson.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except orjson.JSONDecodeError:
            log.error("%s is no JSON: what was spent before is not known", self._path)
            return {}
        kept = {
            key: {period: float(usd) for period, usd in periods.items() if period in now and _is_money(usd)}
            for key, periods in (found if isinstance(found, dict) else {}).items()
            if isinstance(periods, dict)
        }
        return {key: periods for key, periods in kept.items() if periods}


def _is_money(usd: object) -> bool:
    return isinstance(usd, int | float) and not isinstance(usd, bool) and math.isfinite(usd) and usd >= 0
