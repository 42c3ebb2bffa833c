"""Abilities: what a route can do, asked of its targets in the way that routing asks them, so that both say the same."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.contract.audio import Audio
from gateway.contract.messages import File, Image, Message, Part, Sound, Tool
from gateway.contract.requests import AnswerFormat, ChatRequest, Kind, Request, Thinking, TranscribeRequest
from gateway.routing.engine import Engine
from gateway.routing.route import Route

ENDPOINTS: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {
        "llm": ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/completions"),
        "embed": ("/v1/embeddings",),
        "stt": ("/v1/audio/transcriptions", "/v1/audio/translations"),
        "tts": ("/v1/audio/speech",),
        "s2s": (),
    }
)


def _sending(part: Part) -> ChatRequest:
    return ChatRequest((Message("user", (part,)),))


_HELLO = (Message.of("user", "hello"),)
_ASKING: Mapping[str, ChatRequest] = MappingProxyType(
    {
        "images": _sending(Image("data:image/png;base64,AA==")),
        "audio": _sending(Sound(Audio(b"\0\0", 16_000))),
        "files": _sending(File("data:application/pdf;base64,AA==")),
        "tools": ChatRequest(_HELLO, (Tool("look"),)),
        "structured_output": ChatRequest(_HELLO, format=AnswerFormat("{}")),
        "reasoning": ChatRequest(_HELLO, thinking=Thinking("low")),
        "logprobs": ChatRequest(_HELLO, logprobs=True),
        "several_answers": ChatRequest(_HELLO, n=2),
    }
)

_HEARING: Mapping[str, TranscribeRequest] = MappingProxyType(
    {
        "translation": TranscribeRequest(16_000, partials=False, translate=True),
        "speakers": TranscribeRequest(16_000, partials=False, diarize=True),
    }
)


def abilities(engine: Engine, route: Route) -> list[str]:
    """Those that a target which is awake has not ruled out; what a model makes of them is the model's."""
    asking: Mapping[str, Request] = _ASKING if route.kind == "llm" else _HEARING if route.kind == "stt" else {}
    return [name for name, request in asking.items() if engine.can(route, request)]
