"""A fake of AssemblyAI's streaming speech to text (v3).

Evidence. From the vendor's SDK (assemblyai 1.8.2): path, query, headers, what may be sent, fields of events. From its documentation:
the Error frame before the close, its codes and words, 50 to 1000 ms a frame, no faster than real time, the two ends of a turn,
silences that end one, three hours a session. From notes of a third party: that a key is looked at after the upgrade, that `type` is
the last key of a Turn. Assumed, and never seen on the wire: that a ForceEndpoint of nothing is not answered, how far ahead of
real time is too far, how often a partial comes.

    python -m tests.fakes.assemblyai --port 9003       # then: assemblyai: {base_url: "ws://127.0.0.1:9003", key: any}
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.fakes.base import Behaviour, Dropped, Fake, Session, main, refusal, stalled, text
from tests.fakes.hearing import Hearing, Said

ENCODINGS = ("pcm_s16le", "pcm_mulaw")
AHEAD = 10.0
"""Seconds of sound that may come before their time."""
LASTS = 10_800
"""Seconds of a session."""
PARTIAL = 0.25
ERRORS: dict[str, tuple[int, str]] = {
    "unauthorized": (1008, "Unauthorized Connection: Missing Authorization header"),
    "no-quota": (1008, "Unauthorized Connection: Insufficient account balance"),
    "concurrency": (1008, "Unauthorized Connection: Too many concurrent sessions"),
    "concurrency-3009": (3009, "Unauthorized Connection: Too many concurrent sessions"),
    "broken": (3005, "Session Cancelled: An error occurred"),
    "expired": (3008, "Session Expired: Maximum session duration exceeded"),
    "bad-model": (3006, "Invalid speech_model"),
}


class AssemblyAI(Fake):
    """AssemblyAI: /v3/ws. `--trouble`: unauthorized, no-quota, concurrency, rate-limited, broken, bad-model, expired (once
    something was heard), garbage, endless, silent, plain (no formatted text comes)."""

    lasts = LASTS

    def refuse(self, request: Request) -> Response | None:
        if self.behaviour.trouble == "rate-limited":
            return refusal(429, b"", {"retry-after": "2"})
        if not request.path.partition("?")[0].endswith("/v3/ws"):
            return refusal(404)
        return None

    async def talk(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        await _Ear(self, connection, session, behaviour).run()


class _Failed(Exception):
    """The session is over: `code`, `words`."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code, self.words = code, words


class _Ear:
    def __init__(self, fake: AssemblyAI, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        self._fake, self._connection, self._session, self._how = fake, connection, session, behaviour
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._hearing = Hearing()
        self._words: list[Said] = []
        self._order = 0
        self._told = 0.0

    async def run(self) -> None:
        try:
            self._accept()
            await self._say({"id": "a1b2c3", "expires_at": 1_764_200_000, "type": "Begin"})
            async with asyncio.timeout(self._fake.lasts):
                async for frame in self._fake.heard(self._connection, self._session):
                    await self._take(frame)
                    if self._session.over:
                        return
        except TimeoutError:
            await self._fail(*ERRORS["expired"])
        except _Failed as failed:
            await self._fail(failed.code, failed.words)

    def _accept(self) -> None:
        query, trouble = self._session.query, self._how.trouble or ""
        if not self._session.headers.get("authorization") and "token" not in query:
            raise _Failed(*ERRORS["unauthorized"])
        if trouble in ERRORS and trouble != "expired":
            code, words = ERRORS[trouble]
            raise _Failed(code, f"{words} {self._session.headers.get('authorization', '')[:40]}")
        if not query.get("speech_model") or query.get("encoding", "pcm_s16le") not in ENCODINGS:
            raise _Failed(3006, "Invalid connection parameters")
        if not query.get("sample_rate", "").isdigit():
            raise _Failed(3006, "Sample rate must be a positive integer")
        self._hearing = Hearing(int(query["sample_rate"]))

    async def _take(self, frame: str | bytes) -> None:
        if self._how.trouble == "silent":
            return
        if isinstance(frame, bytes):
            return await self._sound(frame)
        try:
            kind = orjson.loads(frame)["type"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise _Failed(3006, f"Invalid JSON: {frame}") from None
        match kind:
            case "ForceEndpoint":
                self._words += self._hearing.rest()
                await self._end()
            case "Terminate":
                self._words += self._hearing.rest()
                await self._end()
                seconds, open_for = round(self._hearing.seconds), max(1, round(self._clock() - self._began))
                told = {"audio_duration_seconds": seconds, "session_duration_seconds": open_for}
                await self._say({**told, "type": "Termination"})
                await self._connection.close(1000)
            case "KeepAlive" | "UpdateConfiguration":
                pass
            case _:
                raise _Failed(3006, f"Invalid Message Type: {kind}")

    async def _sound(self, pcm: bytes) -> None:
        how, hearing = self._how, self._hearing
        size = len(pcm) / 2 / int(self._session.query["sample_rate"])
        if not 0.0499 <= size <= 1.0001:
            raise _Failed(3007, f"Input duration violation: {size * 1000:.1f} ms. Expected between 50 and 1000 ms")
        self._words += hearing.hear(pcm)
        elapsed = self._clock() - self._began
        if hearing.seconds > elapsed + AHEAD:
            said = f"Received {hearing.seconds:.3f} sec. audio in {elapsed:.3f} sec"
            raise _Failed(3007, f"Audio Transmission Rate Exceeded: {said}")
        if how.drop_after is not None and hearing.seconds >= how.drop_after:
            raise Dropped
        if how.stall_after is not None and hearing.seconds >= how.stall_after:
            await stalled(self._connection)
        if how.trouble == "endless":
            await self._babble()
        if how.trouble == "garbage":
            await self._connection.send("<html>")
        if how.trouble == "expired" and self._words:
            raise _Failed(*ERRORS["expired"])
        if self._words and hearing.quiet >= self._patience():
            self._words += hearing.rest()
            await self._end()
        elif self._words and hearing.seconds - self._told >= PARTIAL:
            self._told = hearing.seconds
            await self._turn(ended=False, formatted=False)

    def _asked(self, name: str) -> bool:
        """The vendor's client says True, others true."""
        return self._session.query.get(name, "").lower() == "true"

    def _patience(self) -> float:
        """Seconds of silence that end a turn."""
        query = self._session.query
        sure = float(query.get("end_of_turn_confidence_threshold", "0.4")) < 1.0
        return int(query.get("min_turn_silence", 400) if sure else query.get("max_turn_silence", 1280)) / 1000

    async def _end(self) -> None:
        if not self._words:
            return
        await asyncio.sleep(self._how.latency)
        formats = self._asked("format_turns")
        await self._turn(ended=True, formatted=False)
        if formats and self._how.trouble != "plain":
            await self._turn(ended=True, formatted=True)
        self._words, self._told = [], self._hearing.seconds
        self._order += 1

    async def _turn(self, *, ended: bool, formatted: bool) -> None:
        final = self._words if ended else self._words[:-1]
        words = [_word(word, formatted, ended or word is not self._words[-1]) for word in self._words]
        turn: dict[str, Any] = {
            "turn_order": self._order,
            "turn_is_formatted": formatted,
            "end_of_turn": ended,
            "transcript": " ".join(_form(word.text, formatted) for word in final),
            "end_of_turn_confidence": 0.9 if ended else 0.1,
            "words": words,
            "utterance": " ".join(_form(word.text, formatted) for word in final) if ended else "",
        }
        if self._asked("language_detection") and ended:
            turn |= {"language_code": "en", "language_confidence": 0.99}
        if self._asked("speaker_labels"):
            turn["speaker_label"] = "A"
        await self._say({**turn, "type": "Turn"})

    async def _babble(self) -> None:
        for _ in range(1_000_000):
            self._words = [Said("again", 0.0, 0.5), Said("and", 0.5, 1.0)]
            await self._turn(ended=False, formatted=False)
            await asyncio.sleep(0.005)

    async def _fail(self, code: int, words: str) -> None:
        await self._say({"type": "Error", "error_code": code, "error": words})
        await self._connection.close(code, words if len(words) < 100 else "See Error message for details")

    async def _say(self, message: dict[str, Any]) -> None:
        await self._connection.send(text(message))


def _form(word: str, formatted: bool) -> str:
    return word if formatted else word.lower().strip(".,?!")


def _word(word: Said, formatted: bool, final: bool) -> dict[str, Any]:
    return {
        "start": round(word.start * 1000),
        "end": round(word.end * 1000),
        "text": _form(word.text, formatted),
        "confidence": 0.98,
        "word_is_final": final,
    }


if __name__ == "__main__":
    main(AssemblyAI)
