"""ElevenLabs' speech to text by file: each turn is sent whole at its Commit, and answered whole."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import groupby
from typing import Any

import orjson

from gateway.contract.audio import Audio
from gateway.contract.client import Client, read_up_to
from gateway.contract.errors import Unavailable
from gateway.contract.events import Events, Finished, Ready, Transcript, Usage, Word
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from gateway.contract.wav import wav_header
from providers._elevenlabs_errors import Faults
from providers._elevenlabs_languages import code

LONGEST = 16 << 20
"""Bytes of an answer."""


class Files:
    """`url`: where files go; `headers`: with the key."""

    def __init__(self, provider: str, client: Client, url: str, headers: Mapping[str, str], faults: Faults) -> None:
        self._provider, self._client, self._url, self._headers, self._faults = provider, client, url, headers, faults

    async def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        yield Ready()
        held, before, seconds = bytearray(), 0.0, 0.0
        async for item in inputs:
            match item:
                case Audio(pcm):
                    held += pcm
                case Clear() | Commit():
                    heard = Audio(bytes(held), request.rate)
                    held.clear()
                    if isinstance(item, Commit):
                        told = await self._post(model, request, heard) if heard.pcm else {}
                        seconds += heard.seconds
                        for final in _finals(told, before):
                            yield final
                    before += heard.seconds
        if held:
            heard = Audio(bytes(held), request.rate)
            for final in _finals(await self._post(model, request, heard), before):
                if final.text:
                    yield final
            seconds += heard.seconds
        yield Usage(seconds=seconds)
        yield Finished()

    async def _post(self, model: str, request: TranscribeRequest, audio: Audio) -> dict[str, Any]:
        fields = [("model_id", model), ("timestamps_granularity", "word"), ("tag_audio_events", "false")]
        if request.language:
            fields.append(("language_code", code(request.language)))
        if request.diarize:
            fields.append(("diarize", "true"))
        fields += [("keyterms", word) for word in request.keywords]
        kind, body = _form(fields, wav_header(audio.rate, audio.samples) + audio.pcm)
        async with self._client.post(self._url, {**self._headers, "content-type": kind}, body) as answer:
            said = await read_up_to(answer, LONGEST)
            if answer.status != 200:
                raise self._faults.refusal(answer.status, answer.headers, said)
        try:
            told = orjson.loads(said)
        except orjson.JSONDecodeError:
            told = None
        if not isinstance(told, dict) or not isinstance(told.get("text"), str):
            raise Unavailable("garbage instead of a transcript", self._provider)
        return told


def _finals(told: dict[str, Any], before: float) -> Iterator[Transcript]:
    """One for each speaker in turn; the last ends the turn."""
    language = code(told["language_code"]) if told.get("language_code") else None
    words = [each for each in told.get("words") or () if isinstance(each, dict)]
    runs = [list(run) for _, run in groupby(words, lambda word: word.get("speaker_id"))]
    runs = [run for run in runs if any(word.get("type", "word") == "word" for word in run)]
    if len(runs) < 2:
        speaker = runs[0][0].get("speaker_id") if runs else None
        text = str(told.get("text") or "").strip()
        yield Transcript(text, True, True, tuple(_words(words, before)), language, speaker)
        return
    for run in runs:
        text = "".join(str(word.get("text") or "") for word in run).strip()
        yield Transcript(text, True, run is runs[-1], tuple(_words(run, before)), language, run[0].get("speaker_id"))


def _words(told: list[dict[str, Any]], before: float) -> Iterator[Word]:
    for each in told:
        if each.get("type", "word") == "word" and each.get("start") is not None and each.get("end") is not None:
            yield Word(str(each["text"]).strip(), before + float(each["start"]), before + float(each["end"]))


def _form(fields: list[tuple[str, str]], file: bytes) -> tuple[str, bytes]:
    """multipart/form-data: its content-type and body."""
    border = secrets.token_hex(16)
    head = "".join(
        f'--{border}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields
    )
    head += f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="speech.wav"\r\n'
    head += "Content-Type: audio/wav\r\n\r\n"
    return f"multipart/form-data; boundary={border}", head.encode() + file + f"\r\n--{border}--\r\n".encode()
