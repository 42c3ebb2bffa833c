"""A conversation: messages of parts. The shape is OpenAI's, typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.contract.audio import Audio

Role = Literal["system", "developer", "user", "assistant", "tool"]


CacheFor = Literal["5m", "1h"]
"""How long a caller asks that the prompt up to and with the part that carries it be kept (Anthropic's cache_control)."""


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    cache: CacheFor | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """`url`: https or data URL, as the caller gave it."""

    url: str
    detail: str | None = None
    cache: CacheFor | None = None


@dataclass(frozen=True, slots=True)
class Sound:
    audio: Audio


@dataclass(frozen=True, slots=True)
class File:
    """A document, mostly a PDF. `url`: https or data URL, as the caller gave it."""

    url: str
    name: str | None = None
    cache: CacheFor | None = None


@dataclass(frozen=True, slots=True)
class Thought:
    """Reasoning of an earlier turn, handed back. `signature`: the provider's seal of it; `redacted`: the seal is all there is."""

    text: str
    signature: str | None = None
    redacted: bool = False


Part = Text | Image | Sound | File | Thought


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments`: JSON text, as the model wrote it. `signature`: the seal of the thought behind it (Gemini)."""

    id: str
    name: str
    arguments: str
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """`tool_calls` on assistant messages; `tool_call_id` on the tool message that answers one, `failed` where the tool did.

    Thoughts come before the other parts of an assistant's message.
    """

    role: Role
    parts: tuple[Part, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    failed: bool = False

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @staticmethod
    def of(role: Role, text: str) -> Message:
        return Message(role, (Text(text),))


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call. `parameters`: JSON schema as JSON text (frozen, and sent as it came); `strict`: the
    model must keep to it, where the caller said so."""

    name: str
    description: str = ""
    parameters: str = "{}"
    strict: bool | None = None
    cache: CacheFor | None = None
