"""POST /v1/audio/transcriptions: a file of speech to text."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

import orjson
from fastapi import APIRouter
from starlette.routing import Route

from gateway.access.grant import Grant
from gateway.api.chunks import frame
from gateway.api.exchange import Endpoint, Exchange, Watch
from gateway.api.fields import Fields
from gateway.api.form import Form, read_form
from gateway.api.headers import SSE, answered_by, asked_for
from gateway.api.transcript import Script, as_json, as_srt, as_verbose_json, as_vtt, usage_fields
from gateway.api.wire import refuse_ours, route_of
from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.encoding import BadAudio, decoded
from gateway.contract.errors import BadRequest
from gateway.contract.requests import Commit, Input, TranscribeRequest
from gateway.routing.engine import Answer, Engine

FILE_LIMIT = 25 << 20
"""Bytes of an upload (OpenAI's limit)."""
LONGEST = 7_200.0
"""Seconds of audio: 25 MB of Opus may hold as much, and 230 MB of samples is what it becomes."""
RATE = 16_000
"""Samples per second that providers are given."""
DECODERS = 2
"""Files decoded at the same time; others wait their turn."""
LONGEST_PROMPT = 8_192

_FORMATS = ("json", "text", "verbose_json", "srt", "vtt")
_TEXT = b"text/plain; charset=utf-8"


def router(engine: Engine, watch: Watch | None = None) -> APIRouter:
    endpoint = Endpoint("transcriptions", Transcriptions(engine).answer, watch)
    return APIRouter(routes=[Route("/v1/audio/transcriptions", endpoint, methods=["POST"], name="transcriptions")])


@dataclass(frozen=True, slots=True)
class _Asked:
    route: str
    request: TranscribeRequest
    format: str
    words: bool
    stream: bool


class Transcriptions:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._decoding = asyncio.Semaphore(DECODERS)

    async def answer(self, exchange: Exchange) -> None:
        form = await read_form(exchange, FILE_LIMIT)
        asked = self._asked(exchange.grant, form)
        if not form.file:
            raise BadRequest("'file' is missing: the audio to transcribe", "file")
        async with self._decoding:
            pieces = await _decode(form.file)
        del form  # the upload is not needed any more, and may be large
        inputs: Channel[Input] = Channel(seconds=LONGEST + 1.0)
        for piece in pieces:
            inputs.put(piece)
        inputs.put(Commit())
        inputs.close()
        script = Script(sum(piece.seconds for piece in pieces))
        del pieces
        async with self._engine.open(asked.route, asked.request, inputs, **asked_for(exchange)) as answer:
            await (_stream if asked.stream else _whole)(exchange, answer, script, asked)

    def _asked(self, grant: Grant, form: Form) -> _Asked:
        fields = Fields(form.fields)
        route = route_of(grant, self._engine.routes, fields, "stt")
        refuse_ours(fields)
        _number(fields, "temperature", 0.0, 1.0)  # taken, and nothing here has a use for it
        return _Asked(
            route,
            TranscribeRequest(RATE, fields.text("language", 35) or None, fields.text("prompt", LONGEST_PROMPT), False),
            fields.choice("response_format", _FORMATS, "json"),
            "word" in form.lists.get("timestamp_granularities", ()),
            fields.choice("stream", ("true", "false", "1", "0", "True", "False"), "false") in ("true", "1", "True"),
        )


def _number(fields: Fields, name: str, low: float, high: float) -> None:
    text = fields.text(name, 32)
    if text:
        try:
            fits = low <= float(text) <= high
        except ValueError:
            fits = False
        if not fits:
            raise fields.fault(name, f"must be a number between {low:g} and {high:g}")


async def _decode(file: bytes) -> list[Audio]:
    """Seconds of mono audio. Runs in a thread, which ends soon after this is cancelled."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(lambda: list(decoded(file, RATE, LONGEST, stop.is_set)))
    except BadAudio as error:
        raise BadRequest(f"the file {error}", "file") from None
    finally:
        stop.set()


async def _whole(exchange: Exchange, answer: Answer, script: Script, asked: _Asked) -> None:
    async for event in answer:
        script.add(event)
    match asked.format:
        case "text":
            body, kind = (script.text + "\n").encode(), _TEXT
        case "verbose_json":
            body, kind = as_verbose_json(script, asked.request.language, asked.words), b"application/json"
        case "srt":
            body, kind = as_srt(script), b"application/x-subrip; charset=utf-8"
        case "vtt":
            body, kind = as_vtt(script), b"text/vtt; charset=utf-8"
        case _:
            body, kind = as_json(script), b"application/json"
    await exchange.reply(200, body, kind, answered_by(answer))


async def _stream(exchange: Exchange, answer: Answer, script: Script, asked: _Asked) -> None:
    """A delta for each final: what was only a guess is not sent, since a delta cannot be taken back."""
    exchange.trailer = lambda told: frame(told.body())
    await exchange.start(200, [*SSE, *answered_by(answer)])
    async for event in answer:
        delta = script.add(event)
        if delta:
            await exchange.write(frame(orjson.dumps({"type": "transcript.text.delta", "delta": delta})))
    done = {"type": "transcript.text.done", "text": script.text, "usage": usage_fields(script)}
    await exchange.finish(frame(orjson.dumps(done)) + b"data: [DONE]\n\n")
