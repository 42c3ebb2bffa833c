"""Sound put together, for transcribers: a frame of 40 ms costs half of what two of 20 ms do, and vendors ask for 20 to 100 ms.

Whatever else comes (Commit, Clear, the end) is not kept waiting, nor is the sound before it; so it is only what the provider notices
by itself, partials and turns that it ends, that is 10 ms later on average.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from gateway.contract.audio import Audio
from gateway.contract.channel import Reader
from gateway.contract.requests import Input

SECONDS = 0.04


class Chunks:
    """What the reader has, with sound in pieces of at least SECONDS as long as nothing else comes. A cancelled read loses nothing."""

    def __init__(self, reader: Reader[Input]) -> None:
        self._reader = reader
        self._held: list[bytes] = []
        self._seconds = 0.0
        self._rate = 0
        self._next: Input | None = None

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> Input:
        reader, channel = self._reader, self._reader.channel
        while True:
            if self._next is not None:
                item, self._next = self._next, None
            elif reader.index < channel.end:
                item = reader.take()
            elif not channel.closed:
                await channel.wait(SECONDS - self._seconds)
                continue
            elif self._held:
                return self._joined()
            else:
                raise StopAsyncIteration
            if not isinstance(item, Audio) or (self._held and item.rate != self._rate):
                if not self._held:
                    return item
                self._next = item
                return self._joined()
            self._rate = item.rate
            self._held.append(item.pcm)
            self._seconds += item.seconds
            if self._seconds > SECONDS - 1e-6:
                return self._joined()

    def _joined(self) -> Audio:
        held, self._held, self._seconds = self._held, [], 0.0
        return Audio(held[0] if len(held) == 1 else b"".join(held), self._rate)


def chunks(inputs: AsyncIterator[Input]) -> AsyncIterator[Input]:
    """Only what comes from a Channel is put together: of anything else nobody knows whether there is more."""
    return Chunks(inputs) if isinstance(inputs, Reader) else inputs
