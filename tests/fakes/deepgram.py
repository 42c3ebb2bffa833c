"""Deepgram's sockets.

Evidence. listen v1: Results as recorded (../shared/recordings/audio/deepgram_listen_final_*); the other messages, the close codes
and the keep-alive from the vendor's SDK (deepgram-sdk 7.17) and its documentation: never seen on the wire here.
Refusals of the upgrade: documentation. Flux and speak v1: the files beside this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import orjson
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.fakes._deepgram_flux import Flux
from tests.fakes._deepgram_speak import REQUEST_ID, Speak
from tests.fakes.base import Behaviour, Dropped, Fake, Session, main, refusal, stalled, text
from tests.fakes.hearing import Hearing, Said

IDLE = 10.0
SEGMENT = 5.0
"""Seconds after which a segment is final without any silence."""
INTERIM = 0.5
_REFUSED = {
    "unauthorized": (401, "INVALID_AUTH", "Invalid credentials."),
    "forbidden": (403, "INSUFFICIENT_PERMISSIONS", "User does not have sufficient permissions."),
    "no-quota": (402, "ASR_PAYMENT_REQUIRED", "Project does not have enough credits."),
    "rate-limited": (429, "TOO_MANY_REQUESTS", "Too many requests. Please try again later."),
    "bad-model": (400, "Bad Request", "Bad Request: No such model/language/tier combination found."),
    "broken": (503, "SERVICE_UNAVAILABLE", "Internal server error."),
}


class Deepgram(Fake):
    """Deepgram: /v1/listen, /v2/listen (Flux), /v1/speak. `--trouble`: unauthorized, forbidden, no-quota, rate-limited, bad-model, broken,
    bad-audio, bad-text, garbage, endless, no-answer (to Finalize)."""

    def refuse(self, request: Request) -> Response | None:
        trouble = self.behaviour.trouble or ""
        if trouble in _REFUSED and self.behaviour.times > 0:
            self.now()
            status, code, words = _REFUSED[trouble]
            return _refusal(status, code, words, {"retry-after": "2"} if status == 429 else {})
        if not request.headers.get("authorization", "").startswith(("Token ", "Bearer ")):
            return _refusal(401, "INVALID_AUTH", "Invalid credentials.", {})
        return None

    async def talk(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        if behaviour.trouble == "garbage" and session.path != "/v1/speak":
            await connection.send("<html>")
        match session.path:
            case "/v1/listen":
                await _Listen(connection, session, behaviour).run(self.heard(connection, session))
            case "/v2/listen":
                await Flux(connection, session, behaviour).run(self.heard(connection, session))
            case "/v1/speak":
                await Speak(connection, session, behaviour).run(self.heard(connection, session))
            case _:
                await connection.close(1011, "NET-0000 no such path")


def _refusal(status: int, code: str, words: str, headers: dict[str, str]) -> Response:
    body = orjson.dumps({"err_code": code, "err_msg": words, "request_id": REQUEST_ID})
    return refusal(status, body, {"dg-error": words, "dg-request-id": REQUEST_ID, **headers})


class _Listen:
    """One session of listen v1."""

    def __init__(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        self._connection, self._behaviour = connection, behaviour
        query = session.query
        self._rate = int(query["sample_rate"])
        self._interim = query.get("interim_results") == "true"
        self._vad = query.get("vad_events") == "true"
        silence = query.get("endpointing", "10")
        self._endpointing = None if silence == "false" else float(silence) / 1000
        self._hearing = Hearing(self._rate)
        self._words: list[Said] = []
        self._start = 0.0  # of the segment
        self._shown = 0.0
        self._speaking = False
        self._asked_at = 0.0
        self._key = session.headers.get("authorization", "").rpartition(" ")[2]

    async def run(self, frames: AsyncIterator[str | bytes]) -> None:
        try:
            while True:
                async with asyncio.timeout(IDLE):
                    frame = await anext(frames, None)
                if frame is None or await self._take(frame):
                    return
        except TimeoutError:
            await self._connection.close(1011, "NET-0001 Deepgram did not receive audio data or a text message")

    async def _take(self, frame: str | bytes) -> bool:
        """Whether it was the last."""
        if isinstance(frame, bytes):
            return await self._sound(frame)
        match orjson.loads(frame):
            case {"type": "Finalize"}:
                self._words += self._hearing.rest()
                await self._pause()
                if self._behaviour.trouble != "no-answer" and self._hearing.seconds > self._start:
                    await self._results(True, from_finalize=True)
            case {"type": "CloseStream"}:
                self._words += self._hearing.rest()
                await self._pause()
                await self._results(True)
                await self._send(
                    type="Metadata",
                    transaction_key="deprecated",
                    request_id=REQUEST_ID,
                    sha256="0" * 64,
                    created="2026-11-26T00:00:00.000Z",
                    duration=self._hearing.seconds,
                    channels=1,
                )
                await self._connection.close(1000)
                return True
            case {"type": "KeepAlive" | "Configure"}:
                pass
            case _:
                await self._send(type="Error", variant="SchemaError", description="Could not parse", message=frame)
        return False

    async def _sound(self, pcm: bytes) -> bool:
        behaviour = self._behaviour
        if behaviour.trouble in ("bad-audio", "echoes-key"):
            shown = self._key if behaviour.trouble == "echoes-key" else ""
            await self._connection.close(1008, f"DATA-0000 The payload cannot be decoded as audio. {shown}")
            return True
        self._words += self._hearing.hear(pcm)
        now = self._hearing.seconds
        if behaviour.drop_after is not None and now >= behaviour.drop_after:
            raise Dropped
        if behaviour.stall_after is not None and now >= behaviour.stall_after:
            await stalled(self._connection)
        while behaviour.trouble == "endless":
            self._words = [Said("again", 0.0, 0.5)]
            await self._results(False)
            await asyncio.sleep(0.005)
        if self._hearing.speaking and not self._speaking:
            self._speaking = True
            if self._vad:
                await self._send(type="SpeechStarted", channel=[0, 1], timestamp=round(now, 2))
        await self._segment(now)
        return False

    async def _segment(self, now: float) -> None:
        if self._speaking and self._endpointing is not None and self._hearing.quiet >= self._endpointing:
            self._words += self._hearing.rest()
            self._speaking = False
            await self._pause()
            await self._results(True, speech_final=True)
        elif self._words and now - self._start >= SEGMENT:
            await self._results(True)
        elif self._interim and now - self._shown >= INTERIM:
            self._shown = now
            await self._results(False)

    async def _results(self, final: bool, speech_final: bool = False, from_finalize: bool = False) -> None:
        words, start = self._words, self._start
        if final:
            self._words, self._start, self._shown = [], self._hearing.seconds, self._hearing.seconds
            self._speaking &= not from_finalize
        await self._send(
            type="Results",
            channel_index=[0, 1],
            duration=round(self._hearing.seconds - start, 6),
            start=round(start, 6),
            is_final=final,
            speech_final=speech_final,
            from_finalize=from_finalize,
            channel={"alternatives": [_alternative(words)]},
            metadata={
                "request_id": REQUEST_ID,
                "model_info": {"name": "2-general-nova", "version": "2024-01-18.26916", "arch": "nova-3"},
                "model_uuid": "c0d1a568-ce81-4fea-97e7-bd45cb1fdf3c",
            },
        )

    async def _pause(self) -> None:
        if self._behaviour.latency:
            await asyncio.sleep(self._behaviour.latency)

    async def _send(self, **message: object) -> None:
        await self._connection.send(text(message))


def _alternative(words: Sequence[Said]) -> dict[str, object]:
    return {
        "transcript": " ".join(word.text for word in words),
        "confidence": 0.99 if words else 0.0,
        "words": [
            {
                "word": word.text.lower().strip(".,?!"),
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "confidence": 0.99,
                "punctuated_word": word.text,
            }
            for word in words
        ],
    }


if __name__ == "__main__":
    main(Deepgram)
