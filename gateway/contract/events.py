"""What comes out of a provider, and what a call adds. One event means one thing on every provider.

From providers: Ready, SpeechStarted, SpeechEnded, EagerTurnEnd, TurnResumed, Transcript, TextDelta, ToolCallDelta,
AudioDelta, Flushed, Usage, Passed, Finished. `Finished` is the last event of every complete stream, and comes once; a stream that ends
without it was cut off. Times are seconds from the first sample of the input, unless said otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal

from gateway.contract.audio import Audio

TextKind = Literal["text", "reasoning", "refusal"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "cancelled"]


@dataclass(frozen=True, slots=True)
class Word:
    """A word and when it was said (stt) or will be heard (tts): seconds from the start of the stream."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Ready:
    """The provider accepted the session and will listen. An accepted socket alone is not yet this."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    at: float | None = None


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    at: float | None = None


@dataclass(frozen=True, slots=True)
class EagerTurnEnd:
    """The provider thinks the turn may be over: worth starting an answer, not worth speaking it."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class TurnResumed:
    """The turn that `EagerTurnEnd` doubted goes on."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said. Not final: replaces the turn's earlier non-final text. Final: will not change, and the next begins after it.

    `ends_turn`: the last of its turn. Every Commit is answered by exactly one final Transcript with it (its text may be
    empty); a provider that decides turns itself sets it where it decided.
    """

    text: str
    final: bool = False
    ends_turn: bool = False
    words: tuple[Word, ...] = ()
    language: str | None = None
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text as it is written.

    `raw` (on every event that has it): the upstream's own chunk of JSON, without SSE framing, where it speaks OpenAI's chat
    protocol; for a request with `stream=False`, the whole body of its answer. A chunk that becomes several events gives `raw`
    to the first of them only, so that forwarding every `raw` in order forwards every chunk once.
    """

    text: str
    kind: TextKind = "text"
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """Part of a tool call: `id` and `name` come with the first delta of an `index`, arguments in fragments of JSON."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """Speech as it is made. `words`: those that end in this piece, in seconds from the start of the stream's audio."""

    audio: Audio
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Flushed:
    """All audio of the text up to the next unanswered Commit has been given (tts): one for each Commit, in order."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an attempt used, as the provider counts it; zero where it does not say."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    characters: int = 0
    seconds: float = 0.0
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class Passed:
    """A chunk of the upstream's that carries nothing we name (role, logprobs alone, filters): forwarded, never first content."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    reason: FinishReason = "stop"
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class Rerouted:
    """The engine's: `origin` failed in the middle of its answer for `reason`, and `target` goes on with it."""

    origin: str
    target: str
    reason: str


ProviderEvent = (
    Ready
    | SpeechStarted
    | SpeechEnded
    | EagerTurnEnd
    | TurnResumed
    | Transcript
    | TextDelta
    | ToolCallDelta
    | AudioDelta
    | Flushed
    | Usage
    | Passed
    | Finished
)
AnswerEvent = ProviderEvent | Rerouted
"""What comes out of the engine."""
Events = AsyncGenerator[ProviderEvent, None]
"""What every verb of a provider returns. Whoever opens it closes it (`contextlib.aclosing`); closing it closes the upstream."""
