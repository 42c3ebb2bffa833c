"""Carried: audio that goes inside events, base64 in the session's format, instead of by RTP. Both ways, resampled once.

pieces = CarriedIn().feed(event.audio, session.settings.audio.input.format)      # for the mic
for delta in CarriedOut(session.settings.audio.output.format).feed(pcm): ...
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from gateway.calls.commands import Rejected
from gateway.calls.session import G711, Pcm
from gateway.calls.transport import FRAME, MIC_RATE, PLAYOUT_RATE
from gateway.contract import g711
from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.encoding import Resampler

PIECE = round(FRAME * MIC_RATE) * SAMPLE_BYTES
DELTA = PLAYOUT_RATE // 2 * SAMPLE_BYTES
"""Bytes of speech in an event, at most (0.5 s): many WebSocket clients take no message above 1 MiB."""


class CarriedIn:
    """The caller's audio as they append it, in pieces of FRAME. What is less than a piece waits for more, or for `finish`."""

    def __init__(self) -> None:
        self._resampler = Resampler(MIC_RATE)
        self._odd = b""  # half a sample
        self._rest = b""

    def feed(self, encoded: str, form: Pcm | G711) -> Iterator[Audio]:
        """Raises Rejected."""
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise Rejected("invalid_value", "audio: is no valid base64", "audio") from None
        return self._pieces(self._resampler.feed(self._decoded(data, form)).pcm)

    def finish(self) -> Iterator[Audio]:
        """The rest, filled up with silence."""
        pcm = self._rest + self._resampler.finish().pcm
        self._rest = self._odd = b""
        return self._pieces(pcm.ljust(-(-len(pcm) // PIECE) * PIECE, b"\0"))

    def clear(self) -> None:
        self._resampler.finish()
        self._rest = self._odd = b""

    def _decoded(self, data: bytes, form: Pcm | G711) -> Audio:
        if isinstance(form, G711):
            self._odd = b""
            return Audio(g711.decode(data, _law(form)), g711.RATE)
        data = self._odd + data
        whole = len(data) - len(data) % SAMPLE_BYTES
        self._odd = data[whole:]
        return Audio(data[:whole], form.rate)

    def _pieces(self, pcm: bytes) -> Iterator[Audio]:
        pcm = self._rest + pcm
        whole = len(pcm) - len(pcm) % PIECE
        self._rest = pcm[whole:]
        return (Audio(pcm[at : at + PIECE], MIC_RATE) for at in range(0, whole, PIECE))


class CarriedOut:
    """One answer's speech, as base64 of the session's format."""

    def __init__(self, form: Pcm | G711) -> None:
        self._form = form
        self._resampler = Resampler(g711.RATE) if isinstance(form, G711) else None

    def feed(self, pcm: bytes) -> Iterator[str]:
        """`pcm`: at PLAYOUT_RATE."""
        for at in range(0, len(pcm), DELTA):
            piece = pcm[at : at + DELTA]
            if self._resampler is not None:
                piece = self._resampler.feed(Audio(piece, PLAYOUT_RATE)).pcm
            yield from self._encoded(piece)

    def finish(self) -> Iterator[str]:
        if self._resampler is not None:
            yield from self._encoded(self._resampler.finish().pcm)

    def _encoded(self, pcm: bytes) -> Iterator[str]:
        if pcm:
            data = g711.encode(pcm, _law(self._form)) if isinstance(self._form, G711) else pcm
            yield base64.b64encode(data).decode()


def _law(form: G711) -> g711.Law:
    return "ulaw" if form.type == "audio/pcmu" else "alaw"
