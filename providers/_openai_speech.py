"""OpenAI's /audio/speech: a request for each clause, one after the other on a connection that is kept, and its samples as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.client import Answer, read_up_to
from gateway.contract.errors import Unavailable
from gateway.contract.events import AudioDelta, Events, Finished, Flushed, Usage
from gateway.contract.requests import Cancel, Clear, Commit, Input, SpeakRequest
from gateway.contract.wav import Wav
from providers._openai_errors import of_target
from providers._openai_upstream import ERROR_LIMIT, Upstream

RATE = 24_000
"""Samples per second of `pcm`, which has no header to say another."""
LONGEST = 4_096
"""Characters of one request."""
_HEADER = 4_096
"""Bytes in which a WAV's samples must have begun."""
_UNTOLD = 0x7FFFFF00
"""From this length on, a header means that nobody knows."""
_NO_SAMPLES = (b"ID3", b"OggS", b"fLaC", b"\x1aE\xdf\xa3")
_ENDS = (". ", "! ", "? ", "\n", "। ", "。", "！", "？")


@dataclass(frozen=True, slots=True)
class Voicing:
    """An upstream's own ways. `voice`: where nobody names one; `format`: what of these it makes; `longest`: characters."""

    voice: str = "alloy"
    format: Literal["pcm", "wav"] = "pcm"
    longest: int = LONGEST


async def speak(
    upstream: Upstream, model: str, request: SpeakRequest, inputs: AsyncIterator[Input], ways: Voicing
) -> Events:
    voice, text = _Voice(upstream, model, request, ways), ""
    async for item in inputs:
        match item:
            case str():
                text += item
            case Cancel() | Clear():
                text = ""
            case Commit():
                clause, text = text, ""
                async with aclosing(voice.say(clause)) as said:
                    async for audio in said:
                        yield AudioDelta(audio)
                yield Flushed()
    async with aclosing(voice.say(text)) as said:
        async for audio in said:
            yield AudioDelta(audio)
    yield Usage(characters=voice.characters, seconds=voice.seconds)
    yield Finished()


class _Voice:
    """One stream. `characters`, `seconds`: asked for and spoken, so far."""

    def __init__(self, upstream: Upstream, model: str, request: SpeakRequest, ways: Voicing) -> None:
        self._upstream, self._model, self._request, self._ways = upstream, model, request, ways
        self.characters, self.seconds = 0, 0.0

    async def say(self, text: str) -> AsyncGenerator[Audio]:
        """Nothing, where there is nothing to say."""
        for piece in pieces(text, self._ways.longest):
            self.characters += len(piece)
            body = encode(self._model, piece, self._request, self._ways)
            async with self._upstream.post("/audio/speech", self._model, body) as answer:
                if answer.status != 200:
                    raise of_target(await self._upstream.refusal(answer))
                await _check(self._upstream, answer)
                samples = Samples(self._upstream.name)
                async for data in answer:
                    audio = samples.take(data)
                    if audio is not None:
                        self.seconds += audio.seconds
                        yield audio
                samples.end()


def pieces(text: str, longest: int) -> list[str]:
    """What of it can be spoken, in requests of at most `longest` characters, cut at sentences where there are any."""
    found, text = [], text.strip()
    while len(text) > longest:
        ends = [text.rfind(end, 0, longest) + len(end.rstrip(" ")) for end in _ENDS if end in text[:longest]]
        cut = max(ends, default=0) or text.rfind(" ", 0, longest)
        cut = cut if cut > 0 else longest
        found.append(text[:cut])
        text = text[cut:].lstrip()
    return [each for each in (*found, text) if any(map(str.isalnum, each))]


def encode(model: str, text: str, request: SpeakRequest, ways: Voicing) -> bytes:
    voice = request.voice or ways.voice
    body: dict[str, Any] = {"model": model, "input": text, "response_format": ways.format}
    body["voice"] = {"id": voice} if voice.startswith("voice_") else voice
    if request.speed != 1.0:
        body["speed"] = request.speed
    if request.instructions and not model.startswith("tts-1"):
        body["instructions"] = request.instructions
    return orjson.dumps(body)


async def _check(upstream: Upstream, answer: Answer) -> None:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        try:
            said = orjson.loads(await read_up_to(answer, ERROR_LIMIT))
        except orjson.JSONDecodeError:
            said = None
        if isinstance(said, dict) and said.get("error"):
            raise upstream.failed(said["error"])
    if kind and not kind.startswith("audio/") and kind != "application/octet-stream":
        raise Unavailable("no audio, but something else", upstream.name)


class Samples:
    """The samples of one answer: bare, or of a WAV whose header is read and left out. Raises Unavailable for anything else."""

    def __init__(self, provider: str) -> None:
        self._provider, self._rate = provider, RATE
        self._held = b""
        self._begun = self._some = False
        self._left: int | None = None  # bytes of samples that the header promised

    def take(self, data: bytes) -> Audio | None:
        """What is whole of it; None for nothing yet."""
        data = self._held + data
        if not self._begun:
            begun = self._begin(data)
            if begun is None:
                self._held = data
                return None
            data = begun
        if self._left is not None:
            data = data[: self._left]  # other chunks may follow the samples
        whole = len(data) - len(data) % SAMPLE_BYTES
        data, self._held = data[:whole], data[whole:]
        if self._left is not None:
            self._left -= whole
        self._some |= bool(data)
        return Audio(data, self._rate) if data else None

    def end(self) -> None:
        """Its end has come. Raises Unavailable if that was too soon."""
        if self._left:
            raise Unavailable("its audio was cut off", self._provider)
        if not self._some:
            raise Unavailable("an answer without audio", self._provider)

    def _begin(self, data: bytes) -> bytes | None:
        """What follows the header, if it has one; None while nobody can say."""
        if len(data) < 4:
            return None
        if data[:4] != b"RIFF":
            if data.startswith(_NO_SAMPLES):
                raise Unavailable("its audio is neither pcm nor wav", self._provider)
            self._begun = True
            return data
        wav = Wav.parse(data)
        if wav is None:
            if len(data) > _HEADER:
                raise Unavailable("its audio has a broken header", self._provider)
            return None
        if not wav.plain:
            raise Unavailable("its audio is no mono s16le", self._provider)
        promised = int.from_bytes(data[wav.start - 4 : wav.start], "little")
        if 0 < promised < _UNTOLD:
            self._left = promised
        self._begun, self._rate = True, wav.rate
        return data[wav.start :]
