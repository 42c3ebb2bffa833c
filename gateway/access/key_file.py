"""KeyFile: keys in a JSON file that only its owner may read, rewritten as a whole, so that nobody ever reads half of it."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.access.key import Key
from gateway.access.records import file_of, keys_of
from gateway.contract.errors import ConfigError

log = logging.getLogger(__name__)

LARGEST = 64 << 20

Stamp = tuple[int, int, int]


class KeyFile:
    """A Source; and what `trunkline keys` changes."""

    lasting = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: Stamp | None = None

    def __str__(self) -> str:
        return str(self._path)

    def first(self) -> list[Key] | None:
        self._seen = self._stamp()
        keys = self.read()
        if keys is not None:
            log.info("%s was read: %d keys", self, len(keys))
            if self._readable_by_others():
                log.warning("%s can be read by others on this machine: chmod 600", self)
        return keys

    async def news(self) -> list[Key] | None:
        """A file that is gone is a mistake, not the end of asking for keys."""
        stamp = self._stamp()
        if stamp == self._seen:
            return None
        self._seen = stamp
        keys = self.read()
        if keys is None:
            raise ConfigError(f"{self._path} is gone")
        return keys

    async def aclose(self) -> None:
        """Nothing is open."""

    def _stamp(self) -> Stamp | None:
        """Changes whenever the file does; None where there is none."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def read(self) -> list[Key] | None:
        """None where there is no such file. Raises ConfigError."""
        try:
            if self._path.stat().st_size > LARGEST:
                raise ConfigError(f"{self._path}: larger than {LARGEST >> 20} MB")
            text = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read ({type(error).__name__})") from error
        return keys_of(text, str(self._path))

    @property
    def spent(self) -> Path:
        """Where what its keys spent is kept."""
        return self._path.with_suffix(".spent.json")

    def _readable_by_others(self) -> bool:
        try:
            return bool(self._path.stat().st_mode & 0o077)
        except OSError:
            return False

    def change(self, change: Callable[[list[Key]], list[Key]]) -> None:
        """Read, change, write; one after the other, whoever else does it. Raises ConfigError."""
        try:
            with locked(self._path.parent):
                written(self._path, file_of(change(self.read() or [])))
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be written ({type(error).__name__})") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time. The folder itself is the lock: no file is left behind."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def written(path: Path, text: bytes) -> None:
    """The whole file at once, for its owner alone."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
