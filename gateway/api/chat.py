"""POST /v1/chat/completions."""

from __future__ import annotations

import asyncio
import random
import time

from fastapi import APIRouter
from starlette.routing import Route

from gateway.api.chunks import DONE, Chunks, Completion, frame
from gateway.api.exchange import Endpoint, Exchange, Watch
from gateway.api.fields import read_object
from gateway.api.headers import SSE, answered_by, asked_for, dollars, paid
from gateway.api.wire import chat_request, has_sound, route_of, wants_usage
from gateway.contract.events import Finished
from gateway.routing.engine import Answer, Engine


def router(engine: Engine, watch: Watch | None = None) -> APIRouter:
    endpoint = Endpoint("chat", Chat(engine).answer, watch)
    return APIRouter(routes=[Route("/v1/chat/completions", endpoint, methods=["POST"], name="chat")])


class Chat:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, exchange: Exchange) -> None:
        body = await read_object(exchange)
        grant = exchange.grant
        name = route_of(grant, self._engine.routes, body, "llm")
        # Audio in a message is decoded while it is parsed.
        parsed = await asyncio.to_thread(chat_request, body) if has_sound(body.mapping) else chat_request(body)
        grant.reserve(parsed.max_tokens)
        usage = wants_usage(body)
        async with self._engine.open(name, parsed, **asked_for(exchange)) as answer:
            if parsed.stream:
                await self._stream(exchange, answer, usage)
            else:
                await self._whole(exchange, answer)

    async def _stream(self, exchange: Exchange, answer: Answer, usage: bool) -> None:
        chunks = Chunks(_identity(), int(time.time()), str(answer.target), usage)
        exchange.trailer = lambda told: frame(told.body())
        await exchange.start(200, [*SSE, *answered_by(answer)])
        answer.pass_to(lambda text: exchange.pass_on(chunks.encode(text)))
        async for event in answer:
            encoded = chunks.encode(event)
            if isinstance(event, Finished):
                told = f": cost {dollars(answer.cost)} USD\n\n".encode() if usage else b""
                await exchange.finish(encoded + told + DONE)
            elif encoded:
                await exchange.write(encoded)

    async def _whole(self, exchange: Exchange, answer: Answer) -> None:
        events = await answer.rest()
        # That of the upstream as it came, which its first event has, where there is one.
        body: bytes | None = getattr(events[0], "raw", None)
        if body is None:
            completion = Completion()
            for event in events:
                completion.add(event)
            body = completion.body(_identity(), int(time.time()), str(answer.target))
        await exchange.reply(200, body, headers=(*answered_by(answer), paid(answer)))


def _identity() -> str:
    return f"chatcmpl-{random.getrandbits(96):024x}"
