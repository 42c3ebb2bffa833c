"""OpenAI's chat completions: asked of an upstream that speaks them."""

from __future__ import annotations

from functools import partial

from gateway.contract.bypass import Bypass
from gateway.contract.events import Events
from gateway.contract.messages import File, Text
from gateway.contract.requests import ChatRequest, Request
from providers._openai_body import Quirks, encode
from providers._openai_chunks import ChatChunks, whole
from providers._openai_upstream import Upstream


def ask(upstream: Upstream, model: str, request: ChatRequest, quirks: Quirks, bypass: Bypass | None = None) -> Events:
    name, failed, native = upstream.name, upstream.failed, request.dialect == "chat"
    return upstream.ask(
        "/chat/completions",
        model,
        partial(encode, model, request, quirks),
        partial(whole, provider=name, failed=failed, forward=native and not request.stream),
        partial(ChatChunks, name, failed, native) if request.stream else None,
        bypass=bypass,
    )


def cannot(request: Request) -> str | None:
    """What of a request that came in another dialect this protocol has no words for."""
    if not isinstance(request, ChatRequest) or request.dialect == "chat":
        return None
    if request.untyped:
        return f"it cannot be told '{request.untyped[0]}'"
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, File) and not part.url.startswith("data:"):
                return "it takes documents as data, not by their address"
            if message.role == "tool" and not isinstance(part, Text):
                return "it takes nothing but text as a tool's result"
    return None
