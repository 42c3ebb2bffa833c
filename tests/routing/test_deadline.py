"""Deadline: a limit on waits that may be moved while somebody waits, and leaves the caller's own cancellation alone."""

import asyncio

import pytest

from gateway.routing.deadline import Deadline
from tests.virtual_time import virtual


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual
async def test_a_wait_ends_at_the_deadline_and_not_before() -> None:
    deadline = Deadline()
    deadline.when = 3.0
    assert await deadline.wait(asyncio.sleep(2.9, "there")) == "there"
    with pytest.raises(TimeoutError):
        await deadline.wait(asyncio.sleep(10))
    assert now() == pytest.approx(3.0)


@virtual
async def test_it_may_move_later_and_earlier_while_somebody_waits() -> None:
    deadline, loop = Deadline(), asyncio.get_running_loop()
    deadline.when = 3.0
    loop.call_at(2.0, setattr, deadline, "when", 50.0)
    loop.call_at(40.0, setattr, deadline, "when", 41.0)
    with pytest.raises(TimeoutError):
        await deadline.wait(asyncio.sleep(100))
    assert now() == pytest.approx(41.0)


@virtual
async def test_a_deadline_that_passed_while_nobody_waited_ends_the_next_wait() -> None:
    deadline = Deadline()
    deadline.when = 1.0
    await asyncio.sleep(5)
    with pytest.raises(TimeoutError):
        await deadline.wait(asyncio.sleep(10))
    assert now() == pytest.approx(5.0)
    deadline.when = None
    assert await deadline.wait(asyncio.sleep(10, "free")) == "free"


@virtual
async def test_the_callers_own_cancellation_goes_through() -> None:
    deadline = Deadline()
    deadline.when = 10.0
    task = asyncio.ensure_future(deadline.wait(asyncio.sleep(100)))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    deadline.close()
