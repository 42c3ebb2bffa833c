"""Respeaking: a tts stream that dies in mid-sentence is gone on with by another target, from the first word that was not heard."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from gateway.contract.channel import Channel
from gateway.contract.errors import GatewayError, ProviderError
from gateway.contract.events import AnswerEvent, AudioDelta, Flushed, ProviderEvent, Rerouted, Word
from gateway.contract.requests import Input
from gateway.routing.attempt import Attempt
from gateway.routing.opening import Opening
from gateway.routing.route import Target
from gateway.routing.unspoken import Unspoken

log = logging.getLogger(__name__)

MOST = 3
"""Targets that may die under one text."""


class Respeaking:
    """A stream's events, whichever target they come from. `attempt`: the one that gives them now."""

    def __init__(self, opening: Opening, attempt: Attempt, targets: Sequence[Target], inputs: Channel[Input]) -> None:
        self.attempt = attempt
        self._opening, self._targets, self._inputs = opening, list(targets), inputs
        self._unspoken = Unspoken(inputs.reader())
        self._seconds = self._before = 0.0  # heard so far, and of it before the stream that speaks now
        self._first_error: ProviderError | None = None
        self._deaths = 0

    async def next(self) -> AnswerEvent:
        try:
            event = await self.attempt.next()
        except ProviderError as error:
            return await self._go_on(error)
        return self._heard(event)

    def _heard(self, event: ProviderEvent) -> ProviderEvent:
        match event:
            case AudioDelta(audio, words):
                self._seconds += audio.seconds
                self._unspoken.heard(audio.seconds, words)
                if self._before and words:
                    moved = [Word(word.text, word.start + self._before, word.end + self._before) for word in words]
                    return replace(event, words=tuple(moved))
            case Flushed():
                self._unspoken.flushed()
        return event

    async def _go_on(self, error: ProviderError) -> Rerouted:
        """Raises the first failure if nobody can."""
        self._first_error = self._first_error or error
        self._deaths += 1
        dead = self.attempt
        self._targets = [target for target in self._targets if target != dead.target]
        candidates = [*self._targets, dead.target] if self._opening.route.policy.retries else self._targets
        if not candidates or self._deaths >= MOST:
            raise self._first_error
        await dead.close(error)
        said, index = self._unspoken.rest()
        self._opening.go_on(said, index)
        try:
            self.attempt, _ = await self._opening.race(candidates, "continue")
        except GatewayError as failure:
            log.info("route %s: nobody spoke on: %s", self._opening.route.name, type(failure).__name__)
            raise self._first_error from None
        self._before = self._seconds
        return Rerouted(str(dead.target), str(self.attempt.target), str(error))
