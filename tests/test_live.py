"""`trunkline routes --live`, as the program that people start."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import orjson
import pytest
from fastapi import FastAPI

from gateway import live
from gateway.api import telemetry
from gateway.telemetry.standing import Standing
from gateway.telemetry.telemetry import Telemetry
from tests.needs import ROOT
from tests.serving import Served, serving
from tests.telemetry.happened import FAST, OUT, SLOW, sample, standings

pytestmark = pytest.mark.wire
SOON = 20.0


class Terminal:
    """What the program wrote so far. `asked`: its standard input, where it has a terminal."""

    def __init__(self) -> None:
        self.text = ""
        self.news = asyncio.Event()

    def heard(self, data: bytes) -> None:
        self.text += data.decode()
        self.news.set()

    async def until(self, holds: Callable[[str], bool]) -> str:
        async with asyncio.timeout(SOON):
            while not holds(self.text):
                self.news.clear()
                await self.news.wait()
        return self.text


@asynccontextmanager
async def watching(url: str, columns: int | None = None) -> AsyncIterator[tuple[Terminal, asyncio.subprocess.Process]]:
    """`columns`: on a terminal of that width; else its output is a pipe."""
    terminal = Terminal()
    env = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    env.pop("COLUMNS", None)
    env.pop("LINES", None)
    loop = asyncio.get_running_loop()
    ours = theirs = -1
    if columns is not None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "routes", "--live", "--url", url),
        cwd=ROOT,
        env=env,
        stdin=theirs if columns else asyncio.subprocess.DEVNULL,
        stdout=theirs if columns else asyncio.subprocess.PIPE,
        stderr=theirs if columns else asyncio.subprocess.STDOUT,
    )
    reading: asyncio.Task[None] | None = None
    if columns is None:
        reading = asyncio.create_task(_read(process, terminal))
    else:
        os.close(theirs)
        loop.add_reader(ours, _take, ours, terminal)
    try:
        yield terminal, process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if reading is not None:
            await reading
        else:
            loop.remove_reader(ours)
            os.close(ours)


def _take(ours: int, terminal: Terminal) -> None:
    try:
        terminal.heard(os.read(ours, 65536))
    except OSError:  # the program is gone
        asyncio.get_running_loop().remove_reader(ours)


async def _read(process: asyncio.subprocess.Process, terminal: Terminal) -> None:
    assert process.stdout is not None
    while data := await process.stdout.read(65536):
        terminal.heard(data)


async def stopped(process: asyncio.subprocess.Process) -> int:
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(SOON):
        return await process.wait()


@asynccontextmanager
async def telling(standing: list[Standing]) -> AsyncIterator[tuple[Served, Telemetry]]:
    kept = Telemetry({})
    app = FastAPI()
    app.include_router(telemetry.router(kept.decisions, kept.feed, lambda: standing, kept.trend))
    async with serving(app) as server:
        try:
            yield server, kept
        finally:
            kept.feed.close()


async def test_on_a_terminal_a_table_is_drawn_over_the_last_one_and_ctrl_c_ends_it() -> None:
    standing = standings()
    async with telling(standing) as (server, kept):
        for ttft in (0.2, 0.3):
            kept.recorder.record(sample(ttft))
        async with watching(server.url, columns=100) as (terminal, process):
            first = await terminal.until(lambda text: OUT in text)
            assert "\x1b[?25l" in first, "the cursor is hidden"
            for words in (
                FAST,
                "200    310      1%    75%",
                "ejected, back in 8 s: 3 failures in a row",
                f"{OUT}  asleep: weights are missing",
            ):
                assert words in first
            standing[1] = replace(standing[1], ejected_for=2.0)
            again = await terminal.until(lambda text: "back in 2 s" in text)
            assert "\x1b[6F" in again[len(first) :], "six lines up, over the old table"
            assert await stopped(process) == 0
            last = await terminal.until(lambda text: "\x1b[?25h" in text)
    assert "Traceback" not in last
    assert all(len(plain(line)) <= 100 for line in last.splitlines())


def plain(line: str) -> str:
    """Without what a terminal obeys; a `\\r` of the pty at the end is none of ours."""
    while "\x1b[" in line:
        before, _, after = line.partition("\x1b[")
        line = before + after.lstrip("0123456789;?")[1:]
    return line.rstrip("\r")


async def test_into_a_pipe_there_is_a_line_for_each_target_that_changed() -> None:
    standing = standings()
    async with telling(standing) as (server, _):
        async with watching(server.url) as (terminal, process):
            await terminal.until(lambda text: text.count("\n") >= 3)
            standing[0] = replace(standing[0], in_flight=9)
            text = await terminal.until(lambda text: "in_flight=9" in text)
            assert await stopped(process) == 0
    assert "\x1b" not in text
    told = [line.split(" ", 1)[1] for line in text.splitlines()]
    assert told == [
        f"chat {FAST}  serving  p50=200 p95=310 errors=1% share=75% in_flight=3",
        f"chat {SLOW}  ejected, back in 8 s: 3 failures in a row  p50=400 p95=900 errors=40% share=25% in_flight=0",
        f"chat {OUT}  asleep: weights are missing",
        f"chat {FAST}  serving  p50=200 p95=310 errors=1% share=75% in_flight=9",
    ]


async def test_a_gateway_that_goes_is_said_once_and_joined_again_when_it_is_back() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            rows = [{**row("chat"), "in_flight": len(visits)}]
            visits.append(1)
            frame = orjson.dumps({"at": 0, "state": None, "step": 5, "targets": rows})
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            writer.write(b"event: standing\ndata: " + frame + b"\n\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    visits: list[int] = []
    async with await asyncio.start_server(speak, "127.0.0.1", 0) as first:
        port = first.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    async with watching(url) as (terminal, process):
        await terminal.until(lambda text: f"{url} does not answer (ConnectError); trying again" in text)
        async with await asyncio.start_server(speak, "127.0.0.1", port):
            await terminal.until(lambda text: "in_flight=0" in text and "ended the feed; trying again" in text)
            text = await terminal.until(lambda text: "in_flight=1" in text)
        assert await stopped(process) == 0
    assert text.count("ConnectError") == 1
    assert "Traceback" not in text


def row(route: str) -> dict[str, object]:
    return {
        "route": route,
        "kind": "llm",
        "target": FAST,
        "ttft_p50": None,
        "ttft_p95": None,
        "error_rate": 0.0,
        "in_flight": 0,
        "share": 0.0,
        "ejected_for": None,
        "resting_for": None,
        "why": None,
        "samples": 1.0,
        "asleep": None,
        "ttft": [],
        "failed": [],
    }


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [("localhost:8080", 2, "is no address of a gateway"), ("http://", 2, "is no address of a gateway")],
)
async def test_what_is_no_address_is_said_at_once(url: str, status: int, words: str) -> None:
    async with watching(url) as (terminal, process):
        async with asyncio.timeout(SOON):
            assert await process.wait() == status
        assert words in await terminal.until(lambda text: "\n" in text)


async def test_what_is_no_gateway_is_said_at_once() -> None:
    async with serving(FastAPI()) as server, watching(server.url) as (terminal, process):
        async with asyncio.timeout(SOON):
            assert await process.wait() == 1
        assert "answers 404 to /v1/telemetry: is that a gateway?" in await terminal.until(lambda text: "\n" in text)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_table_is_never_wider_than_the_terminal(width: int) -> None:
    rows = [
        {**row("chat"), "ttft": [0.2] * 60, "failed": [0] * 60},
        {**row("chat"), "target": "a/" + "long" * 30, "ttft": [None] * 60, "failed": [1] * 60, "why": "w" * 300},
        {**row("chat"), "target": "a/b", "shadow": True},
        {**row("other"), "target": "b/c", "asleep": "x" * 300},
    ]
    lines = live.table({"targets": rows, "state": "local"}, width)
    assert all(len(line) <= width for line in lines)
    assert any("!" in line for line in lines)
    assert any("p50" in line for line in lines), "the first figure stays, however narrow"


def test_a_sparkline_is_as_high_as_its_share_of_the_highest() -> None:
    assert live.spark([0.1, None, 0.8, None], [0, 0, 0, 2], 0.8, 6) == "  ▂ █!"
    assert live.spark([0.1, 0.8], [0, 0], 0.8, 1) == "█"


def test_names_and_reasons_cannot_command_the_terminal() -> None:
    rows = [{**row("chat"), "target": "a/\x1b[2Jb", "why": "w\x07\nx"}]
    assert not any("\x1b" in line or "\x07" in line for line in live.table({"targets": rows}, 80))
    assert "\x1b" not in live.line(rows[0])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"samples": 0.0}, "idle"),
        ({"samples": 0.2}, "idle"),
        ({"samples": 0.0, "in_flight": 1}, "serving"),
        ({"samples": 0.0, "ttft": [None, 0.2, None]}, "serving"),
        ({"samples": 0.0, "failed": [0, 2, 0]}, "serving"),
        ({"shadow": True}, "shadow: gets copies, serves nobody"),
        ({"error_rate": 0.9, "shadow": True}, "failing"),
        ({"error_rate": 0.9}, "failing"),
        ({"resting_for": 2.2, "why": "rate limited"}, "resting, back in 2 s: rate limited"),
        ({"why": "the key was refused"}, "out: the key was refused"),
    ],
)
def test_what_a_target_is_doing_is_a_word_and_its_reason(fields: dict[str, object], words: str) -> None:
    assert live.doing({**row("chat"), **fields})[1] == words
