"""Spoken: an answer of a speech-to-speech session, which comes as sound with its words beside it."""

from __future__ import annotations

from gateway.calls.calling import Calls
from gateway.calls.commands import Asked
from gateway.calls.events import Measured
from gateway.calls.leg import Line
from gateway.calls.timeline import Turn
from gateway.calls.transport import PLAYOUT_RATE
from gateway.calls.utterance import Utterance
from gateway.contract.audio import Audio
from gateway.contract.encoding import Resampler
from gateway.contract.errors import GatewayError
from gateway.contract.events import FinishReason, Usage, Word


class Spoken(Utterance):
    """`calls`: of tools, as far as they are written."""

    def __init__(self, line: Line, turn: Turn, asked: Asked) -> None:
        modality = (asked.output_modalities or [line.session.modality])[0]
        super().__init__(line, turn, modality, asked.metadata)
        self.calls = Calls()
        self._resampler = Resampler(PLAYOUT_RATE)
        if self.track is not None:
            self.track.ledger.clause("")

    def text(self, text: str) -> None:
        if self._interrupted:
            return
        self._turn.mark("llm_first_token")
        self._write(text)
        if self.track is not None:
            self.track.ledger.grow(text)

    def sound(self, pcm: bytes, rate: int, words: tuple[Word, ...]) -> None:
        if self.track is None or self._interrupted:
            return
        if self.item_id is None:
            self._open_item()
        self._turn.mark("tts_first_byte")
        if rate != PLAYOUT_RATE:
            pcm = self._resampler.feed(Audio(pcm, rate)).pcm
        self.track.push(pcm, [(word, int(word.end * PLAYOUT_RATE)) for word in words])
        if self.track.first_audible is not None:
            self._turn.mark("first_audible_sample")

    def used(self, usage: Usage) -> None:
        self._usage = usage

    def finished(self, reason: FinishReason) -> None:
        self._reason = reason
        for call in self.calls if reason != "cancelled" else ():  # one that was cancelled may be half written
            self.call(call)
        if self.track is not None:
            self.track.ledger.flushed()
        self._conclude()
        if not self._turn.done and self.track is None:
            self._line.tell(Measured(self._turn))

    def broke_off(self, error: GatewayError) -> None:
        self._fail("s2s", error)
        self._conclude()
