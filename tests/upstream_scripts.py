"""What an upstream of tests/upstreams.py does with a request: OpenAI's chat protocol, well and badly spoken.

A script with parameters is a function here that returns the script; `named` knows those that have a name. The text of an
answer of n words is `text(n)`: "w1 w2 ... wn". Every stream begins with a role-only chunk, as OpenAI's do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from tests.upstreams import Exchange, Script

MODEL = "upstream-model-1"
DONE = b"data: [DONE]\n\n"


def text(words: int) -> str:
    return " ".join(f"w{n}" for n in range(1, words + 1))


def usage(words: int) -> dict[str, Any]:
    return {"prompt_tokens": 7, "completion_tokens": words, "total_tokens": 7 + words}


def event(data: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def chunk(delta: Mapping[str, Any], finish: str | None = None, **extra: Any) -> dict[str, Any]:
    """A chat.completion.chunk with one choice."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {**_frame("chat.completion.chunk"), "choices": [choice], **extra}


def role() -> dict[str, Any]:
    return chunk({"role": "assistant", "content": "", "refusal": None})


def word(n: int) -> dict[str, Any]:
    return chunk({"content": f"w{n}" if n == 1 else f" w{n}"})


def whole(message: Mapping[str, Any], finish: str, words: int) -> dict[str, Any]:
    """A chat.completion: the answer to a request that does not stream."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": finish}
    return {**_frame("chat.completion"), "choices": [choice], "usage": usage(words)}


def error(message: str, kind: str = "server_error", code: str | None = None, **extra: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **extra}}


def ok(words: int = 20, tick: float = 0.0, finish: str = "stop", done: bool = True) -> Script:
    """`tick`: seconds between words. `done`: whether [DONE] ends the stream."""

    async def play(exchange: Exchange) -> None:
        if not exchange.request.wants_stream:
            await asyncio.sleep(tick * words)
            return await exchange.answer(200, whole({"content": text(words)}, finish, words))
        await _begin(exchange, words, tick)
        await exchange.send(event(chunk({}, finish)))
        if exchange.request.json.get("stream_options", {}).get("include_usage"):
            await exchange.send(event({**_frame("chat.completion.chunk"), "choices": [], "usage": usage(words)}))
        if done:
            await exchange.send(DONE)
        await exchange.end()

    return play


def endless(tick: float = 0.01) -> Script:
    """Words until the client leaves; not streaming: no answer until then."""

    async def play(exchange: Exchange) -> None:
        if not exchange.request.wants_stream:
            return await exchange.gone()
        await _begin(exchange, 0)
        n = 0
        while True:
            n += 1
            await exchange.send(event(word(n)))
            await asyncio.sleep(tick)

    return play


def tools(*calls: tuple[str, str]) -> Script:
    """Calls of (name, arguments as JSON), in parallel; arguments come in fragments of five characters."""
    asked = calls or (("get_weather", '{"city":"Paris"}'), ("get_time", '{"zone":"CET"}'))

    async def play(exchange: Exchange) -> None:
        made = [
            {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for n, (name, arguments) in enumerate(asked)
        ]
        if not exchange.request.wants_stream:
            return await exchange.answer(200, whole({"content": None, "tool_calls": made}, "tool_calls", 9))
        await _begin(exchange, 0)
        for n, (name, arguments) in enumerate(asked):
            first = {"index": n, "id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": ""}}
            await exchange.send(event(chunk({"tool_calls": [first]})))
            for at in range(0, len(arguments), 5):
                part = {"index": n, "function": {"arguments": arguments[at : at + 5]}}
                await exchange.send(event(chunk({"tool_calls": [part]})))
        await exchange.send(event(chunk({}, "tool_calls")) + DONE)
        await exchange.end()

    return play


def status(
    code: int, message: str = "no", kind: str = "server_error", word: str | None = None, **headers: str
) -> Script:
    """An error before the stream, in OpenAI's JSON. `headers`: with underscores, `retry_after="2"`."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}

    async def play(exchange: Exchange) -> None:
        await exchange.answer(code, error(message, kind, word), fields)

    return play


def slow_start(seconds: float, then: Script | None = None) -> Script:
    """Nothing, not even headers, for that long."""

    async def play(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await (then or ok())(exchange)

    return play


def slow_first(seconds: float, words: int = 20) -> Script:
    """Headers and the role at once, the first word after that long."""

    async def play(exchange: Exchange) -> None:
        if exchange.request.wants_stream:
            await _begin(exchange, 0)
        await asyncio.sleep(seconds)
        if not exchange.request.wants_stream:
            return await ok(words)(exchange)
        for n in range(1, words + 1):
            await exchange.send(event(word(n)))
        await exchange.send(event(chunk({}, "stop")) + DONE)
        await exchange.end()

    return play


def dies(after: int = 40, words: int = 60, reset: bool = False) -> Script:
    """`after` of `words` words, then the connection is closed without an end. Not streaming: in mid-body."""

    async def play(exchange: Exchange) -> None:
        if exchange.request.wants_stream:
            await _begin(exchange, after)
        else:
            body = orjson.dumps(whole({"content": text(words)}, "stop", words))
            await exchange.raw(_promise(len(body)) + body[: len(body) // 2])
        exchange.reset() if reset else exchange.hang_up()

    return play


def ends_early(after: int = 40) -> Script:
    """`after` words, then a proper end of the HTTP answer with neither finish_reason nor [DONE]."""

    async def play(exchange: Exchange) -> None:
        if not exchange.request.wants_stream:
            return await exchange.answer(200, b"")
        await _begin(exchange, after)
        await exchange.end()

    return play


def stalls(after: int = 20) -> Script:
    """`after` words, then silence on an open connection."""

    async def play(exchange: Exchange) -> None:
        if exchange.request.wants_stream:
            await _begin(exchange, after)
        else:
            await exchange.raw(_promise(1000) + b'{"id":')
        await exchange.gone()

    return play


def lingers(words: int = 20) -> Script:
    """Everything but [DONE], and then the connection stays open and silent."""

    async def play(exchange: Exchange) -> None:
        if not exchange.request.wants_stream:
            return await ok(words)(exchange)
        await _begin(exchange, words)
        await exchange.send(event(chunk({}, "stop")))
        await exchange.gone()

    return play


def broken_json(at: int = 10, words: int = 20, events: int = 1) -> Script:
    """The event before word `at` (and the next `events - 1`) is broken JSON. Not streaming: the body is."""

    async def play(exchange: Exchange) -> None:
        if not exchange.request.wants_stream:
            return await exchange.answer(200, b'{"id": "x", "choices": [{"mess')
        await _begin(exchange, at - 1)
        await exchange.send(b'data: {"id":"broken","choices":[{"delta":{"content":"BROK\n\n' * events)
        for n in range(at, words + 1):
            await exchange.send(event(word(n)))
        await exchange.send(event(chunk({}, "stop")) + DONE)
        await exchange.end()

    return play


def error_in_stream(data: dict[str, Any] | None = None, after: int = 0) -> Script:
    """200, `after` words, then an event with `error` (default: Groq's tool_use_failed) and [DONE]."""
    said = data or error("Failed to call a function.", "invalid_request_error", "tool_use_failed", status_code=400)

    async def play(exchange: Exchange) -> None:
        if not exchange.request.wants_stream:
            return await exchange.answer(200, said)
        await _begin(exchange, after)
        await exchange.send(event(said) + DONE)
        await exchange.end()

    return play


def bytes_as_they_are(body: bytes, code: int = 200, piece: int = 0, **headers: str) -> Script:
    """A recording's body, in writes of `piece` bytes (0: one)."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}

    async def play(exchange: Exchange) -> None:
        await exchange.head(code, fields)
        for at in range(0, len(body), piece or len(body) or 1):
            await exchange.send(body[at : at + (piece or len(body))])
        await exchange.end()

    return play


async def _reset(exchange: Exchange) -> None:
    exchange.reset()


async def _hang_up(exchange: Exchange) -> None:
    exchange.hang_up()


async def _silent(exchange: Exchange) -> None:
    await exchange.gone()


async def _headers_only(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.gone()


async def _role_only(exchange: Exchange) -> None:
    if exchange.request.wants_stream:
        await _begin(exchange, 0)
    await exchange.gone()


async def _garbage(exchange: Exchange) -> None:
    if exchange.request.wants_stream:
        await exchange.head()
        await exchange.send(b"data: \x00\xff{[not json\n\n" * 50)
        return await exchange.end()
    await exchange.answer(200, b"\x00\xff{[not json" * 50)


async def _no_http(exchange: Exchange) -> None:
    await exchange.raw(b"SSH-2.0-OpenSSH_9.2\r\n")
    exchange.hang_up()


async def _begin(exchange: Exchange, words: int, tick: float = 0.0) -> None:
    await exchange.head()
    await exchange.send(event(role()))
    for n in range(1, words + 1):
        await exchange.send(event(word(n)))
        if tick:
            await asyncio.sleep(tick)


def _frame(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-upstream", "object": kind, "created": 1_760_000_000, "model": MODEL}


def _promise(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % size


_NAMED: dict[str, Script] = {
    "ok": ok(),
    "endless": endless(),
    "empty": ok(words=0),
    "tools": tools(),
    "reset": _reset,
    "hang-up": _hang_up,
    "silent": _silent,
    "headers-only": _headers_only,
    "role-only": _role_only,
    "garbage": _garbage,
    "no-http": _no_http,
    "html": bytes_as_they_are(b"<html><body>Welcome</body></html>", content_type="text/html"),
    "no-done": ok(done=False),
    "lingers": lingers(),
    "ends-early": ends_early(),
    "dies": dies(),
    "stalls": stalls(),
    "broken-json": broken_json(),
    "error-in-stream": error_in_stream(),
    "401": status(401, "Incorrect API key provided: sk-wrong****-key.", "invalid_request_error", "invalid_api_key"),
    "404": status(404, "The model `x` does not exist.", "invalid_request_error", "model_not_found"),
    "429": status(429, "Rate limit reached.", "requests", "rate_limit_exceeded", retry_after="2"),
    "no-quota": status(429, "You exceeded your current quota.", "insufficient_quota", "insufficient_quota"),
    "context-too-long": status(
        400, "This model's maximum context length is 8192 tokens.", "invalid_request_error", "context_length_exceeded"
    ),
    "content-policy": status(
        400, "Your request was rejected by our safety system.", "invalid_request_error", "content_policy_violation"
    ),
}


def named(name: str) -> Script:
    """The script of that name; any number from 400 is a status."""
    if name in _NAMED:
        return _NAMED[name]
    if name.isdecimal() and int(name) >= 400:
        return status(int(name))
    raise ValueError(f"no script is named {name!r}; there are: {', '.join(_NAMED)}, and any status from 400")
