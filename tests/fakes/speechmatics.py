"""A fake of Speechmatics' real-time speech to text.

Evidence. From the vendor's SDK (speechmatics-rt 1.2.1): path, header, messages and their fields, the model's name in
`transcription_config`, that ForceEndOfUtterance says a time. From its documentation: sound only after RecognitionStarted, AudioAdded,
the count in EndOfStream, when words become final, EndOfUtterance after the last results, types of errors, close codes. Assumed, and
never seen on the wire: that a ForceEndOfUtterance of nothing is not answered, that a mark may come later than its word.

    python -m tests.fakes.speechmatics --port 9004     # then: speechmatics: {base_url: "ws://127.0.0.1:9004", key: any}
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.fakes.base import Behaviour, Dropped, Fake, Session, main, refusal, stalled, text
from tests.fakes.hearing import Hearing, Said

PARTIAL = 0.25
ERRORS: dict[str, tuple[int, str, str]] = {
    "not-allowed": (4003, "not_allowed", "The user is not allowed to use this feature."),
    "no-quota": (4006, "timelimit_exceeded", "Usage limit for the contract was reached."),
    "concurrency": (4005, "quota_exceeded", "Maximum number of concurrent connections reached."),
    "bad-model": (4004, "invalid_model", "No model for the requested language."),
    "job": (4013, "job_error", "No worker could be started."),
    "broken": (1011, "internal_error", "Something went wrong."),
}
_LATER: dict[str, tuple[int, str, str]] = {
    "bad-audio": (1003, "data_error", "The audio could not be decoded."),
    "echoes-key": (1003, "data_error", "The audio could not be decoded."),
}
_MARKS = ".,?!"


class Speechmatics(Fake):
    """Speechmatics: /v2. `--trouble`: unauthorized, rate-limited, one of ERRORS, bad-audio, silent-close (a code alone), garbage,
    endless."""

    def refuse(self, request: Request) -> Response | None:
        trouble = self.behaviour.trouble
        if trouble == "rate-limited":
            return refusal(429, b"", {"retry-after": "2"})
        if trouble == "unauthorized" or not request.headers.get("authorization", "").startswith("Bearer "):
            return refusal(401)
        return None if request.path.partition("?")[0].rstrip("/").endswith("/v2") else refusal(404)

    async def talk(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        await _Ear(self, connection, session, behaviour).run()


class _Failed(Exception):
    """The session is over."""

    def __init__(self, code: int, kind: str, words: str) -> None:
        super().__init__(words)
        self.code, self.kind, self.words = code, kind, words


class _Ear:
    def __init__(
        self, fake: Speechmatics, connection: ServerConnection, session: Session, behaviour: Behaviour
    ) -> None:
        self._fake, self._connection, self._session, self._how = fake, connection, session, behaviour
        self._config: dict[str, Any] = {}
        self._hearing = Hearing()
        self._heard = 0  # frames of sound
        self._words: list[Said] = []  # not final yet
        self._mark: tuple[str, float] | None = None  # of the last word that was made final, still to come
        self._open = False
        self._told = 0.0

    async def run(self) -> None:
        try:
            async for frame in self._fake.heard(self._connection, self._session):
                if isinstance(frame, bytes):
                    await self._sound(frame)
                elif await self._take(orjson.loads(frame)):
                    return
        except _Failed as failed:
            if self._how.trouble != "silent-close":
                await self._say("Error", type=failed.kind, reason=failed.words, code=failed.code)
            await self._connection.close(failed.code, failed.kind)

    async def _take(self, message: dict[str, Any]) -> bool:
        """Whether it was the last."""
        match message["message"]:
            case "StartRecognition" if not self._config:
                await self._start(message)
            case "ForceEndOfUtterance" if self._config:
                self._words += self._hearing.rest()
                await asyncio.sleep(self._how.latency)
                await self._end(float(message.get("timestamp", self._hearing.seconds)))
            case "SetRecognitionConfig" | "GetSpeakers" if self._config:
                pass
            case "EndOfStream" if self._config:
                # The vendor's own client may say less: the last that was acknowledged.
                if message["last_seq_no"] > self._heard:
                    raise _Failed(1003, "protocol_error", "last_seq_no does not match")
                self._words += self._hearing.rest()
                await asyncio.sleep(self._how.latency)
                await self._final(len(self._words))
                await self._late_mark()
                await self._say("EndOfTranscript")
                await self._connection.close(1000)
                return True
            case kind:
                raise _Failed(1003, "protocol_error", f"{kind} was not expected")
        return False

    async def _start(self, message: dict[str, Any]) -> None:
        trouble, sound, config = self._how.trouble or "", message["audio_format"], message["transcription_config"]
        if self._how.stall_after == 0.0:
            await stalled(self._connection)
        if trouble == "silent-close":
            raise _Failed(*ERRORS["concurrency"])
        if trouble in ERRORS:
            raise _Failed(*ERRORS[trouble])
        if sound.get("type") != "raw" or sound.get("encoding") != "pcm_s16le" or not config.get("language"):
            raise _Failed(1003, "invalid_message", "No such audio here, or no language")
        trigger = config.get("conversation_config", {}).get("end_of_utterance_silence_trigger", 0.0)
        if not 0.7 <= config.get("max_delay", 4.0) <= 4.0 or trigger >= config.get("max_delay", 4.0):
            raise _Failed(1003, "invalid_config", "max_delay is out of its range, or less than the silence trigger")
        self._config, self._hearing = config, Hearing(int(sound["sample_rate"]))
        await asyncio.sleep(self._how.latency)
        info = {"adapted": False, "itn": True, "language_description": "English", "word_delimiter": " "}
        info["writing_direction"] = "left-to-right"
        await self._say("RecognitionStarted", id="5f4b2a", orchestrator_version="2026.10", language_pack_info=info)

    async def _sound(self, pcm: bytes) -> None:
        how, hearing = self._how, self._hearing
        if not self._config:
            raise _Failed(1003, "protocol_error", "AddAudio before RecognitionStarted")
        if how.trouble in _LATER:
            code, kind, words = _LATER[how.trouble]
            raise _Failed(code, kind, f"{words} {self._session.headers['authorization']}")
        self._words += hearing.hear(pcm)
        self._heard += 1
        now = hearing.seconds
        if how.drop_after is not None and now >= how.drop_after:
            raise Dropped
        if how.stall_after is not None and now >= how.stall_after:
            await stalled(self._connection)
        if how.trouble == "garbage":
            await self._connection.send("<html>")
        while how.trouble == "endless":
            await self._transcript("AddPartialTranscript", _results([Said("again", 0.0, 0.5)], self._config))
            await asyncio.sleep(0.005)
        await self._say("AudioAdded", seq_no=self._heard)
        await self._settle(now)

    async def _settle(self, now: float) -> None:
        trigger = self._config.get("conversation_config", {}).get("end_of_utterance_silence_trigger", 0.0)
        if self._open and trigger and self._hearing.quiet >= trigger:
            self._words += self._hearing.rest()
            return await self._end(now)
        self._open |= bool(self._words)
        old = sum(word.end <= now - self._config.get("max_delay", 4.0) for word in self._words)
        if old:
            await self._final(old)
        if self._config.get("enable_partials") and self._words and now - self._told >= PARTIAL:
            self._told = now
            await self._transcript("AddPartialTranscript", _results(self._words, self._config))

    async def _end(self, at: float) -> None:
        if not (self._open or self._words):
            return
        self._open = False
        await self._final(len(self._words))
        await self._late_mark()
        await self._say("EndOfUtterance", metadata={"start_time": round(at, 2), "end_time": round(at, 2)})

    async def _final(self, count: int) -> None:
        """The first words become final; the mark after the last of them comes with the next."""
        words, self._words = self._words[:count], self._words[count:]
        if not words:
            return
        results = [*self._marked(), *_results(words, self._config)]
        if results[-1]["type"] == "punctuation":
            last = results.pop()
            self._mark = last["alternatives"][0]["content"], words[-1].end
        await self._transcript("AddTranscript", results)

    async def _late_mark(self) -> None:
        if results := self._marked():
            await self._transcript("AddTranscript", results)

    def _marked(self) -> list[dict[str, Any]]:
        mark, self._mark = self._mark, None
        return [] if mark is None else [_result("punctuation", mark[0], mark[1], mark[1], self._config)]

    async def _transcript(self, kind: str, results: list[dict[str, Any]]) -> None:
        told = "".join(
            each["alternatives"][0]["content"] if "attaches_to" in each else f" {each['alternatives'][0]['content']}"
            for each in results
        )
        times = {"start_time": results[0]["start_time"], "end_time": results[-1]["end_time"]}
        await self._say(kind, format="2.9", metadata={**times, "transcript": told.strip()}, results=results)

    async def _say(self, kind: str, **message: object) -> None:
        await self._connection.send(text({"message": kind, **message}))


def _results(words: Iterable[Said], config: dict[str, Any]) -> list[dict[str, Any]]:
    results = []
    for word in words:
        bare = word.text.rstrip(_MARKS)
        results.append(_result("word", bare or word.text, word.start, word.end, config))
        if bare and bare != word.text:
            results.append(_result("punctuation", word.text[len(bare) :], word.end, word.end, config))
    return results


def _result(kind: str, content: str, start: float, end: float, config: dict[str, Any]) -> dict[str, Any]:
    one: dict[str, Any] = {"content": content, "confidence": 0.98, "language": config["language"]}
    if config.get("diarization") == "speaker":
        one["speaker"] = "S1"
    result = {"type": kind, "start_time": round(start, 2), "end_time": round(end, 2), "alternatives": [one]}
    if kind == "punctuation":
        result |= {"attaches_to": "previous", "is_eos": content in ".?!"}
    return result


if __name__ == "__main__":
    main(Speechmatics)
