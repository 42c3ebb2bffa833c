"""A fake of Gladia's live speech to text (v2): a POST that begins a session, and its sockets.

Evidence. From the vendor's SDK (gladiaio-sdk 2.2.1): the POST, its fields and answer, key in its header and a token in the address,
what may be sent, fields of messages, acknowledgements by bytes of the whole session, that a session goes on on another socket of
the same address, which close codes end it. From its documentation: one session at a time on a free account (429), what lifecycle
and post-processing messages follow `stop_recording`. Assumed, and never seen on the wire: the order in which they come, that what was
heard before a socket is lost stays heard, how often a partial comes, the words of refusals.

    python -m tests.fakes.gladia --port 9005       # then: gladia: {base_url: "http://127.0.0.1:9005", key: any}
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.fakes.base import Behaviour, Dropped, Fake, Session, main, refusal, stalled, text
from tests.fakes.hearing import Hearing, Said
from tests.fakes.posting import Answer, Posted, posts

PARTIAL = 0.25
NOW = "2026-11-26T00:00:00.000Z"
RATES = (8000, 16000, 32000, 44100, 48000)
_REFUSED: dict[str, tuple[int, str]] = {
    "unauthorized": (401, "gladia key not found"),
    "forbidden": (403, "This key may not do that"),
    "no-quota": (402, "No credits left"),
    "no-credits": (403, "You have no credits left"),
    "rate-limited": (429, "Too many requests"),
    "concurrency": (429, "Maximum number of concurrent sessions reached"),
    "bad-model": (400, "model must be one of: solaria-1"),
    "broken": (500, "Internal server error"),
}


@dataclass
class Job:
    """A session that was begun, over all of its sockets."""

    config: dict[str, Any]
    hearing: Hearing
    bytes: int = 0
    words: list[Said] = field(default_factory=list)
    speaking: bool = False
    told: float = 0.0
    utterances: int = 0
    over: bool = False
    key: str = ""

    def wants(self, what: str) -> bool:
        return bool(self.config.get("messages_config", {}).get(f"receive_{what}"))


class Gladia(Fake):
    """Gladia: POST /v2/live and its sockets. `--trouble`: one of those of the POST, bad-audio, garbage, endless, closes (with 1012,
    where it would be dropped), over (a token that is not good any more)."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        super().__init__(behaviour)
        self.jobs: dict[str, Job] = {}
        self.posted: list[Posted] = []

    @asynccontextmanager
    async def running(self, port: int = 0, **more: Any) -> AsyncIterator[str]:
        async with super().running(port, create_connection=posts(self._post), **more) as url:
            yield url

    def refuse(self, request: Request) -> Response | None:
        return None if request.path.startswith("/v2/live?token=") else refusal(404)

    def _post(self, posted: Posted) -> Answer:
        self.posted.append(posted)
        trouble = self.behaviour.trouble or ""
        if trouble in _REFUSED and self.behaviour.times > 0:
            self.now()
            status, words = _REFUSED[trouble]
            body = {"timestamp": NOW, "path": "/v2/live", "request_id": "G-1", "statusCode": status, "message": words}
            return status, body, {"retry-after": "2"} if trouble == "rate-limited" else {}
        key = posted.headers.get("x-gladia-key")
        if not key:
            return 401, {"statusCode": 401, "message": _REFUSED["unauthorized"][1]}, {}
        config = orjson.loads(posted.body)
        if posted.path.partition("?")[0] != "/v2/live" or config.get("sample_rate", 16_000) not in RATES:
            return 400, {"statusCode": 400, "message": "sample_rate must be one of the supported ones"}, {}
        name = f"job-{len(self.jobs)}"
        self.jobs[name] = Job(config, Hearing(config.get("sample_rate", 16_000)), key=key)
        address = f"ws://{posted.headers['host']}/v2/live?token={name}"
        return 201, {"id": name, "created_at": NOW, "url": address}, {}

    async def talk(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        job = self.jobs.get(session.query["token"])
        if job is None or job.over or behaviour.trouble == "over":
            return await connection.close(4403, "Session is over")
        await _Ear(self, connection, session, job, behaviour).run()


class _Ear:
    """One socket of a job."""

    def __init__(
        self, fake: Gladia, connection: ServerConnection, session: Session, job: Job, behaviour: Behaviour
    ) -> None:
        self._fake, self._connection, self._session = fake, connection, session
        self._job, self._how, self._hearing = job, behaviour, job.hearing

    async def run(self) -> None:
        if not self._job.bytes and self._job.wants("lifecycle_events"):
            await self._say("start_recording")
        async for frame in self._fake.heard(self._connection, self._session):
            if isinstance(frame, bytes):
                await self._sound(frame)
            elif orjson.loads(frame)["type"] == "stop_recording":
                return await self._stop()

    async def _sound(self, pcm: bytes) -> None:
        how, job, hearing = self._how, self._job, self._hearing
        if how.trouble in ("bad-audio", "echoes-key"):
            shown = job.key if how.trouble == "echoes-key" else ""
            error = {"status_code": 400, "exception": "BadRequest", "message": f"Invalid audio chunk {shown}"}
            return await self._say("audio_chunk", acknowledged=False, error=error, data=None)
        before = hearing.seconds
        if how.drop_after is not None and before + len(pcm) / 32_000 >= how.drop_after:
            if how.trouble == "closes":
                return await self._connection.close(1012, "restarting")
            raise Dropped
        job.words += hearing.hear(pcm)
        now = hearing.seconds
        if how.stall_after is not None and now >= how.stall_after:
            await stalled(self._connection)
        if how.trouble == "garbage":
            await self._connection.send("<html>")
        while how.trouble == "endless":
            await self._transcript([Said("again", 0.0, 0.5)], False)
            await asyncio.sleep(0.005)
        start, job.bytes = job.bytes, job.bytes + len(pcm)
        if job.wants("acknowledgments"):
            ranges = {"byte_range": [start, job.bytes], "time_range": [before, now]}
            await self._say("audio_chunk", acknowledged=True, error=None, data=ranges)
        await self._settle(now)

    async def _settle(self, now: float) -> None:
        job, hearing = self._job, self._hearing
        if hearing.speaking and not job.speaking:
            job.speaking = True
            await self._speech("speech_start", now)
        if job.speaking and hearing.quiet >= job.config.get("endpointing", 0.05):
            await self._end(now)
        elif job.words and now - job.told >= PARTIAL and job.wants("partial_transcripts"):
            job.told = now
            await self._transcript(job.words, False)

    async def _end(self, now: float) -> None:
        """Of an utterance."""
        job = self._job
        job.words += self._hearing.rest()
        await asyncio.sleep(self._how.latency)
        if job.speaking:
            job.speaking = False
            await self._speech("speech_end", now)
        words, job.words = job.words, []
        if words:
            await self._transcript(words, True)
            job.utterances += 1

    async def _stop(self) -> None:
        job, seconds = self._job, self._hearing.seconds
        left = {"recording_duration": seconds, "recording_left_to_process": 0.0}
        if job.wants("acknowledgments"):
            await self._say("stop_recording", acknowledged=True, error=None, data=left)
        await self._end(seconds)
        job.over = True
        if job.wants("lifecycle_events"):
            await self._say("end_recording", data={"recording_duration": seconds})
        if job.wants("post_processing_events"):
            await self._say("post_transcript", data={"full_transcript": "", "languages": ["en"], "utterances": []})
        if job.wants("lifecycle_events"):
            await self._say("end_session")
        await self._connection.close(1000)

    async def _speech(self, kind: str, at: float) -> None:
        if self._job.wants("speech_events"):
            await self._say(kind, data={"time": at, "channel": 0})

    async def _transcript(self, words: list[Said], final: bool) -> None:
        told = [{"word": f" {word.text}", "start": word.start, "end": word.end, "confidence": 0.9} for word in words]
        utterance = {
            "text": " ".join(word.text for word in words),
            "start": words[0].start,
            "end": words[-1].end,
            "confidence": 0.9,
            "channel": 0,
            "language": "en",
            "words": told,
        }
        name = f"00_{self._job.utterances:08d}"
        await self._say("transcript", data={"id": name, "is_final": final, "utterance": utterance})

    async def _say(self, kind: str, **message: object) -> None:
        told = {"session_id": self._session.query["token"], "created_at": NOW, "type": kind}
        await self._connection.send(text(told | message))


if __name__ == "__main__":
    main(Gladia)
