"""The long tail of chat models (Bedrock, Vertex, Cohere, ...) through LiteLLM: `litellm/MODEL`, MODEL as LiteLLM names it.

    litellm: {options: {aws_region_name: eu-west-1}}                # litellm/bedrock/anthropic.claude-sonnet-4
    cohere:  {module: litellm, key: $COHERE_API_KEY}                # cohere/cohere/command-a

`base_url` and `key` are its api_base and api_key; options are further keywords of its `acompletion` and `aembedding`, as it
documents them. Keys that it reads from the environment itself (AWS_*, GOOGLE_APPLICATION_CREDENTIALS, ...) it finds there.

Importing it takes seconds and 170 MB: it happens in a thread, when a target of it is warmed or first asked, and never without
one. It must not fetch its price table nor a .env file, print, log or retry; nothing of what it raises is shown but what an
upstream said of a request that it refused. Needs the [litellm] extra.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx
import orjson

from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import Embedded, Events, Finished, ProviderEvent, Usage
from gateway.contract.provider import Settings
from gateway.contract.requests import ChatRequest, EmbedRequest, Request
from providers import _litellm_errors as errors
from providers._litellm_words import asked, sealed, usage
from providers._openai_chunks import ChatChunks, whole

_NO_FETCH = ("LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "LITELLM_LOCAL_BLOG_POSTS")
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
_TALKATIVE = ("openai", "anthropic", "botocore", "boto3", "urllib3", "httpcore", "google")
"""Loggers of the libraries below it: at DEBUG some write whole requests."""

_SUPPORTED = ("tools", "tool_choice", "response_format", "stop", "seed", "reasoning_effort", "parallel_tool_calls")
"""Of what is asked for, what would be another answer without it: not sent to a model that LiteLLM knows cannot."""

_PLAINLY = {"max_retries": 0, "num_retries": 0, "_skip_mcp_handler": True}
"""No tries of its own; and without the last, it looks for a package that is not installed as soon as there are tools."""

_LIBRARY = (httpx.HTTPError, OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError)
"""What escapes LiteLLM beside its own errors (which are OpenAI's client's): those of its libraries, and its mistakes."""


@dataclass(frozen=True, slots=True)
class _Library:
    """`raises`: all that it may raise."""

    litellm: Any
    raises: tuple[type[Exception], ...]


class Provider:
    """Serves llm and embed."""

    _open: ClassVar[int] = 0
    """Providers that hold clients: LiteLLM keeps those of all in one place, so whoever closes last closes them."""

    def __init__(self, settings: Settings) -> None:
        self._name, self._installed = settings.name, importlib.util.find_spec("litellm") is not None
        given = {"api_base": settings.base_url, "api_key": settings.key.reveal() if settings.key else None}
        self._where = {**settings.options, **{name: value for name, value in given.items() if value is not None}}
        self._words = errors.Words(settings.name, self._where)
        self._library: _Library | None = None
        self._loading = asyncio.Lock()
        self._supported: dict[str, frozenset[str]] = {}

    def asleep(self, model: str) -> str | None:
        return None if self._installed else "litellm is not installed: pip install 'trunkline[litellm]'"

    def cannot(self, model: str, request: Request) -> str | None:
        if not isinstance(request, ChatRequest):
            return None
        if request.untyped:
            return f"it cannot be told '{request.untyped[0]}'"
        if request.n > 1 or request.logprobs:
            return "it is asked for one answer, and not for logprobs"
        supported = self._supported.get(model)
        if supported is None:
            return None
        lacking = [name for name in _SUPPORTED if name not in supported and name in asked(model, request)]
        return f"this model does not take '{lacking[0]}'" if lacking else None

    async def warm(self, model: str, prompts: tuple[str, ...]) -> None:
        await self._ready(model)

    async def aclose(self) -> None:
        """Again is a no-op."""
        if self._library is None:
            return
        library, self._library = self._library.litellm, None
        Provider._open -= 1
        if Provider._open == 0:
            await library.close_litellm_async_clients()
            library.in_memory_llm_clients_cache.flush_cache()

    async def chat(self, model: str, request: ChatRequest) -> Events:
        keywords = {**asked(model, request), **self._where, **_PLAINLY}
        library = await self._ready(model)
        failure: ProviderError | None = None
        try:
            if not request.stream:
                for event in self._whole(await library.litellm.acompletion(**keywords)):
                    yield event
                return
            async with _closing(await library.litellm.acompletion(**keywords)) as answer:
                async with aclosing(self._streamed(answer)) as events:
                    async for event in events:
                        yield event
        except library.raises as error:
            failure = self._words.error(error)
        if failure is not None:
            raise failure  # out there, so that nothing leads to what it holds: the prompt, and the key

    async def embed(self, model: str, request: EmbedRequest) -> Events:
        given = {"dimensions": request.dimensions, "user": request.user}
        keywords = {name: value for name, value in given.items() if value is not None} | self._where
        inputs = [each if isinstance(each, str) else list(each) for each in request.inputs]
        library = await self._ready(model)
        failure: ProviderError | None = None
        try:
            answer = await library.litellm.aembedding(model=model, input=inputs, max_retries=0, **keywords)
            found = tuple(tuple(each["embedding"]) for each in answer.data)
            used = usage(_plain(answer.usage)) if answer.usage else Usage()
        except library.raises as error:
            failure = self._words.error(error)
        if failure is not None:
            raise failure
        if len(found) != len(inputs):
            raise Unavailable(f"{len(found)} vectors for {len(inputs)} inputs", self._name)
        yield Embedded(found)
        yield used
        yield Finished()

    async def _streamed(self, answer: Any) -> Events:
        """LiteLLM makes up an end where the upstream gave none, and counts tokens where it told none: neither is believed."""
        chunks = ChatChunks(self._name, self._words.of_object, forward=False)
        async for chunk in answer:
            said = _plain(chunk)
            said.pop("usage", None)
            choice = (said.get("choices") or [{}])[0]
            delta = choice.get("delta") or {}
            if delta or "finish_reason" in choice:  # one with neither follows the end
                for event in sealed(chunks.read(orjson.dumps(said)), delta):
                    yield event
        if answer.received_finish_reason is None and answer.intermittent_finish_reason is None:
            raise Unavailable("cut off: the stream ended without finishing", self._name)
        told = [used for each in answer.chunks if (used := getattr(each, "usage", None)) is not None]
        if told:
            yield usage(_plain(told[-1]))
        for event in chunks.end():
            yield event

    def _whole(self, answer: Any) -> list[ProviderEvent]:
        said = _plain(answer)
        used = said.pop("usage", None)
        *events, finished = whole(orjson.dumps(said), self._name, self._words.of_object, forward=False)
        told = list(sealed(events, said["choices"][0].get("message") or {}))
        return [*told, *([usage(used)] if used else []), finished]

    async def _ready(self, model: str) -> _Library:
        """The library, loaded, and what the model takes. Raises Unavailable."""
        async with self._loading:
            if self._library is None:
                try:
                    self._library = await asyncio.to_thread(_load)
                except ImportError as error:
                    raise Unavailable(f"litellm cannot be loaded ({type(error).__name__})", self._name) from None
                Provider._open += 1
            if model not in self._supported:
                self._supported[model] = await asyncio.to_thread(_prepared, self._library, model)
        return self._library


def _load() -> _Library:
    for name in _NO_FETCH:
        os.environ.setdefault(name, "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")  # otherwise it reads a .env file of the working directory
    litellm: Any = importlib.import_module("litellm")
    litellm.suppress_debug_info = litellm.turn_off_message_logging = litellm.disable_streaming_logging = True
    # Usage that nobody told is unknown, and no tokenizer is fetched to guess it.
    litellm.disable_token_counter = litellm.disable_hf_tokenizer_download = True
    for name in _LOGGERS:
        logging.getLogger(name).disabled = True
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    # It hands every request, prompt and all, to a task of its own that outlives it, for callbacks that there are none of.
    worker = importlib.import_module("litellm.litellm_core_utils.logging_worker").GLOBAL_LOGGING_WORKER
    worker.ensure_initialized_and_enqueue = worker.enqueue = _drop
    _warmed()
    return _Library(litellm, (importlib.import_module("openai").OpenAIError, *_LIBRARY))


def _drop(async_coroutine: Coroutine[Any, Any, None]) -> None:
    async_coroutine.close()


def _warmed() -> None:
    """What its first requests would load in the event loop, over a second's worth."""
    importlib.import_module("openai.resources.chat")
    importlib.import_module("litellm._service_logger")


def _prepared(library: _Library, model: str) -> frozenset[str]:
    """What the model takes. Its modules are loaded by a request that goes nowhere."""
    everything = frozenset(_SUPPORTED)
    try:
        messages = [{"role": "user", "content": "hello"}]
        library.litellm.completion(model=model, messages=messages, mock_response="hello")
        return frozenset(library.litellm.get_supported_openai_params(model) or everything)
    except library.raises:
        return everything  # it will say why when it is asked


@asynccontextmanager
async def _closing(answer: Any) -> AsyncIterator[Any]:
    try:
        yield answer
    finally:
        await answer.aclose()


def _plain(model: Any) -> dict[str, Any]:
    plain: dict[str, Any] = model.model_dump(exclude_none=True, warnings=False)
    return plain
