"""Egress: what a speaker says, as Opus packets at the pace of the clock.

A track for aiortc whose `recv` gives encoded packets, so that aiortc's own encoder (48 kHz stereo, no FEC) never runs.
Every frame has its slot of 20 ms on the clock, and its RTP timestamp is that slot: a stall of the loop leaves a gap in
time, as it was one, and neither a burst of late frames nor a shift of all that follows. The speaker is asked only for
frames that go out, so speech that a stall held up is late, not lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fractions import Fraction

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import Packet
from av.stream import Stream

from gateway.media.opus import FRAME_SAMPLES, RATE, Encoder, new_encoder

Speaker = Callable[[int], bytes | None]
"""Asked for the next n samples (s16le mono at 24 kHz) the moment they go out; None is silence."""

FRAME = FRAME_SAMPLES / RATE
LATE = 2
"""Slots a frame may be late before its slot is given up."""
TAIL = 5
"""Frames of silence encoded for real after speech, so that the codec's state dies away before the cached packet repeats."""
_CLOCK_RATE = 48_000  # RFC 7587: Opus' RTP clock, whatever the rate of the audio
_SLOT = _CLOCK_RATE * FRAME_SAMPLES // RATE
_TIME_BASE = Fraction(1, _CLOCK_RATE)
_SILENCE = bytes(FRAME_SAMPLES * 2)


class Egress(MediaStreamTrack):
    """`sent`: frames handed to the socket; `skipped`: slots given up; `sent_at`: when the last one was handed over, and
    `lateness`: how long after its slot began, in seconds of the loop's clock."""

    kind = "audio"

    def __init__(self, encoder: Encoder | None = None, clock: Callable[[], float] | None = None) -> None:
        super().__init__()
        self._encoder = encoder or new_encoder()
        self._clock = clock or asyncio.get_running_loop().time
        self._speaker: Speaker | None = None
        self._start = 0.0
        self._slot = -1  # that of the frame being sent, or last sent
        self._quiet = 0  # frames of silence since speech
        self._hush: bytes | None = None
        self.sent = 0
        self.skipped = 0
        self.sent_at = 0.0
        self.lateness = 0.0

    def play(self, speaker: Speaker) -> None:
        self._speaker = speaker

    async def recv(self) -> Packet[Stream]:
        """The next frame, when its slot begins. aiortc sends what this returns at once, then asks again."""
        if self.readyState != "live":
            raise MediaStreamError
        self._mark_sent()
        await self._next_slot()
        packet: Packet[Stream] = Packet(self._frame())
        packet.pts, packet.time_base = self._slot * _SLOT, _TIME_BASE
        return packet

    def _mark_sent(self) -> None:
        # Asked again: the frame before is in the socket by now, with no suspension in between.
        now = self._clock()
        if self._slot < 0:
            self._start = now
            return
        self.sent += 1
        self.sent_at = now
        self.lateness = now - self._start - self._slot * FRAME

    async def _next_slot(self) -> None:
        self._slot += 1
        ahead = self._start + self._slot * FRAME - self._clock()
        if ahead > 0:
            await asyncio.sleep(ahead)
            ahead = self._start + self._slot * FRAME - self._clock()
        missed = int(-ahead / FRAME)
        if missed >= LATE:
            self._slot += missed
            self.skipped += missed

    def _frame(self) -> bytes:
        pcm = self._speaker(FRAME_SAMPLES) if self._speaker is not None else None
        if pcm is not None:
            self._quiet = 0
            return self._encoder.encode(pcm.ljust(len(_SILENCE), b"\0"))
        self._quiet += 1
        if self._quiet <= TAIL or self._hush is None:
            self._hush = self._encoder.encode(_SILENCE)
        return self._hush
