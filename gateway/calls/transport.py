"""Transport: one caller's connection, as a call sees it. Implemented in `gateway/transports`, faked in tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel

MIC_RATE = 16_000
"""Samples per second of `mic`."""
PLAYOUT_RATE = 24_000
"""Samples per second that `play` is asked for."""
FRAME = 0.02
"""Seconds of a frame, both ways."""

Label = Literal["oai-events", "gateway"]
Speaker = Callable[[int], bytes | None]
"""Asked for the next n samples (s16le mono at PLAYOUT_RATE) the moment they go out; None is silence. Called every FRAME, from the loop."""


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """A text message from the caller on one of the two event channels."""

    label: Label
    text: str
    binary: bool = False
    """It was no text at all."""


class Inbox(Protocol):
    def reader(self) -> AsyncIterator[ClientMessage]:
        """What the client sent, in order, until it is gone."""


class Transport(Protocol):
    """Audio both ways and two channels of events.

    `mic`: MIC_RATE mono, in order, in pieces of FRAME; silence where packets were lost. `inbox`: what the client sent.
    Both are closed by the transport when the caller is gone.
    """

    mic: Channel[Audio]
    audio_in_events: bool
    """Audio goes inside the events (a WebSocket): whoever reads `inbox` puts the caller's into `mic`, and what `play` is given is
    only the clock by which the client plays what it was sent."""

    @property
    def inbox(self) -> Inbox: ...

    def play(self, speaker: Speaker) -> None:
        """From now on, what goes out is what `speaker` gives."""

    def send(self, label: Label, message: str) -> None:
        """Never blocks. Kept in order until the channel opens (at most 1000 messages), dropped after the caller left."""

    def has(self, label: Label) -> bool:
        """Whether the client opened that channel."""

    @property
    def round_trip(self) -> float:
        """Seconds, as last measured; 0.0 while unknown."""

    async def wait_closed(self) -> str:
        """Returns the reason, once the caller is gone or `aclose` was called."""

    async def aclose(self, reason: str = "") -> None:
        """Say goodbye, and why, and free everything. Again is a no-op."""
