"""An OTLP/HTTP collector of a few lines, on a socket: keeps the spans it is sent.

async with collecting() as collector:
    collector.environ                   # for whoever is to send
    await collector.span("chat route")  # waits for it
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from starlette.types import Receive, Scope, Send

from tests.serving import serving

SOON = 10.0


@dataclass
class Collector:
    """`refuses`: the status it answers instead of taking spans."""

    environ: dict[str, str] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    resource: dict[str, Any] = field(default_factory=dict)
    raw: bytes = b""
    asked: int = 0
    refuses: int | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.asked += 1
        assert (scope["method"], scope["path"]) == ("POST", "/v1/traces")
        if self.refuses is None:
            self._take(body)
        self.news.set()
        await send({"type": "http.response.start", "status": self.refuses or 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def until(self, count: int) -> None:
        async with asyncio.timeout(SOON):
            while len(self.spans) < count:
                self.news.clear()
                await self.news.wait()

    def named(self, name: str) -> Span:
        [found] = [span for span in self.spans if span.name == name]
        return found

    def children(self, of: Span) -> list[str]:
        return [span.name for span in self.spans if span.parent_span_id == of.span_id and span.trace_id == of.trace_id]

    def _take(self, body: bytes) -> None:
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = attributes(resource.resource)
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]


def attributes(of: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in of.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, kind)


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    async with serving(collector, lifespan="off") as server:
        collector.environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": server.url, "NO_PROXY": "127.0.0.1"}
        yield collector
