"""POST /v1/completions: the protocol before chats, for programs that still speak it.

A prompt becomes a user's message to whichever target the route has; one whose upstream speaks this protocol itself gets the
caller's body. What only that protocol can say (a suffix, an echo, tokens as a prompt) is `untyped`.
"""

from __future__ import annotations

import os
import time

import orjson
from fastapi import APIRouter
from starlette.routing import Route

from gateway.api.chunks import DONE, finish_reason, frame, usage_fields
from gateway.api.exchange import Endpoint, Exchange, Watch
from gateway.api.fields import Fields, read_object
from gateway.api.headers import SSE, answered_by, asked_for, dollars, paid
from gateway.api.wire import LONGEST_NAME, refuse_ours, route_of, stops, wants_usage
from gateway.contract.events import AnswerEvent, Finished, Passed, Rerouted, TextDelta, Usage
from gateway.contract.messages import Message
from gateway.contract.requests import ChatRequest
from gateway.routing.engine import Answer, Engine

USUAL_TOKENS = 16
"""Of an answer, where the caller does not say: this protocol's own default."""


def router(engine: Engine, watch: Watch | None = None) -> APIRouter:
    endpoint = Endpoint("completions", Completions(engine).answer, watch)
    return APIRouter(routes=[Route("/v1/completions", endpoint, methods=["POST"], name="completions")])


class Completions:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, exchange: Exchange) -> None:
        body = await read_object(exchange)
        name = route_of(exchange.grant, self._engine.routes, body, "llm")
        parsed = completion_request(body)
        exchange.grant.reserve(parsed.max_tokens)
        usage = wants_usage(body)
        async with self._engine.open(name, parsed, **asked_for(exchange)) as answer:
            if parsed.stream:
                await self._stream(exchange, answer, usage)
            else:
                await self._whole(exchange, answer)

    async def _stream(self, exchange: Exchange, answer: Answer, usage: bool) -> None:
        pieces = Pieces(str(answer.target), usage)
        exchange.trailer = lambda told: frame(told.body())
        await exchange.start(200, [*SSE, *answered_by(answer)])
        async for event in answer:
            encoded = pieces.encode(event)
            if isinstance(event, Finished):
                told = f": cost {dollars(answer.cost)} USD\n\n".encode() if usage else b""
                await exchange.finish(encoded + told + DONE)
            elif encoded:
                await exchange.write(encoded)

    async def _whole(self, exchange: Exchange, answer: Answer) -> None:
        pieces, raw = Pieces(str(answer.target), True), None
        async for event in answer:
            raw = raw or getattr(event, "raw", None)
            pieces.encode(event)
        await exchange.reply(200, raw or pieces.body(), headers=(*answered_by(answer), paid(answer)))


def completion_request(body: Fields) -> ChatRequest:
    """Raises BadRequest."""
    refuse_ours(body)
    untyped: list[str] = []
    logprobs = body.whole("logprobs", 0, 5)
    return ChatRequest(
        messages=(Message.of("user", _prompt(body, untyped)),),
        max_tokens=body.whole("max_tokens", 1, 1 << 31) or USUAL_TOKENS,
        temperature=body.number("temperature", 0.0, 2.0),
        top_p=body.number("top_p", 0.0, 1.0),
        stop=stops(body),
        seed=body.whole("seed", -(1 << 63), (1 << 63) - 1),
        stream=body.flag("stream"),
        body=body.mapping,
        presence_penalty=body.number("presence_penalty", -2.0, 2.0),
        frequency_penalty=body.number("frequency_penalty", -2.0, 2.0),
        n=body.whole("n", 1, 128) or 1,
        logprobs=logprobs is not None,
        user=body.text("user", LONGEST_NAME),
        dialect="completions",
        untyped=(*untyped, *_untyped(body)),
    )


def _untyped(body: Fields) -> list[str]:
    told = [name for name in ("suffix", "logit_bias") if body.mapping.get(name)]
    return told + ["echo"] * body.flag("echo") + ["best_of"] * ((body.whole("best_of", 1, 20) or 1) > 1)


def _prompt(body: Fields, untyped: list[str]) -> str:
    given = body.mapping.get("prompt")
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not given:
        raise body.fault("prompt", "must be a string, or an array of one")
    if len(given) == 1 and isinstance(given[0], str):
        return given[0]
    if not all(isinstance(each, str | list) or type(each) is int for each in given):
        raise body.fault("prompt", "must hold strings, or tokens")
    untyped.append("prompt")  # several at once, or tokens
    return ""


class Pieces:
    """One answer in this protocol. `usage`: whether the caller asked for it."""

    def __init__(self, model: str, usage: bool) -> None:
        self._head = {
            "id": f"cmpl-{os.urandom(12).hex()}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        self._text: list[str] = []
        self._usage_asked, self._usage = usage, Usage()
        self._raw = False
        self._reason = "stop"

    def encode(self, event: AnswerEvent) -> bytes:
        """What is sent for it in a stream: whole server-sent events, or nothing."""
        match event:
            case TextDelta() | Usage() | Passed() | Finished() if event.raw is not None:
                self._raw = True
                return frame(event.raw)
            case Usage():
                self._usage = event
            case TextDelta(text, "text") if not self._raw:
                self._text.append(text)
                return frame(orjson.dumps({**self._head, "choices": [self._choice(text, None)]}))
            case Rerouted():
                self._raw = False
            case Finished() if not self._raw:
                self._reason = finish_reason(event)
                last = frame(orjson.dumps({**self._head, "choices": [self._choice("", self._reason)]}))
                return last + (self._used() if self._usage_asked else b"")
        return b""

    def body(self) -> bytes:
        """The whole answer."""
        choice = self._choice("".join(self._text), self._reason)
        return orjson.dumps({**self._head, "choices": [choice], "usage": usage_fields(self._usage)})

    def _used(self) -> bytes:
        return frame(orjson.dumps({**self._head, "choices": [], "usage": usage_fields(self._usage)}))

    def _choice(self, text: str, reason: str | None) -> dict[str, object]:
        return {"text": text, "index": 0, "logprobs": None, "finish_reason": reason}
