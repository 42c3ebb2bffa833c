"""POST /v1/embeddings: routes of kind embed."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence

import orjson
from fastapi import APIRouter
from starlette.routing import Route

from gateway.api.exact import exact
from gateway.api.exchange import Endpoint, Exchange, Watch
from gateway.api.fields import Fields, read_object
from gateway.api.headers import answered_by, asked_for, paid
from gateway.api.wire import LONGEST_NAME, refuse_ours, route_of
from gateway.contract.errors import Unavailable
from gateway.contract.events import Embedded, Usage
from gateway.contract.requests import EmbedRequest
from gateway.routing.engine import Answer, Engine

MOST_INPUTS = 2048
"""As at OpenAI; so is the rest of what is checked here."""
MOST_TOKENS = 300_000


def router(engine: Engine, watch: Watch | None = None) -> APIRouter:
    endpoint = Endpoint("embeddings", Embeddings(engine).answer, watch)
    return APIRouter(routes=[Route("/v1/embeddings", endpoint, methods=["POST"], name="embeddings")])


class Embeddings:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, exchange: Exchange) -> None:
        body = await read_object(exchange)
        name = route_of(exchange.grant, self._engine.routes, body, "embed")
        request = embed_request(body)
        packed = body.choice("encoding_format", ("float", "base64"), "float") == "base64"
        async with self._engine.open(name, request, **asked_for(exchange)) as answer:
            embedded, usage = await _read(answer)
            told = embedded.raw or _body(embedded.vectors, str(answer.target), usage, packed)
            await exchange.reply(200, told, headers=(*answered_by(answer), paid(answer)))


def embed_request(body: Fields) -> EmbedRequest:
    """Raises BadRequest."""
    refuse_ours(body)
    return EmbedRequest(
        _inputs(body), body.whole("dimensions", 1, 1 << 20), body.text("user", LONGEST_NAME), exact(body)
    )


def _inputs(body: Fields) -> tuple[str | tuple[int, ...], ...]:
    given = body.mapping.get("input")
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list) or not given:
        raise body.fault("input", "must be a string, or an array of strings or of tokens that is not empty")
    if all(type(each) is int for each in given):
        return (_tokens(body, "input", given),)
    if len(given) > MOST_INPUTS:
        raise body.fault("input", f"must have at most {MOST_INPUTS} elements, not {len(given)}")
    return tuple([_input(body, f"input[{index}]", each) for index, each in enumerate(given)])


def _input(body: Fields, name: str, given: object) -> str | tuple[int, ...]:
    if isinstance(given, str):
        if not given:
            raise body.fault(name, "must not be empty")
        return given
    if isinstance(given, list) and given and all(type(each) is int for each in given):
        return _tokens(body, name, given)
    raise body.fault(name, "must be a string or an array of tokens")


def _tokens(body: Fields, name: str, given: Sequence[int]) -> tuple[int, ...]:
    if len(given) > MOST_TOKENS or not all(0 <= each < 1 << 32 for each in given):
        raise body.fault(name, f"must be at most {MOST_TOKENS} tokens, each a whole number that is not negative")
    return tuple(given)


async def _read(answer: Answer) -> tuple[Embedded, Usage]:
    embedded, usage = None, Usage()
    async for event in answer:
        if isinstance(event, Embedded):
            embedded = event
        elif isinstance(event, Usage):
            usage = event
    if embedded is None:  # the engine commits at it
        raise Unavailable("no vectors came")
    return embedded, usage


def _body(vectors: Sequence[Sequence[float]], model: str, usage: Usage, packed: bool) -> bytes:
    rows = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else vector}
        for index, vector in enumerate(vectors)
    ]
    used = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
    return orjson.dumps({"object": "list", "data": rows, "model": model, "usage": used})


def _packed(vector: Sequence[float]) -> str:
    """Single precision, little endian: what OpenAI's own clients ask for."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
