"""What a chat costs from the endpoint to the provider's parser and back, in CPU time: everything but sockets and HTTP.

python -m loadtests.chat_request [profile]
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
import time
from collections.abc import Callable

import orjson
import uvloop

from gateway.api.chat import Chat
from gateway.api.exchange import Endpoint, Exchange, Headers
from gateway.contract.errors import ProviderError
from gateway.contract.events import Events, ProviderEvent
from gateway.contract.requests import ChatRequest
from gateway.routing.engine import Engine
from gateway.routing.route import Route, Target
from gateway.telemetry.telemetry import Telemetry
from providers._openai_chunks import ChatChunks, whole

ROUNDS, REQUESTS, STREAMS = 15, 1000, 200
EVENTS, READS = 50, 10
"""Of a stream, and the reads that they come in."""

_HEADERS = [(b"host", b"x"), (b"content-type", b"application/json"), (b"authorization", b"Bearer x")]
_HEAD = {"id": "x", "created": 1, "model": "m"}
_ASKED = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
_MESSAGE = {"role": "assistant", "content": "hello"}
_ANSWER = orjson.dumps(
    {
        **_HEAD,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
)


def _chunk(delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return orjson.dumps({**_HEAD, "object": "chat.completion.chunk", "choices": [choice]})


_WORD = _chunk({"content": "word "})
_FIRST, _LAST = [_chunk({"role": "assistant", "content": ""})], [_chunk({}, "stop"), b"[DONE]"]


def _failed(error: object) -> ProviderError:
    raise AssertionError


class Upstream:
    """A provider whose bytes are there at once."""

    async def chat(self, model: str, request: ChatRequest) -> Events:
        await asyncio.sleep(0)
        if not request.stream:
            for event in whole(_ANSWER, "p", _failed):
                yield event
            return
        chunks = ChatChunks("p", _failed)
        for read in (_FIRST, *([_WORD] * (EVENTS // READS) for _ in range(READS)), _LAST):
            await asyncio.sleep(0)
            events: list[ProviderEvent] = []
            chunks.take(read, events)
            for event in events:
                yield event
        for event in chunks.end():
            yield event


class Unsent(Exchange):
    """Reads a body that is there, writes to nowhere."""

    def __init__(self, body: bytes) -> None:
        scope = {"type": "http", "path": "/v1/chat/completions", "query_string": b"", "headers": _HEADERS}
        super().__init__(scope, None, None)  # type: ignore[arg-type]  # neither is asked
        self._body = body

    async def read(self, limit: int) -> bytes:
        self._unread = False
        return self._body

    async def start(self, status: int, headers: Headers = ()) -> None:
        self.status = status

    async def write(self, data: bytes) -> None:
        pass

    async def finish(self, data: bytes = b"") -> None:
        assert data.endswith(b"data: [DONE]\n\n")
        self._finished = True

    async def reply(self, status: int, body: bytes, kind: bytes = b"", headers: Headers = ()) -> None:
        assert status == 200, body
        self.status, self._finished = status, True


def endpoint() -> Endpoint:
    told = Telemetry({})
    routes = {"chat": Route("chat", "llm", (Target("p", "m"),))}
    engine = Engine(routes, {"p": Upstream()}, told.recorder, ledger=told.ledger)
    return Endpoint("chat", Chat(engine).answer, told.metrics)


async def microseconds(make: Callable[[], Endpoint], body: bytes, requests: int) -> float:
    """The best of the rounds, as the machine may be busy."""
    serving, best = make(), float("inf")

    async def round_of(requests: int) -> float:
        began = time.process_time()
        for _ in range(requests):
            await serving.serve(Unsent(body))
        return (time.process_time() - began) / requests * 1e6

    await round_of(requests)
    for _ in range(ROUNDS):
        best = min(best, await round_of(requests))
    return best


async def main(profiled: bool) -> None:
    for what, stream, requests in (("a whole answer", False, REQUESTS), (f"{EVENTS} events", True, STREAMS)):
        body = orjson.dumps({**_ASKED, "stream": True} if stream else _ASKED)
        profile = cProfile.Profile()
        if profiled:
            profile.enable()
        taken = await microseconds(endpoint, body, requests)
        profile.disable()
        print(f"{what}: {taken:.1f} us a request")
        if profiled:
            pstats.Stats(profile).sort_stats("tottime").print_stats(60)


if __name__ == "__main__":
    uvloop.run(main("profile" in sys.argv[1:]))
