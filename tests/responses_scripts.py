"""What an upstream that speaks OpenAI's Responses does with a request: scripts for tests/upstreams.py, well and badly spoken.

The text of an answer of n words is `text(n)`, as in tests/upstream_scripts.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tests.upstream_scripts import text
from tests.upstreams import Exchange, Script

MODEL = "upstream-model-1"
ITEM = "msg_upstream"


def event(kind: str, number: int, **fields: Any) -> bytes:
    """One event of a stream, as it stands on the wire."""
    said = {"type": kind, "sequence_number": number, **fields}
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(said) + b"\n\n"


def response(status: str = "in_progress", output: list[Any] | None = None, **extra: Any) -> dict[str, Any]:
    return {
        "id": "resp_upstream",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": MODEL,
        "output": output or [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
        **extra,
    }


def usage(words: int) -> dict[str, Any]:
    return {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": words,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 7 + words,
    }


def message(said: str, status: str = "completed") -> dict[str, Any]:
    content = [{"type": "output_text", "text": said, "annotations": []}] if status != "in_progress" else []
    return {"id": ITEM, "type": "message", "status": status, "role": "assistant", "content": content}


def begins(model: str = MODEL) -> bytes:
    """Everything before the first word: events 0 to 3."""
    part = {"type": "output_text", "text": "", "annotations": []}
    return b"".join(
        (
            event("response.created", 0, response=response(model=model)),
            event("response.in_progress", 1, response=response(model=model)),
            event("response.output_item.added", 2, output_index=0, item=message("", "in_progress")),
            event("response.content_part.added", 3, item_id=ITEM, output_index=0, content_index=0, part=part),
        )
    )


def word(said: str, number: int) -> bytes:
    where = {"item_id": ITEM, "output_index": 0, "content_index": 0, "logprobs": []}
    return event("response.output_text.delta", number, delta=said, **where)


def ends(said: str, number: int, words: int, model: str = MODEL) -> bytes:
    """Everything after the last word."""
    where = {"item_id": ITEM, "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": said, "annotations": []}
    whole = response("completed", [message(said)], usage=usage(words), model=model)
    return b"".join(
        (
            event("response.output_text.done", number, text=said, logprobs=[], **where),
            event("response.content_part.done", number + 1, part=part, **where),
            event("response.output_item.done", number + 2, output_index=0, item=message(said)),
            event("response.completed", number + 3, response=whole),
        )
    )


def words(count: int, first: int = 4) -> list[bytes]:
    said = [f"w{n}" if n == 1 else f" w{n}" for n in range(1, count + 1)]
    return [word(each, first + n) for n, each in enumerate(said)]


def ok(count: int = 20) -> Script:
    async def play(exchange: Exchange) -> None:
        if not exchange.request.wants_stream:
            return await exchange.answer(200, response("completed", [message(text(count))], usage=usage(count)))
        await exchange.head()
        await exchange.send(begins())
        for each in words(count):
            await exchange.send(each)
        await exchange.send(ends(text(count), 4 + count, count))
        await exchange.end()

    return play


def dies(after: int = 40) -> Script:
    """So many words, then the connection is closed without an end."""

    async def play(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(begins() + b"".join(words(after)))
        exchange.hang_up()

    return play


def fails(error: Mapping[str, Any], after: int = 0, flat: bool = False) -> Script:
    """200, so many words, then an `error` (`flat`: as the SDK has it, else as the wire does) and `response.failed`."""

    async def play(exchange: Exchange) -> None:
        failed = response("failed", error={"code": error["code"], "message": error["message"]})
        if not exchange.request.wants_stream:
            return await exchange.answer(200, failed)
        told = dict(error) if flat else {"error": error}
        await exchange.head()
        await exchange.send(begins() + b"".join(words(after)))
        await exchange.send(event("error", 4 + after, **told) + event("response.failed", 5 + after, response=failed))
        await exchange.end()

    return play
