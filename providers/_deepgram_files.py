"""Deepgram by file: what was put in up to a Commit is sent as one WAV file, and the answer comes whole."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from typing import Any

from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.client import Client, read_up_to
from gateway.contract.errors import Unavailable
from gateway.contract.events import Events, Finished, ProviderEvent, Ready, Transcript, Usage
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from providers._deepgram_api import Api, languages_of
from providers._deepgram_listen import said_of, told, wanted

LARGEST = 64 << 20
"""Bytes of an answer."""


def query_of(model: str, request: TranscribeRequest) -> dict[str, object]:
    detects = request.language is None and languages_of(model) is not None
    return {**wanted(model, request), "utterances": True, "detect_language": True if detects else None}


async def transcribe(
    api: Api, client: Client, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]
) -> Events:
    files = _Files(api, client, api.file("/v1/listen", query_of(model, request)), request)
    yield Ready()
    held: list[Audio] = []
    async for item in inputs:
        match item:
            case Audio():
                held.append(item)
            case Clear():
                files.pass_over(held)
                held = []
            case Commit():
                for event in await files.ask(held, True):
                    yield event
                held = []
    for event in await files.ask(held, False) if held else ():
        yield event
    yield Usage(seconds=files.used)
    yield Finished()


class _Files:
    """`used`: seconds that Deepgram heard."""

    def __init__(self, api: Api, client: Client, url: str, request: TranscribeRequest) -> None:
        self.used = 0.0
        self._api, self._client, self._url, self._request = api, client, url, request
        self._headers = {**api.headers, "content-type": "audio/wav"}
        self._before = 0.0  # seconds of sound before the file

    def pass_over(self, sound: list[Audio]) -> None:
        self._before += sum(piece.seconds for piece in sound)

    async def ask(self, sound: list[Audio], ends: bool) -> list[ProviderEvent]:
        """What is said in it: a final for each utterance and speaker, of which the last ends the turn with `ends`."""
        if not sound:
            return [Transcript("", final=True, ends_turn=ends)]
        body = _wav(b"".join(piece.pcm for piece in sound), self._request.rate)
        async with self._client.post(self._url, self._headers, body) as answer:
            data = await read_up_to(answer, LARGEST)
            if answer.status != 200:
                raise self._api.refusal(answer.status, answer.headers, data, asked=True)
        message = self._api.read(data)
        try:
            events = self._events(message, ends)
            self.used += float(message["metadata"]["duration"])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise Unavailable("its answer has another shape", self._api.name) from None
        self.pass_over(sound)
        return events

    def _events(self, message: dict[str, Any], ends: bool) -> list[ProviderEvent]:
        channel = message["results"]["channels"][0]
        asked = channel.get("detected_language") or self._request.language
        parts = message["results"].get("utterances") or channel["alternatives"][:1]
        events: list[ProviderEvent] = []
        for number, part in enumerate(parts, 1):
            said = [said_of(word, lambda second: second + self._before) for word in part["words"]]
            events += told(said, str(part["transcript"]).strip(), ends and number == len(parts), asked)
        return events or [Transcript("", final=True, ends_turn=ends)]


def _wav(pcm: bytes, rate: int) -> bytes:
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * SAMPLE_BYTES, SAMPLE_BYTES, 8 * SAMPLE_BYTES)
    return b"RIFF" + struct.pack("<I", 36 + len(pcm)) + b"WAVE" + form + b"data" + struct.pack("<I", len(pcm)) + pcm
