"""POST /v1/audio/transcriptions: a file of speech to text. POST /v1/audio/translations: the same, in English."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

import orjson
from fastapi import APIRouter
from starlette.routing import BaseRoute, Route

from gateway.access.grant import Grant
from gateway.api.chunks import frame
from gateway.api.exchange import Endpoint, Exchange, Watch
from gateway.api.fields import Fields
from gateway.api.form import Form, read_form
from gateway.api.headers import SSE, answered_by, asked_for, paid
from gateway.api.transcript import (
    Script,
    as_diarized_json,
    as_json,
    as_srt,
    as_verbose_json,
    as_vtt,
    speaker_fields,
    usage_fields,
)
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

LONGEST_KEYWORD = 256

_FORMATS = ("json", "text", "verbose_json", "srt", "vtt", "diarized_json")
_TRANSLATED = _FORMATS[:-1]
_PARTS = ("word", "segment")
_TRUE = ("true", "1", "True")
_TEXT = b"text/plain; charset=utf-8"


def router(engine: Engine, watch: Watch | None = None) -> APIRouter:
    decoding = asyncio.Semaphore(DECODERS)
    routes: list[BaseRoute] = []
    for name, translate in (("transcriptions", False), ("translations", True)):
        endpoint = Endpoint(name, Transcriptions(engine, decoding, translate).answer, watch)
        routes.append(Route(f"/v1/audio/{name}", endpoint, methods=["POST"], name=name))
    return APIRouter(routes=routes)


@dataclass(frozen=True, slots=True)
class _Asked:
    route: str
    request: TranscribeRequest
    format: str
    parts: tuple[str, ...]


class Transcriptions:
    def __init__(self, engine: Engine, decoding: asyncio.Semaphore, translate: bool = False) -> None:
        self._engine, self._decoding, self._translate = engine, decoding, translate

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
            await (_stream if asked.request.stream else _whole)(exchange, answer, script, asked)

    def _asked(self, grant: Grant, form: Form) -> _Asked:
        fields = Fields(form.fields)
        route = route_of(grant, self._engine.routes, fields, "stt")
        refuse_ours(fields)
        _number(fields, "temperature", 0.0, 1.0)  # taken, and nothing here has a use for it
        format = fields.choice("response_format", _TRANSLATED if self._translate else _FORMATS, "json")
        parts = _several(form, "timestamp_granularities", _PARTS)
        _several(form, "include", ("logprobs",))  # taken; nothing here knows them
        stream = fields.choice("stream", ("true", "false", "1", "0", "True", "False"), "false") in _TRUE
        request = TranscribeRequest(
            RATE,
            fields.text("language", 35) or None,
            fields.text("prompt", LONGEST_PROMPT),
            partials=False,
            diarize=format == "diarized_json",
            translate=self._translate,
            keywords=_keywords(form),
            words="word" in parts,
            stream=stream and not self._translate,
        )
        return _Asked(route, request, format, parts or ("segment",))


def _several(form: Form, name: str, choices: tuple[str, ...]) -> tuple[str, ...]:
    """All values of a field that may come several times. Raises BadRequest."""
    given = tuple(form.lists.get(name, ()))
    for value in given:
        if value not in choices:
            raise BadRequest(f"'{name}' must be of: {', '.join(choices)}", name)
    return given


def _keywords(form: Form) -> tuple[str, ...]:
    given = tuple(form.lists.get("keywords", ()))
    if any(len(each) > LONGEST_KEYWORD for each in given):
        raise BadRequest(f"a keyword may have {LONGEST_KEYWORD} characters", "keywords")
    return given


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
        case "verbose_json" if asked.request.translate:
            script.language = "english"  # of the text, and by OpenAI's word
            body, kind = as_verbose_json(script, None, ("segment",), "translate"), b"application/json"
        case "verbose_json":
            body, kind = as_verbose_json(script, asked.request.language, asked.parts), b"application/json"
        case "diarized_json":
            body, kind = as_diarized_json(script), b"application/json"
        case "srt":
            body, kind = as_srt(script), b"application/x-subrip; charset=utf-8"
        case "vtt":
            body, kind = as_vtt(script), b"text/vtt; charset=utf-8"
        case _:
            body, kind = as_json(script), b"application/json"
    await exchange.reply(200, body, kind, (*answered_by(answer), paid(answer)))


async def _stream(exchange: Exchange, answer: Answer, script: Script, asked: _Asked) -> None:
    """A delta for each final: what was only a guess is not sent, since a delta cannot be taken back. With speakers, the segment
    that it is as well."""
    exchange.trailer = lambda told: frame(told.body())
    await exchange.start(200, [*SSE, *answered_by(answer)])
    async for event in answer:
        delta = script.add(event)
        if delta:
            await exchange.write(frame(orjson.dumps({"type": "transcript.text.delta", "delta": delta})))
        if delta and asked.format == "diarized_json":
            number = len(script.segments) - 1
            await exchange.write(frame(orjson.dumps(speaker_fields(number, *script.timed()[number]))))
    done = {"type": "transcript.text.done", "text": script.text, "usage": usage_fields(script)}
    await exchange.finish(frame(orjson.dumps(done)) + b"data: [DONE]\n\n")
