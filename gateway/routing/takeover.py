"""Takeover: a speech-to-speech session that fails before anything of an answer was given is taken over by the next target.

It hears all of the session's input again. Once something was answered, only the caller knows what the conversation was: the
failure is theirs to see, and the next session theirs to open, with the history.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from gateway.contract.errors import GatewayError, ProviderError
from gateway.contract.events import Answered, AnswerEvent, AudioDelta, ProviderEvent, Rerouted, ToolCallDelta
from gateway.routing.attempt import Attempt
from gateway.routing.opening import Opening
from gateway.routing.route import Target
from gateway.routing.stopwatch import audible

log = logging.getLogger(__name__)


class Takeover:
    """A session's events, whichever target they come from. `attempt`: the one that gives them now."""

    def __init__(self, opening: Opening, attempt: Attempt, targets: Sequence[Target]) -> None:
        self.attempt = attempt
        self._opening, self._targets = opening, list(targets)
        self._answered = False

    async def next(self) -> AnswerEvent:
        try:
            event = await self.attempt.next()
        except ProviderError as error:
            return await self._move(error)
        self._answered = self._answered or _answers(event)
        return event

    async def _move(self, error: ProviderError) -> Rerouted:
        """Raises the failure if nobody can take over. Who was silent is not asked again."""
        dead = self.attempt
        self._targets = [target for target in self._targets if target != dead.target]
        if self._answered or not self._targets:
            raise error
        await dead.close(error)
        try:
            self.attempt, _ = await self._opening.race(self._targets, "fallback")
        except GatewayError as failure:
            log.info("route %s: nobody took over: %s", self._opening.route.name, type(failure).__name__)
            raise error from None
        return Rerouted(str(dead.target), str(self.attempt.target), str(error))


def _answers(event: ProviderEvent) -> bool:
    match event:
        case AudioDelta(audio):
            return audible(audio)
        case ToolCallDelta() | Answered():
            return True
    return False
