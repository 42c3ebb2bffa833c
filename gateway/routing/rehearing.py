"""Rehearing: a stream of speech to text that dies in mid-utterance is gone on with by another target, which hears what was not final."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from gateway.contract.channel import Channel
from gateway.contract.errors import GatewayError, ProviderError
from gateway.contract.events import AnswerEvent, ProviderEvent, Ready, Rerouted, Transcript
from gateway.contract.requests import Input
from gateway.contract.settled import Place, Unsettled, later
from gateway.routing.attempt import Attempt
from gateway.routing.opening import Opening
from gateway.routing.route import Target

log = logging.getLogger(__name__)

MOST = 3
"""Targets that may die under one stream since something was final."""


class Rehearing:
    """A stream's events, whichever target they come from. `attempt`: the one that gives them now."""

    def __init__(self, opening: Opening, attempt: Attempt, targets: Sequence[Target], inputs: Channel[Input]) -> None:
        self.attempt = attempt
        self._opening, self._targets, self._inputs = opening, list(targets), inputs
        start = inputs.reader().index
        self._unsettled = Unsettled(inputs, start)
        self._place: Place | None = Place(start, 0.0)  # where another would begin; None where nobody knows
        self._began = 0.0  # seconds of sound before those that this target hears
        self._moved = False
        self._dead: set[Target] = set()
        self._deaths = 0

    async def next(self) -> AnswerEvent:
        while True:
            try:
                event = await self.attempt.next()
            except ProviderError as error:
                return await self._go_on(error)
            if not (self._moved and isinstance(event, Ready)):
                return self._heard(event)

    def _heard(self, event: ProviderEvent) -> ProviderEvent:
        event = later(event, self._began, self._began)
        if isinstance(event, Transcript) and event.final:
            self._place = self._unsettled.settle(event, self._inputs.end)
            self._dead.clear()
            self._deaths = 0
        return event

    async def _go_on(self, error: ProviderError) -> Rerouted:
        """Raises that error if nobody can."""
        dead, place = self.attempt, self._place
        self._dead.add(dead.target)
        self._deaths += 1
        candidates = [target for target in self._targets if target not in self._dead]
        if self._opening.route.policy.retries:
            candidates.append(dead.target)
        # What is lost of the inputs would be lost of the words as well.
        if place is None or not candidates or self._deaths > MOST or place.index < self._inputs.first:
            raise error
        await dead.close(error)
        self._opening.go_on([], place.index, place.skip)
        try:
            self.attempt, _ = await self._opening.race(candidates, "continue")
        except GatewayError as failure:
            log.info("route %s: nobody heard on: %s", self._opening.route.name, type(failure).__name__)
            raise error from None
        self._began, self._moved = place.seconds, True
        return Rerouted(str(dead.target), str(self.attempt.target), str(error))
