"""The engine: opens a route's targets until one gives its first useful event. One loop for four kinds.

async with engine.open("chat", request) as answer:   # raises before anything was given: AllTargetsFailed, Refused, ...
    async for event in answer:                        # raises ProviderError if the target fails after that
        ...
                                                      # leaving closes the upstream, whatever happened
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager

from gateway.contract.channel import Channel
from gateway.contract.errors import (
    FailedAttempt,
    NoSuchRoute,
    NoTargetAwake,
)
from gateway.contract.events import AnswerEvent
from gateway.contract.requests import Input, Request
from gateway.routing.attempt import Attempt, is_whole
from gateway.routing.board import Ejected
from gateway.routing.boards import Boards
from gateway.routing.fleet import Fleet
from gateway.routing.opening import Opening, Recorder
from gateway.routing.recovery import Recovery, recovery_of
from gateway.routing.route import Route, Target
from gateway.routing.wish import wish_of
from gateway.telemetry.decisions import Decision
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.standing import Standing

log = logging.getLogger(__name__)

Providers = Mapping[str, object]
"""Built providers by the name of their row."""


class Answer:
    """The stream of the target that answered. `attempts`: those that failed before it."""

    def __init__(
        self,
        attempt: Attempt,
        attempts: list[FailedAttempt],
        recovery: Recovery | None,
        cost: Callable[[Attempt], float | None],
    ) -> None:
        self._attempt, self._recovery, self._cost = attempt, recovery, cost
        self.attempts = attempts

    @property
    def target(self) -> Target:
        return self._attempt.target if self._recovery is None else self._recovery.attempt.target

    @property
    def cost(self) -> float | None:
        """US dollars of all attempts, this one as far as its provider has said; None if that of one is not known."""
        return self._cost(self._attempt if self._recovery is None else self._recovery.attempt)

    @property
    def ttft(self) -> float | None:
        """Seconds; of the first turn for stt and s2s."""
        return self._attempt.ttft

    def __aiter__(self) -> AsyncIterator[AnswerEvent]:
        return self

    def __anext__(self) -> Coroutine[None, None, AnswerEvent]:
        return self._attempt.next() if self._recovery is None else self._recovery.next()

    async def close(self, error: BaseException | None) -> None:
        """The engine's."""
        await (self._attempt if self._recovery is None else self._recovery.attempt).close(error)


class Engine:
    """`routes`: as they are now (`renew` changes them); `boards`: what is known of targets."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        providers: Providers,
        recorder: Recorder,
        rng: random.Random | None = None,
        unix: Callable[[], float] = time.time,
        ejected: Callable[[Ejected], None] | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.routes, self._recorder, self._ledger = dict(routes), recorder, ledger
        self._fleet = Fleet(providers)
        self._rng, self._unix = rng or random.Random(), unix
        self.boards = Boards(self._rng, ejected)

    def renew(self, routes: Mapping[str, Route], providers: Providers) -> Fleet:
        """From now on these; requests under way keep what they began with. Returns the fleet that serves only those."""
        retired, self._fleet = self._fleet, Fleet(providers)
        for _, board in self.boards.all():
            board.forget_blocks()
        self.routes.clear()
        self.routes.update(routes)
        return retired

    def standings(self) -> list[Standing]:
        """How every target stands: by its streamed requests where there are any, else by its whole ones."""
        now = asyncio.get_running_loop().time()
        rows: list[Standing] = []
        for route in self.routes.values():
            boards = [self.boards.of(route, whole, now).standing(now, route) for whole in (False, True)]
            rows += [s if s.samples or s.asleep or not w.samples else w for s, w in zip(*boards, strict=True)]
        return rows

    def route(self, name: str) -> Route:
        """Raises NoSuchRoute."""
        try:
            return self.routes[name]
        except KeyError:
            raise NoSuchRoute(name, sorted(self.routes)) from None

    def can(self, route: Route, request: Request) -> bool:
        """Whether any of its targets that are awake can do all that is asked."""
        return len(self._fleet.unfit(route, request)) < len(route.targets)

    @asynccontextmanager
    async def open(
        self,
        route: str,
        request: Request,
        inputs: Channel[Input] | None = None,
        *,
        region: str | None = None,
        sticky: str | None = None,
    ) -> AsyncIterator[Answer]:
        """Entering returns once a target gave its first useful event.

        Raises NoSuchRoute, NoTargetAwake, NobodyFits, AllTargetsFailed, Refused, ContextTooLong.
        """
        named = self.route(route)
        if not named.targets:
            raise NoTargetAwake(named.name, [f"{target}: {why}" for target, why in named.asleep.items()])
        now = asyncio.get_running_loop().time()
        board = self.boards.of(named, is_whole(request), now)
        fleet = self._fleet
        plan = board.plan(now, named, wish_of(request, region, sticky, fleet.unfit(named, request)))
        decision = Decision(
            secrets.token_hex(8), self._unix(), named.name, named.kind, named.policy.order, plan.candidates
        )
        self._recorder.decided(decision)
        channel = inputs if inputs is not None else Channel()
        opening = Opening(
            named, request, channel, board, fleet.providers, decision, self._recorder, self._rng, self._ledger
        )
        fleet.open += 1
        try:
            attempt, race = await opening.race(plan.targets, raced=plan.raced)
            board.keep(sticky, attempt.target)
            answer = Answer(attempt, race.failed, recovery_of(opening, attempt, plan.targets), opening.cost)
            try:
                yield answer
            except BaseException as error:
                await answer.close(error)
                raise
            else:
                await answer.close(None)
        finally:
            fleet.left()
            opening.settle()
