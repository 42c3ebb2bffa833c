"""Playout: speech waiting to be heard. The only thing that knows how much of it was.

A ring of PCM at PLAYOUT_RATE, tagged with the answer it belongs to and a generation. `pull` is called by the transport every
20 ms; `flush` bumps the generation, and whatever comes for an older one is dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from gateway.calls.ledger import Heard, Ledger, Samples
from gateway.calls.transport import PLAYOUT_RATE
from gateway.contract.audio import SAMPLE_BYTES
from gateway.contract.events import Word

AUDIBLE = 328
"""A sample from this size on can be heard: 1 % of full scale, -40 dB."""
LEAD = 240
"""Samples of an answer's leading silence that are kept (10 ms); the rest would only make the caller wait."""
CLIENT_DELAY = 0.06
"""Seconds between a packet's arrival at the client and its sound, until the client says."""
_REMEMBERED = 256
"""Frames handed over whose moment is remembered: 5 s, more than any delay in them."""


class Listener(Protocol):
    """Told, from within `pull` and `push`, what becomes of an answer's sound. Not told again after a flush."""

    def sounding(self) -> None:
        """Its first packet goes out."""

    def made(self, pcm: bytes) -> None:
        """Where sound goes out as it is made: the next of it, at PLAYOUT_RATE."""

    def audible(self) -> None:
        """Its first packet that can be heard goes out: the first of all, or the one after."""

    def sounded(self) -> None:
        """Its last packet went out."""


class Track:
    """One answer's sound in the ring. After a flush every method is a no-op."""

    def __init__(self, playout: Playout, generation: int, listener: Listener) -> None:
        self._playout, self.generation, self.listener = playout, generation, listener
        self.ledger = Ledger(PLAYOUT_RATE)
        self._pieces: deque[memoryview] = deque()
        self._waiting = 0  # samples in _pieces
        self.handed = 0
        """Samples that went out."""
        self._log: deque[tuple[float, int, int]] = deque(maxlen=_REMEMBERED)  # when, first sample, how many
        self._trimmed = 0  # samples of leading silence left out
        self.first_audible: int | None = None
        self._finished = self._audible_told = self._begun = False

    @property
    def stale(self) -> bool:
        return self.generation != self._playout.generation

    @property
    def sent(self) -> int:
        """Samples that the client has, played or not."""
        return self.ledger.samples if self._playout.as_made else self.handed

    @property
    def waiting(self) -> float:
        """Seconds in the ring."""
        return self._waiting / PLAYOUT_RATE

    @property
    def over(self) -> bool:
        return self._finished and not self._waiting

    @property
    def written(self) -> int:
        """Samples pushed, those left out included."""
        return self.ledger.samples + self._trimmed

    def push(self, pcm: bytes, words: Sequence[tuple[Word, int]] = ()) -> None:
        """Mono s16le at PLAYOUT_RATE. `words`: each with the sample where it ends, of all that were pushed."""
        if self.stale or not pcm:
            return
        samples = np.frombuffer(pcm, np.int16)
        if self.first_audible is None:
            samples = self._without_lead(samples)
        if len(samples):
            self.ledger.sound(samples, [(word, end - self._trimmed) for word, end in words])
            piece = samples.tobytes()
            self._pieces.append(memoryview(piece))
            self._waiting += len(samples)
            if self._playout.as_made:
                self._hand_over(piece)

    def _hand_over(self, piece: bytes) -> None:
        if not self._begun:
            self._begun = True
            self.listener.sounding()
        self.listener.made(piece)
        self._tell_audible(self.ledger.samples)

    def retract(self) -> None:
        """Take back what has not gone out of the clause whose sound was coming."""
        if self.stale:
            return
        start = self.ledger.open_start
        if start is None:
            return
        kept = max(start, self.sent)
        self._pieces = _head(self._pieces, kept - self.handed)
        self._waiting = kept - self.handed
        self.ledger.retract(kept)

    def finish(self) -> None:
        """No more will come."""
        self._finished = True
        if not self.stale:
            self._playout.tidy()

    async def room(self) -> None:
        """Returns when the ring wants more, or the track is stale."""
        await self._playout.room(self)

    def heard(self) -> Heard:
        """What the caller has heard of it by now."""
        return self.ledger.heard(self._heard_by(self._playout.ear_time()))

    def pull(self, count: int, now: float) -> bytes:
        """At most `count` samples."""
        if not self._waiting:
            return b""
        if not self._begun:
            self._begun = True
            self.listener.sounding()
        taken = _take(self._pieces, min(count, self._waiting))
        samples = len(taken) // SAMPLE_BYTES
        self._log.append((now, self.handed, samples))
        self._waiting -= samples
        self.handed += samples
        self._tell_audible(self.handed)
        return taken

    def _tell_audible(self, sent: int) -> None:
        if not self._audible_told and self.first_audible is not None and self.first_audible < sent:
            self._audible_told = True
            self.listener.audible()

    def told_over(self) -> None:
        if self.handed:
            self.listener.sounded()

    def _without_lead(self, samples: Samples) -> Samples:
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) >= AUDIBLE)
        lead = max(0, int(loud[0]) - LEAD) if len(loud) else len(samples)
        self._trimmed += lead
        if len(loud):
            self.first_audible = self.ledger.samples + int(loud[0]) - lead
        return samples[lead:]

    def _heard_by(self, moment: float) -> int:
        for at, first, count in reversed(self._log):
            if at <= moment:
                return first + min(count, round((moment - at) * PLAYOUT_RATE))
        return 0


class Playout:
    """`round_trip`: seconds, as the transport measures it. `most`: seconds of speech that may wait here. `as_made`: the client
    gets all sound at once and plays it by itself; what is pulled is what it must have played by then."""

    def __init__(
        self,
        clock: Callable[[], float],
        round_trip: Callable[[], float] = lambda: 0.0,
        most: float = 10.0,
        as_made: bool = False,
    ) -> None:
        self._clock, self._round_trip, self._most, self.as_made = clock, round_trip, most, as_made
        self.generation = 0
        self.client_delay = CLIENT_DELAY
        self._tracks: deque[Track] = deque()
        self._moved = asyncio.Event()

    def track(self, listener: Listener) -> Track:
        """Where an answer's sound goes, behind those that are still playing."""
        self._tracks.append(Track(self, self.generation, listener))
        return self._tracks[-1]

    def pull(self, count: int) -> bytes | None:
        """The next `count` samples, filled up with silence; None if there is nothing."""
        if not self._tracks:
            return None
        taken = self._tracks[0].pull(count, self._clock())
        self._moved.set()
        self.tidy()
        if not taken:
            return None
        return taken if len(taken) == count * SAMPLE_BYTES else taken.ljust(count * SAMPLE_BYTES, b"\0")

    def flush(self) -> list[tuple[Track, Heard]]:
        """Silence, from the next packet on. Returns what was playing or waiting, with what was heard of each."""
        cut = [(track, track.heard()) for track in self._tracks]
        self.generation += 1
        self._tracks.clear()
        self._moved.set()
        return cut

    @property
    def speaking(self) -> bool:
        """Whether the caller hears an answer now, or is about to."""
        return any(track.waiting or track.handed for track in self._tracks)

    @property
    def idle(self) -> bool:
        """Nothing plays and nothing is announced."""
        return not self._tracks

    def ear_time(self) -> float:
        """What the caller hears now went out at this moment."""
        return self._clock() - self._round_trip() / 2 - self.client_delay

    async def room(self, track: Track) -> None:
        while not track.stale and sum(each.waiting for each in self._tracks) > self._most:
            self._moved.clear()
            await self._moved.wait()

    def tidy(self) -> None:
        """Let go of tracks that are over."""
        while self._tracks and self._tracks[0].over:
            self._tracks.popleft().told_over()


def _take(pieces: deque[memoryview], samples: int) -> bytes:
    wanted, taken = samples * SAMPLE_BYTES, []
    while wanted:
        piece = pieces.popleft()
        if len(piece) > wanted:
            pieces.appendleft(piece[wanted:])
            piece = piece[:wanted]
        taken.append(piece)
        wanted -= len(piece)
    return b"".join(taken)


def _head(pieces: deque[memoryview], samples: int) -> deque[memoryview]:
    """The first `samples` samples of `pieces`."""
    return deque([memoryview(_take(pieces, samples))] if samples else [])
