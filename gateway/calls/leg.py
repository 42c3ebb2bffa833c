"""Leg: what answers a call for now. `Cascade` is one; a speech-to-speech provider will be another.

A leg works on the call's `Line`, which outlives it: changing mode, or losing a provider in mid-call, is changing leg.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from gateway.calls.commands import Asked
from gateway.calls.events import CallEvent, Cause, Mode
from gateway.calls.history import History
from gateway.calls.playout import Playout
from gateway.calls.sentences import Cuts
from gateway.calls.session import Session
from gateway.calls.timeline import Timeline
from gateway.calls.turns import TurnRules
from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.requests import Input, Request
from gateway.routing.engine import Answer
from gateway.routing.route import CallRoute

VAD_FRAME = 512
"""Samples at MIC_RATE that a VAD judges at once: 32 ms."""
Vad = Callable[[bytes], float]
"""One call's VAD: the confidence, 0 to 1, that a frame of VAD_FRAME samples (s16le) is speech. It remembers earlier frames."""


class Opens(Protocol):
    """What a call needs of routing.Engine."""

    def open(
        self, route: str, request: Request, inputs: Channel[Input] | None = None, *, sticky: str | None = None
    ) -> AbstractAsyncContextManager[Answer]:
        """`sticky`: the call's own key, so that its voice and its model do not change with every answer."""


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


@dataclass(slots=True, eq=False)
class Line:
    """What the legs of one call share. `tell`: where what happens is told; `new_id`: a fresh id with a prefix."""

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


class Leg(Protocol):
    """The commands act at once and tell what they did; those that return bool return False where there was nothing to do."""

    mode: Mode

    async def run(self) -> None:
        """Serve the call until cancelled."""

    @property
    def busy(self) -> bool:
        """Whether somebody speaks or is about to."""

    @property
    def responding(self) -> bool:
        """Whether an answer is being made. It may play on afterwards."""

    def configure(self) -> None:
        """The line's session changed."""

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
