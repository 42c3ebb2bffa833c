"""local_tts: text to speech on this machine, by Piper in a worker process. Model: `joe`, a voice of American English.

Its `options` in routes.yaml: `threads: 1`. Piper is GPL-3.0-or-later and runs in that process only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from importlib.util import find_spec

from gateway.contract.audio import Audio
from gateway.contract.errors import Unavailable
from gateway.contract.events import AudioDelta, Events, Finished, Flushed, Usage
from gateway.contract.provider import Settings
from gateway.contract.requests import Cancel, Clear, Commit, Input, Request, SpeakRequest
from gateway.contract.weights import PIPER_JOE, PIPER_JOE_CONFIG, Weights
from gateway.contract.worker import Worker
from providers._languages import lacking, plain
from providers._options import read

WEIGHTS = (PIPER_JOE, PIPER_JOE_CONFIG)
LANGUAGES = frozenset({"en"})
RATES = (8_000, 48_000)


class Provider:
    def __init__(self, settings: Settings) -> None:
        """Raises ValueError for options it does not have."""
        self._name = settings.name
        engine = {
            "voice": str(PIPER_JOE.path()),
            "config": str(PIPER_JOE_CONFIG.path()),
            "threads": read(settings, threads=1)["threads"],
        }
        self._worker = Worker(settings.name, "providers._piper:open_engine", engine, limit=32)

    async def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        self._check(model)
        if reason := self.cannot(model, request):
            raise Unavailable(reason, self._name)
        speaking = _Speaking(self._worker, request, inputs)
        running = asyncio.create_task(speaking.run(), name=f"{self._name} speaks")
        try:
            while (event := await speaking.events.get()) is not None:
                yield event
            await running
        finally:
            running.cancel()
            await asyncio.wait({running})
        yield Usage(characters=speaking.characters)
        yield Finished()

    async def warm(self, model: str, prompts: tuple[str, ...]) -> None:
        """Loads the voice and says two clauses, which nobody hears: the first of any length is slow."""
        self._check(model)
        for text in ("Hello.", "This is said to nobody, so that the first words to somebody come quickly."):
            fields = {"text": text, "speed": 1.0, "rate": 24_000}
            async with aclosing(self._worker.run(fields, relaxed=True)) as pieces:
                async for _ in pieces:
                    pass

    def asleep(self, model: str) -> str | None:
        if model != "joe":
            return f"local_tts has no voice {model!r}; it has joe"
        if find_spec("piper") is None:
            return "piper-tts is not installed: pip install 'trunkline[local]'"
        if not all(each.present() for each in WEIGHTS):
            return "weights are missing; run: trunkline models pull"
        return None

    def cannot(self, model: str, request: Request) -> str | None:
        match request:
            case SpeakRequest(language=str(language)) if plain(language) not in LANGUAGES:
                return lacking(language, LANGUAGES)
        return None

    def weights(self, model: str) -> tuple[Weights, ...]:
        return WEIGHTS

    async def aclose(self) -> None:
        await self._worker.aclose()

    def _check(self, model: str) -> None:
        if reason := self.asleep(model):
            raise Unavailable(reason, self._name)


class _Speaking:
    """One stream: reads text into clauses, has them spoken in order, and queues events, then None."""

    def __init__(self, worker: Worker, request: SpeakRequest, inputs: AsyncIterator[Input]) -> None:
        self.events: asyncio.Queue[AudioDelta | Flushed | None] = asyncio.Queue()
        self.characters = 0
        self._worker, self._request, self._inputs = worker, request, inputs
        self._text = ""
        self._clauses: deque[str] = deque()  # committed and not yet spoken, the one being spoken first
        self._job: asyncio.Task[None] | None = None
        self._ended = False
        self._changed = asyncio.Event()

    async def run(self) -> None:
        listening = asyncio.create_task(self._listen(), name="tts inputs")
        try:
            await self._speak()
        finally:
            listening.cancel()
            await asyncio.wait({listening})
            self.events.put_nowait(None)
        listening.result()

    async def _listen(self) -> None:
        try:
            async for item in self._inputs:
                self._hear(item)
        finally:
            self._ended = True
            self._changed.set()

    def _hear(self, item: Input) -> None:
        match item:
            case str():
                self._text += item
            case Commit():
                self._clauses.append(self._text)
                self._text = ""
            case Clear():
                self._text = ""
            case Cancel():
                self._text = ""
                self._clauses = deque("" for _ in self._clauses)  # each still owes its Flushed
                if self._job is not None:
                    self._job.cancel()
        self._changed.set()

    async def _speak(self) -> None:
        while True:
            self._changed.clear()
            if self._clauses:
                await self._say(self._clauses[0])
                self._clauses.popleft()
                self.events.put_nowait(Flushed())
            elif self._ended:
                return await self._say(self._text)
            else:
                await self._changed.wait()

    async def _say(self, text: str) -> None:
        """Returns when it is said, or was cancelled by an input."""
        self._job = job = asyncio.create_task(self._synthesise(text), name="tts job")
        try:
            await asyncio.wait({job})
        finally:
            self._job = None
            job.cancel()
            await asyncio.wait({job})
        if not job.cancelled():
            job.result()

    async def _synthesise(self, text: str) -> None:
        if not any(character.isalnum() for character in text):
            return
        self.characters += len(text)
        slowest, fastest = RATES
        rate = min(max(self._request.rate, slowest), fastest)
        fields = {"text": text, "speed": self._request.speed, "rate": rate}
        async with aclosing(self._worker.run(fields)) as pieces:
            async for piece in pieces:
                self.events.put_nowait(AudioDelta(Audio(piece.payload, piece.fields["rate"])))
