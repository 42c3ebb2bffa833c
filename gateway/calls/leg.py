"""Leg: what answers a call for now: a `Cascade` of three routes, or `Omni`, a speech-to-speech session.

A leg works on the call's `Line`, which outlives it: changing mode, or losing a provider in mid-call, is changing leg.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from gateway.calls.commands import Asked
from gateway.calls.events import CallEvent, Cause, Mode
from gateway.calls.history import History, Item
from gateway.calls.playout import Playout
from gateway.calls.sentences import Cuts
from gateway.calls.session import Session
from gateway.calls.timeline import Stage, Timeline
from gateway.calls.turns import TurnRules
from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.errors import GatewayError
from gateway.contract.requests import Input, Request
from gateway.routing.engine import Answer
from gateway.routing.route import CallRoute

VAD_FRAME = 512
"""Samples at MIC_RATE that a VAD judges at once: 32 ms."""
Vad = Callable[[bytes], float]
"""One call's VAD: the confidence, 0 to 1, that a frame of VAD_FRAME samples (s16le) is speech. It remembers earlier frames."""


TELLING = 12
"""Characters of a turn from which on its language is believed to be another than before."""


class Opens(Protocol):
    """What a call needs of routing.Engine."""

    def open(
        self,
        route: str,
        request: Request,
        inputs: Channel[Input] | None = None,
        *,
        sticky: str | None = None,
        avoid: Collection[str] = (),
    ) -> AbstractAsyncContextManager[Answer]:
        """`sticky`: the call's own key, so that its voice and its model do not change with every answer; `avoid`: targets that
        are asked last."""

    def fits(self, route: str, request: Request) -> bool:
        """Whether any target of the route can do all that is asked."""


class TurnModel(Protocol):
    async def complete(self, pcm16k: bytes) -> float:
        """How finished a turn sounds, 0 to 1. Raises GatewayError if it cannot say."""


@dataclass(frozen=True, slots=True)
class CallRules:
    """Seconds, and tokens by estimate. What is not here is a route's or a session's."""

    turns: TurnRules = field(default_factory=TurnRules)
    cuts: Cuts = field(default_factory=Cuts)
    history: int = 1500
    """Tokens of conversation a request may hold; the embedded model's context is small."""
    answer: int = 400
    """Tokens an answer may have where the session sets no limit."""
    buffered: float = 10.0
    """Speech made ahead of what is heard."""
    idle: float = 600.0
    """Without a word from either side, the call ends."""
    longest: float = 3600.0


@dataclass(frozen=True, slots=True)
class Names:
    """What a name that the client gives as a model means, if it is a route that its key may use: of kind stt, or of kind call."""

    stt: Callable[[str], str | None] = lambda name: None
    call: Callable[[str], CallRoute | None] = lambda name: None


NAMELESS = Names()


@dataclass(slots=True, eq=False)
class Line:
    """What the legs of one call share. `route`: of the leg that serves; `tell`: where what happens is told; `new_id`: a fresh id
    with a prefix."""

    route: CallRoute
    session: Session
    engine: Opens
    mic: Channel[Audio]
    history: History
    playout: Playout
    timeline: Timeline
    tell: Callable[[CallEvent], None]
    new_id: Callable[[str], str]
    vad: Vad
    turn_model: TurnModel | None
    rules: CallRules
    trouble: Callable[[Stage, GatewayError], None] = lambda stage, error: None
    """Told where a stage of the leg failed and nobody else could do it."""
    leaving: Callable[[float], None] = lambda seconds: None
    """Told where the leg's session will be dropped in so many seconds."""
    paid: Callable[[float], None] = lambda usd: None
    """Told of each US dollar that a speech-to-speech session costs, as far as its provider says and its price is known."""
    understood: Callable[[str], None] = lambda language: None
    """Told of a language that the caller was heard in."""
    chosen_mic: bool = False
    """The mic holds what the client chose to send, not whatever goes on around it: in turns that it commits, all of it counts."""
    names: Names = NAMELESS
    language: str | None = None
    """BCP 47, in which the caller was last heard, where the ears tell."""

    def heard_in(self, language: str | None, text: str) -> None:
        """`text`: what was heard. Of a word or two nobody knows."""
        if language is not None and (self.language is None or len(text) >= TELLING):
            self.language = language
            self.understood(language)


@dataclass(frozen=True, slots=True)
class Handover:
    """What one leg leaves to the next. `mic`: the piece of the mic from which on it is to hear, None for the newest; `item_id`:
    of what the caller is saying, if it was told already; `answer`: the caller waits for an answer; `cut`: the one they were
    hearing was cut off, and is to be gone on with."""

    mic: int | None = None
    item_id: str | None = None
    answer: bool = False
    cut: bool = False

    def mic_or(self, otherwise: int) -> int:
        return otherwise if self.mic is None else self.mic


class Leg(Protocol):
    """The commands act at once and tell what they did; those that return bool return False where there was nothing to do.

    `ready`: set once it could serve. It hears nobody until `serve`.
    """

    mode: Mode
    route: CallRoute
    ready: asyncio.Event

    async def run(self) -> None:
        """Until cancelled. Raises GatewayError where it can serve no more."""

    def serve(self, handover: Handover) -> None:
        """From now on the call is this leg's."""

    def handover(self) -> Handover:
        """What is left to do, once `run` is over."""

    @property
    def heard_to(self) -> int:
        """The piece of the mic after the last one heard."""

    @property
    def busy(self) -> bool:
        """Whether somebody speaks or is about to."""

    @property
    def answering(self) -> bool:
        """Whether the agent speaks or is about to."""

    @property
    def responding(self) -> bool:
        """Whether an answer is being made. It may play on afterwards."""

    def configure(self) -> None:
        """The line's session changed."""

    def noted(self, item: Item) -> None:
        """The client put an item into the history."""

    def commit(self) -> bool:
        """The caller's turn is over, by the client's word."""

    def clear(self) -> None:
        """Forget what the caller said since the last turn."""

    def respond(self, asked: Asked) -> None:
        """Answer the history as it is."""

    def interrupt(self, cause: Cause) -> bool:
        """Stop the answer, wherever it is."""

    def truncate(self, item_id: str, seconds: float) -> bool:
        """The client says it played so much of that answer."""
