"""Any upstream that speaks OpenAI's chat protocol: a row in routes.yaml, not a file.

    groq: {module: openai_compatible, base_url: "https://api.groq.com/openai/v1", key: $GROQ_API_KEY}

`base_url`: what `/chat/completions` is added to, before its query if it has one; `{model}` in it is where the model's name
goes. Options, for what upstreams do in ways of their own (docs/providers.md has a row for each):

* `include_usage` (default true): ask for the usage of streams; false for upstreams that refuse to be asked (they tell it anyway).
* `max_tokens_field`: what this upstream calls the limit of an answer, `max_tokens` or `max_completion_tokens`.
* `drop`: fields of a request that this upstream refuses, and that are left out.
* `auth_header`: the header for the key alone, where it is not `Authorization: Bearer`.
* `headers`, `query`: more of either, for every request.
"""

from __future__ import annotations

from gateway.contract.events import Events
from gateway.contract.provider import Settings
from gateway.contract.requests import ChatRequest, EmbedRequest, Request
from providers import _openai_chat, _openai_embeddings, _options
from providers._openai_body import LIMITS, Quirks
from providers._openai_upstream import Upstream


class Provider:
    """Serves llm and embed. Raises ValueError for settings that can never work."""

    def __init__(self, settings: Settings) -> None:
        options = _options.read(
            settings,
            include_usage=True,
            max_tokens_field=None,
            drop=[],
            auth_header="authorization",
            headers={},
            query={},
        )
        limit = _options.one_of(options, "max_tokens_field", LIMITS)
        self._quirks = Quirks(options["include_usage"], limit, frozenset(options["drop"]))
        told = (options["auth_header"], options["headers"], options["query"])
        self._upstream = Upstream(settings, settings.base_url, *told)

    def asleep(self, model: str) -> str | None:
        return None if self._upstream.known else "its row has no base_url"

    def cannot(self, model: str, request: Request) -> str | None:
        """Of other dialects than its own it says what a chat has words for."""
        return _openai_chat.cannot(request)

    async def aclose(self) -> None:
        await self._upstream.aclose()

    def chat(self, model: str, request: ChatRequest) -> Events:
        return _openai_chat.ask(self._upstream, model, request, self._quirks)

    def embed(self, model: str, request: EmbedRequest) -> Events:
        return _openai_embeddings.ask(self._upstream, model, request)
