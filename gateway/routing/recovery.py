"""Recovery: a chat stream that dies after its first content is gone on with by another target, or ended as the policy says."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from gateway.contract.errors import GatewayError, ProviderError
from gateway.contract.events import (
    AnswerEvent,
    Finished,
    Passed,
    ProviderEvent,
    Rerouted,
    TextDelta,
    ThoughtSealed,
    ToolCallDelta,
    Usage,
)
from gateway.contract.requests import ChatRequest, ConverseRequest, SpeakRequest, TranscribeRequest
from gateway.routing.attempt import Attempt
from gateway.routing.continuation import Diverged, Splice, going_on, may_go_on
from gateway.routing.opening import Opening
from gateway.routing.rehearing import Rehearing
from gateway.routing.respeaking import Respeaking
from gateway.routing.route import Target
from gateway.routing.takeover import Takeover

log = logging.getLogger(__name__)

MOST = 3
"""Targets that may die under one answer."""


class Recovery:
    """An answer's events, whichever target they come from. `attempt`: the one that gives them now."""

    def __init__(self, opening: Opening, attempt: Attempt, targets: Sequence[Target]) -> None:
        self.attempt = attempt
        self._opening, self._targets = opening, list(targets)
        self._request = opening.request
        self._said: list[str] = []
        self._pieces = 0  # of what was said, as they came
        self._called = False  # a tool call was delivered, or part of one
        self._splice: Splice | None = None
        self._ready: deque[AnswerEvent] = deque()
        self._first_error: ProviderError | None = None
        self._deaths = 0

    async def next(self) -> AnswerEvent:
        while True:
            if self._ready:
                return self._ready.popleft()
            try:
                event = await self.attempt.next()
            except ProviderError as error:
                await self._go_on(error)
                continue
            if self._splice is None:
                self._note(event)
                return event
            try:
                self._join(event)
            except Diverged:
                raise self._first_error or ProviderError("the continuation is a second beginning") from None

    def pass_to(self, passing: Callable[[TextDelta], bool]) -> None:
        """See Attempt. Of the target that answers now; what another goes on with is looked at."""

        def noted(text: TextDelta) -> bool:
            self._note(text)
            return passing(text)

        self.attempt.pass_to(noted)

    def _note(self, event: ProviderEvent) -> None:
        if type(event) is TextDelta:
            if event.kind == "text":
                self._said.append(event.text)
                self._pieces += event.pieces
        elif type(event) is ToolCallDelta:
            self._called = True

    def _join(self, event: ProviderEvent) -> None:
        """What another target says, without what was said before and without its own framing."""
        assert self._splice is not None
        match event:
            case TextDelta(text, "text"):
                if joined := self._splice.feed(text):
                    self._said.append(joined)
                    self._pieces += 1
                    self._ready.append(TextDelta(joined))
            case Finished(reason):
                if rest := self._splice.end():
                    self._ready.append(TextDelta(rest))
                self._ready.append(Finished(reason))
            case TextDelta() | ThoughtSealed() | Passed():
                pass  # its reasoning is about the interruption
            case ToolCallDelta():
                self._called = True
                self._ready.append(ToolCallDelta(event.index, event.id, event.name, event.arguments))
            case Usage():
                self._ready.append(replace(event, raw=None))
            case _:
                self._ready.append(event)

    async def _go_on(self, error: ProviderError) -> None:
        """Another target takes over; raises the first failure if none can."""
        self._first_error = self._first_error or error
        self._deaths += 1
        dead = self.attempt
        if not self._possible():
            raise self._first_error
        await dead.close(error)
        said = "".join(self._said)
        request = self._request
        assert isinstance(request, ChatRequest)
        self._opening.request = going_on(request, said, self._pieces) if said else request
        others = [t for t in self._targets if t != dead.target]
        candidates = [*others, dead.target] if self._opening.route.policy.retries else others
        if not candidates:
            raise self._first_error
        try:
            self.attempt, failed = await self._opening.race(candidates, "continue")
        except GatewayError as failure:
            log.info("route %s: nobody went on: %s", self._opening.route.name, type(failure).__name__)
            raise self._first_error from None
        # Who could not go on just now is not asked again when the next one dies.
        useless = {each.target for each in failed}
        self._targets = [t for t in others if str(t) not in useless]
        self._splice = Splice(said)
        self._ready.append(Rerouted(str(dead.target), str(self.attempt.target), str(error)))

    def _possible(self) -> bool:
        policy, request = self._opening.route.policy, self._request
        if policy.mid_stream == "error" or self._called or self._deaths >= MOST:
            return False
        if not isinstance(request, ChatRequest) or not may_go_on(request):
            return False
        return policy.mid_stream == "continue" or not self._said


def recovery_of(
    opening: Opening, attempt: Attempt, targets: Sequence[Target]
) -> Recovery | Takeover | Respeaking | Rehearing | None:
    """None where nothing can be recovered, so that nothing is spent on it."""
    request, policy, inputs = opening.request, opening.route.policy, opening.inputs
    if isinstance(request, SpeakRequest) and policy.mid_stream == "continue" and inputs is not None:
        return Respeaking(opening, attempt, targets, inputs)
    if isinstance(request, TranscribeRequest) and policy.mid_stream == "continue" and inputs is not None:
        return Rehearing(opening, attempt, targets, inputs)
    if isinstance(request, ConverseRequest) and policy.mid_stream != "error":
        return Takeover(opening, attempt, targets)
    if not isinstance(request, ChatRequest) or not request.stream or policy.mid_stream == "error":
        return None
    return Recovery(opening, attempt, targets)
