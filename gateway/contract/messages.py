"""A conversation: messages of parts. The shape is OpenAI's, typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.contract.audio import Audio

Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """`url`: https or data URL, as the caller gave it."""

    url: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Sound:
    audio: Audio


Part = Text | Image | Sound


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments`: JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """`tool_calls` on assistant messages; `tool_call_id` on the tool message that answers one."""

    role: Role
    parts: tuple[Part, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @staticmethod
    def of(role: Role, text: str) -> Message:
        return Message(role, (Text(text),))


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call. `parameters`: JSON schema as JSON text (frozen, and sent as it came)."""

    name: str
    description: str = ""
    parameters: str = "{}"
