"""A provider: a plain class with the verbs of the kinds it serves. Capabilities are what it implements.

A module in `providers/` has one class named `Provider`, built with `Provider(settings)`; building it does no I/O. Each verb
is an async generator: nothing happens before the first `anext`, closing it closes the upstream's connection (or aborts the
job) at once, and library errors leave it only as a `ProviderError`.

    async def chat(self, model, request):
        async with connect(...) as upstream:
            async for piece in upstream:
                yield TextDelta(piece)
        yield Finished()
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from gateway.contract.bypass import Bypass
from gateway.contract.events import Events
from gateway.contract.requests import (
    ChatRequest,
    ConverseRequest,
    EmbedRequest,
    Input,
    Request,
    SpeakRequest,
    TranscribeRequest,
)
from gateway.contract.weights import Weights


@dataclass(frozen=True, slots=True)
class Secret:
    """A key. Its repr and str hide it; `.reveal()` is for the wire only."""

    _value: str = field(repr=False)

    def reveal(self) -> str:
        return self._value

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return "Secret(***)"


@dataclass(frozen=True, slots=True)
class Settings:
    """A provider's row in routes.yaml. `name`: the row's name; `options`: what its module documents beyond the common keys."""

    name: str
    base_url: str | None = None
    key: Secret | None = None
    options: Mapping[str, object] = field(default_factory=dict)


@runtime_checkable
class LanguageModel(Protocol):
    def chat(self, model: str, request: ChatRequest) -> Events: ...


@runtime_checkable
class Diverting(Protocol):
    """A language model whose plain text may pass by whoever reads its events."""

    def chat_with_bypass(self, model: str, request: ChatRequest, bypass: Bypass) -> Events: ...


@runtime_checkable
class Embedder(Protocol):
    def embed(self, model: str, request: EmbedRequest) -> Events: ...


@runtime_checkable
class SpeechToText(Protocol):
    def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events: ...


@runtime_checkable
class TextToSpeech(Protocol):
    def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events: ...


@runtime_checkable
class SpeechToSpeech(Protocol):
    def converse(self, model: str, request: ConverseRequest, inputs: AsyncIterator[Input]) -> Events: ...


@runtime_checkable
class Closable(Protocol):
    """Holds connections or processes beyond one request; closed when the gateway stops."""

    async def aclose(self) -> None: ...


@runtime_checkable
class Warmable(Protocol):
    """Answers its first request slowly unless warmed. `warm` returns when it is; it runs in the background at start.

    `prompts`: system prompts worth keeping ready (those of the call routes that use it as their llm).
    """

    async def warm(self, model: str, prompts: tuple[str, ...]) -> None: ...


@runtime_checkable
class Sleeper(Protocol):
    """May be unable to serve here. `asleep` says why in a few words (what to do included), or None if awake. Cheap, no I/O on a network."""

    def asleep(self, model: str) -> str | None: ...


@runtime_checkable
class Limited(Protocol):
    """Cannot do everything that a request may ask. `cannot` says in a few words what of it, or None. Cheap, no I/O.

    Asked before the request is routed: the target is left out of the plan, and who asked hears the reason where nobody can.
    """

    def cannot(self, model: str, request: Request) -> str | None: ...


@runtime_checkable
class CountsTokens(Protocol):
    """Can say of how many tokens a prompt is, without answering it. Raises ProviderError."""

    async def count(self, model: str, request: ChatRequest) -> int: ...


@runtime_checkable
class NeedsWeights(Protocol):
    """Runs on weights that `trunkline models pull` fetches."""

    def weights(self, model: str) -> tuple[Weights, ...]: ...
