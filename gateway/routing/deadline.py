"""Deadline: a time limit on one reader's waits. Moving it costs an attribute, not a timer.

Nearly all deadlines are far away and never reached. So one timer serves all that fall into the same STEP of the clock; when
that begins, those that are still there get a timer of their own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")

STEP = 0.25
"""Seconds."""


class _Wheel:
    """The deadlines of a loop by the step in which they fall."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._steps: dict[int, set[Deadline]] = {}

    def step(self, when: float) -> tuple[float, set[Deadline]] | None:
        """When the step of that moment begins, and who waits for it; None if it has begun."""
        number = int(when / STEP)
        waiting = self._steps.get(number)
        if waiting is None:
            if number * STEP <= self.loop.time():
                return None
            waiting = self._steps[number] = set()
            self.loop.call_at(number * STEP, self._begins, number)
        return number * STEP, waiting

    def _begins(self, number: int) -> None:
        for deadline in self._steps.pop(number):
            deadline.look()


_wheel: _Wheel | None = None


def _wheel_of(loop: asyncio.AbstractEventLoop) -> _Wheel:
    """Programs have one loop, and remembering its own is enough; each of several would make a new wheel now and then."""
    global _wheel
    if _wheel is None or _wheel.loop is not loop:
        _wheel = _Wheel(loop)
    return _wheel


class Deadline:
    """`wait(x)` awaits x and raises TimeoutError, cancelling x, once the loop's time passes `when`. One wait at a time.

    `when` may be moved at any time, also while waiting and also earlier; None is no limit. Close it after use.
    """

    __slots__ = ("_cancelling", "_fired", "_looks", "_loop", "_task", "_timer", "_waiting", "_when")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._when: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: set[Deadline] | None = None  # for a step of the wheel
        self._looks = math.inf  # when either makes it look at the clock
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._fired = False

    @property
    def when(self) -> float | None:
        return self._when

    @when.setter
    def when(self, when: float | None) -> None:
        self._when = when
        if when is not None and when < self._looks:
            self._set(when)

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.discard(self)
            self._waiting = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._looks = math.inf

    def _set(self, when: float) -> None:
        self.close()
        step = _wheel_of(self._loop).step(when)
        if step is None:
            self._timer, self._looks = self._loop.call_at(when, self.look), when
        else:
            self._looks, self._waiting = step
            self._waiting.add(self)

    async def wait(self, awaitable: Awaitable[T]) -> T:
        self.enter()
        try:
            return await awaitable
        except asyncio.CancelledError:
            self.explain()
            raise
        finally:
            self.leave()

    def enter(self) -> None:
        """The parts of `wait`, for where a coroutine in between costs too much: before the wait,"""
        task = self._task = asyncio.current_task(self._loop)
        assert task is not None  # a coroutine runs in a task
        self._cancelling, self._fired = task.cancelling(), False
        if self._looks == math.inf and self._when is not None:
            self._set(self._when)  # it passed while nobody waited

    def explain(self) -> None:
        """when it was cancelled (raises TimeoutError if that was our doing),"""
        # Only our own cancellation becomes a TimeoutError: the caller's goes through, as in asyncio.timeout.
        if self._fired and self._task is not None:
            self._fired = False
            if self._task.uncancel() <= self._cancelling:
                raise TimeoutError

    def leave(self) -> None:
        """and after it, however it ended."""
        if self._fired and self._task is not None:
            self._task.uncancel()
        self._task = None

    def look(self) -> None:
        """The wheel's, and the timer's: perhaps its time has come."""
        self._timer, self._waiting, self._looks = None, None, math.inf
        if self._when is None:
            return
        if self._loop.time() < self._when:
            self._set(self._when)
        elif self._task is not None and not self._fired:
            self._fired = True
            self._task.cancel()
