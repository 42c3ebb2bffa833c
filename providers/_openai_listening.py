"""A stream over OpenAI's realtime transcription: one session after another, since none may last for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from gateway.contract.duplex import session
from gateway.contract.events import Events
from gateway.contract.requests import Input, TranscribeRequest
from providers._chunks import chunks
from providers._openai_realtime_stt import Codec
from providers._openai_upstream import Upstream
from providers._relay import relay

PATH = "/realtime?intent=transcription"
LONGEST = 55 * 60.0
"""Seconds of a session, after which another is opened. OpenAI ends them after 60 minutes."""


def listen(
    upstream: Upstream, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input], longest: float = LONGEST
) -> Events:
    return relay(lambda sound: _session(upstream, model, request, sound), inputs, longest)


async def _session(upstream: Upstream, model: str, request: TranscribeRequest, sound: AsyncIterator[Input]) -> Events:
    socket = await upstream.socket(PATH, model)
    try:
        codec = Codec(model, request, upstream.name, upstream.failed)
        async with aclosing(session(socket, codec, chunks(sound))) as events:
            async for event in events:
                yield event
    finally:
        await socket.aclose()
