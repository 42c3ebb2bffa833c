"""Background: tasks that no request waits for. Kept until they are over, cancelled and awaited at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context

from gateway.contract.errors import GatewayError

log = logging.getLogger(__name__)


class Background:
    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[None, None, None], name: str, then: Callable[[], None]) -> asyncio.Task[None]:
        """`then` is called once it is over, however it ended, even if it never began."""
        # Not in the context of the request that it comes from: no caller's key pays for it.
        task = asyncio.create_task(work, name=name, context=Context())
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._over(task, then))
        return task

    async def aclose(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _over(self, task: asyncio.Task[None], then: Callable[[], None]) -> None:
        self._tasks.discard(task)
        then()
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, GatewayError | TimeoutError):
            log.error("%s broke off: %s", task.get_name(), type(error).__name__)
