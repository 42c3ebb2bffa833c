"""Deadline: a time limit on one reader's waits. Moving it costs an attribute, not a timer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Deadline:
    """`wait(x)` awaits x and raises TimeoutError, cancelling x, once the loop's time passes `when`. One wait at a time.

    `when` may be moved at any time, also while waiting and also earlier; None is no limit. Close it after use.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._when: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings = math.inf  # when the timer does
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._fired = False

    @property
    def when(self) -> float | None:
        return self._when

    @when.setter
    def when(self, when: float | None) -> None:
        self._when = when
        if when is not None and when < self._rings:
            self._set(when)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._rings = None, math.inf

    def _set(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings = self._loop.call_at(when, self._ring), when

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
        if self._timer is None and self._when is not None:
            self._set(self._when)  # it rang while nobody waited

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

    def _ring(self) -> None:
        self._timer, self._rings = None, math.inf
        if self._when is None:
            return
        if self._loop.time() < self._when:
            self._set(self._when)
        elif self._task is not None and not self._fired:
            self._fired = True
            self._task.cancel()
