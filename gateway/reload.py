"""Reload: routes.yaml is read again when it changes, or on SIGHUP. A bad file keeps the old one and says why.

Requests and calls under way keep the routes and providers they began with; a provider whose row changed is closed when the
last of them is over. Rows that did not change keep their provider, and with it its connections and its warm models.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from gateway.config import Config, parse
from gateway.contract.errors import ConfigError
from gateway.contract.provider import Closable
from gateway.loader import Loaded, load
from gateway.routing.fleet import Fleet

log = logging.getLogger("trunkline")

LOOK = 1.0
"""Seconds between looks at the file."""

Stamp = tuple[int, int, int]


def read(path: Path) -> str:
    """Raises ConfigError."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__})") from error


class Reload:
    """`apply`: puts a new file into service and returns the fleet that it retires. `problem`: why the newest file is not used."""

    def __init__(
        self, config: Config, loaded: Loaded, apply: Callable[[Loaded], Fleet], env: Mapping[str, str] = os.environ
    ) -> None:
        self.config, self.loaded = config, loaded
        self.problem: str | None = None
        self._path, self._apply, self._env = Path(config.file), apply, env
        self._asked = asyncio.Event()
        self._retiring: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled."""
        loop, seen = asyncio.get_running_loop(), _stamp(self._path)
        with suppress(NotImplementedError, RuntimeError, ValueError):  # only the main thread of a Unix has signals
            loop.add_signal_handler(signal.SIGHUP, self._asked.set)
        try:
            while True:
                try:
                    async with asyncio.timeout(LOOK):
                        await self._asked.wait()
                except TimeoutError:
                    pass
                stamp = _stamp(self._path)
                if self._asked.is_set() or stamp not in (seen, None):
                    self._asked.clear()
                    seen = stamp
                    self.again()
        finally:
            with suppress(NotImplementedError, RuntimeError, ValueError):
                loop.remove_signal_handler(signal.SIGHUP)

    def again(self) -> None:
        """Read the file and put it into service, or keep the old one and say why."""
        try:
            config = parse(read(self._path), self.config.file)
            loaded = load(config, self._env, self.loaded)
        except ConfigError as error:
            self.problem = str(error)
            log.error("the new routes are not used, the old ones stay: %s", error)
            return
        if config.media != self.config.media or bool(loaded.calls) != bool(self.loaded.calls):
            log.warning("a change of media, or the first or last route of kind call, takes effect at the next start")
        old = self.loaded
        self.config, self.loaded, self.problem = config, loaded, None
        retired = self._apply(loaded)
        task = asyncio.create_task(_close_unused(retired, old, loaded), name="retire providers")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        log.info("%s was read again: %d routes, %d call routes", config.file, len(loaded.routes), len(loaded.calls))

    async def aclose(self) -> None:
        """Close what is in service and what was retired."""
        tasks = list(self._retiring)
        for task in tasks:
            task.cancel()  # a fleet that is still used is closed under its requests: the gateway stops
        await asyncio.gather(*tasks, return_exceptions=True)
        await _close(self.loaded.providers.values())


async def _close_unused(fleet: Fleet, old: Loaded, new: Loaded) -> None:
    kept = {id(provider) for provider in new.providers.values()}
    try:
        await fleet.wait_idle()
    finally:
        await _close([provider for provider in old.providers.values() if id(provider) not in kept])


async def _close(providers: Iterable[object]) -> None:
    await asyncio.gather(*(each.aclose() for each in providers if isinstance(each, Closable)))


def _stamp(path: Path) -> Stamp | None:
    """Changes whenever the file does, also when it is replaced by another."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
