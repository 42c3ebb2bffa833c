"""What an upstream of tests/upstreams.py does with a request: Anthropic's Messages protocol, well and badly spoken.

As tests/upstream_scripts.py for OpenAI's. Events have their names and order from PROTOCOLS.md 7.3 and the recordings; thinking,
signatures, in-stream errors, 429 and 529 are shapes of the SDK's types (anthropic 2.14) and the documentation, not recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from tests.upstream_scripts import text
from tests.upstreams import Exchange, Script

MODEL = "claude-upstream-1"
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def event(data: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), orjson.dumps(data))


def message(content: list[dict[str, Any]], reason: str | None, words: int, **extra: Any) -> dict[str, Any]:
    return {
        "id": "msg_upstream",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage(words),
        **extra,
    }


def usage(words: int) -> dict[str, Any]:
    return {
        "input_tokens": 7,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": words,
        "service_tier": "standard",
    }


def begins(model: str = MODEL) -> bytes:
    start = event({"type": "message_start", "message": message([], None, 1, model=model)})
    return start + event({"type": "ping"})


def block(index: int, begun: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    """A whole block."""
    told = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    start = {"type": "content_block_start", "index": index, "content_block": begun}
    return b"".join(map(event, [start, *told, {"type": "content_block_stop", "index": index}]))


def text_begins(index: int = 0) -> bytes:
    begun = {"type": "text", "text": ""}
    return event({"type": "content_block_start", "index": index, "content_block": begun})


def says(words: str, index: int = 0) -> bytes:
    return event({"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": words}})


def closes(reason: str = "end_turn", words: int = 20, **delta: Any) -> bytes:
    ended = {"stop_reason": reason, "stop_sequence": None, **delta}
    return event({"type": "message_delta", "delta": ended, "usage": {"output_tokens": words}})


def error(message: str, kind: str = "api_error", **extra: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message, **extra}, "request_id": "req_upstream"}


def ok(words: int = 20, tick: float = 0.0, reason: str = "end_turn", stop: bool = True) -> Script:
    """`tick`: seconds between words; `stop`: whether message_stop ends the stream."""

    async def play(exchange: Exchange) -> None:
        if not exchange.request.wants_stream:
            await asyncio.sleep(tick * words)
            return await exchange.answer(200, message([{"type": "text", "text": text(words)}], reason, words))
        await _begin(exchange, words, tick)
        end = event({"type": "content_block_stop", "index": 0}) + closes(reason, words)
        await exchange.send(end + (STOP if stop else b""))
        await exchange.end()

    return play


def blocks(*content: dict[str, Any], reason: str = "end_turn", words: int = 9) -> Script:
    """An answer of these blocks, streamed as Anthropic streams them: arguments and texts in fragments of five characters."""

    async def play(exchange: Exchange) -> None:
        if not exchange.request.wants_stream:
            return await exchange.answer(200, message(list(content), reason, words))
        await exchange.head()
        await exchange.send(begins())
        for index, each in enumerate(content):
            await exchange.send(_streamed(index, each))
        await exchange.send(closes(reason, words) + STOP)
        await exchange.end()

    return play


def tool_use(name: str, arguments: dict[str, Any], call: str = "toolu_1") -> dict[str, Any]:
    return {"type": "tool_use", "id": call, "name": name, "input": arguments}


def endless(tick: float = 0.01) -> Script:
    async def play(exchange: Exchange) -> None:
        if not exchange.request.wants_stream:
            return await exchange.gone()
        await _begin(exchange, 0)
        while True:
            await exchange.send(says(" word"))
            await asyncio.sleep(tick)

    return play


def stalls(after: int = 20) -> Script:
    async def play(exchange: Exchange) -> None:
        if exchange.request.wants_stream:
            await _begin(exchange, after)
        else:
            await exchange.raw(b'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"id":')
        await exchange.gone()

    return play


def dies(after: int = 40, words: int = 60) -> Script:
    """`after` of `words` words, then the connection is closed. Not streaming: in mid-body."""

    async def play(exchange: Exchange) -> None:
        if exchange.request.wants_stream:
            await _begin(exchange, after)
        else:
            body = orjson.dumps(message([{"type": "text", "text": text(words)}], "end_turn", words))
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            await exchange.raw(head + body[: len(body) // 2])
        exchange.hang_up()

    return play


def error_in_stream(said: dict[str, Any] | None = None, after: int = 0) -> Script:
    """200, `after` words, then an error event (default: overloaded)."""
    told = said or error("Overloaded", "overloaded_error")

    async def play(exchange: Exchange) -> None:
        if not exchange.request.wants_stream:
            return await exchange.answer(529, told)
        await _begin(exchange, after)
        await exchange.send(event(told))
        await exchange.end()

    return play


def status(code: int, message: str, kind: str, extra: dict[str, Any] | None = None, **headers: str) -> Script:
    """An error before the stream. `headers`: with underscores, `retry_after="2"`."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}

    async def play(exchange: Exchange) -> None:
        await exchange.answer(code, error(message, kind, **(extra or {})), fields)

    return play


async def _begin(exchange: Exchange, words: int, tick: float = 0.0) -> None:
    await exchange.head()
    await exchange.send(begins())
    await exchange.send(text_begins())
    for n in range(1, words + 1):
        await exchange.send(says(f"w{n}" if n == 1 else f" w{n}"))
        if tick:
            await asyncio.sleep(tick)


def _streamed(index: int, content: dict[str, Any]) -> bytes:
    match content["type"]:
        case "text":
            deltas = [{"type": "text_delta", "text": part} for part in _parts(content["text"])]
            return block(index, {"type": "text", "text": ""}, *deltas)
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": part} for part in _parts(content["thinking"])]
            sealed = {"type": "signature_delta", "signature": content["signature"]}
            return block(index, {"type": "thinking", "thinking": "", "signature": ""}, *deltas, sealed)
        case "tool_use" | "server_tool_use":
            written = orjson.dumps(content["input"]).decode() if content["input"] else ""
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ["", *_parts(written)]]
            return block(index, {**content, "input": {}}, *deltas)
    return block(index, content)


def _parts(written: str) -> list[str]:
    return [written[at : at + 5] for at in range(0, len(written), 5)]


NAMED: dict[str, Script] = {
    "ok": ok(),
    "endless": endless(),
    "stalls": stalls(),
    "dies": dies(),
    "401": status(401, "invalid x-api-key", "authentication_error", x_should_retry="false"),
    "402": status(402, "Your payment method failed.", "billing_error"),
    "429": status(429, "This request would exceed your rate limit.", "rate_limit_error", retry_after="2"),
    "529": status(529, "Overloaded", "overloaded_error"),
    "too-long": status(400, "prompt is too long: 210000 tokens > 200000 maximum", "invalid_request_error"),
    "refuses": status(400, "messages.0.content: Input does not match the expected shape.", "invalid_request_error"),
}
