"""The fake of Sarvam's text to speech (/text-to-speech/ws); on what evidence, tests/fakes/sarvam.py says."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection

from gateway.contract.wav import wav_header
from tests.fakes.base import Behaviour, Dropped, Fake, Session, text
from tests.fakes.speaking import spoken

IDLE = 60.0
HEARD = 0.3
"""Seconds before a connection drops in mid-speech: some of what was sent is heard by then."""
SPEAKERS = ("shubh", "ritu", "anushka")
LANGUAGES = ("bn", "en", "gu", "hi", "kn", "ml", "mr", "od", "pa", "ta", "te")


class Bulbul:
    def __init__(self, fake: Fake, connection: ServerConnection, session: Session) -> None:
        self._fake, self._connection, self._session = fake, connection, session
        self._how = Behaviour()
        self._config: dict[str, Any] = {}
        self._text = ""
        self._seconds = 0.0

    async def run(self) -> None:
        frames = self._fake.heard(self._connection, self._session)
        while True:
            try:
                async with asyncio.timeout(IDLE):
                    frame = await anext(frames, None)
            except TimeoutError:
                return await self._connection.close(1000, "inactivity")
            if frame is None:
                return
            if len(self._session.frames) == 1:
                self._how = self._fake.now()
            if self._how.trouble != "silent" and await self._take(orjson.loads(frame)):
                return

    async def _take(self, message: dict[str, Any]) -> bool:
        match message["type"]:
            case "config":
                return await self._configure(message["data"])
            case "text":
                if not self._config:
                    return await self._fail(422, "The first message must be the config.")
                self._text += message["data"]["text"]
            case "flush":
                await self._speak()
        return False

    async def _configure(self, config: dict[str, Any]) -> bool:
        if self._how.trouble == "garbage":
            await self._connection.send("<html>")
        language = config.get("language_code") or config.get("target_language_code")
        if language not in (
            "od-IN",
            *(f"{each}-IN" for each in ["bn", "en", "gu", "hi", "kn", "ml", "mr", "pa", "ta", "te"]),
        ):
            return await self._fail(422, "Unsupported language.")
        if config.get("speaker") not in SPEAKERS:
            return await self._fail(400, "No such speaker.")
        self._config = config
        return False

    async def _speak(self) -> None:
        said, self._text = self._text, ""
        how, rate = self._how, int(self._config.get("speech_sample_rate") or 22_050)
        await asyncio.sleep(how.latency)
        said = said if how.trouble != "endless" else "endless " * 10_000
        for word, pcm in spoken(said, rate, self._seconds):
            if how.trouble == "endless":
                await asyncio.sleep(0.005)
            if how.drop_after is not None and word.start >= how.drop_after:
                await asyncio.sleep(min(HEARD, how.drop_after))
                raise Dropped
            if how.stall_after is not None and word.start >= how.stall_after:
                await self._connection.wait_closed()
            self._seconds = word.start + len(pcm) / 2 / rate
            header = wav_header(rate, len(pcm) // 2) if how.trouble == "headers" else b""
            kind = "audio/mp3" if how.trouble == "mp3" else "audio/wav"
            data = {"content_type": kind, "audio": base64.b64encode(header + pcm).decode(), "request_id": "r"}
            await self._connection.send(text({"type": "audio", "data": data}))
        if self._session.query.get("send_completion_event") == "true":
            await self._connection.send(text({"type": "event", "data": {"event_type": "final"}}))

    async def _fail(self, code: int, words: str) -> bool:
        key = self._session.headers.get("api-subscription-key")
        data = {"message": f"{words} {key}", "code": code, "request_id": "r"}
        await self._connection.send(text({"type": "error", "data": data}))
        await self._connection.close(1003)
        return True
