"""A client that disconnects, in every phase of failing over: its upstreams are closed within a second, and nobody else is asked.

The whole gateway on real sockets; what is asserted is what the upstreams saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import orjson
import pytest

from gateway.app import create_app
from gateway.config import parse
from gateway.loader import load
from tests.failover.families import OpenAI
from tests.failover.faults import Fault, script
from tests.serving import Served, plain_http, serving
from tests.upstreams import Upstream

pytestmark = pytest.mark.wire

BY = 1.0
"""Seconds in which everything must be let go."""
LONG_ENOUGH, RETRY_AFTER = 0.5, 2.0
"""Seconds in which a further attempt would have been made, and those that an upstream asks to be left alone."""
HEDGED = 5.5
"""Seconds within which a silent target is hedged: sooner than it is given up."""

either = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])


class Scene:
    """A gateway and its upstreams, the first target's first."""

    def __init__(self, served: Served, upstreams: list[Upstream]) -> None:
        self.served, self.upstreams = served, upstreams

    @property
    def attempts(self) -> int:
        return sum(len(upstream.received) for upstream in self.upstreams)

    @asynccontextmanager
    async def caller(self, stream: bool) -> AsyncGenerator[asyncio.StreamReader]:
        """Asks; disconnects on leaving. A bare socket, so that disconnecting is nothing more."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.served.port)
        asked = {"model": "chat", "messages": [{"role": "user", "content": "go"}], "stream": stream}
        body = orjson.dumps(asked)
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        try:
            yield reader
        finally:
            writer.close()
            await writer.wait_closed()

    async def let_go(self) -> None:
        """Within a second nothing is held for the caller, by an upstream or by the gateway."""
        before = self.attempts
        async with asyncio.timeout(BY):
            for upstream in self.upstreams:
                await upstream.until(lambda: not upstream.busy, BY)  # noqa: B023 - it is awaited here
                held = sum(exchange.outcome == "left" for exchange in upstream.exchanges)
                await upstream.until(lambda: upstream.open <= upstream.opened - held, BY)  # noqa: B023
            while await self.waiting():
                pass
        assert self.attempts == before

    async def waiting(self) -> bool:
        """Whether the gateway has a request under way."""
        async with plain_http(base_url=self.served.url) as http:
            return b'trunkline_open_requests{endpoint="chat"} 1.0' in (await http.get("/metrics")).content

    async def asks_nobody_else(self, within: float = LONG_ENOUGH) -> None:
        before = self.attempts
        waits = [upstream.until(lambda: self.attempts > before, within) for upstream in self.upstreams]
        ended = await asyncio.gather(*waits, return_exceptions=True)
        assert all(isinstance(each, TimeoutError) for each in ended)
        assert self.attempts == before


@asynccontextmanager
async def scene(*plays: list[Fault], order: str = "priority") -> AsyncGenerator[Scene]:
    """`plays`: what each target does, request by request."""
    async with AsyncExitStack() as stack:
        upstreams = [
            await stack.enter_async_context(Upstream(*(script(OpenAI(), fault) for fault in play))) for play in plays
        ]
        rows = [f'  up{n}: {{module: openai_compatible, base_url: "{u.url}"}}' for n, u in enumerate(upstreams)]
        targets = ", ".join(f"up{n}/m" for n in range(len(upstreams)))
        text = "\n".join(
            [
                "providers:",
                *rows,
                f"policies: {{plain: {{order: {order}}}}}",
                f"routes: {{chat: {{kind: llm, policy: plain, targets: [{targets}]}}}}",
            ]
        )
        config = parse(text)
        served = await stack.enter_async_context(serving(create_app(config, load(config, {}))))
        yield Scene(served, upstreams)


@either
async def test_before_the_first_token(stream: bool) -> None:
    async with scene(["silent"], ["well"]) as stage:
        async with stage.caller(stream):
            await stage.upstreams[0].until(lambda: stage.upstreams[0].busy == 1)
        await stage.let_go()
        assert stage.upstreams[0].exchanges[0].outcome == "left"
        await stage.asks_nobody_else()


@either
async def test_before_the_first_token_of_the_fallback(stream: bool) -> None:
    async with scene(["503"], ["silent"], ["well"]) as stage:
        async with stage.caller(stream):
            await stage.upstreams[1].until(lambda: stage.upstreams[1].busy == 1, within=5.0)
        await stage.let_go()
        await stage.asks_nobody_else()


async def test_in_mid_stream() -> None:
    async with scene(["slow-words"], ["well"]) as stage:
        async with stage.caller(True) as reader:
            await reader.readuntil(b" w3")
        await stage.let_go()
        assert stage.upstreams[0].exchanges[0].outcome == "left"
        await stage.asks_nobody_else()


async def test_in_mid_stream_while_another_goes_on_with_it() -> None:
    async with scene(["dies-after-40"], ["silent"], ["well"]) as stage:
        async with stage.caller(True) as reader:
            await reader.readuntil(b" w40")
            await stage.upstreams[1].until(lambda: stage.upstreams[1].busy == 1, within=5.0)
        await stage.let_go()
        await stage.asks_nobody_else()


@either
async def test_during_a_retry_pause(stream: bool) -> None:
    async with scene(["429-for-2s", "well"]) as stage:
        async with stage.caller(stream):
            await stage.upstreams[0].until(lambda: stage.attempts == 1 and not stage.upstreams[0].busy)
            assert await stage.waiting()
        await stage.let_go()
        await stage.asks_nobody_else(within=RETRY_AFTER + LONG_ENOUGH)


@either
async def test_during_a_hedge(stream: bool) -> None:
    async with scene(["silent"], ["silent"], order="ttft") as stage:
        async with stage.caller(stream):
            for upstream in stage.upstreams:
                await upstream.until(lambda: upstream.busy == 1, HEDGED)  # noqa: B023 - it is awaited here
            assert [upstream.busy for upstream in stage.upstreams] == [1, 1]
        await stage.let_go()
        assert [upstream.exchanges[0].outcome for upstream in stage.upstreams] == ["left", "left"]
        await stage.asks_nobody_else()
