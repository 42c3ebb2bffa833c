"""A fake of Sarvam: realtime and older streaming speech to text, speech to text by request, and Bulbul's text to speech.

Evidence. From the vendor's SDK (sarvamai 0.1.39): paths, queries, messages both ways, closes, limits, the error envelope, that a
final's `language` is there with `auto` only. From a third party's probes: a wrong key is a 403 before the upgrade, the older
endpoint never closes and has no partials. Assumed here, and never seen on the wire: that every utterance of a realtime session
has its final, an empty one too; that a flush of nothing is answered by nothing; that each flush of text is answered by one
`final`; that linear16 comes without a header ("headers" as a trouble: with one); `language_code` or `target_language_code`
in the configuration of speech.

    python -m tests.fakes.sarvam --port 9003       # then: sarvam: {base_url: "ws://127.0.0.1:9003", key: any}
"""

from __future__ import annotations

import asyncio
import base64
import io
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.fakes.base import Behaviour, Dropped, Fake, Session, main, refusal, text
from tests.fakes.bulbul import Bulbul
from tests.fakes.hearing import Hearing, Said
from tests.fakes.posting import Answer, Posted, posts

IDLE = 60.0
ENDPOINT = 0.8
LANGUAGES = "as bn brx doi en gu hi kn kok ks mai ml mni mr ne pa sa sat sd ta te ur".split()  # noqa: SIM905 - as it reads
REFUSED: dict[str, tuple[int, str]] = {
    "unauthorized": (403, "invalid_api_key_error"),
    "rate-limited": (429, "rate_limit_exceeded_error"),
    "no-quota": (429, "insufficient_quota_error"),
    "server-error": (500, "internal_server_error"),
}
"""Before the upgrade, and of requests."""
FATAL: dict[str, tuple[str, int, int]] = {
    "quota-later": ("insufficient_quota_error", 402, 1003),
    "key-later": ("invalid_api_key_error", 401, 1003),
    "rate-later": ("rate_limit_exceeded_error", 429, 1003),
    "bad-language": ("invalid_language", 400, 4000),
    "bad-audio": ("invalid_request_error", 400, 4000),
}
"""After it: code, status, close."""


class Sarvam(Fake):
    """Sarvam's speech APIs. `posted`: requests."""

    idle = IDLE
    spares = ("/text-to-speech/ws",)

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        super().__init__(behaviour)
        self.posted: list[Posted] = []

    @asynccontextmanager
    async def running(self, port: int = 0, **more: Any) -> AsyncIterator[str]:
        async with super().running(port, create_connection=posts(self._post), **more) as url:
            yield url

    def refuse(self, request: Request) -> Response | None:
        key = request.headers.get("api-subscription-key") or request.headers.get("authorization")
        if (error := self._refusal(key)) is not None:
            status, body, headers = error
            return refusal(status, orjson.dumps(body), headers)
        return None if request.path.partition("?")[0].endswith("/ws") else refusal(404)

    async def talk(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        match session.path.rsplit("/", 2)[-2]:
            case "speech-to-text-realtime":
                await _Realtime(self, connection, session, behaviour).run()
            case "speech-to-text":
                await _Streaming(self, connection, session, behaviour).run()
            case _:
                await Bulbul(self, connection, session).run()

    def _refusal(self, key: str | None) -> Answer | None:
        trouble = self.behaviour.trouble if key else "unauthorized"
        if trouble not in REFUSED:
            return None
        status, code = REFUSED[trouble]
        headers = {"retry-after": "2"} if trouble == "rate-limited" else {}
        return status, {"error": {"message": f"No. {key}", "code": code, "request_id": "r"}}, headers

    def _post(self, posted: Posted) -> Answer:
        self.posted.append(posted)
        if (error := self._refusal(posted.headers.get("api-subscription-key"))) is not None:
            return error
        form = posted.form
        try:
            with wave.open(io.BytesIO(form["file"])) as file:
                rate, pcm = file.getframerate(), file.readframes(file.getnframes())
        except (wave.Error, EOFError, KeyError):
            pcm = None
        if pcm is None or self.behaviour.trouble == "bad-audio":
            said = {"message": "Failed to decode audio file", "code": "invalid_request_error"}
            return 400, {"error": said}, {}
        if len(pcm) / 2 / rate > 30.0:
            said = {"message": "Audio is longer than 30 s", "code": "unprocessable_entity_error"}
            return 422, {"error": said}, {}
        hearing = Hearing(rate)
        words = hearing.hear(pcm) + hearing.hear(bytes(640)) + hearing.rest()
        answer: dict[str, object] = {"request_id": "r", "transcript": _text(words), "language_code": "en-IN"}
        if form.get("with_timestamps") == b"true" and words:
            half = len(words) // 2
            chunks = [chunk for chunk in (words[:half], words[half:]) if chunk]
            answer["timestamps"] = {
                "words": [_text(chunk) for chunk in chunks],
                "start_time_seconds": [chunk[0].start for chunk in chunks],
                "end_time_seconds": [chunk[-1].end for chunk in chunks],
            }
        return 200, answer, {}


def _text(words: list[Said]) -> str:
    return " ".join(word.text for word in words)


class _Ear:
    """What both endpoints have in common."""

    def __init__(self, fake: Sarvam, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        self._fake, self._connection, self._session, self._how = fake, connection, session, behaviour
        self._query = session.query
        self._hearing = Hearing(int(self._query.get("sample_rate") or 16_000))
        self._words: list[Said] = []

    async def run(self) -> None:
        frames = self._fake.heard(self._connection, self._session)
        if self._how.trouble == "garbage":
            await self._connection.send("<html>")
        if await self._refused():
            return
        await self._begin()
        while True:
            try:
                async with asyncio.timeout(self._fake.idle):
                    frame = await anext(frames, None)
            except TimeoutError:
                return await self._connection.close(1008, "inactivity")
            if frame is None:
                return
            for count in range(1_000_000 if self._how.trouble == "endless" else 0):
                await self._babble(f"word {count}")
                await asyncio.sleep(0.005)
            if self._how.trouble != "silent" and await self._take(orjson.loads(frame)):
                return

    async def _refused(self) -> bool:
        raise NotImplementedError

    async def _begin(self) -> None:
        raise NotImplementedError

    async def _babble(self, said: str) -> None:
        raise NotImplementedError

    async def _take(self, message: dict[str, Any]) -> bool:
        raise NotImplementedError

    def _limits(self) -> bool:
        """Whether it is to be silent from now on. Raises Dropped."""
        if self._how.drop_after is not None and self._hearing.seconds >= self._how.drop_after:
            raise Dropped
        return self._how.stall_after is not None and self._hearing.seconds >= self._how.stall_after

    async def _say(self, **message: object) -> None:
        await self._connection.send(text(message))


class _Realtime(_Ear):
    _utterance = -1
    _spoke = False
    _told = _began = 0.0
    _ended = 0

    async def _refused(self) -> bool:
        query, trouble = self._query, self._how.trouble or ""
        fault: tuple[str, int, int] | None = FATAL.get(trouble)
        known = {"auto", "or-IN", *(f"{each}-IN" for each in LANGUAGES)}
        if query.get("language_code") not in known:
            fault = FATAL["bad-language"]
        elif query.get("model", "saaras:v3-realtime") not in ("saaras:v3-realtime", "saaras:v4"):
            fault = ("invalid_model", 400, 4000)
        elif query.get("sample_rate", "16000") not in ("8000", "16000") or (
            "keyterms" in query and query.get("model") != "saaras:v4"
        ):
            fault = ("invalid_query", 400, 4000)
        if fault is None:
            return False
        code, status, close = fault
        key = self._session.headers.get("api-subscription-key")
        words = f"Failed to decode audio {key}" if trouble == "bad-audio" else f"No: {key}"
        await self._say(event="error", code=code, is_fatal=True, message=words, status_code=status)
        await self._connection.close(close, code)
        return True

    async def _begin(self) -> None:
        query = self._query
        config = {"model": query.get("model"), "turn_detection": query.get("endpointing", "vad")}
        await self._say(event="session.begin", request_id="r", config=config)
        await self._say(event="error", code="invalid_config", is_fatal=False, message="That was not applied.")

    async def _babble(self, said: str) -> None:
        await self._say(event="transcript.partial", utterance_idx=0, text=said)

    @property
    def _manual(self) -> bool:
        return self._query.get("endpointing") == "manual"

    async def _take(self, message: dict[str, Any]) -> bool:
        match message["event"]:
            case "audio_input":
                await self._hear(base64.b64decode(message["audio"], validate=True))
            case "speech_start" if self._manual:
                self._utterance += 1
                self._spoke, self._began = True, self._hearing.seconds
            case "speech_end" | "flush" if self._manual:
                await self._final()
            case "ping":
                await self._say(event="pong")
            case "end":
                if self._spoke:
                    await self._final()
                seconds = self._hearing.seconds
                ended = {"total_duration_s": seconds, "total_utterances": self._utterance + 1}
                await self._say(event="session.end", request_id="r", audio_duration_s=seconds, **ended)
                await self._connection.close()
                return True
        return False

    async def _hear(self, pcm: bytes) -> None:
        words = self._hearing.hear(pcm)
        self._words += words
        if self._limits():
            await self._connection.wait_closed()
        if not self._manual:
            await self._listen()
        elif not self._spoke:
            self._words = []  # what is outside of an utterance is not heard
        if words and self._spoke and self._query.get("stream_type") != "simulated":
            await self._say(
                event="transcript.partial", utterance_idx=self._utterance, text=_text(self._words), **self._language()
            )

    async def _listen(self) -> None:
        hearing = self._hearing
        if hearing.speaking and not self._spoke:
            self._utterance += 1
            self._spoke, self._began = True, max(0.0, hearing.seconds - 0.1)
            await self._say(event="vad.speech_start", utterance_idx=self._utterance, confidence=0.9)
        elif self._spoke and hearing.quiet >= ENDPOINT:
            await self._say(event="vad.speech_end", utterance_idx=self._utterance, confidence=0.9)
            await self._final()

    async def _final(self) -> None:
        self._words += self._hearing.rest()
        words, self._words, self._spoke = self._words, [], False
        await asyncio.sleep(self._how.latency)
        times = {"start_s": self._began, "end_s": self._hearing.seconds}
        more = times if self._query.get("return_timestamps") == "true" else {}
        await self._say(
            event="transcript.final", utterance_idx=self._utterance, text=_text(words), **self._language(), **more
        )

    def _language(self) -> dict[str, object]:
        return {"language": "en-IN"} if self._query.get("language_code") == "auto" else {}


class _Streaming(_Ear):
    _spoke = False

    async def _refused(self) -> bool:
        known = {"unknown", "od-IN", *(f"{each}-IN" for each in LANGUAGES)}
        bad = self._query.get("language-code") not in known or self._how.trouble == "bad-audio"
        if bad:
            key = self._session.headers.get("api-subscription-key")
            words = f"Failed to decode audio {key}" if self._how.trouble == "bad-audio" else "language-code"
            await self._say(type="error", data={"error": words, "code": "invalid_request_error"})
            await self._connection.close(1003)
        return bad

    async def _begin(self) -> None:
        pass

    async def _babble(self, said: str) -> None:
        await self._data(said)

    async def _take(self, message: dict[str, Any]) -> bool:
        if message.get("type") == "flush":
            if self._spoke:
                self._spoke = False
                await self._final()
            return False
        hearing = self._hearing
        self._words += hearing.hear(base64.b64decode(message["audio"]["data"], validate=True))
        if self._limits():
            await self._connection.wait_closed()
        if hearing.speaking and not self._spoke:
            self._spoke = True
            await self._signal("START_SPEECH")
        elif self._spoke and hearing.quiet >= ENDPOINT:
            self._spoke = False
            await self._signal("END_SPEECH")
            await self._final()
        return False

    async def _signal(self, name: str) -> None:
        if self._query.get("vad_signals") == "true":
            await self._say(type="events", data={"event_type": "vad", "signal_type": name, "occured_at": 1.0})

    async def _final(self) -> None:
        self._words += self._hearing.rest()
        words, self._words = self._words, []
        await asyncio.sleep(self._how.latency)
        await self._data(_text(words))

    async def _data(self, said: str) -> None:
        metrics = {"audio_duration": self._hearing.seconds, "processing_latency": 0.1}
        data = {"request_id": "r", "transcript": said, "language_code": "en-IN", "metrics": metrics}
        await self._say(type="data", data=data)


if __name__ == "__main__":
    main(Sarvam)
