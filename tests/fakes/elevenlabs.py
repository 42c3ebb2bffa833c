"""A fake of ElevenLabs: multi-context text to speech and realtime speech to text. (Its files are HTTP: tests/providers/test_elevenlabs.py.)

Evidence. From the vendor's SDK (elevenlabs 2.78): paths, header, query, messages both ways, that a context ends with `isFinal` once it
is closed, times of characters in each message, `committed_transcript` and then the same with times. From its documentation
and issues of its users: errors and then a close with 1008, five contexts, HTTP's errors before the upgrade. Assumed here, and
never seen on the wire: which errors come before the upgrade, that a commit of too little is answered by `commit_throttled`, that
times of words count from the start of the session, where texts are cut.

    python -m tests.fakes.elevenlabs --port 9004       # then: elevenlabs: {base_url: "ws://127.0.0.1:9004", key: any}
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.fakes.base import Behaviour, Dropped, Fake, Session, main, refusal, stalled, text
from tests.fakes.hearing import Hearing, Said
from tests.fakes.mouths import Mouth

CONTEXTS = 5
QUIET = 0.5
"""Seconds of silence that end a turn."""
LEAST = 0.3
"""Seconds that can be committed."""
_BEFORE = {
    "unauthorized": (401, "invalid_api_key", "Invalid API key"),
    "no-quota": (401, "quota_exceeded", "This request exceeds your quota"),
    "rate-limited": (429, "too_many_concurrent_requests", "Too many concurrent requests"),
    "broken": (503, "system_busy", "We are busy"),
    "bad-model": (400, "model_not_found", "No such model"),
}


class ElevenLabs(Fake):
    """ElevenLabs' WebSocket APIs."""

    def refuse(self, request: Request) -> Response | None:
        trouble = self.behaviour.trouble or ""
        if "xi-api-key" not in request.headers:
            trouble = "unauthorized"
        if trouble not in _BEFORE:
            return None
        status, code, words = _BEFORE[trouble]
        body = orjson.dumps({"detail": {"status": code, "message": words}})
        return refusal(status, body, {"retry-after": "2"} if status == 429 else None)

    async def talk(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        if session.path.endswith("/speech-to-text/realtime"):
            await _Ear(self, connection, session, behaviour).run()
        else:
            await _Mouth(self, connection, session, behaviour).run()


class _Ear:
    def __init__(self, fake: ElevenLabs, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        self._fake, self._connection, self._session, self._how = fake, connection, session, behaviour
        self._hearing = Hearing(int(session.query["audio_format"].removeprefix("pcm_")))
        self._open: list[Said] = []
        self._since = 0.0

    async def run(self) -> None:
        config = {
            "model_id": self._session.query["model_id"],
            "commit_strategy": self._session.query["commit_strategy"],
        }
        if self._how.trouble == "auth_error":
            return await self._fail("auth_error", "You must be authenticated")
        if self._how.stall_after != 0.0:
            await self._say("session_started", session_id="s1", config=config)
        async for frame in self._fake.heard(self._connection, self._session):
            message = orjson.loads(frame)
            await self._listen(base64.b64decode(message["audio_base_64"]))
            if message["commit"]:
                await self._commit()

    async def _listen(self, pcm: bytes) -> None:
        how, key = self._how, str(self._session.headers.get("xi-api-key"))
        match how.trouble:
            case "garbage":
                await self._connection.send("<html>")
            case "bad-audio" | "echoes-key":
                return await self._fail("input_error", f"Cannot read the audio of {key}")
            case "quota_exceeded" | "rate_limited" | "resource_exhausted" | "session_time_limit_exceeded":
                return await self._fail(how.trouble, f"It is so, {key}")
            case "endless":
                await self._babble()
        words = self._hearing.hear(pcm)
        if how.drop_after is not None and self._hearing.seconds >= how.drop_after:
            raise Dropped
        if how.stall_after is not None and self._hearing.seconds >= how.stall_after:
            await stalled(self._connection)
        self._open += words
        if words:
            await self._say("partial_transcript", text=" ".join(word.text for word in self._open))
        if self._session.query["commit_strategy"] == "vad" and self._open and self._hearing.quiet >= QUIET:
            await self._settle()

    async def _commit(self) -> None:
        if self._hearing.seconds - self._since < LEAST:
            return await self._say("commit_throttled", error="Commit request ignored: too little audio")
        await self._settle()

    async def _settle(self) -> None:
        self._open += self._hearing.rest()
        await asyncio.sleep(self._how.latency)
        said = " ".join(word.text for word in self._open)
        words: list[dict[str, object]] = []
        for word in self._open:
            if words:
                words.append({"text": " ", "type": "spacing", "start": word.start, "end": word.start})
            words.append({"text": word.text, "type": "word", "start": word.start, "end": word.end, "logprob": -0.1})
        self._open, self._since = [], self._hearing.seconds
        await self._say("committed_transcript", text=said)
        if self._session.query.get("include_timestamps") == "true":
            await self._say("committed_transcript_with_timestamps", text=said, language_code="en", words=words)

    async def _babble(self) -> None:
        for count in range(1_000_000):
            await self._say("partial_transcript", text=f"word {count}")
            await asyncio.sleep(0.005)

    async def _say(self, kind: str, **fields: object) -> None:
        await self._connection.send(text({"message_type": kind, **fields}))

    async def _fail(self, kind: str, words: str) -> None:
        await self._say(kind, error=words)
        await self._connection.close(1008, kind)
        raise Dropped


class _Mouth(Mouth):
    def __init__(self, fake: ElevenLabs, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        super().__init__(fake, connection, session, behaviour)
        self._texts: dict[str, str] = {}

    async def take(self, message: dict[str, Any]) -> None:
        context, trouble = str(message.get("context_id", "default")), self.how.trouble
        if message.get("close_socket"):
            return await self.connection.close()
        if message.get("close_context"):
            self.speak(
                context, self._texts.pop(context, ""), int(self.session.query["output_format"].removeprefix("pcm_"))
            )
            return
        if context not in self._texts and message.get("text"):
            if len(self._texts) + self.speaking >= CONTEXTS or trouble == "concurrency":
                await self._fail("max_active_conversations", "Maximum simultaneous contexts exceeded (5)")
            if trouble in ("quota_exceeded", "voice_id_does_not_exist"):
                await self._fail(trouble, f"It is so, {self.session.headers.get('xi-api-key')}")
            self._texts[context] = ""
        if context in self._texts:
            self._texts[context] += message.get("text") or ""

    async def said(self, context: str, word: Said, pcm: bytes) -> None:
        audio, times = base64.b64encode(pcm).decode(), _alignment(word)
        await self.say(
            {"audio": audio, "isFinal": None, "alignment": times, "normalizedAlignment": times, "contextId": context}
        )

    async def over(self, context: str) -> None:
        await self.say({"audio": None, "isFinal": True, "alignment": None, "contextId": context})

    async def _fail(self, error: str, words: str) -> None:
        await self.say({"message": words, "error": error, "code": 1008})
        await self.connection.close(1008, words)
        raise Dropped


def _alignment(word: Said) -> dict[str, Any]:
    """Of each of its letters and the space after it, from the start of its audio."""
    step = (word.end - word.start) / len(word.text) * 1000
    return {
        "chars": [*word.text, " "],
        "charStartTimesMs": [round(at * step) for at in range(len(word.text) + 1)],
        "charDurationsMs": [*(round(step) for _ in word.text), 60],
    }


if __name__ == "__main__":
    main(ElevenLabs)
