"""Virtual time: an event loop whose clock jumps to the next timer, so a 30-second conversation takes milliseconds.

    @virtual
    async def test_a_silent_target_is_left() -> None:
        await asyncio.sleep(3600)    # at once, and asyncio.get_running_loop().time() is 3600 later

A test that leaves a task behind fails. Sockets and threads work, but their waiting does not advance the clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

from gateway.simulate.clock import VirtualLoop

P = ParamSpec("P")


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs an async test in virtual time."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(_alone(test(*args, **kwargs)))

    return run


async def _alone(test: Coroutine[Any, Any, None]) -> None:
    await test
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    assert not left, f"left behind: {left}"
