"""What is asked of a provider, for each kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.contract.audio import Audio
from gateway.contract.messages import Message, Tool

Kind = Literal["llm", "stt", "tts", "s2s", "embed"]
KINDS: tuple[Kind, ...] = ("llm", "stt", "tts", "s2s", "embed")

Dialect = Literal["chat", "responses", "messages", "completions"]
"""The protocol a caller's body is written in: OpenAI's chat completions, responses and completions, Anthropic's messages."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`name`: of the function that must be called, with mode `function`."""

    mode: Literal["auto", "none", "required", "function"]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """The answer must be JSON. `schema`: a JSON schema as JSON text; None for any object."""

    schema: str | None = None
    name: str = "answer"
    description: str = ""
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """How much to reason before the answer. `effort`: OpenAI's word for it; `budget`: tokens; `adaptive`: as the model sees fit.
    `shown`: whether the caller wants to see it, where it said so."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    budget: int | None = None
    adaptive: bool = False
    shown: bool | None = None


@dataclass(slots=True)  # not frozen, though nothing changes one: with so many fields that would cost four times as much
class ChatRequest:
    """Messages in, text and tool calls out.

    `body`: the caller's own body where there was one, written in `dialect`. A provider whose upstream speaks that dialect sends
    it with only `model`, `stream` and what must be told of streams set, so that fields nobody here knows survive; others read
    the typed fields. `headers`: those of the caller's that are part of the dialect (`anthropic-beta`), names in lower case.
    `untyped`: the fields of the body that no typed field says ("tools[0].type"): who does not speak the dialect cannot serve it.
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
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    format: AnswerFormat | None = None
    thinking: Thinking | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    n: int = 1
    logprobs: bool = False
    user: str | None = None
    dialect: Dialect = "chat"
    headers: Mapping[str, str] = field(default_factory=dict)
    untyped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Texts (or texts as tokens) in, a vector for each out. `body`: as in ChatRequest, in OpenAI's form."""

    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    user: str | None = None
    body: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class TranscribeRequest:
    """Audio in by the inputs, transcripts out. `rate`: samples per second of that audio; `language`: BCP 47, None to detect.

    `turns`: who decides that a turn is over: the client, by Commit, or the provider, as far as it can. `diarize`: who speaks is
    wanted. `translate`: English is wanted, whatever is spoken. `keywords`: words that are likely. `words`: their times are wanted
    even where they take time. `stream`: of an upload, what is settled is wanted at once, and not only the whole.
    """

    rate: int
    language: str | None = None
    prompt: str | None = None
    partials: bool = True
    turns: Literal["client", "server"] = "client"
    diarize: bool = False
    translate: bool = False
    keywords: tuple[str, ...] = ()
    words: bool = False
    stream: bool = False


@dataclass(frozen=True, slots=True)
class SpeakRequest:
    """Text in by the inputs, audio out. `rate`: wished; the audio says what it has. `voice`: as the provider calls it (the
    engine translates a route's own names of voices); None: the target's own."""

    rate: int = 24_000
    voice: str | None = None
    speed: float = 1.0
    language: str | None = None
    instructions: str | None = None


Eagerness = Literal["low", "medium", "high", "auto"]


@dataclass(frozen=True, slots=True)
class ConverseRequest:
    """Audio and text in by the inputs, audio and transcripts out.

    `history`: what was said before, to begin with. `turns`: who decides that a turn is over: the provider, or the client by
    Commit; `patience`: seconds of silence after which the provider may, where it can be told; `eagerness`: how soon, where it
    judges by what was said. `answers`: whether the provider answers a turn it ended by itself, or waits for Respond;
    `interrupts`: whether it stops an answer that is spoken over. `speaks`: audio out; False: text alone. `rate`: of the audio
    out, as wished. Put among the inputs it changes the session, as far as the provider can (`history` and `voice` no more).
    """

    instructions: str = ""
    history: tuple[Message, ...] = ()
    voice: str | None = None
    tools: tuple[Tool, ...] = ()
    rate: int = 24_000
    turns: Literal["server", "client"] = "server"
    tool_choice: ToolChoice | None = None
    language: str | None = None
    patience: float | None = None
    answers: bool = True
    speaks: bool = True
    max_tokens: int | None = None
    eagerness: Eagerness | None = None
    interrupts: bool = True


Request = ChatRequest | EmbedRequest | TranscribeRequest | SpeakRequest | ConverseRequest


@dataclass(frozen=True, slots=True)
class Commit:
    """The input so far is a whole turn (stt, s2s) or a clause to be spoken now (tts). `answer`: it is to be answered (s2s)."""

    answer: bool = True


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
    """Of a tool that was called. What follows from it is said after Respond."""

    call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer the conversation as it is (s2s). `instructions`: for this answer alone, instead of the session's where the
    provider has words for that."""

    instructions: str | None = None
    max_tokens: int | None = None


Input = Audio | str | Commit | Cancel | Clear | Truncate | ToolResult | Respond | Message | ConverseRequest
"""To speech-to-speech, a Message becomes part of the conversation and is not answered; so is a str, as the user's."""
