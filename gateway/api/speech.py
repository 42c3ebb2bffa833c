"""POST /v1/audio/speech: text to speech, streamed as it is made."""

from __future__ import annotations

import asyncio
import base64

import orjson
from fastapi import APIRouter
from starlette.routing import Route

from gateway.api.chunks import frame
from gateway.api.exchange import Endpoint, Exchange, Watch
from gateway.api.fields import Fields, read_object
from gateway.api.headers import SSE, answered_by, asked_for
from gateway.api.wire import refuse_ours, route_of
from gateway.calls.sentences import Clauses, Cuts
from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.encoding import FORMATS, MEDIA_TYPES, Encoder, Format
from gateway.contract.events import AudioDelta, Usage
from gateway.contract.requests import Commit, Input, SpeakRequest
from gateway.routing.engine import Answer, Engine

LONGEST_INPUT = 65_536
"""Characters. OpenAI takes 4,096; sentence by sentence, more is no trouble."""
LONGEST_INSTRUCTIONS = 4_096
PCM_RATE = 24_000
"""Samples per second of `pcm`, which has no header to say another (OpenAI's rate)."""
INLINE_SECONDS = 1.0
"""Longer pieces of audio are encoded in a thread."""

_CUTS = Cuts(first=400, first_most=400, sentence=40, pause=400, most=400)
"""At the ends of sentences only, and each long enough to be spoken well; nobody interrupts here, so none is cut for haste."""
_FED = 200
"""Characters at a time: looking for a cut takes time with what is held."""


def router(engine: Engine, watch: Watch | None = None) -> APIRouter:
    endpoint = Endpoint("speech", Speech(engine).answer, watch)
    return APIRouter(routes=[Route("/v1/audio/speech", endpoint, methods=["POST"], name="speech")])


def sentences(text: str) -> list[str]:
    """The text in order, in pieces that can be spoken one by one."""
    clauses = Clauses(_CUTS)
    found = [clause for at in range(0, len(text), _FED) for clause in clauses.feed(text[at : at + _FED])]
    return [*found, *clauses.flush()]


class Speech:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, exchange: Exchange) -> None:
        body = await read_object(exchange)
        name = route_of(exchange.grant, self._engine.routes, body, "tts")
        refuse_ours(body)
        request, format = _request(body), body.choice("response_format", FORMATS, "mp3")
        events = body.choice("stream_format", ("audio", "sse"), "audio") == "sse"
        inputs: Channel[Input] = Channel()
        for sentence in sentences(_text(body)):
            inputs.put(sentence)
            inputs.put(Commit())
        inputs.close()
        async with self._engine.open(name, request, inputs, **asked_for(exchange)) as answer:
            await (_events if events else _audio)(exchange, answer, _format(format))


def _text(body: Fields) -> str:
    text = body.needed_text("input", LONGEST_INPUT)
    if not text.strip():
        raise body.fault("input", "must have something to say")
    return text


def _request(body: Fields) -> SpeakRequest:
    """A voice is a name, or an object with an id."""
    voice = body.mapping.get("voice")
    chosen = body.text("voice", 256) if voice is None or isinstance(voice, str) else _voice_id(body)
    speed = body.number("speed", 0.25, 4.0)
    return SpeakRequest(
        rate=PCM_RATE,
        voice=chosen,
        speed=1.0 if speed is None else speed,
        language=body.text("language", 35),
        instructions=body.text("instructions", LONGEST_INSTRUCTIONS),
    )


def _voice_id(body: Fields) -> str:
    return body.needed_inner("voice").needed_text("id", 256)


def _format(name: str) -> Format:
    return next(each for each in FORMATS if each == name)


class _Encoding:
    """An encoder made at the rate of the first audio, so that what needs no resampling gets none."""

    def __init__(self, format: Format) -> None:
        self._format = format
        self._encoder: Encoder | None = None

    async def feed(self, audio: Audio) -> bytes:
        if self._encoder is None:
            self._encoder = Encoder(self._format, PCM_RATE if self._format == "pcm" else audio.rate)
        if audio.seconds > INLINE_SECONDS:
            return await asyncio.to_thread(self._encoder.feed, audio)
        return self._encoder.feed(audio)

    def finish(self) -> bytes:
        encoder = self._encoder or Encoder(self._format, PCM_RATE)
        return encoder.finish()


async def _audio(exchange: Exchange, answer: Answer, format: Format) -> None:
    """Bytes of the format. A failure after the first cuts the connection: half a sentence must not look like a whole one."""
    encoding = _Encoding(format)
    await exchange.start(200, [(b"content-type", MEDIA_TYPES[format].encode()), *answered_by(answer)])
    async for event in answer:
        if isinstance(event, AudioDelta):
            data = await encoding.feed(event.audio)
            if data:
                await exchange.write(data)
    await exchange.finish(encoding.finish())


async def _events(exchange: Exchange, answer: Answer, format: Format) -> None:
    """The same bytes inside server-sent events, and what they cost at the end."""
    encoding, usage = _Encoding(format), Usage()
    exchange.trailer = lambda told: frame(told.body())
    await exchange.start(200, [*SSE, *answered_by(answer)])
    async for event in answer:
        match event:
            case AudioDelta(audio):
                await exchange.write(_delta(await encoding.feed(audio)))
            case Usage():
                usage = event
    done = {
        "type": "speech.audio.done",
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    }
    await exchange.finish(_delta(encoding.finish()) + frame(orjson.dumps(done)))


def _delta(data: bytes) -> bytes:
    if not data:
        return b""
    return frame(orjson.dumps({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()}))
