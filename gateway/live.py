"""`trunkline routes --live`: a table of every target, from the live feed of a gateway that runs.

On a terminal it is redrawn in place every second; elsewhere there is a line for each target that changed. Ctrl-C ends it.
"""

from __future__ import annotations

import os
import shutil
import ssl
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

import httpx
import orjson

from gateway.contract.sse import EventTooLarge, ServerEvents

SILENT = 5.0
"""Seconds without a word from the gateway, which speaks every second, after which it counts as gone."""
AGAIN = 2.0
"""Seconds between two tries to reach it."""

FAILING = 0.3
"""Share of errors beyond which a target is ejected, unless it is the route's last."""

_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN_BLOCKS = "_.-=+*%#"
_RESET, _DIM, _BOLD, _RED, _YELLOW = "\x1b[0m", "\x1b[2m", "\x1b[1m", "\x1b[31m", "\x1b[33m"
_TONES = {"out": _RED, "resting": _YELLOW, "failing": _YELLOW, "asleep": _DIM, "idle": _DIM, "shadow": _DIM}
_FIGURES = (("p50", 7), ("p95", 7), ("errors", 8), ("share", 7), ("in flight", 11))
"""Columns and their widths; the last ones go first where the terminal is narrow."""

Row = Mapping[str, Any]
"""A target, as the feed tells it."""


def live(url: str, key: str | None = None, out: TextIO | None = None) -> int:
    """Shows it until ctrl-C. `key`: where the gateway asks for one. Returns the exit status: 1 if what answers there is no gateway,
    or lets nobody in, 2 if `url` is no address."""
    out = out if out is not None else sys.stdout
    shown: _Screen | _Lines = _Screen(out) if out.isatty() else _Lines(out)
    try:
        for frame in _frames(url.rstrip("/"), key, shown):
            shown.show(frame)
        return 1
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, ssl.SSLError):
        sys.stderr.write(f"trunkline routes: {url} is no address of a gateway, such as http://127.0.0.1:8080\n")
        return 2
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # Whoever read us has enough; Python would complain again as it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        with suppress(BrokenPipeError):
            shown.close()


def _frames(url: str, key: str | None, shown: _Screen | _Lines) -> Iterator[Row]:
    """`standing` events, over as many connections as it takes. Ends where what answers is no gateway."""
    # A gateway is reached directly, whatever proxies the environment names; certificates are those of the system.
    verify = ssl.create_default_context() if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(verify=verify, trust_env=False, timeout=SILENT, headers=headers) as client:
        while True:
            try:
                with client.stream("GET", f"{url}/v1/telemetry") as response:
                    if response.status_code == 200:
                        yield from _standings(response)
                        shown.gone(f"{url} ended the feed")
                    elif response.status_code in (401, 403):
                        shown.failed(f"{url}: {_reason(response)} (TRUNKLINE_KEY is where this command finds a key)")
                        return
                    elif response.status_code >= 500:
                        shown.gone(f"{url} answers {response.status_code}: {_reason(response)}")
                    else:
                        shown.failed(f"{url} answers {response.status_code} to /v1/telemetry: is that a gateway?")
                        return
            except httpx.UnsupportedProtocol:
                raise
            except httpx.ReadTimeout:
                shown.gone(f"{url} has said nothing for {SILENT:g} s")
            except (httpx.TransportError, EventTooLarge) as error:
                shown.gone(f"{url} does not answer ({type(error).__name__})")
            time.sleep(AGAIN)


def _standings(response: httpx.Response) -> Iterator[Row]:
    split = ServerEvents()
    for received in response.iter_bytes():
        for event in split.feed(received):
            if event.event == "standing":
                yield orjson.loads(event.data)


def _reason(response: httpx.Response) -> str:
    try:
        return str(orjson.loads(response.read())["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return response.reason_phrase


class _Screen:
    """A table drawn over the last one."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._height = out, 0
        self._colour = not os.environ.get("NO_COLOR")
        self._blocks = _blocks(out)
        self._table: list[str] = []
        out.write("\x1b[?25l")

    def show(self, frame: Row) -> None:
        self._table = table(frame, shutil.get_terminal_size().columns, self._colour, self._blocks)
        self._draw(self._table)

    def gone(self, why: str) -> None:
        at = time.strftime("%H:%M:%S")
        paint = _YELLOW if self._colour else ""
        last = ["", "what it last said:"] if self._table else []
        self._draw([f"{paint}{at} {_safe(why)}; trying again{_RESET if paint else ''}", *last, *self._table])

    def failed(self, why: str) -> None:
        self._draw([_safe(why)])

    def close(self) -> None:
        self._out.write("\x1b[?25h")
        self._out.flush()

    def _draw(self, lines: Sequence[str]) -> None:
        fits = lines[: shutil.get_terminal_size().lines - 1]
        up = f"\x1b[{self._height}F" if self._height else ""
        self._out.write(up + "".join(f"{line}\x1b[K\n" for line in fits) + "\x1b[J")
        self._out.flush()
        self._height = len(fits)


class _Lines:
    """A line for each target that changed, and one when the gateway goes."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._told, self._why = out, dict[tuple[str, str], str](), ""

    def show(self, frame: Row) -> None:
        self._why = ""
        at = time.strftime("%H:%M:%S", time.localtime(frame["at"]))
        for row in frame["targets"]:
            key, told = (row["route"], row["target"]), line(row)
            if self._told.get(key) != told:
                self._told[key] = told
                self._out.write(f"{at} {told}\n")
        self._out.flush()

    def gone(self, why: str) -> None:
        if why != self._why:
            self._why = why
            self.failed(f"{time.strftime('%H:%M:%S')} {why}; trying again")

    def failed(self, why: str) -> None:
        sys.stderr.write(f"{_safe(why)}\n")
        sys.stderr.flush()

    def close(self) -> None:
        self._out.flush()


def doing(row: Row) -> tuple[str, str]:
    """What a target is doing: a word for it, and all there is to say."""
    why = f": {row['why']}" if row["why"] else ""
    if row["asleep"] is not None:
        return "asleep", f"asleep: {row['asleep']}"
    if row["ejected_for"] is not None:
        return "out", f"ejected, back in {max(1, round(row['ejected_for']))} s{why}"
    if row["resting_for"] is not None:
        return "resting", f"resting, back in {max(1, round(row['resting_for']))} s{why}"
    if row["why"]:
        return "out", f"out{why}"
    if row["error_rate"] >= FAILING:
        return "failing", "failing"
    # Evidence fades: what was not asked for long is as unknown as what never was.
    known = row["samples"] >= 0.5 or row["in_flight"] or any(row["failed"]) or any(row["ttft"])
    if known and row.get("shadow"):
        return "shadow", "shadow: gets copies, serves nobody"
    return ("serving", "serving") if known else ("idle", "idle")


def line(row: Row) -> str:
    """A target as one line of text."""
    word, said = doing(row)
    figures = "" if word == "asleep" else "  " + " ".join(f"{n.replace(' ', '_')}={v}" for n, v in _figures(row))
    return _safe(f"{row['route']} {row['target']}  {said}{figures}")


def table(frame: Row, width: int, colour: bool = False, blocks: str = _BLOCKS) -> list[str]:
    """Lines of at most `width` columns: each route, its targets, and the reasons of those that are not serving."""
    rows: list[Row] = frame["targets"]
    columns = _Columns.fitting(max((len(row["target"]) for row in rows), default=0), width)
    lines = []
    for route in dict.fromkeys(row["route"] for row in rows):
        lines += _route(route, [row for row in rows if row["route"] == route], columns, blocks)
        lines.append(("", ""))
    if frame.get("state") == "local":
        lines.append((_YELLOW, "shared state is out of reach: this gateway routes alone"))
    painted = ((paint, _safe(text)[:width]) for paint, text in lines)
    return [f"{paint}{text}{_RESET}" if colour and paint else text for paint, text in painted]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Widths: of names, of the sparkline, of each figure."""

    names: int
    room: int
    figures: Sequence[tuple[str, int]]

    @classmethod
    def fitting(cls, longest: int, width: int) -> _Columns:
        names, figures = min(longest, max(16, width // 3)), list(_FIGURES)
        while len(figures) > 1 and names + 12 + sum(each for _, each in figures) > width:
            figures.pop()
        return cls(names, max(8, min(60, width - names - 4 - sum(each for _, each in figures))), figures)

    def line(self, name: str, middle: str, values: Mapping[str, str]) -> str:
        cells = "".join(values[figure].rjust(each) for figure, each in self.figures)
        return name[: self.names].ljust(self.names + 2) + middle[: self.room].ljust(self.room) + cells


def _route(name: str, rows: Sequence[Row], columns: _Columns, blocks: str) -> list[tuple[str, str]]:
    """Lines, each with the colour it is painted in."""
    awake = [row for row in rows if row["asleep"] is None]
    highest = max((point for row in awake for point in row["ttft"] if point is not None), default=0.0)
    scale = f"TTFT to {highest * 1000:.0f} ms" if highest else "TTFT"
    heads = {figure: figure for figure, _ in _FIGURES}
    lines = [(_BOLD, columns.line(f"{name}  {rows[0]['kind']}", scale, heads))]
    for row in awake:
        word, said = doing(row)
        trend = spark(row["ttft"], row["failed"], highest, columns.room, blocks)
        lines.append((_TONES.get(word, ""), columns.line(row["target"], trend, dict(_figures(row)))))
        if word not in ("serving", "idle"):
            lines.append((_TONES[word], f"  {said}"))
    return lines + [(_DIM, f"{row['target']}  {doing(row)[1]}") for row in rows if row["asleep"] is not None]


def spark(
    points: Sequence[float | None], failed: Sequence[int], highest: float, room: int, blocks: str = _BLOCKS
) -> str:
    """`room` characters: the latest points, as high as their share of `highest`; `!` where attempts failed and none came."""
    told = list(zip(points, failed))[-room:]
    drawn = ""
    for point, failures in told:
        if point is None:
            drawn += "!" if failures else " "
        else:
            drawn += blocks[min(len(blocks) - 1, int(point / highest * len(blocks)))] if highest else blocks[0]
    return drawn.rjust(room)


def _figures(row: Row) -> list[tuple[str, str]]:
    def milliseconds(seconds: float | None) -> str:
        return "-" if seconds is None else f"{seconds * 1000:.0f}"

    return [
        ("p50", milliseconds(row["ttft_p50"])),
        ("p95", milliseconds(row["ttft_p95"])),
        ("errors", f"{row['error_rate']:.0%}"),
        ("share", f"{row['share']:.0%}"),
        ("in flight", str(row["in_flight"])),
    ]


def _safe(text: str) -> str:
    """Nothing that a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _blocks(out: TextIO) -> str:
    try:
        _BLOCKS.encode(out.encoding or "ascii")
    except UnicodeEncodeError:
        return _PLAIN_BLOCKS
    return _BLOCKS
