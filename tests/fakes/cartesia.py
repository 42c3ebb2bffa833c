"""A fake of Cartesia: speech to text (manual and turns) and text to speech.

Evidence. From the vendor's SDK (cartesia 4.2): paths, headers, query, messages both ways, the bare words `finalize` and `close`.
From its documentation: errors as JSON before the upgrade and as `error` frames with a context_id after it, contexts that die a second
after their last audio, fields that stay the same in a context, `words` as a list of objects, 429 for too many sockets. Assumed
here, and never seen on the wire: where pieces are cut, that a finalize of nothing is answered, that times count from the
start of a context, the close code after `close`, 402 for an account that has nothing left.

    python -m tests.fakes.cartesia --port 9003       # then: cartesia: {base_url: "ws://127.0.0.1:9003", key: any}
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.fakes.base import Behaviour, Dropped, Fake, Session, main, refusal, stalled, text
from tests.fakes.hearing import Hearing, Said
from tests.fakes.speaking import spoken

LIVES = 1.0
EAGER, QUIET = 0.3, 0.8
"""Seconds of silence after which a turn may be over, and is."""
SETTLED = 5
"""Words that are not final at a time."""
_BEFORE = {
    "unauthorized": (401, "unauthorized", "Invalid API key"),
    "no-quota": (402, "quota_exceeded", "Credit limit reached"),
    "rate-limited": (429, "concurrency_limited", "Too many WebSocket connections"),
    "broken": (503, None, "Service unavailable"),
    "bad-model": (400, "model_not_found", "Invalid model"),
}
_AFTER = {
    "concurrency": (429, "concurrency_limited", "Too many concurrent requests"),
    "bad-audio": (400, "invalid_audio", "Invalid audio"),
    "echoes-key": (400, "invalid_audio", "Invalid audio"),
}


class Cartesia(Fake):
    """Cartesia's WebSocket APIs."""

    def refuse(self, request: Request) -> Response | None:
        query = parse_qs(urlsplit(request.path).query)
        keyed = any(name in request.headers for name in ("authorization", "x-api-key")) or "access_token" in query
        trouble = self.behaviour.trouble or ""
        if not keyed:
            trouble = "unauthorized"
        if "cartesia-version" not in request.headers and "cartesia_version" not in query:
            return _refusal(400, "version_missing", "Missing Cartesia-Version")
        if trouble in _BEFORE:
            return _refusal(*_BEFORE[trouble])
        return None

    async def talk(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        match session.path.rpartition("/")[0].rpartition("/")[2], session.path:
            case "turns", _:
                await _Turns(self, connection, session, behaviour).run()
            case _, path if path.endswith("/stt/websocket"):
                await _Manual(self, connection, session, behaviour).run()
            case _:
                await _Mouth(self, connection, session, behaviour).run()


def _refusal(status: int, code: str | None, title: str) -> Response:
    body = {"error_code": code, "title": title, "message": f"{title}.", "request_id": "r1"}
    return refusal(status, orjson.dumps(body), {"retry-after": "2"} if status == 429 else None)


def _error(trouble: str, words: str = "", **more: object) -> str:
    status, code, title = _AFTER[trouble]
    said = {"type": "error", "done": True, "status_code": status, "error_code": code, "title": title}
    return text({**said, "message": f"{title}. {words}".strip(), "request_id": "r1", **more})


class _Ear:
    """What both ears have in common."""

    def __init__(self, fake: Cartesia, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        self._fake, self._connection, self._session, self._how = fake, connection, session, behaviour
        self._hearing = Hearing(int(session.query.get("sample_rate", "16000")))
        self._told = 0.0

    async def run(self) -> None:
        await self._begin()
        async for frame in self._fake.heard(self._connection, self._session):
            if isinstance(frame, bytes):
                await self._listen(frame)
            elif await self._closes(frame):
                await self._connection.close()
                return

    async def _listen(self, pcm: bytes) -> None:
        how = self._how
        match how.trouble:
            case "garbage":
                await self._connection.send("<html>")
            case "bad-audio" | "concurrency" | "echoes-key":
                await self._connection.send(_error(how.trouble, str(self._session.headers.get("authorization"))))
                await self._connection.close(1011)
                raise Dropped
            case "endless":
                return await self._babble()
        words = self._hearing.hear(pcm)
        if how.drop_after is not None and self._hearing.seconds >= how.drop_after:
            raise Dropped
        if how.stall_after is not None and self._hearing.seconds >= how.stall_after:
            await stalled(self._connection)
        await self._hear(words)

    async def _say(self, kind: str, **fields: object) -> None:
        await self._connection.send(text({"type": kind, "request_id": "r1", **fields}))

    async def _begin(self) -> None:
        pass

    async def _babble(self) -> None:
        raise NotImplementedError

    async def _hear(self, words: list[Said]) -> None:
        raise NotImplementedError

    async def _closes(self, frame: str) -> bool:
        raise NotImplementedError


class _Manual(_Ear):
    def __init__(self, fake: Cartesia, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        super().__init__(fake, connection, session, behaviour)
        self._open: list[Said] = []
        self._begun = False

    async def _hear(self, words: list[Said]) -> None:
        self._open += words
        if len(self._open) > SETTLED:
            settled, self._open = self._open[:-SETTLED], self._open[-SETTLED:]
            await self._transcript(settled, True)
        elif words:
            await self._transcript(self._open, False)

    async def _closes(self, frame: str) -> bool:
        self._open += self._hearing.rest()
        await asyncio.sleep(self._how.latency)
        if self._open:
            await self._transcript(self._open, True)
            self._open = []
        await self._say("done" if frame == "close" else "flush_done")
        return frame == "close"

    async def _transcript(self, words: list[Said], final: bool) -> None:
        said = " ".join(word.text for word in words)
        times = [{"word": word.text, "start": word.start, "end": word.end} for word in words]
        told = f" {said}" if self._begun else said
        self._begun |= final
        await self._say("transcript", text=told, is_final=final, duration=0.5, language="en", words=times)

    async def _babble(self) -> None:
        for count in range(1_000_000):
            await self._say("transcript", text=f"word {count}", is_final=False)
            await asyncio.sleep(0.005)


class _Turns(_Ear):
    def __init__(self, fake: Cartesia, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        super().__init__(fake, connection, session, behaviour)
        self._turn: list[Said] = []
        self._speaking = self._eager = self._later = False

    async def _begin(self) -> None:
        await self._say("connected")

    async def _hear(self, words: list[Said]) -> None:
        hearing = self._hearing
        if hearing.speaking and not self._speaking:
            self._speaking = True
            await self._say("turn.start")
        if self._eager and hearing.speaking:
            self._eager = False
            await self._say("turn.resume")
        if words:
            self._turn += words
            await self._say("turn.update", transcript=self._transcript())
        if self._speaking and not self._eager and hearing.quiet >= EAGER:
            self._eager = True
            self._turn += hearing.rest()
            await self._say("turn.eager_end", transcript=self._transcript())
        if self._speaking and hearing.quiet >= QUIET:
            await self._end()

    async def _closes(self, frame: str) -> bool:
        if orjson.loads(frame).get("type") != "close":
            return False
        if self._speaking:
            await self._end()
        return True

    async def _end(self) -> None:
        self._turn += self._hearing.rest()
        await asyncio.sleep(self._how.latency)
        await self._say("turn.end", transcript=self._transcript())
        self._turn, self._speaking, self._eager, self._later = [], False, False, True

    def _transcript(self) -> str:
        said = " ".join(word.text for word in self._turn)
        return f" {said}" if self._later else said

    async def _babble(self) -> None:
        await self._say("turn.start")
        for count in range(1_000_000):
            await self._say("turn.update", transcript=f"word {count}")
            await asyncio.sleep(0.005)


@dataclass
class _Context:
    """`fixed`: what must not change in it."""

    fixed: dict[str, Any]
    todo: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    task: asyncio.Task[None] | None = None
    flush: int = 1
    seconds: float = 0.0
    busy: int = 0
    last: float = 0.0


class _Mouth:
    def __init__(self, fake: Cartesia, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        self._fake, self._connection, self._session, self._how = fake, connection, session, behaviour
        self._contexts: dict[str, _Context] = {}
        self._seconds = 0.0
        fake.not_yet(behaviour)

    async def run(self) -> None:
        try:
            async for frame in self._fake.heard(self._connection, self._session):
                if len(self._session.frames) == 1:
                    self._how = self._fake.now()
                await self._take(orjson.loads(frame))
        finally:
            tasks = [each.task for each in self._contexts.values() if each.task is not None]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _take(self, message: dict[str, Any]) -> None:
        name = str(message["context_id"])
        match self._how.trouble:
            case "garbage":
                return await self._connection.send("<html>")
            case "concurrency":
                return await self._connection.send(_error("concurrency", context_id=name))
        context = self._contexts.get(name)
        if message.get("cancel"):
            if context is not None and context.task is not None:
                context.task.cancel()
                self._contexts.pop(name)
            return
        fixed = {key: value for key, value in message.items() if key not in ("transcript", "continue", "flush")}
        now = asyncio.get_running_loop().time()
        if context is None:
            context = self._contexts[name] = _Context(fixed, last=now)
            context.task = asyncio.create_task(self._work(name, context))
        elif context.fixed != fixed or (not context.busy and now > context.last + LIVES):
            words = "The context has expired, or its fields changed"
            said = {"type": "error", "done": True, "status_code": 400, "error_code": "invalid_context", "title": words}
            return await self._connection.send(text({**said, "message": words, "context_id": name}))
        context.busy += 1
        context.todo.put_nowait(message)

    async def _work(self, name: str, context: _Context) -> None:
        while True:
            message = await context.todo.get()
            await self._speak(name, context, message["transcript"])
            if message.get("flush"):
                said = {"flush_done": True, "flush_id": context.flush}
                await self._say("flush_done", name, **said)
                context.flush += 1
            context.busy -= 1
            context.last = asyncio.get_running_loop().time()
            if not message.get("continue"):
                await self._say("done", name, done=True)
                return

    async def _speak(self, name: str, context: _Context, said: str) -> None:
        how, rate = self._how, int(context.fixed["output_format"]["sample_rate"])
        if said.strip():
            await asyncio.sleep(how.latency)
        for word, pcm in spoken(said if how.trouble != "endless" else "endless " * 10_000, rate, context.seconds):
            if how.trouble == "endless":
                await asyncio.sleep(0.005)
            if how.drop_after is not None and self._seconds >= how.drop_after:
                self._connection.transport.abort()
            if how.stall_after is not None and self._seconds >= how.stall_after:
                await asyncio.get_running_loop().create_future()
            length = len(pcm) / 2 / rate
            self._seconds += length
            context.seconds += length
            data = base64.b64encode(pcm).decode()
            await self._say("chunk", name, data=data, step_time=1.5, flush_id=context.flush)
            if context.fixed.get("add_timestamps"):
                times = {"words": [word.text], "start": [word.start], "end": [word.end]}
                await self._say("timestamps", name, word_timestamps=times, flush_id=context.flush)

    async def _say(self, kind: str, context: str, **fields: object) -> None:
        message = {"type": kind, "context_id": context, "status_code": 206, "done": False, **fields}
        await self._connection.send(text(message))


if __name__ == "__main__":
    main(Cartesia)
