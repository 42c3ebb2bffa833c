"""Race: the attempts of one request, until one of them gives its first useful event.

One target at a time; the next one when it fails, or beside it when a hedge is due. Losers are cancelled and closed before
the winner is handed over, and everything is when the caller leaves.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.contract.errors import (
    AllTargetsFailed,
    ContextTooLong,
    FailedAttempt,
    OutOfQuota,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
)
from gateway.routing.attempt import Attempt, TooLate
from gateway.routing.route import Route, Target
from gateway.telemetry.decisions import Why

PAUSE = 0.25
"""Seconds that a retry waits at most before it asks the same target again; twice as long each time."""
REST = 1.0
"""The same after a 429 that does not say how long, at least."""
LONGEST_PAUSE = 5.0
"""A Retry-After beyond this is not waited for."""
SOON = 1.0
"""A failure within this many seconds may be a hiccup; after a longer wait the same target is not asked again."""


class Course(Protocol):
    """What a race is run on."""

    def launch(self, target: Target, why: Why) -> Attempt:
        """Opens an attempt; nothing is sent before its `begin`."""

    def hedge_after(self, attempt: Attempt) -> float | None:
        """Seconds after its opening from which another target may race it; None for never."""

    def take_hedge(self) -> bool:
        """Whether the budget has a hedge left; takes it."""

    def take_retry(self) -> bool:
        """Whether the budget has a retry left; takes it."""


@dataclass(slots=True)
class _Runner:
    attempt: Attempt
    hedge_at: float | None
    task: asyncio.Task[None] | None = None


async def race(
    route: Route, targets: Sequence[Target], course: Course, rng: random.Random
) -> tuple[Attempt, list[FailedAttempt]]:
    """The winner, which the caller closes, and the attempts that failed before it, in order. `targets`: best first. Raises
    AllTargetsFailed, Refused, ContextTooLong."""
    if len(targets) > 1:
        race = Race(route, targets, course, rng)
        return await race.run(), race.failed
    # Nobody else may be asked meanwhile: no need to look out for it.
    attempt = course.launch(targets[0], "first")
    try:
        await attempt.begin()
        return attempt, []
    except ProviderError as failure:
        error = failure
    except BaseException as failure:
        await attempt.close(failure)
        raise
    await attempt.close(error)
    race = Race(route, targets, course, rng)
    return await race.run(attempt, error), race.failed


class Race:
    """`failed`: the attempts that failed, in order."""

    def __init__(self, route: Route, targets: Sequence[Target], course: Course, rng: random.Random) -> None:
        self._route, self._course, self._rng = route, course, rng
        self._queue = list(targets)
        self._running: list[_Runner] = []
        self._tries: dict[str, int] = {}
        self._retry: tuple[float, Target] | None = None  # when, and whom
        self._loop = asyncio.get_running_loop()
        self.failed: list[FailedAttempt] = []

    async def run(self, began: Attempt | None = None, error: ProviderError | None = None) -> Attempt:
        """The winner. `began`: the first of the targets was asked already, and failed so."""
        target = self._queue.pop(0)
        if began is not None and error is not None:
            self._tries[str(target)] = 1
            self._after(began, error)
        else:
            self._start(target, "first")
        try:
            winner = await self._first()
        except BaseException:
            await self._close_running(lost=False)
            raise
        if not self._running:
            return winner
        try:
            await self._close_running(lost=True)
        except BaseException as error:
            await winner.close(error)
            raise
        return winner

    async def _first(self) -> Attempt:
        while self._running or self._retry is not None:
            for runner in await self._ended():
                self._running.remove(runner)
                attempt, task = runner.attempt, runner.task
                error = await _begun(attempt, attempt.begin() if task is None else task)
                if error is None:
                    return attempt
                self._after(attempt, error)
            self._start_due()
        raise AllTargetsFailed(self._route.name, self.failed)

    def _start(self, target: Target, why: Why) -> None:
        attempt = self._course.launch(target, why)
        self._tries[str(target)] = self._tries.get(str(target), 0) + 1
        after = self._course.hedge_after(attempt) if self._queue else None
        self._running.append(_Runner(attempt, None if after is None else attempt.opened + after))

    async def _ended(self) -> list[_Runner]:
        """Waits until an attempt has ended or the next hedge or retry is due."""
        if len(self._running) == 1 and self._retry is None:
            alone = self._running[0]
            if alone.task is None and (alone.hedge_at is None or not self._queue):
                return [alone]  # and nothing to look out for: it begins without a task of its own
        due = self._due()
        if not self._running:
            await asyncio.sleep(max(0.0, (due or 0.0) - self._loop.time()))
            return []
        for runner in self._running:
            if runner.task is None:
                runner.task = asyncio.create_task(runner.attempt.begin(), name=f"attempt at {runner.attempt.target}")
        await asyncio.wait(
            [runner.task for runner in self._running if runner.task is not None],
            timeout=None if due is None else max(0.0, due - self._loop.time()),
            return_when=asyncio.FIRST_COMPLETED,
        )
        return [runner for runner in self._running if runner.task is not None and runner.task.done()]

    def _due(self) -> float | None:
        times = [runner.hedge_at for runner in self._running if runner.hedge_at is not None and self._queue]
        if self._retry is not None:
            times.append(self._retry[0])
        return min(times, default=None)

    def _start_due(self) -> None:
        now = self._loop.time()
        if self._retry is not None and self._retry[0] <= now:
            target, self._retry = self._retry[1], None
            self._start(target, "retry")
        for runner in self._running[:]:
            if runner.hedge_at is not None and runner.hedge_at <= now and self._queue:
                runner.hedge_at = None
                if self._course.take_hedge():
                    self._start(self._queue.pop(0), "hedge")

    def _after(self, attempt: Attempt, error: ProviderError) -> None:
        """Who is asked next, and when."""
        self.failed.append(FailedAttempt(str(attempt.target), error, self._loop.time() - attempt.opened))
        if isinstance(error, Refused):
            raise error
        if isinstance(error, ContextTooLong):
            self._queue = [t for t in self._queue if (t.context or 0) > (attempt.target.context or 0)]
            if not self._queue and not self._running:
                raise error
        elif self._route.policy.order == "priority" and self._is_hiccup(attempt, error) and self._again(attempt, error):
            return
        if self._queue:
            self._start(self._queue.pop(0), "fallback")
        elif not self._running and self._retry is None:
            self._again(attempt, error)

    def _is_hiccup(self, attempt: Attempt, error: ProviderError) -> bool:
        """Worth the same target once more, even where another could be asked."""
        quick = self._loop.time() - attempt.opened <= SOON
        return quick and error.retry_after is None and not isinstance(error, RateLimited)

    def _again(self, attempt: Attempt, error: ProviderError) -> bool:
        """Schedule the same target, if that makes sense and the budget allows."""
        tries = self._tries[str(attempt.target)]
        if (
            isinstance(error, Unauthorized | OutOfQuota | ContextTooLong | TooLate)
            or tries > self._route.policy.retries
        ):
            return False
        pause = PAUSE * 2.0 ** (tries - 1) * self._rng.random()
        if isinstance(error, RateLimited) or error.retry_after is not None:
            pause += REST if error.retry_after is None else error.retry_after
        if pause > LONGEST_PAUSE or self._retry is not None or not self._course.take_retry():
            return False
        self._retry = (self._loop.time() + pause, attempt.target)
        return True

    async def _close_running(self, lost: bool) -> None:
        running, self._running = self._running, []
        tasks = {runner.task for runner in running if runner.task is not None}
        for task in tasks:
            task.cancel()
        try:
            await _all_done(tasks)
        finally:
            for runner in running:
                runner.attempt.lost = lost
                await runner.attempt.close()


async def _begun(attempt: Attempt, beginning: Awaitable[None]) -> ProviderError | None:
    """None if it gave its first event. Closes it if not; what no provider may raise passes by."""
    try:
        await beginning
    except ProviderError as error:
        await attempt.close(error)
        return error
    except BaseException as error:
        await attempt.close(error)
        raise
    return None


async def _all_done(tasks: set[asyncio.Task[None]]) -> None:
    """Returns once all have ended, even if cancelled meanwhile: none is left behind."""
    cancelled: asyncio.CancelledError | None = None
    while pending := {task for task in tasks if not task.done()}:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # the race is over, and its error was not the one
    if cancelled is not None:
        raise cancelled
