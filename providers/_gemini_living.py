"""A speech-to-speech session of Gemini Live: over one socket after another, as the provider drops them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from gateway.contract.duplex import session
from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import Events
from gateway.contract.requests import ConverseRequest, Input
from gateway.contract.websocket import Judge, open_socket
from providers._gemini_live import Codec

MOVES, WITHIN = 3, 30.0
"""Sockets that may be dropped in so many seconds; more is a provider that is not well."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where sessions are. `judge`: what a refused upgrade means; `failed`: what an error inside a session does."""

    provider: str
    url: str
    headers: Mapping[str, str]
    judge: Judge
    failed: Callable[[object], ProviderError]


async def converse(
    place: Place, model: str, request: ConverseRequest, inputs: AsyncIterator[Input], more: Mapping[str, Any]
) -> Events:
    codec = Codec(model, request, place.provider, place.failed, more)
    clock = asyncio.get_running_loop().time
    moves: deque[float] = deque(maxlen=MOVES)
    while True:
        socket = await open_socket(place.provider, place.url, place.headers, judge=place.judge)
        try:
            async with aclosing(session(socket, codec, inputs)) as events:
                async for event in events:
                    yield event
        finally:
            await socket.aclose()
        if not codec.moving:
            return
        if len(moves) == MOVES and clock() - moves[0] < WITHIN:
            raise Unavailable("its sockets are dropped again and again", place.provider)
        moves.append(clock())
