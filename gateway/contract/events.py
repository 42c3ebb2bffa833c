"""What comes out of a provider, and what a call adds. One event means one thing on every provider.

From providers: Ready, SpeechStarted, SpeechEnded, EagerTurnEnd, TurnResumed, Transcript, TextDelta, ToolCallDelta,
AudioDelta, Flushed, Answered, GoingAway, ThoughtSealed, Embedded, Usage, Passed, Finished. `Finished` is the last event of every
complete stream, and comes once; a stream that ends without it was cut off. Times are seconds from the first sample of the input,
unless said otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, fields
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
    empty); a provider that decides turns itself sets it where it decided. `lost`: of a speech-to-speech session that understood the
    turn and could not write it down.
    """

    text: str
    final: bool = False
    ends_turn: bool = False
    words: tuple[Word, ...] = ()
    language: str | None = None
    speaker: str | None = None
    lost: bool = False


JOINT = b"\n\ndata: "
"""Between two chunks in one `raw`: framed as one server-sent event, they are several."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text as it is written.

    `raw` (on every event that has it): the upstream's own chunk of JSON, without SSE framing, where it speaks the dialect of the
    request; for a request with `stream=False`, the whole body of its answer. A chunk that becomes several events gives `raw`
    to the first of them only, so that forwarding every `raw` in order forwards every chunk once.

    `pieces`: how many chunks of nothing but text came at once and are joined here, in `raw` by JOINT.
    """

    text: str
    kind: TextKind = "text"
    raw: bytes | None = None
    pieces: int = 1


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """Part of a tool call: `id` and `name` come with the first delta of an `index`, arguments in fragments of JSON.

    `signature`: the seal of the thought behind the call, to be handed back with it (Gemini).
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    raw: bytes | None = None
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class ThoughtSealed:
    """The reasoning since the last of these is over, and this is the provider's seal of it, to be handed back with it.

    `redacted`: the reasoning was not shown, and the seal is all there is of it.
    """

    signature: str
    redacted: bool = False
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
class Answered:
    """All of the answer to a turn has been given (s2s): one for each Commit or turn that the provider ended, in order, also
    where it was cancelled. A session that says nothing between a turn and its Answered has stalled."""

    reason: FinishReason = "stop"


@dataclass(frozen=True, slots=True)
class GoingAway:
    """The provider will drop the session in about `seconds` (s2s): time to move to another. If it is dropped while no answer
    is owed, it ends with Finished; in the middle of one it was cut off like any other."""

    seconds: float


@dataclass(slots=True)  # not frozen, though nothing changes one: every answer has one, of many fields
class Usage:
    """What an attempt used, as the provider counts it; zero where it does not say.

    `input_tokens` holds cached, cache-write, audio and image tokens too, `output_tokens` reasoning and audio tokens too:
    providers that count them apart are added up. `cache_write_tokens`: put into a cache that costs more than not to.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    characters: int = 0
    seconds: float = 0.0
    raw: bytes | None = None
    cache_write_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    image_input_tokens: int = 0

    def plus(self, other: Usage) -> Usage:
        """Of both together, and of neither alone: without `raw`."""
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in _COUNTS})

    def minus(self, other: Usage) -> Usage:
        """What was used since there was `other`."""
        return Usage(**{name: getattr(self, name) - getattr(other, name) for name in _COUNTS})


_COUNTS = [each.name for each in fields(Usage) if each.name != "raw"]


@dataclass(frozen=True, slots=True)
class Embedded:
    """A vector for each input, in order. `raw`: the body of the upstream's answer, where it is OpenAI's; `vectors` is then empty."""

    vectors: tuple[tuple[float, ...], ...] = ()
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
    """The engine's: `origin` failed in the middle of its answer for `reason`, and `target` goes on with it (llm, tts), or hears
    all of the session's input again and answers in its stead (s2s): what came of the turn before is void."""

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
    | ThoughtSealed
    | Embedded
    | AudioDelta
    | Flushed
    | Answered
    | GoingAway
    | Usage
    | Passed
    | Finished
)
AnswerEvent = ProviderEvent | Rerouted
"""What comes out of the engine."""
Events = AsyncGenerator[ProviderEvent, None]
"""What every verb of a provider returns. Whoever opens it closes it (`contextlib.aclosing`); closing it closes the upstream."""
