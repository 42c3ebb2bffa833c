"""A speech-to-speech session over OpenAI's Realtime protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from urllib.parse import quote

from gateway.contract.duplex import session
from gateway.contract.events import Events
from gateway.contract.requests import ConverseRequest, Input
from providers._openai_converse import LONGEST, Codec
from providers._openai_converse_body import Shape
from providers._openai_upstream import Upstream


async def converse(
    upstream: Upstream,
    model: str,
    request: ConverseRequest,
    inputs: AsyncIterator[Input],
    shape: Shape,
    longest: float = LONGEST,
) -> Events:
    socket = await upstream.socket(f"/realtime?model={quote(model, safe='')}", model)
    try:
        codec = Codec(request, upstream.name, upstream.failed, shape, longest)
        async with aclosing(session(socket, codec, inputs)) as events:
            async for event in events:
                yield event
    finally:
        await socket.aclose()
