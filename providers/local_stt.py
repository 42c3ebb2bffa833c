"""local_stt: English speech to text on this machine, by Moonshine in a worker process. Model: `moonshine`.

Its `options` in routes.yaml: `threads: 2`.

The model is not a streaming one, so what was said so far is transcribed again as it grows. When the voice pauses it is
transcribed once more, before anybody commits: if only silence follows, the final transcript is there already.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.errors import Unavailable
from gateway.contract.events import Events, Finished, Ready, Transcript, Usage
from gateway.contract.provider import Settings
from gateway.contract.requests import Clear, Commit, Input, Request, TranscribeRequest
from gateway.contract.weights import MOONSHINE_DECODER, MOONSHINE_ENCODER, MOONSHINE_TOKENIZER, Weights
from gateway.contract.worker import Piece, Worker
from providers._languages import lacking, plain
from providers._options import read
from providers._turn import Turn

WEIGHTS = (MOONSHINE_ENCODER, MOONSHINE_DECODER, MOONSHINE_TOKENIZER)
LANGUAGES = frozenset({"en"})
FULL = 20.0
"""Seconds of a turn held. A longer one is made final from its start on, and read no faster than that."""

Rest = Literal["final", "open", "leave"]
"""What becomes of a job's last segment; see _moonshine."""


class Provider:
    def __init__(self, settings: Settings) -> None:
        """Raises ValueError for options it does not have."""
        self._name = settings.name
        engine = {
            "encoder": str(MOONSHINE_ENCODER.path()),
            "decoder": str(MOONSHINE_DECODER.path()),
            "tokenizer": str(MOONSHINE_TOKENIZER.path()),
            "threads": read(settings, threads=2)["threads"],
        }
        self._worker = Worker(settings.name, "providers._moonshine:open_engine", engine, limit=32)

    async def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        self._check(model)
        if reason := self.cannot(model, request):
            raise Unavailable(reason, self._name)
        await self._worker.start()
        yield Ready()
        hearing = _Hearing(self._worker, request, inputs)
        running = asyncio.create_task(hearing.run(), name=f"{self._name} hears")
        try:
            while (transcript := await hearing.transcripts.get()) is not None:
                yield transcript
            await running
        finally:
            running.cancel()
            await asyncio.wait({running})
        yield Usage(seconds=hearing.seconds)
        yield Finished()

    async def warm(self, model: str, prompts: tuple[str, ...]) -> None:
        """Loads the model and runs it once."""
        self._check(model)
        fields = {"rate": 16_000, "rest": "final"}
        noise = bytes(range(256)) * 125  # a second of something loud enough to be looked at
        async with aclosing(self._worker.run(fields, noise, relaxed=True)) as pieces:
            async for _ in pieces:
                pass

    def asleep(self, model: str) -> str | None:
        if model != "moonshine":
            return f"local_stt has no model {model!r}; it has moonshine"
        if find_spec("onnxruntime") is None:
            return "onnxruntime is not installed: pip install 'trunkline[local]'"
        if not all(each.present() for each in WEIGHTS):
            return "weights are missing; run: trunkline models pull"
        return None

    def cannot(self, model: str, request: Request) -> str | None:
        match request:
            case TranscribeRequest(language=str(language)) if plain(language) not in LANGUAGES:
                return lacking(language, LANGUAGES)
        return None

    def weights(self, model: str) -> tuple[Weights, ...]:
        return WEIGHTS

    async def aclose(self) -> None:
        await self._worker.aclose()

    def _check(self, model: str) -> None:
        if reason := self.asleep(model):
            raise Unavailable(reason, self._name)


@dataclass(frozen=True, slots=True)
class _Running:
    """A job on the first `samples` of a turn."""

    turn: Turn
    samples: int
    rest: Rest
    task: asyncio.Task[list[Piece]]


class _Hearing:
    """One stream: reads inputs into turns, keeps the worker busy with the one that matters, and queues transcripts, then None."""

    def __init__(self, worker: Worker, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> None:
        self.transcripts: asyncio.Queue[Transcript | None] = asyncio.Queue()
        self.seconds = 0.0
        self._worker, self._request, self._inputs = worker, request, inputs
        self._open = Turn(request.rate)
        self._committed: deque[Turn] = deque()
        self._ended = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._running: _Running | None = None
        self._began = self._took = 0.0

    async def run(self) -> None:
        listening = asyncio.create_task(self._listen(), name="stt inputs")
        try:
            await self._transcribe()
        finally:
            listening.cancel()
            await asyncio.wait({listening})
            self.transcripts.put_nowait(None)
        listening.result()

    async def _listen(self) -> None:
        try:
            async for item in self._inputs:
                self._hear(item)
                while self._held() > FULL:
                    self._room.clear()
                    await self._room.wait()
            if self._open.samples:
                self._hear(Commit())
        finally:
            self._ended = True
            self._changed.set()

    def _hear(self, item: Input) -> None:
        match item:
            case Audio():
                self.seconds += item.seconds
                self._open.add(item)
            case Commit():
                self._committed.append(self._open)
                self._open = Turn(self._request.rate)
            case Clear():
                self._open = Turn(self._request.rate)
        self._abort_if_stale()
        self._changed.set()

    def _held(self) -> float:
        return self._open.seconds + sum(turn.seconds for turn in self._committed)

    def _abort_if_stale(self) -> None:
        """A job is stale when its turn was dropped, or when the turn may be over and a partial transcript will miss its end."""
        if (job := self._running) is None:
            return
        committed = any(job.turn is turn for turn in self._committed)
        over = committed or job.turn.pausing
        if (over and job.rest == "open" and job.samples < job.turn.needed) or not (committed or job.turn is self._open):
            job.task.cancel()

    async def _transcribe(self) -> None:
        while True:
            self._changed.clear()
            self._room.set()
            if self._committed:
                await self._finish(self._committed[0])
            elif self._open.seconds > FULL:
                await self._run(self._open, "leave")
            elif self._open.due(self._since(), self._took):
                await self._run(self._open, "open")
            elif self._ended:
                return
            else:
                await self._something()

    def _since(self) -> float:
        return asyncio.get_running_loop().time() - self._began

    async def _something(self) -> None:
        """Waits for input; without any for a while, looks again: a turn that waits for its interval may be due."""
        try:
            async with asyncio.timeout(0.1 if self._open.samples and not self._open.known else None):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _finish(self, turn: Turn) -> None:
        while turn.seconds > FULL and not turn.known:
            await self._run(turn, "leave")
        if turn.samples and not turn.known:
            await self._run(turn, "final")
        else:
            self._say(turn.text, final=True, ends=True)
        self._committed.popleft()

    async def _run(self, turn: Turn, rest: Rest) -> None:
        """Transcribes the turn so far and says what came out; nothing if it was aborted on the way."""
        samples = min(turn.samples, round(FULL * turn.rate))
        self._began = asyncio.get_running_loop().time()
        task = asyncio.create_task(self._pieces(turn.pcm[: samples * SAMPLE_BYTES], rest), name="stt job")
        self._running = _Running(turn, samples, rest, task)
        try:
            await asyncio.wait({task})
        finally:
            self._running = None
            task.cancel()
            await asyncio.wait({task})
        self._took = self._since()
        if not task.cancelled():
            self._take(turn, samples, rest, task.result())

    async def _pieces(self, pcm: bytearray, rest: Rest) -> list[Piece]:
        fields = {"rate": self._request.rate, "rest": rest}
        async with aclosing(self._worker.run(fields, bytes(pcm), relaxed=rest == "open")) as pieces:
            return [piece async for piece in pieces]

    def _take(self, turn: Turn, samples: int, rest: Rest, pieces: list[Piece]) -> None:
        settled = 0
        for piece in pieces:
            last = piece is pieces[-1]
            if piece.fields["open"]:
                before, turn.text, turn.covered = turn.text, piece.fields["text"], samples
                if turn.text != before:
                    self._say(turn.text, final=False, ends=False)
            else:
                settled = piece.fields["until"]
                self._say(piece.fields["text"], final=True, ends=last and rest == "final")
        turn.settle(settled)

    def _say(self, text: str, *, final: bool, ends: bool) -> None:
        if ends or (text and (final or self._request.partials)):
            self.transcripts.put_nowait(Transcript(text, final, ends))
