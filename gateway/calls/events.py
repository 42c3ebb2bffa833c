"""What happens in a call. Legs tell these; codecs (realtime.py, console.py) put them into a client's words.

`at` and `seconds` are of the caller's audio, counted from the call's first sample, unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.calls.history import Item, Said
from gateway.calls.session import Modality, Session
from gateway.calls.timeline import Stage, Turn
from gateway.contract.events import Usage

Mode = Literal["cascaded", "omni"]
Cause = Literal["turn_detected", "client_cancelled"]


@dataclass(frozen=True, slots=True)
class CallStarted:
    call_id: str
    route: str
    mode: Mode
    modes: tuple[Mode, ...]


@dataclass(frozen=True, slots=True)
class SessionStarted:
    session: Session


@dataclass(frozen=True, slots=True)
class SessionChanged:
    session: Session


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """The caller began to speak; `item_id` will be what they said."""

    item_id: str
    at: float


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    item_id: str
    at: float


@dataclass(frozen=True, slots=True)
class TurnCommitted:
    """The caller's turn is over and became an item of the history."""

    item: Item
    previous: str | None


@dataclass(frozen=True, slots=True)
class InputCleared:
    pass


@dataclass(frozen=True, slots=True)
class InputTimedOut:
    """The caller said nothing for as long as the session waits: seconds of the call's audio, and the item of that silence."""

    item_id: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class PartialHeard:
    """What the turn seems to be so far; the next one replaces it."""

    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class TurnTranscribed:
    """`seconds`: of speech transcribed."""

    item_id: str
    text: str
    seconds: float


@dataclass(frozen=True, slots=True)
class TranscriptionLost:
    """Nobody could say what the caller said in this turn; in omni mode it was understood all the same."""

    item_id: str
    message: str


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """By the client."""

    item: Item
    previous: str | None


@dataclass(frozen=True, slots=True)
class ItemDeleted:
    item_id: str


@dataclass(frozen=True, slots=True)
class ItemShown:
    item: Item


@dataclass(frozen=True, slots=True)
class ItemTruncated:
    """Of an answer, `seconds` of its sound were heard; the history holds no more than that. `asked`: by the client."""

    item_id: str
    seconds: float
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Called:
    """A tool that an answer called. `arguments`: JSON text, as the model wrote it."""

    item_id: str
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, as far as it has got. `item_id`: None until it has said something; `before`: calls before that."""

    id: str
    modality: Modality = "audio"
    item_id: str | None = None
    text: str = ""
    status: Literal["in_progress", "completed", "cancelled", "failed", "incomplete"] = "in_progress"
    cause: Cause | Literal["max_output_tokens", "content_filter"] | None = None
    failure: str | None = None
    usage: Usage | None = None
    metadata: Mapping[str, str] | None = None
    calls: tuple[Called, ...] = ()
    before: int = 0


@dataclass(frozen=True, slots=True)
class ResponseBegan:
    response: Response


@dataclass(frozen=True, slots=True)
class ResponseSpoke:
    """The answer has its first word, and an item in the history."""

    response: Response
    item: Item
    previous: str | None


@dataclass(frozen=True, slots=True)
class ResponseCalled:
    """The answer called a tool, the last of its `calls`, which is an item of the history now."""

    response: Response
    previous: str | None


@dataclass(frozen=True, slots=True)
class ResponseText:
    response: Response
    delta: str


@dataclass(frozen=True, slots=True)
class ResponseAudio:
    """More of the answer's sound, where it goes inside the events. `pcm`: s16le at PLAYOUT_RATE."""

    response: Response
    pcm: bytes


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """All of it was made, or no more will be. It may still be playing."""

    response: Response
    previous: str | None


@dataclass(frozen=True, slots=True)
class Sounding:
    """The answer's first packet goes out."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Sounded:
    """The answer's last packet went out."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Silenced:
    """The rest of the answer was thrown away."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """`heard`: the words of the answer that were. `estimated`: cut without word times."""

    turn_id: str
    heard: str
    estimated: bool


@dataclass(frozen=True, slots=True)
class LimitLeft:
    """Of the caller's key. `reset`: seconds until there is more again."""

    name: Literal["requests", "tokens"]
    limit: int
    remaining: int
    reset: float


@dataclass(frozen=True, slots=True)
class LimitsTold:
    limits: tuple[LimitLeft, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """A turn's timeline, when its sound begins and when it is done."""

    turn: Turn


@dataclass(frozen=True, slots=True)
class Rerouted:
    """Another target serves this stage, because of `reason`."""

    stage: Stage
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModeChanged:
    """Another leg serves the call, with `route`. `seconds`: from the wish, or the failure, until it did."""

    before: Mode
    mode: Mode
    reason: str
    seconds: float
    route: str


@dataclass(frozen=True, slots=True)
class ModeKept:
    """The leg that was `wished` did not open: the call is as it was."""

    mode: Mode
    wished: Mode
    reason: str


@dataclass(frozen=True, slots=True)
class HistoryShown:
    said: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """`kind`: OpenAI's error types. `event_id`: of the client's event at fault."""

    kind: Literal["invalid_request_error", "server_error"]
    code: str
    message: str
    param: str | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class CallEnded:
    """`reason`: hangup, peer_gone, idle, expired, shutdown, error, or the transport's own word."""

    reason: str


CallEvent = (
    CallStarted
    | SessionStarted
    | SessionChanged
    | SpeechBegan
    | SpeechStopped
    | TurnCommitted
    | InputCleared
    | InputTimedOut
    | PartialHeard
    | TurnTranscribed
    | TranscriptionLost
    | ItemAdded
    | ItemDeleted
    | ItemShown
    | ItemTruncated
    | ResponseBegan
    | ResponseSpoke
    | ResponseCalled
    | ResponseText
    | ResponseAudio
    | ResponseEnded
    | Sounding
    | Sounded
    | Silenced
    | Interrupted
    | Measured
    | LimitsTold
    | Rerouted
    | ModeChanged
    | ModeKept
    | HistoryShown
    | Problem
    | CallEnded
)
