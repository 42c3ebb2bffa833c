"""The worker process itself: `python -m gateway.contract.worker_process MODULE:FACTORY` with the options on standard input.

The main thread runs jobs, urgent ones first; another reads the pipe, so that a cancel is seen while a job runs. When the
pipe ends (the gateway is gone, however it went), the process ends at once.
"""

from __future__ import annotations

import heapq
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

import orjson

from gateway.contract.worker_frames import LENGTHS, Engine, Fields, Job, JobFailed, NotReady, lengths, pack


class Desk:
    """Jobs waiting and the one running. Counts what became of them."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._waiting: list[tuple[bool, int, Fields, bytes]] = []
        self._running: int | None = None
        self._cancelled: set[int] = set()
        self._stops: list[Callable[[], None]] = []
        self.done = self.aborted = self.failed = 0

    def add(self, number: int, relaxed: bool, fields: Fields, payload: bytes) -> None:
        with self._wake:
            heapq.heappush(self._waiting, (relaxed, number, fields, payload))
            self._wake.notify()

    def cancel(self, number: int) -> None:
        with self._wake:
            before = len(self._waiting)
            self._waiting = [entry for entry in self._waiting if entry[1] != number]
            heapq.heapify(self._waiting)
            self.aborted += before - len(self._waiting)
            if number == self._running:
                self._cancelled.add(number)
                for stop in self._stops:
                    stop()

    def take(self) -> tuple[int, Fields, bytes]:
        with self._wake:
            while not self._waiting:
                self._wake.wait()
            _, number, fields, payload = heapq.heappop(self._waiting)
            self._running = number
            return number, fields, payload

    def cancelled(self, number: int) -> bool:
        return number in self._cancelled

    def when_cancelled(self, stop: Callable[[], None]) -> None:
        """Of the job that runs."""
        with self._wake:
            self._stops.append(stop)
            if self._running in self._cancelled:
                stop()

    def finished(self, number: int, failed: bool) -> bool:
        """Books the job that ran. True unless it was cancelled, when nobody wants to hear of it."""
        with self._wake:
            self._running = None
            self._stops.clear()
            if number in self._cancelled:
                self._cancelled.discard(number)
                self.aborted += 1
                return False
            self.done, self.failed = self.done + (not failed), self.failed + failed
            return True

    def report(self) -> dict[str, int]:
        with self._wake:
            return {
                "running": self._running is not None,
                "waiting": len(self._waiting),
                "done": self.done,
                "aborted": self.aborted,
                "failed": self.failed,
            }


class Pipe:
    """Frames in and out. Any thread may send."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._in, self._out = incoming, outgoing
        self._sending = threading.Lock()

    def send(self, header: Fields, payload: bytes = b"") -> None:
        with self._sending:
            try:
                self._out.write(pack(header, payload))
                self._out.flush()
            except BrokenPipeError:  # the gateway is gone
                os._exit(0)

    def receive(self) -> tuple[dict[str, Any], bytes]:
        head, payload = lengths(self._exactly(LENGTHS.size))
        return orjson.loads(self._exactly(head)), self._exactly(payload)

    def _exactly(self, size: int) -> bytes:
        read = self._in.read(size)
        if len(read) < size:
            raise EOFError
        return read


def take_over_pipes() -> Pipe:
    """Keeps both pipes for frames alone: whatever a library prints goes to standard error, and it reads nothing."""
    incoming, outgoing = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return Pipe(os.fdopen(incoming, "rb"), os.fdopen(outgoing, "wb"))


def open_engine(spec: str, options: Fields) -> Engine:
    """Raises NotReady with what to do about it."""
    module, _, factory = spec.partition(":")
    try:
        engine: Engine = getattr(importlib.import_module(module), factory)(options)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise NotReady(f"the Python package {missing} is not installed: pip install 'trunkline[local]'") from error
    except FileNotFoundError as error:
        raise NotReady("weights are missing; run: trunkline models pull") from error
    except NotReady:
        raise
    except Exception as error:
        raise NotReady(f"the engine did not start ({type(error).__name__}: {str(error)[:200]})") from error
    return engine


def read_frames(pipe: Pipe, desk: Desk) -> None:
    """Until the pipe ends; then the process does, whatever it is doing."""
    try:
        while True:
            header, payload = pipe.receive()
            match header:
                case {"job": int(number), "relaxed": bool(relaxed), "fields": dict(fields)}:
                    desk.add(number, relaxed, fields, payload)
                case {"cancel": int(number)}:
                    desk.cancel(number)
                case {"report": int(number)}:
                    pipe.send({"of": number, "report": desk.report()})
    finally:
        os._exit(0)


def run_jobs(pipe: Pipe, desk: Desk, engine: Engine) -> None:
    while True:
        number, fields, payload = desk.take()
        outcome = run_one(pipe, desk, engine, number, fields, payload)
        if desk.finished(number, failed="error" in outcome):
            pipe.send(outcome)


def run_one(pipe: Pipe, desk: Desk, engine: Engine, number: int, fields: Fields, payload: bytes) -> dict[str, Any]:
    def cancelled() -> bool:
        return desk.cancelled(number)

    def emit(fields: Fields, payload: bytes = b"") -> None:
        if not cancelled():
            pipe.send({"of": number, "piece": fields}, payload)

    try:
        engine.run(Job(fields, payload, emit, cancelled, desk.when_cancelled))
    except JobFailed as error:
        return {"of": number, "error": error.code, "message": error.message}
    except Exception as error:  # noqa: BLE001 - one job's failure must not end the engine
        # Only the name: the text of a library's error may hold words of the conversation.
        return {"of": number, "error": "failed", "message": f"the engine failed ({type(error).__name__})"}
    return {"of": number, "end": True}


def main() -> None:
    # Ctrl-C is for the gateway, which then ends the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = take_over_pipes()
    desk = Desk()
    options, _ = pipe.receive()
    threading.Thread(target=read_frames, args=(pipe, desk), daemon=True).start()
    try:
        engine = open_engine(sys.argv[1], options)
    except NotReady as error:
        pipe.send({"failed": str(error)})
        return
    pipe.send({"ready": True})
    run_jobs(pipe, desk, engine)


if __name__ == "__main__":
    main()
