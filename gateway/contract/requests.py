"""What is asked of a provider, for each kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.contract.audio import Audio
from gateway.contract.messages import Message, Tool

Kind = Literal["llm", "stt", "tts", "s2s"]
KINDS: tuple[Kind, ...] = ("llm", "stt", "tts", "s2s")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Messages in, text and tool calls out.

    `body`: the caller's own OpenAI body where there was one. OpenAI-shaped providers send it with only `model`, `stream`
    and `stream_options` set, so that fields nobody here knows survive; others read the typed fields.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    stream: bool = True
    body: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class TranscribeRequest:
    """Audio in by the inputs, transcripts out. `rate`: samples per second of that audio; `language`: BCP 47, None to detect."""

    rate: int
    language: str | None = None
    prompt: str | None = None
    partials: bool = True


@dataclass(frozen=True, slots=True)
class SpeakRequest:
    """Text in by the inputs, audio out. `rate`: wished; the audio says what it has. `voice` None: the target's own."""

    rate: int = 24_000
    voice: str | None = None
    speed: float = 1.0
    language: str | None = None
    instructions: str | None = None


@dataclass(frozen=True, slots=True)
class ConverseRequest:
    """Audio and text in by the inputs, audio and transcripts out. `turns`: who decides that a turn is over."""

    instructions: str = ""
    history: tuple[Message, ...] = ()
    voice: str | None = None
    tools: tuple[Tool, ...] = ()
    rate: int = 24_000
    turns: Literal["server", "client"] = "server"


Request = ChatRequest | TranscribeRequest | SpeakRequest | ConverseRequest


@dataclass(frozen=True, slots=True)
class Commit:
    """The input so far is a whole turn (stt, s2s) or a clause to be spoken now (tts)."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop answering."""


@dataclass(frozen=True, slots=True)
class Clear:
    """Forget the input that was not committed."""


@dataclass(frozen=True, slots=True)
class Truncate:
    """Of the answer being spoken, `heard` seconds were heard, and no more will be."""

    heard: float


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    output: str


Input = Audio | str | Commit | Cancel | Clear | Truncate | ToolResult
