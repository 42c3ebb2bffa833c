"""KeyFile: keys in a JSON file that only its owner may read, rewritten as a whole, so that nobody ever reads half of it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.access.key import Key
from gateway.access.records import file_of, keys_of
from gateway.contract.errors import ConfigError

LARGEST = 64 << 20

Stamp = tuple[int, int, int]


class KeyFile:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def stamp(self) -> Stamp | None:
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

    def readable_by_others(self) -> bool:
        try:
            return bool(self._path.stat().st_mode & 0o077)
        except OSError:
            return False

    def change(self, change: Callable[[list[Key]], list[Key]]) -> None:
        """Read, change, write; one after the other, whoever else does it. Raises ConfigError."""
        try:
            with self._locked():
                self._write(file_of(change(self.read() or [])))
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be written ({type(error).__name__})") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _write(self, text: bytes) -> None:
        handle, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)  # 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
