"""OpenAI's embeddings: what is sent, and what comes of the answer."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson

from gateway.contract.errors import Refused, Unavailable
from gateway.contract.events import Embedded, Events, Finished, ProviderEvent
from gateway.contract.requests import EmbedRequest
from providers._openai_chunks import Failed, usage
from providers._openai_upstream import Upstream


def ask(upstream: Upstream, model: str, request: EmbedRequest) -> Events:
    read = partial(whole, provider=upstream.name, failed=upstream.failed)
    return upstream.ask("/embeddings", model, partial(encode, model, request), read)


def encode(model: str, request: EmbedRequest) -> bytes:
    """The caller's own body, or one built from typed fields. Raises Refused for what JSON cannot say."""
    body = dict(request.body) if request.body is not None else _built(request)
    body["model"] = model
    try:
        return orjson.dumps(body)
    except TypeError:
        raise Refused("the request cannot be written as JSON", code="invalid_json") from None


def _built(request: EmbedRequest) -> dict[str, Any]:
    inputs = [each if isinstance(each, str) else list(each) for each in request.inputs]
    options = {"dimensions": request.dimensions, "user": request.user}
    return {"input": inputs, **{name: value for name, value in options.items() if value is not None}}


def whole(body: bytes, provider: str, failed: Failed) -> list[ProviderEvent]:
    """Raises ProviderError."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Unavailable("garbage instead of an answer", provider) from None
    if isinstance(answer, dict) and answer.get("error"):
        raise failed(answer["error"])
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), list) or not answer["data"]:
        raise Unavailable("an answer without a vector", provider)
    used = answer.get("usage")
    counted: list[ProviderEvent] = [usage(used)] if isinstance(used, dict) else []
    return [Embedded(raw=body), *counted, Finished()]
