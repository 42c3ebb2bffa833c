"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's protocol, in front of any route of kind llm."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from fastapi import APIRouter
from starlette.routing import Route

from gateway.api.error_forms import MESSAGES, message_error
from gateway.api.exchange import Endpoint, Exchange, Watch
from gateway.api.fields import read_object
from gateway.api.headers import SSE, answered_by, asked_for, dollars, paid, target_header
from gateway.api.messages_events import MessageStream, WholeMessage, event
from gateway.api.messages_wire import betas, estimated_tokens, messages_request, version
from gateway.api.wire import route_of
from gateway.contract.events import Finished
from gateway.contract.requests import ChatRequest
from gateway.routing.engine import Answer, Engine


def router(engine: Engine, watch: Watch | None = None) -> APIRouter:
    messages = Messages(engine)
    answer, count = Endpoint("messages", messages.answer, watch), Endpoint("count_tokens", messages.count, watch)
    return APIRouter(
        routes=[
            Route(MESSAGES, answer, methods=["POST"], name="messages"),
            Route(f"{MESSAGES}/count_tokens", count, methods=["POST"], name="count_tokens"),
        ]
    )


class Messages:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, exchange: Exchange) -> None:
        name, parsed = await self._read(exchange)
        exchange.grant.reserve(parsed.max_tokens)
        async with self._engine.open(name, parsed, **asked_for(exchange)) as answer:
            if parsed.stream:
                await self._stream(exchange, answer, _thoughts(parsed))
            else:
                await self._whole(exchange, answer, _thoughts(parsed))

    async def count(self, exchange: Exchange) -> None:
        """As a target counts that can, else an estimate; `x-trunkline-tokens` says which."""
        name, parsed = await self._read(exchange, answered=False)
        counted = await self._engine.count(name, parsed)
        if counted is None:
            tokens, by = estimated_tokens(parsed), [(b"x-trunkline-tokens", b"estimated")]
        else:
            target, tokens = counted
            by = [(b"x-trunkline-tokens", b"counted"), target_header(target)]
        await exchange.reply(200, orjson.dumps({"input_tokens": tokens}), headers=_told(exchange, by))

    async def _read(self, exchange: Exchange, answered: bool = True) -> tuple[str, ChatRequest]:
        body = await read_object(exchange)
        name = route_of(exchange.grant, self._engine.routes, body, "llm")
        headers = betas(exchange.header(b"anthropic-beta")) | version(exchange.header(b"anthropic-version"))
        return name, messages_request(body, headers, answered)

    async def _stream(self, exchange: Exchange, answer: Answer, thoughts: bool) -> None:
        stream = MessageStream(str(answer.target), thoughts)
        exchange.trailer = lambda told: event("error", message_error(told, exchange.request_id))
        await exchange.start(200, _told(exchange, [*SSE, *answered_by(answer)]))
        async for each in answer:
            encoded = stream.encode(each)
            if isinstance(each, Finished):
                await exchange.finish(encoded + f": cost {dollars(answer.cost)} USD\n\n".encode())
            elif encoded:
                await exchange.write(encoded)

    async def _whole(self, exchange: Exchange, answer: Answer, thoughts: bool) -> None:
        message = WholeMessage(str(answer.target), thoughts)
        async for each in answer:
            message.add(each)
        headers = _told(exchange, [*answered_by(answer), paid(answer)])
        await exchange.reply(200, message.body(), headers=headers)


def _thoughts(request: ChatRequest) -> bool:
    """Whether the caller asked to see the model think."""
    asked = request.thinking
    return asked is not None and asked.effort != "none" and asked.shown is not False


def _told(exchange: Exchange, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """With the name that Anthropic's clients look for."""
    return [(b"request-id", exchange.request_id), *headers]
