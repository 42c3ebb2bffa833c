"""Sarvam's speech to text by request: a file of at most 30 seconds, its answer in one piece."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

from gateway.contract.audio import Audio
from gateway.contract.client import Client, read_up_to
from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import ProviderEvent, SpeechEnded, SpeechStarted, Transcript
from gateway.contract.wav import wav_header
from providers import _sarvam_api as api
from providers._messages import read

LONGEST = 29.5
"""Seconds of a file that are surely taken."""
LIMIT = 1 << 20
"""Bytes of an answer."""


async def transcribed(
    client: Client, provider: str, url: str, headers: Mapping[str, str], fields: Mapping[str, str], audio: Audio
) -> tuple[list[ProviderEvent], str | None]:
    """The finals of a turn, the last of which ends it, and the language."""
    boundary = uuid4().hex
    body = b"".join(_parts(boundary, fields, audio))
    told = {**headers, "content-type": f"multipart/form-data; boundary={boundary}"}
    async with client.post(url, told, body) as answer:
        said = b""
        try:
            async with asyncio.timeout(None if answer.status == 200 else 5.0):
                said = await read_up_to(answer, LIMIT)
        except TimeoutError:
            pass
        if answer.status != 200:
            raise _error(provider, answer.status, answer.headers, said)
    message = read(provider, said)
    if not isinstance(message.get("transcript"), str):
        raise Unavailable("an answer without a transcript", provider)
    language = api.told(message.get("language_code"))
    return list(_finals(message, language)), language


def _error(provider: str, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    return api.of_response(provider, status, headers, body)


def _parts(boundary: str, fields: Mapping[str, str], audio: Audio) -> Iterator[bytes]:
    for name, value in fields.items():
        yield f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    disposition = 'form-data; name="file"; filename="audio.wav"\r\ncontent-type: audio/wav'
    yield f"--{boundary}\r\ncontent-disposition: {disposition}\r\n\r\n".encode()
    yield wav_header(audio.rate, audio.samples) + audio.pcm
    yield f"\r\n--{boundary}--\r\n".encode()


def _finals(message: dict[str, Any], language: str | None) -> Iterator[ProviderEvent]:
    """Its chunks (sentences, not words, though it calls them so) with their times, where they are all of the transcript."""
    text = message["transcript"].strip()
    times = message.get("timestamps")
    told = times if isinstance(times, dict) else {}
    names = ("words", "start_time_seconds", "end_time_seconds")
    chunks = list(zip(*(told.get(name) or () for name in names)))
    if " ".join(str(chunk) for chunk, _, _ in chunks).split() != text.split():
        chunks = []
    for chunk, start, end in chunks:
        yield SpeechStarted(float(start))
        yield SpeechEnded(float(end))
        yield Transcript(str(chunk).strip(), True, language=language)
    yield Transcript("" if chunks else text, True, True, language=language)
