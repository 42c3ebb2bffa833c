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
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from gateway.contract.channel import Channel
from gateway.contract.errors import (
    FailedAttempt,
    NoSuchRoute,
    NoTargetAwake,
)
from gateway.contract.events import AnswerEvent, TextDelta
from gateway.contract.requests import ChatRequest, Input, Request
from gateway.routing.aside import Asides
from gateway.routing.attempt import Attempt, is_whole
from gateway.routing.boards import Boards
from gateway.routing.fleet import Fleet
from gateway.routing.opening import Opening, Recorder
from gateway.routing.plan import Ejected, Plan
from gateway.routing.recovery import Recovery, recovery_of
from gateway.routing.rehearing import Rehearing
from gateway.routing.respeaking import Respeaking
from gateway.routing.route import Route, Target
from gateway.routing.takeover import Takeover
from gateway.routing.wish import why_not, wish_of
from gateway.telemetry.decisions import Candidate, Decision
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.standing import Standing

log = logging.getLogger(__name__)

Providers = Mapping[str, object]
"""Built providers by the name of their row."""


class Answer:
    """The stream of the target that answered. `attempts`: those that failed before it."""

    __slots__ = ("_attempt", "_cost", "_recovery", "attempts")

    def __init__(
        self,
        attempt: Attempt,
        attempts: list[FailedAttempt],
        recovery: Recovery | Takeover | Respeaking | Rehearing | None,
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

    def pass_to(self, passing: Callable[[TextDelta], bool]) -> None:
        """From now on, text of a chat may be handed to `passing` while the next event is waited for, instead of being it: in order,
        and each but once. `passing` returns whether it has room for more, and never raises."""
        giver = self._attempt if self._recovery is None else self._recovery
        if isinstance(giver, Attempt | Recovery):
            giver.pass_to(passing)

    def rest(self) -> Coroutine[None, None, Sequence[AnswerEvent]]:
        """All that is still to come, once it is there: of a whole answer, which is not recovered."""
        return self._attempt.rest()

    def close(self, error: BaseException | None) -> Coroutine[None, None, None]:
        """The engine's."""
        return (self._attempt if self._recovery is None else self._recovery.attempt).close(error)


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
        self._asides = Asides(self.boards, recorder, self._rng, ledger)
        self._loop: asyncio.AbstractEventLoop | None = None  # once there is one: asking for it is a system call

    def renew(self, routes: Mapping[str, Route], providers: Providers) -> Fleet:
        """From now on these; requests under way keep what they began with. Returns the fleet that serves only those."""
        retired, self._fleet = self._fleet, Fleet(providers)
        for _, board in self.boards.all():
            board.forget_blocks()
        self.routes.clear()
        self.routes.update(routes)
        return retired

    def standings(self) -> list[Standing]:
        """How every target stands: by its streamed requests where there are any, else by its whole ones; out if for either."""
        now = asyncio.get_running_loop().time()
        rows: list[Standing] = []
        for route in self.routes.values():
            rows += self._standing(route, now)
            if route.shadows:
                watched = replace(route, targets=route.shadows, asleep={})
                rows += [replace(each, shadow=True) for each in self._standing(watched, now, shadow=True)]
        return rows

    def _standing(self, route: Route, now: float, shadow: bool = False) -> list[Standing]:
        boards = [self.boards.of(route, whole, now, shadow).standing(now, route) for whole in (False, True)]
        return [streamed.beside(whole) for streamed, whole in zip(*boards, strict=True)]

    def probe(self, route: Route, target: Target) -> asyncio.Task[None]:
        """Ask it something small, as nobody did for long. For the board, it is a request like any other."""
        number, only = f"{random.getrandbits(64):016x}", (Candidate(str(target)),)
        decision = Decision(number, self._unix(), route.name, route.kind, "probe", only)
        self._recorder.decided(decision)
        return self._asides.probe(route, target, decision, self._fleet)

    def copy(self, fleet: Fleet, opening: Opening, region: str | None) -> None:
        """Send the request to the shadows of its route as well."""
        self._asides.copy(opening, region, fleet)

    async def aclose(self) -> None:
        """End what runs beside the requests. The providers are not the engine's to close."""
        await self._asides.aclose()

    def route(self, name: str) -> Route:
        """Raises NoSuchRoute."""
        try:
            return self.routes[name]
        except KeyError:
            raise NoSuchRoute(name, sorted(self.routes)) from None

    def can(self, route: Route, request: Request) -> bool:
        """Whether any of its targets that are awake can do all that is asked."""
        wish = wish_of(request, unfit=self._fleet.unfit(route, request))
        return any(why_not(target, wish, route.policy) is None for target in route.targets)

    def fits(self, route: str, request: Request) -> bool:
        """The same, by the route's name. Raises NoSuchRoute."""
        return self.can(self.route(route), request)

    async def count(self, route: str, request: ChatRequest) -> tuple[Target, int] | None:
        """The tokens of the prompt and who counted them, if a target of the route can. Raises NoSuchRoute."""
        fleet = self._fleet
        fleet.open += 1
        try:
            return await fleet.count(self.route(route), request)
        finally:
            fleet.left()

    def open(
        self,
        route: str,
        request: Request,
        inputs: Channel[Input] | None = None,
        *,
        region: str | None = None,
        sticky: str | None = None,
        avoid: Collection[str] = (),
    ) -> AbstractAsyncContextManager[Answer]:
        """Entering returns once a target gave its first useful event. `avoid`: targets that come last, whatever their order.

        Raises NoSuchRoute, NoTargetAwake, NobodyFits, AllTargetsFailed, Refused, ContextTooLong.
        """
        return _Opened(self, route, request, inputs, region, sticky, avoid)

    def plan(
        self, name: str, request: Request, inputs: Channel[Input] | None, region: str | None, sticky: str | None
    ) -> tuple[Fleet, Opening, Plan]:
        """Decide who is asked, and in which order."""
        route = self.route(name)
        if not route.targets:
            raise NoTargetAwake(route.name, [f"{target}: {why}" for target, why in route.asleep.items()])
        loop, fleet = self._loop, self._fleet
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        now = loop.time()
        wish = wish_of(request, region, sticky, fleet.unfit(route, request))
        board = self.boards.of(route, is_whole(request), now)
        plan = board.plan(now, route, wish)
        decision = Decision(
            f"{random.getrandbits(64):016x}", self._unix(), route.name, route.kind, route.policy.order, plan.candidates
        )
        self._recorder.decided(decision)
        opening = Opening(
            route,
            request,
            inputs,
            board,
            fleet.providers,
            decision,
            self._recorder,
            self._rng,
            self._ledger,
            wish.tokens,
            loop=loop,
        )
        return fleet, opening, plan


class _Opened(AbstractAsyncContextManager[Answer]):
    """What `open` returns. A class, because a generator's context manager costs as much as the decision itself."""

    __slots__ = ("_answer", "_asked", "_avoid", "_engine", "_fleet", "_opening", "_sticky")

    def __init__(
        self,
        engine: Engine,
        route: str,
        request: Request,
        inputs: Channel[Input] | None,
        region: str | None,
        sticky: str | None,
        avoid: Collection[str],
    ) -> None:
        self._engine, self._sticky, self._avoid = engine, sticky, avoid
        self._asked = (route, request, inputs, region, sticky)
        self._answer: Answer

    async def __aenter__(self) -> Answer:
        self._fleet, self._opening, plan = self._engine.plan(*self._asked)
        opening = self._opening
        self._fleet.open += 1
        try:
            if opening.route.shadows:
                self._engine.copy(self._fleet, opening, self._asked[3])
            targets, raced = plan.targets, plan.raced
            if self._avoid:
                targets, raced = tuple(sorted(targets, key=lambda target: str(target) in self._avoid)), False
            attempt, failed = await opening.race(targets, raced=raced)
            opening.board.keep(self._sticky, attempt.target)
            self._answer = Answer(attempt, failed, recovery_of(opening, attempt, targets), opening.cost)
        except BaseException:
            self._left()
            raise
        return self._answer

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            await self._answer.close(error)
        finally:
            self._left()

    def _left(self) -> None:
        self._fleet.left()
        self._opening.settle()
