"""POST /v1/responses, on any route of kind llm, whichever protocol its targets speak.

Nothing is stored here: what a response was is known to the caller alone, so asking for one by its id finds none. A target
that speaks Responses itself may keep what it answered, and is told of it by `previous_response_id`.
"""

from __future__ import annotations

import asyncio

import orjson
from fastapi import APIRouter, HTTPException
from starlette.routing import Route

from gateway.api.exchange import Endpoint, Exchange, Watch
from gateway.api.fields import Fields, read_object
from gateway.api.headers import SSE, answered_by, asked_for, dollars, paid
from gateway.api.responses_events import Assembly, response_object
from gateway.api.responses_stream import ResponseStream
from gateway.api.responses_wire import has_input_audio, response_request
from gateway.api.wire import route_of
from gateway.contract.events import AnswerEvent, Finished
from gateway.routing.engine import Answer, Engine


def router(engine: Engine, watch: Watch | None = None) -> APIRouter:
    endpoint = Endpoint("responses", Responses(engine).answer, watch)
    routes = APIRouter(routes=[Route("/v1/responses", endpoint, methods=["POST"], name="responses")])

    @routes.get("/v1/responses/{response_id}")
    @routes.delete("/v1/responses/{response_id}")
    @routes.get("/v1/responses/{response_id}/input_items")
    @routes.post("/v1/responses/{response_id}/cancel")
    async def stored(response_id: str) -> None:
        raise HTTPException(404, "The gateway stores no responses: send the conversation's items again as `input`.")

    return routes


class Responses:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, exchange: Exchange) -> None:
        body = await read_object(exchange)
        name = route_of(exchange.grant, self._engine.routes, body, "llm")
        audio = has_input_audio(body.mapping)
        parsed = await asyncio.to_thread(response_request, body) if audio else response_request(body)
        exchange.grant.reserve(parsed.max_tokens)
        async with self._engine.open(name, parsed, **asked_for(exchange)) as answer:
            if parsed.stream:
                await self._stream(exchange, answer, body)
            else:
                await self._whole(exchange, answer, body)

    async def _stream(self, exchange: Exchange, answer: Answer, body: Fields) -> None:
        stream = ResponseStream(response_object(body.mapping, str(answer.target)))
        exchange.trailer = stream.fail
        await exchange.start(200, [*SSE, *answered_by(answer)])
        async for event in answer:
            encoded = stream.encode(event)
            if isinstance(event, Finished):
                await exchange.finish(encoded + f": cost {dollars(answer.cost)} USD\n\n".encode())
            elif encoded:
                await exchange.write(encoded)

    async def _whole(self, exchange: Exchange, answer: Answer, body: Fields) -> None:
        assembly = Assembly(response_object(body.mapping, str(answer.target)))
        forwarded: bytes | None = None
        async for event in answer:
            forwarded = forwarded or _raw(event)
            if forwarded is None:
                assembly.add(event)
        told = forwarded if forwarded is not None else orjson.dumps(assembly.response)
        await exchange.reply(200, told, headers=(*answered_by(answer), paid(answer)))


def _raw(event: AnswerEvent) -> bytes | None:
    return getattr(event, "raw", None)
