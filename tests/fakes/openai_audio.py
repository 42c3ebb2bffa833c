"""OpenAI's speech: /audio/transcriptions, /audio/translations, /audio/speech, and /realtime?intent=transcription.

On what it stands. *Recorded* (../shared/recordings): transcriptions as `json` with tokens as usage; speech as bare `pcm`; the order and
fields of items and their transcription on the realtime socket, with the server's endpointing. *Types of the official client*: the
events of a streamed transcript, verbose_json, diarized_json, segments with speakers, session.update of a transcription session.
*Probe notes*: CRLF in streams, 101 first and `error` with close 3000 or 4000 after it. *Documentation*: limits, and their refusals.

`python -m tests.fakes.openai_audio --port N`: the HTTP part at N, the socket at N + 1. Key: any but `wrong`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection

from gateway.contract.wav import Wav, wav_header
from tests.fakes.base import Behaviour, Dropped, Fake, Session, text
from tests.fakes.hearing import Hearing, Said
from tests.fakes.speaking import spoken
from tests.upstream_scripts import error
from tests.upstreams import Exchange, Script, Upstream

RATE = 24_000
VOICES = "alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split()  # noqa: SIM905
_TOKENS = {"type": "tokens", "input_tokens": 14, "output_tokens": 7, "total_tokens": 21}
_TOKENS |= {"input_token_details": {"text_tokens": 0, "audio_tokens": 14}}
_REFUSALS: dict[str, tuple[int, dict[str, Any], dict[str, str]]] = {
    "unauthorized": (401, error("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"), {}),
    "rate-limited": (429, error("Rate limit reached.", "requests", "rate_limit_exceeded"), {"retry-after": "2"}),
    "no-quota": (429, error("You exceeded your quota.", "insufficient_quota", "insufficient_quota"), {}),
    "refuses": (400, error("Rejected by our safety system.", "invalid_request_error", "content_policy_violation"), {}),
    "bad-audio": (400, error("The audio file could not be decoded.", "invalid_request_error"), {}),
    "too-long": (413, error("Maximum content size limit exceeded.", "invalid_request_error"), {}),
    "server-error": (503, error("The server is overloaded."), {}),
}


def http(behaviour: Behaviour | None = None) -> Script:
    """Both directions by HTTP, for tests.upstreams.Upstream."""
    behaviour = behaviour or Behaviour()

    async def play(exchange: Exchange) -> None:
        now = behaviour if behaviour.times > 0 else Behaviour(behaviour.latency)
        behaviour.times -= 1
        await asyncio.sleep(now.latency)
        key = exchange.request.headers.get("authorization", "").removeprefix("Bearer ")
        trouble = "unauthorized" if key in ("", "wrong") else now.trouble
        match trouble:
            case "silent":
                await exchange.gone()
            case "hangs-up-first":
                return exchange.hang_up()
            case str() if trouble in _REFUSALS:
                return await exchange.answer(*_REFUSALS[trouble])
        path = exchange.request.path.partition("?")[0]
        if path.endswith("/audio/speech"):
            await _speech(exchange, now)
        elif path.endswith(("/audio/transcriptions", "/audio/translations")):
            await _transcript(exchange, now, path.endswith("translations"))
        else:
            await exchange.answer(404, error("Invalid URL", "invalid_request_error"))

    return play


async def _speech(exchange: Exchange, now: Behaviour) -> None:
    asked = exchange.request.json
    voice, words = asked.get("voice"), str(asked.get("input", ""))
    if isinstance(voice, str) and voice not in VOICES:
        said = f"[{{'type': 'enum', 'loc': ('body', 'voice'), 'msg': \"Input should be one of {VOICES}\"}}]"
        return await exchange.answer(400, error(said, "invalid_request_error"))
    if len(words) > 4096:
        said = "[{'type': 'string_too_long', 'loc': ('body', 'input')}]"
        return await exchange.answer(400, error(said, "invalid_request_error", "string_above_max_length"))
    if now.trouble == "garbage":
        await exchange.head(200, {"content-type": "text/html"})
        await exchange.send(b"<html>Welcome</html>")
        return await exchange.end()
    format, rate = asked.get("response_format", "mp3"), RATE
    await exchange.head(200, {"content-type": f"audio/{format}", "openai-processing-ms": "276"})
    if now.trouble == "headers-only":
        await exchange.gone()
    if format == "wav":
        await exchange.send(wav_header(rate))
    seconds = 0.0
    for _, pcm in spoken(words if now.trouble != "endless" else "word " * 100_000, rate):
        if now.trouble == "silence":
            pcm = bytes(len(pcm))
        for at in range(0, len(pcm), 4801):  # odd, so that samples are cut in the middle
            if now.drop_after is not None and seconds >= now.drop_after:
                return exchange.reset()
            if now.stall_after is not None and seconds >= now.stall_after:
                await exchange.gone()
            await exchange.send(pcm[at : at + 4801])
            seconds += len(pcm[at : at + 4801]) / 2 / rate
    await exchange.end()


async def _transcript(exchange: Exchange, now: Behaviour, translates: bool) -> None:
    form, file = read_form(exchange.request.headers["content-type"], exchange.request.body)
    wav, model = Wav.parse(file), form.get("model", "")
    if wav is None:
        return await exchange.answer(*_REFUSALS["bad-audio"])
    if translates and "whisper" not in model:
        return await exchange.answer(404, error("Invalid model for translations", "invalid_request_error"))
    if form.get("language", "en") not in ("en", "hi", "de", "ta"):
        told = error("Invalid language. It must be specified in ISO-639-1 format.", "invalid_request_error")
        told["error"] |= {"param": "language", "code": "invalid_language_format"}
        return await exchange.answer(400, told)
    seconds = (wav.end - wav.start) / 2 / wav.rate
    if seconds < 0.1:
        return await exchange.answer(400, error("Audio file is too short.", "invalid_request_error", "audio_too_short"))
    hearing = Hearing(wav.rate)
    words = hearing.hear(file[wav.start : wav.end]) + hearing.rest()
    if now.trouble == "garbage":
        return await exchange.answer(200, b"\x00\xff{[not json")
    if form.get("stream") == "true" and "whisper" not in model:
        return await _streamed(exchange, words, form, now)
    if now.trouble in ("headers-only", "endless") or now.stall_after is not None:
        await exchange.head(200, {"content-type": "application/json"})
        await exchange.gone()
    body = orjson.dumps(_whole(words, form, seconds, "translate" if translates else "transcribe"))
    if now.drop_after is not None:
        await exchange.head(200, {"content-type": "application/json"})
        await exchange.send(body[: len(body) // 2])
        return exchange.reset()
    await exchange.answer(200, body)


def _whole(words: list[Said], form: dict[str, str], seconds: float, task: str) -> dict[str, Any]:
    said = " ".join(word.text for word in words)
    match form.get("response_format", "json"):
        case "verbose_json":
            body: dict[str, Any] = {"task": task, "language": "english", "duration": seconds, "text": said}
            body["segments"] = [
                {"id": n, "seek": 0, "start": part[0].start, "end": part[-1].end, "text": f" {_joined(part)}"}
                for n, part in enumerate(_parts(words))
            ]
            if "word" in form.get("timestamp_granularities[]", ""):
                body["words"] = [{"word": word.text, "start": word.start, "end": word.end} for word in words]
            return body | {"usage": {"type": "duration", "seconds": round(seconds + 0.5)}}
        case "diarized_json":
            body = {"task": task, "duration": seconds, "text": said, "usage": _TOKENS}
            return body | {"segments": [_segment(n, part) for n, part in enumerate(_parts(words))]}
    return {"text": said, "usage": _TOKENS}


async def _streamed(exchange: Exchange, words: list[Said], form: dict[str, str], now: Behaviour) -> None:
    await exchange.head(200, {"content-type": "text/event-stream"})
    if now.trouble == "headers-only":
        await exchange.gone()
    if form.get("response_format") == "diarized_json":
        for n, part in enumerate(_parts(words)):
            await exchange.send(_event(_segment(n, part)))
    else:
        endless = now.trouble == "endless"
        for n, word in enumerate(words * (100_000 if endless else 1)):
            if now.drop_after is not None and n > 1:
                return exchange.reset()
            if now.stall_after is not None and n > 1:
                await exchange.gone()
            delta = {"type": "transcript.text.delta", "delta": f" {word.text}" if n else word.text}
            await exchange.send(_event(delta))
    done = {"type": "transcript.text.done", "text": _joined(words), "usage": _TOKENS}
    await exchange.send(_event(done) + b"data: [DONE]\r\n\r\n")
    await exchange.end()


def _parts(words: list[Said]) -> list[list[Said]]:
    """Segments: of four words each."""
    return [words[at : at + 4] for at in range(0, len(words), 4)]


def _segment(number: int, words: list[Said]) -> dict[str, Any]:
    times = {"start": words[0].start, "end": words[-1].end}
    speaker = "AB"[number % 2]
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{number}",
        "text": _joined(words),
        "speaker": speaker,
    } | times


def _joined(words: list[Said]) -> str:
    return " ".join(word.text for word in words)


def _event(data: object) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\r\n\r\n"


def read_form(kind: str, body: bytes) -> tuple[dict[str, str], bytes]:
    """Fields, those of one name joined by commas, and the file."""
    boundary = re.search(r"boundary=(\S+)", kind)
    assert boundary
    fields: dict[str, str] = {}
    file = b""
    for part in body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, data = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]+)"', head)
        assert name
        if b"filename=" in head:
            file = data.removesuffix(b"\r\n")
        else:
            key, value = name[1].decode(), data.removesuffix(b"\r\n").decode()
            fields[key] = f"{fields[key]},{value}" if key in fields else value
    return fields, file


@dataclass
class _Buffer:
    """The input audio of one session: what is in it, and how it is heard."""

    number: int = 0
    seconds: float = 0.0
    said: list[str] = field(default_factory=list)
    hearing: Hearing = field(default_factory=lambda: Hearing(RATE))
    start: float = 0.0  # ms, of the speech that is being endpointed; 0 for none

    @property
    def item(self) -> str:
        return f"item_{self.number}"


class OpenAIRealtime(Fake):
    """`wss://.../v1/realtime?intent=transcription`."""

    async def talk(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        await self._begin(connection, session, behaviour)
        buffer = _Buffer()
        vad = False
        async for frame in self.heard(connection, session):
            said = orjson.loads(frame)
            match said["type"]:
                case "session.update":
                    told = said["session"]["audio"]["input"]
                    if told["format"].get("rate") != RATE:
                        await self._fail(connection, "integer_below_min_value", "session.audio.input.format.rate")
                    vad = told["turn_detection"] is not None
                    if behaviour.trouble != "silent":
                        await connection.send(text({"type": "session.updated", "session": said["session"]}))
                case "input_audio_buffer.append":
                    pcm = base64.b64decode(said["audio"])
                    buffer.seconds += len(pcm) / 2 / RATE
                    if behaviour.drop_after is not None and buffer.hearing.seconds >= behaviour.drop_after:
                        raise Dropped
                    buffer.said += [word.text for word in buffer.hearing.hear(pcm)]
                    if vad:
                        await self._endpoint(connection, buffer, behaviour)
                case "input_audio_buffer.clear":
                    buffer.seconds, buffer.said = 0.0, []
                    await connection.send(text({"type": "input_audio_buffer.cleared"}))
                case "input_audio_buffer.commit" if buffer.seconds < 0.1:
                    await self._error(connection, "input_audio_buffer_commit_empty", said.get("event_id"))
                case "input_audio_buffer.commit":
                    await self._transcribe(connection, buffer, behaviour)

    async def _begin(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        key = session.headers.get("authorization", "").removeprefix("Bearer ")
        match "unauthorized" if key in ("", "wrong") else behaviour.trouble:
            case "unauthorized":
                await self._error(connection, "invalid_api_key")
                await connection.close(3000, "invalid_request_error.invalid_api_key")
                raise Dropped
            case "unknown-model":
                await self._fail(connection, "invalid_model", None)
            case "no-quota":
                await self._fail(connection, "insufficient_quota", None, "insufficient_quota")
            case "server-error":
                await self._fail(connection, "server_error", None, "server_error")
            case "hangs-up-first":
                raise Dropped
            case "garbage":
                await connection.send("{not json")
        await connection.send(text({"type": "session.created", "session": {"type": "transcription"}}))

    async def _fail(self, connection: ServerConnection, code: str, param: str | None, kind: str = "") -> None:
        kind = kind or "invalid_request_error"
        await self._error(connection, code, None, param, kind)
        await connection.close(4000, f"{kind}.{code}")
        raise Dropped

    async def _error(
        self,
        connection: ServerConnection,
        code: str,
        event_id: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        fault = {"type": kind, "code": code, "message": "It went wrong.", "param": param, "event_id": event_id}
        await connection.send(text({"type": "error", "error": fault}))

    async def _endpoint(self, connection: ServerConnection, buffer: _Buffer, behaviour: Behaviour) -> None:
        now, hearing = buffer.hearing.seconds * 1000, buffer.hearing
        if hearing.speaking and not buffer.start:
            buffer.start = now
            event = {"type": "input_audio_buffer.speech_started", "audio_start_ms": int(now), "item_id": buffer.item}
            await connection.send(text(event))
        elif buffer.start and hearing.quiet >= 0.4:
            buffer.start = 0.0
            event = {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": int(now), "item_id": buffer.item}
            await connection.send(text(event))
            await self._transcribe(connection, buffer, behaviour)

    async def _transcribe(self, connection: ServerConnection, buffer: _Buffer, behaviour: Behaviour) -> None:
        item, seconds = buffer.item, buffer.seconds
        words = buffer.said + [word.text for word in buffer.hearing.rest()]
        buffer.number += 1
        buffer.seconds, buffer.said = 0.0, []
        await connection.send(text({"type": "input_audio_buffer.committed", "item_id": item, "previous_item_id": None}))
        about = {"item_id": item, "content_index": 0}
        if behaviour.trouble == "fails":
            fault = {"type": "server_error", "code": "transcription_failed", "message": "no", "param": None}
            kind = "conversation.item.input_audio_transcription.failed"
            return await connection.send(text({"type": kind, **about, "error": fault}))
        await asyncio.sleep(behaviour.latency)
        kind = "conversation.item.input_audio_transcription.delta"
        for n, word in enumerate(words * (100_000 if behaviour.trouble == "endless" else 1)):
            if behaviour.stall_after is not None and n:
                await connection.wait_closed()
            await connection.send(text({"type": kind, **about, "delta": f" {word}" if n else word}))
            await asyncio.sleep(0)
        done = {"transcript": " ".join(words), "usage": {"type": "duration", "seconds": max(1, round(seconds))}}
        kind = "conversation.item.input_audio_transcription.completed"
        await connection.send(text({"type": kind, **about, **done}))


@asynccontextmanager
async def running(behaviour: Behaviour | None = None) -> AsyncIterator[Upstream]:
    """The HTTP part, on a port of its own."""
    async with Upstream(http(behaviour)) as upstream:
        yield upstream


def promised(pcm: bytes, seconds: float, rate: int = RATE) -> bytes:
    """A WAV whose header promises so many seconds."""
    return wav_header(rate, round(seconds * rate))[:-4] + struct.pack("<I", round(seconds * rate) * 2) + pcm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--trouble", help=", ".join(_REFUSALS))
    parser.add_argument("--drop-after", type=float, metavar="SECONDS", help="of audio")
    asked = parser.parse_args()

    async def serve_forever() -> None:
        behaviour = Behaviour(asked.latency, asked.trouble, asked.drop_after)
        async with Upstream(http(behaviour), port=asked.port) as upstream:
            async with OpenAIRealtime(behaviour).running(asked.port + 1) as url:
                print(upstream.url, f"{url}/v1", flush=True)  # noqa: T201
                await asyncio.get_running_loop().create_future()

    asyncio.run(serve_forever())


if __name__ == "__main__":
    main()
