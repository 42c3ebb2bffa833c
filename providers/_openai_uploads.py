"""OpenAI's /audio/transcriptions and /audio/translations: what was said up to a Commit is uploaded as a WAV, made in memory."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import partial
from typing import Literal

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.errors import ProviderError
from gateway.contract.events import Events, Finished, Ready, Transcript, Usage
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from gateway.contract.wav import wav_header
from providers._openai_errors import of_target
from providers._openai_languages import code
from providers._openai_transcripts import Piece, Stream, whole
from providers._openai_upstream import Upstream

Form = Literal["json", "stream", "verbose_json", "diarized_json"]
FORMS: tuple[Form, ...] = ("json", "stream", "verbose_json", "diarized_json")
"""How a model's transcripts come best: whole, word by word, with times, or with speakers."""

LONGEST = 600.0
"""Seconds of one upload: 19 MB at 16 kHz (25 are taken); OpenAI's newer models take 25 minutes."""
LOOKED_AT = 20.0
"""Seconds before that in which a quiet moment is looked for, to cut there."""
SHORTEST = 0.1
"""Seconds below which there is nothing to hear, and OpenAI refuses the file."""

_BOUNDARY = secrets.token_hex(16)  # nothing that comes from outside can hold it
KIND = f"multipart/form-data; boundary={_BOUNDARY}"
_TRANSLATES = re.compile(r"whisper(?!.*turbo)")


def form_of(model: str) -> Form:
    """By its name, where the row does not say."""
    if "diarize" in model:
        return "diarized_json"
    if "whisper" in model:
        return "verbose_json"
    return "stream" if re.match(r"gpt-.*transcribe", model) else "json"


def cannot(model: str, form: Form, request: TranscribeRequest) -> str | None:
    if request.translate and not _TRANSLATES.search(model):
        return "it does not translate speech"
    if request.diarize and form != "diarized_json":
        return "it does not tell speakers apart"
    return None


async def transcribe(
    upstream: Upstream, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input], form: Form
) -> Events:
    """Ready at once: there is nothing to be ready for."""
    turns = _Turns(upstream, model, request, form)
    yield Ready()
    async for item in inputs:
        match item:
            case Audio():
                turns.pcm += item.pcm
            case Clear():
                turns.take()
            case Commit():
                async with aclosing(turns.transcribe()) as events:
                    async for event in events:
                        yield event
    if len(turns.pcm) >= SHORTEST * request.rate * SAMPLE_BYTES:
        async with aclosing(turns.transcribe()) as events:
            async for event in events:
                yield event
    yield turns.used if turns.used != Usage() else Usage(seconds=turns.start)
    yield Finished()


class _Turns:
    """`pcm`: what waits for its Commit; `start`: seconds of the stream before it; `used`: by all turns so far."""

    def __init__(self, upstream: Upstream, model: str, request: TranscribeRequest, form: Form) -> None:
        self._upstream, self._model, self._request, self._form = upstream, model, request, form
        self.pcm, self.start, self.used = bytearray(), 0.0, Usage()

    def take(self) -> tuple[float, bytes]:
        start, taken, self.pcm = self.start, bytes(self.pcm), bytearray()
        self.start += len(taken) / SAMPLE_BYTES / self._request.rate
        return start, taken

    async def transcribe(self) -> Events:
        for piece, pcm in cut(*self.take(), self._request.rate):
            if piece.seconds < SHORTEST:
                yield Transcript("", final=True, ends_turn=piece.last)
                continue
            async with aclosing(_asked(self._upstream, self._model, self._request, self._form, piece, pcm)) as events:
                async for event in events:
                    if isinstance(event, Usage):
                        event = self.used = self.used.plus(event)
                    yield event


def cut(start: float, pcm: bytes, rate: int) -> Iterator[tuple[Piece, bytes]]:
    """A turn in pieces that can be uploaded, cut where it is quiet; at least one."""
    second = rate * SAMPLE_BYTES
    most = round(LONGEST * second)
    while len(pcm) > most:
        at = _quiet(pcm[most - round(LOOKED_AT * second) : most], rate) + most - round(LOOKED_AT * second)
        yield Piece(start, at / second, last=False), pcm[:at]
        pcm, start = pcm[at:], start + at / second
    yield Piece(start, len(pcm) / second), pcm


def _quiet(pcm: bytes, rate: int) -> int:
    """The byte in the middle of the quietest fifth of a second."""
    frame = rate // 50
    import numpy as np  # text alone does without it

    samples = np.frombuffer(pcm, "<i2")
    loud = np.abs(samples[: len(samples) // frame * frame].astype(np.float32)).reshape(-1, frame).mean(axis=1)
    return (int(np.convolve(loud, np.full(10, 0.1), "same").argmin()) * frame + frame // 2) * SAMPLE_BYTES


async def _asked(
    upstream: Upstream, model: str, request: TranscribeRequest, form: Form, piece: Piece, pcm: bytes
) -> Events:
    path = "/audio/translations" if request.translate else "/audio/transcriptions"
    body = partial(multipart, fields(model, request, form), wav_header(request.rate, len(pcm) // 2) + pcm)
    told = (upstream.name, upstream.failed, piece)
    streams = form in ("stream", "diarized_json") and (request.partials or request.stream)
    reader = partial(Stream, *told, request.partials, request.stream) if streams else None
    try:
        events = upstream.ask(
            path, model, body, partial(whole, provider=told[0], failed=told[1], piece=piece), reader, KIND
        )
        async with aclosing(events):
            async for event in events:
                yield event
    except ProviderError as error:
        raise of_target(error) from None


def fields(model: str, request: TranscribeRequest, form: Form) -> list[tuple[str, str]]:
    plain = form == "stream" or (form == "diarized_json" and not request.diarize)
    asked = [("model", model), ("response_format", "json" if plain else form)]
    if form in ("stream", "diarized_json") and (request.partials or request.stream):
        asked.append(("stream", "true"))
    if form == "diarized_json":
        asked.append(("chunking_strategy", "auto"))  # must be said of what is longer than 30 s
    prompt = ", ".join(filter(None, (request.prompt, *request.keywords)))
    if prompt and form != "diarized_json":  # which takes none
        asked.append(("prompt", prompt))
    if request.translate:
        return asked  # of the language that is spoken, translations are not told
    if request.language is not None:
        asked.append(("language", code(request.language)))
    if form == "verbose_json":
        asked += [("timestamp_granularities[]", each) for each in (["word"] if request.words else []) + ["segment"]]
    return asked


def multipart(fields: list[tuple[str, str]], wav: bytes) -> bytes:
    parts = [
        f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields
    ]
    file = (
        f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="speech.wav"\r\n'
        "content-type: audio/wav\r\n\r\n"
    )
    return b"".join(("".join(parts).encode(), file.encode(), wav, f"\r\n--{_BOUNDARY}--\r\n".encode()))
