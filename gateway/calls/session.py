"""Session: what a call's client and the gateway have agreed, in the words of OpenAI Realtime (GA), and its pure merging.

`Settings` is the part a client may send; every field has a default, and a `session.update` changes what it names. What we
cannot act on (tracing, prompt, truncation, noise_reduction, include) is accepted and echoed, as real clients expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from gateway.contract.messages import Tool
from gateway.contract.requests import ToolChoice
from gateway.routing.route import CallRoute

Json = dict[str, Any]
Modality = Literal["audio", "text"]
Limit = Annotated[int, Field(ge=1, le=4096)] | Literal["inf"]


class Given(BaseModel):
    """Something a client sent: unknown fields and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Pcm(Given):
    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Annotated[int, Field(ge=24_000, le=24_000)] = 24_000


class G711(Given):
    type: Literal["audio/pcmu", "audio/pcma"]


class Transcription(Given):
    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    delay: str | None = None
    keywords: list[str] | None = None
    languages: list[str] | None = None


class NoiseReduction(Given):
    type: Literal["near_field", "far_field"] | None = None
    strength: float | None = None


class ServerVad(Given):
    """The turn ends after a fixed silence."""

    type: Literal["server_vad"]
    threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    prefix_padding_ms: Annotated[int, Field(ge=0, le=5_000)] = 300
    silence_duration_ms: Annotated[int, Field(ge=0, le=10_000)] = 500
    idle_timeout_ms: Annotated[int, Field(ge=5_000, le=30_000)] | None = None
    """Of silence after an answer was heard, until the caller is spoken to without having said anything."""
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(Given):
    """The turn ends when a model says that the sentence is finished, or after a longer silence."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


TurnDetection = ServerVad | SemanticVad
OptionalTurnDetection = Annotated[TurnDetection, Field(discriminator="type")] | None


class AudioIn(Given):
    format: Annotated[Pcm | G711, Field(discriminator="type")] = Pcm()
    transcription: Transcription | None = Transcription()
    noise_reduction: NoiseReduction | None = None
    turn_detection: OptionalTurnDetection = SemanticVad(type="semantic_vad")


class VoiceId(Given):
    id: str


class AudioOut(Given):
    format: Annotated[Pcm | G711, Field(discriminator="type")] = Pcm()
    voice: str | VoiceId | None = None
    speed: Annotated[float, Field(ge=0.25, le=4.0)] = 1.0


class AudioSettings(Given):
    input: AudioIn = AudioIn()
    output: AudioOut = AudioOut()


class FunctionTool(Given):
    """A function that the client runs."""

    type: Literal["function"]
    name: Annotated[str, Field(min_length=1, max_length=128)]
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None

    @property
    def told(self) -> Tool:
        return Tool(self.name, self.description or "", orjson.dumps(self.parameters or {}).decode())


class FunctionChoice(Given):
    type: Literal["function"]
    name: str


Choice = Literal["auto", "none", "required"] | FunctionChoice


def choice_of(choice: Choice) -> ToolChoice:
    return ToolChoice(choice) if isinstance(choice, str) else ToolChoice("function", choice.name)


class Settings(Given):
    """The body of `session.update` and, with all defaults filled in, the state of a session. Of a transcription session, which
    hears and does not answer, only `audio.input` and `include` are of use."""

    type: Literal["realtime", "transcription"]
    model: str | None = None
    output_modalities: Annotated[list[Modality], Field(min_length=1, max_length=1)] = ["audio"]
    instructions: str = ""
    tools: list[FunctionTool] = []
    tool_choice: Choice = "auto"
    max_output_tokens: Limit = "inf"
    tracing: Literal["auto"] | Json | None = None
    truncation: str | Json = "auto"
    prompt: Json | None = None
    include: list[str] | None = None
    reasoning: Json | None = None
    parallel_tool_calls: bool | None = None
    audio: AudioSettings = AudioSettings()


@dataclass(frozen=True, slots=True)
class Session:
    """`expires_at`: Unix seconds, as clients expect."""

    id: str
    settings: Settings
    expires_at: int = 0
    conversation: str = ""

    @property
    def answers(self) -> bool:
        return self.settings.type == "realtime"

    @property
    def turn_detection(self) -> TurnDetection | None:
        """None: the client says when a turn is over."""
        detection = self.settings.audio.input.turn_detection
        if detection is None or self.answers:
            return detection
        return detection.model_copy(update={"create_response": False, "interrupt_response": False})

    @property
    def transcribes(self) -> bool:
        """Whether the client wants to be told what the caller said."""
        return not self.answers or self.settings.audio.input.transcription is not None

    @property
    def tools(self) -> tuple[Tool, ...]:
        return tuple(each.told for each in self.settings.tools)

    @property
    def tool_choice(self) -> ToolChoice | None:
        """None where there is nothing to choose."""
        return choice_of(self.settings.tool_choice) if self.settings.tools else None

    @property
    def modality(self) -> Modality:
        return self.settings.output_modalities[0]

    @property
    def voice(self) -> str | None:
        voice = self.settings.audio.output.voice
        return voice.id if isinstance(voice, VoiceId) else voice

    @property
    def max_tokens(self) -> int | None:
        limit = self.settings.max_output_tokens
        return None if limit == "inf" else limit

    def moved(self, before: CallRoute, route: CallRoute) -> Session:
        """The same with another route, whose instructions and voice it has where it had the old one's."""
        settings = self.settings
        if settings.instructions == before.instructions:
            settings = settings.model_copy(update={"instructions": route.instructions})
        if self.voice == before.voice:
            output = settings.audio.output.model_copy(update={"voice": route.voice})
            settings = settings.model_copy(update={"audio": settings.audio.model_copy(update={"output": output})})
        return replace(self, settings=settings)

    def updated(self, update: Settings) -> Session:
        """What `update` names, changed; the rest as it was."""
        merged = _merged(self.settings.model_dump(), update.model_dump(exclude_unset=True))
        return replace(self, settings=Settings.model_validate(merged))

    def as_json(self) -> Json:
        """The whole session object, as clients are told."""
        told = self.settings.model_dump()
        about: Json = {"id": self.id, "expires_at": self.expires_at}
        if not self.answers:
            heard = told["audio"]["input"]
            for unused in ("create_response", "interrupt_response") if heard["turn_detection"] is not None else ():
                del heard["turn_detection"][unused]
            kind = {"type": "transcription", "object": "realtime.transcription_session"}
            return {**kind, **about, "audio": {"input": heard}, "include": told["include"]}
        told["tools"] = [each.model_dump(exclude_none=True) for each in self.settings.tools]
        for optional in ("reasoning", "parallel_tool_calls"):
            if told[optional] is None:
                del told[optional]
        return {**told, "object": "realtime.session", **about}


def unheard_of(settings: Settings) -> str | None:
    """The first field given that a transcription session does not have, from the event's top."""
    if strange := sorted(settings.model_fields_set - {"type", "audio", "include"}):
        return f"session.{strange[0]}"
    return "session.audio.output" if "output" in settings.audio.model_fields_set else None


_NESTED = ("audio", "input", "output")
"""Objects whose fields change one by one; any other value replaces what was there."""


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    merged = dict(old)
    for key, value in new.items():
        nested = key in _NESTED and isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged
