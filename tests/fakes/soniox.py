"""A fake of Soniox: real-time speech to text and text to speech.

Evidence. From the vendor's SDK (soniox 2.10): paths, key in the header and not in the configuration too, fields of
configurations, controls (`finalize`, `keepalive`, an empty frame; `text_end`, `cancel`, `keep_alive`), fields of answers.
From its documentation: `<fin>`, `<end>`, final and other tokens, an error's frame and then the close, the codes and limits, that
a stream's error leaves the connection open. Assumed here, and never seen on the wire: where tokens are cut, that a finalize
of nothing is answered, that a cancelled stream is `terminated`, from where a stream's timestamps count (its own start).

    python -m tests.fakes.soniox --port 9002       # then: soniox: {base_url: "ws://127.0.0.1:9002", key: any}
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.fakes.base import Behaviour, Dropped, Fake, Session, main, refusal, text
from tests.fakes.hearing import Hearing, Said
from tests.fakes.speaking import spoken

IDLE = 20.0
ENDPOINT = 0.8
"""Seconds of silence that end an utterance."""
STREAMS = 5
HEARD = 0.3
"""Seconds before a connection drops in mid-speech: some of what was sent is heard by then."""
ERRORS: dict[str, tuple[int, str]] = {
    "unauthorized": (401, "Incorrect API key provided."),
    "no-quota": (402, "Organization balance exhausted. Please either add funds manually or enable autopay."),
    "concurrency": (429, "Your organization has exceeded its limit of concurrent requests."),
    "bad-model": (400, "Invalid model specified."),
    "bad-audio": (400, "Failed to decode audio data."),
    "restart": (503, "Cannot continue request (code 1). Please restart the request."),
    "server-error": (500, "The server had an error processing your request."),
}


class Soniox(Fake):
    """Soniox's WebSocket APIs."""

    idle = IDLE
    spares = ("/tts-websocket",)

    def refuse(self, request: Request) -> Response | None:
        if self.behaviour.trouble == "rate-limited":
            return refusal(429, b"", {"retry-after": "2"})
        if not request.path.endswith(("/transcribe-websocket", "/tts-websocket")):
            return refusal(404)
        return None

    async def talk(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        if session.path.endswith("/tts-websocket"):
            await _Mouth(self, connection, session).run()
        else:
            await _Ear(self, connection, session, behaviour).run()


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error_code": code, "error_message": message}


def _key(session: Session, config: dict[str, Any]) -> dict[str, Any] | None:
    """What is wrong with it."""
    shown = session.headers.get("authorization", "").removeprefix("Bearer ")
    if shown and "api_key" in config:
        return _error(400, "API key provided twice.")
    return None if shown or config.get("api_key") else _error(401, ERRORS["unauthorized"][1])


class _Ear:
    def __init__(self, fake: Soniox, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        self._fake, self._connection, self._session, self._how = fake, connection, session, behaviour
        self._hearing = Hearing()
        self._config: dict[str, Any] = {}
        self._open: list[Said] = []
        self._told = 0.0

    async def run(self) -> None:
        frames = self._fake.heard(self._connection, self._session)
        try:
            async with asyncio.timeout(self._fake.idle):
                self._config = orjson.loads(await anext(frames))
            if (error := self._fault()) is not None:
                return await self._fail(error)
            if self._how.trouble == "endless":
                await self._babble()
            while True:
                async with asyncio.timeout(self._fake.idle):
                    frame = await anext(frames)
                if await self._over(frame):
                    return
        except TimeoutError:
            await self._fail(_error(408, "Request timeout."))

    def _fault(self) -> dict[str, Any] | None:
        config, trouble = self._config, self._how.trouble or ""
        if (error := _key(self._session, config)) is not None:
            return error
        if trouble in ERRORS and trouble not in ("bad-audio", "restart"):
            return _error(*ERRORS[trouble])
        if not config.get("model"):
            return _error(400, "Missing required field: model")
        if str(config.get("audio_format", "")).startswith("pcm_") and not (
            config.get("sample_rate") and config.get("num_channels")
        ):
            return _error(400, "Missing required field: sample_rate")
        self._hearing = Hearing(int(config.get("sample_rate") or 16_000))
        return None

    async def _over(self, frame: str | bytes) -> bool:
        """Whether the session is, after this frame."""
        if self._how.trouble == "silent":
            return False
        if not frame:
            await self._settle()
            await self._say([], finished=True)
            return True
        if isinstance(frame, str):
            match orjson.loads(frame).get("type"):
                case "finalize":
                    await self._settle("<fin>")
                case "keepalive":
                    pass
                case _:
                    await self._fail(_error(400, "Invalid control message."))
                    return True
            return False
        return await self._hear(frame)

    async def _hear(self, pcm: bytes) -> bool:
        how, hearing = self._how, self._hearing
        self._open += hearing.hear(pcm)
        for limit in (how.drop_after, how.stall_after):
            if limit is not None and hearing.seconds >= limit:
                if how.drop_after is not None:
                    raise Dropped
                await self._connection.wait_closed()
        match how.trouble:
            case "garbage":
                await self._connection.send("<html>")
            case "bad-audio" | "restart":
                code, message = ERRORS[how.trouble]
                await self._fail(_error(code, f"{message} {self._session.headers.get('authorization')}"))
                return True
        if self._config.get("enable_endpoint_detection") and hearing.quiet >= ENDPOINT and self._heard():
            await self._settle("<end>")
        elif hearing.seconds - self._told >= 0.12:
            self._told = hearing.seconds
            settled, self._open = self._open[:-2], self._open[-2:]
            await self._say([*self._tokens(settled, True), *self._tokens(self._open, False)])
        return False

    def _heard(self) -> bool:
        self._open += self._hearing.rest()
        return bool(self._open)

    async def _settle(self, mark: str | None = None) -> None:
        self._open += self._hearing.rest()
        await asyncio.sleep(self._how.latency)
        tokens = [*self._tokens(self._open, True), *([{"text": mark, "is_final": True}] if mark else [])]
        self._open = []
        if tokens:
            await self._say(tokens)

    def _tokens(self, words: Iterable[Said], final: bool) -> Iterable[dict[str, Any]]:
        """Each word in two parts, the first with the space before it."""
        for word in words:
            middle = (word.start + word.end) / 2
            half = max(1, len(word.text) // 2)
            parts = [(f" {word.text[:half]}", word.start, middle), (word.text[half:], middle, word.end)]
            for part, start, end in parts:
                if part:
                    token: dict[str, Any] = {"text": part, "is_final": final, "confidence": 0.97}
                    token |= {"start_ms": round(start * 1000), "end_ms": round(end * 1000)}
                    if self._config.get("enable_language_identification"):
                        token["language"] = "en"
                    if self._config.get("enable_speaker_diarization"):
                        token["speaker"] = "1"
                    yield token

    async def _say(self, tokens: Iterable[dict[str, Any]], **more: object) -> None:
        heard = round(self._hearing.seconds * 1000)
        message = {"tokens": list(tokens), "final_audio_proc_ms": heard, "total_audio_proc_ms": heard, **more}
        await self._connection.send(text(message))

    async def _babble(self) -> None:
        for count in range(1_000_000):
            await self._say([{"text": f" word {count}", "is_final": False}])
            await asyncio.sleep(0.005)

    async def _fail(self, error: dict[str, Any]) -> None:
        await self._connection.send(text(error))
        await self._connection.close()


class _Mouth:
    def __init__(self, fake: Soniox, connection: ServerConnection, session: Session) -> None:
        self._fake, self._connection, self._session = fake, connection, session
        self._how = Behaviour()
        self._streams: dict[str, dict[str, Any]] = {}
        self._texts: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._seconds = 0.0

    async def run(self) -> None:
        frames = self._fake.heard(self._connection, self._session)
        try:
            while True:
                async with asyncio.timeout(self._fake.idle + 10.0):
                    frame = await anext(frames, None)
                if frame is None:
                    return
                if len(self._session.frames) == 1:
                    self._how = self._fake.now()
                await self._take(orjson.loads(frame))
        except TimeoutError:
            await self._connection.close()
        finally:
            for task in self._tasks.values():
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks.values())

    async def _take(self, message: dict[str, Any]) -> None:
        stream = message.get("stream_id")
        if self._how.trouble == "silent" or "keep_alive" in message:
            return
        if self._how.trouble == "garbage":
            return await self._connection.send("<html>")
        if not isinstance(stream, str):
            return await self._fail(None, _error(400, "Missing required field: stream_id"))
        if message.get("cancel"):
            if (task := self._tasks.get(stream)) is not None:
                task.cancel()
            await self._end(stream)
        elif "text" in message:
            await self._text(stream, message)
        else:
            await self._begin(stream, message)

    async def _begin(self, stream: str, config: dict[str, Any]) -> None:
        trouble = self._how.trouble or ""
        error = _key(self._session, config)
        if error is None and trouble in ERRORS:
            code, words = ERRORS[trouble]
            error = _error(code, f"{words} {self._session.headers.get('authorization')}")
        if error is None and (stream in self._streams or len(self._streams) >= STREAMS):
            error = _error(400, "Too many streams, or one of that name.")
        for name in ("model", "language", "voice", "audio_format"):
            if error is None and not config.get(name):
                error = _error(400, f"Missing required field: {name}")
        if error is not None:
            return await self._fail(stream, error)
        self._streams[stream], self._texts[stream] = config, ""

    async def _text(self, stream: str, message: dict[str, Any]) -> None:
        if stream not in self._streams:
            return await self._fail(stream, _error(400, "No such stream."))
        self._texts[stream] += message["text"]
        if message.get("text_end"):
            self._tasks[stream] = asyncio.create_task(self._speak(stream))

    async def _speak(self, stream: str) -> None:
        how, config = self._how, self._streams[stream]
        rate = int(config.get("sample_rate") or 24_000)
        await asyncio.sleep(how.latency)
        said = self._texts[stream] if how.trouble != "endless" else "endless " * 10_000
        for word, pcm in spoken(said, rate):
            if how.trouble == "endless":
                await asyncio.sleep(0.005)
            await self._limits()
            self._seconds += len(pcm) / 2 / rate
            answer: dict[str, Any] = {"stream_id": stream, "audio": base64.b64encode(pcm).decode()}
            if config.get("return_timestamps"):
                answer["timestamps"] = _alignment(word)
            await self._connection.send(text(answer))
        await self._connection.send(text({"stream_id": stream, "audio_end": True}))
        await self._end(stream)

    async def _limits(self) -> None:
        how = self._how
        if how.drop_after is not None and self._seconds >= how.drop_after:
            await asyncio.sleep(min(HEARD, how.drop_after))
            self._connection.transport.abort()
        if how.stall_after is not None and self._seconds >= how.stall_after:
            await asyncio.get_running_loop().create_future()

    async def _fail(self, stream: str | None, error: dict[str, Any]) -> None:
        if stream is None:
            await self._connection.send(text(error))
            return await self._connection.close()
        await self._connection.send(text({"stream_id": stream, **error}))
        await self._end(stream)

    async def _end(self, stream: str) -> None:
        self._streams.pop(stream, None)
        await self._connection.send(text({"stream_id": stream, "terminated": True}))


def _alignment(word: Said) -> dict[str, Any]:
    """Of each of its letters, and of the space after it."""
    step = (word.end - word.start) / len(word.text)
    starts = [word.start + at * step for at in range(len(word.text))]
    return {
        "characters": [*word.text, " "],
        "character_start_times_seconds": [*starts, word.end],
        "character_end_times_seconds": [*(start + step for start in starts), word.end],
    }


if __name__ == "__main__":
    main(Soniox)
