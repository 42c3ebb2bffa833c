"""Rows: tests of one catalogue that wait for minutes between them, and so run together.

    @row(within=15.0)
    async def test_s07_first_token_after_20_s(bench: Bench) -> None: ...

makes a test for each protocol family, streaming and not. Those that were selected start at once when the first of them is
due, family by family, each on a gateway of its own; then each test tells its own result. `loadtests/failover.py` runs the same rows.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.failover.families import FAMILIES
from tests.failover.process import reaching
from tests.failover.stage import Bench


@dataclass(frozen=True, slots=True)
class Row:
    """`pace`: how much faster than the wall's the clock may run in which it is tested, where all that takes time in it is
    waiting on timers."""

    name: str
    run: Callable[[Bench], Awaitable[None]]
    within: float
    pace: float


@dataclass(frozen=True, slots=True)
class Case:
    row: Row
    family: str
    stream: bool


@dataclass(frozen=True, slots=True)
class Result:
    """`bench`: what was seen; `error`: what the row raised."""

    bench: Bench
    error: Exception | None


Ran = dict[tuple[str, str, bool], Result]
ROWS: list[Row] = []


def row(within: float, pace: float = 1.0) -> Callable[[Callable[[Bench], Awaitable[None]]], Callable[..., None]]:
    """`within`: seconds that one call of it may take."""

    def make(run: Callable[[Bench], Awaitable[None]]) -> Callable[..., None]:
        name = getattr(run, "__name__", "")
        ROWS.append(Row(name, run, within, pace))

        @pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
        @pytest.mark.parametrize("family", FAMILIES)
        def test(ran: Mapping[tuple[str, str, bool], Result], family: str, stream: bool) -> None:
            error = ran[name, family, stream].error
            if error is not None:
                raise error

        test.__name__ = test.__qualname__ = name
        test.__doc__ = run.__doc__
        test.__module__ = run.__module__
        return test

    return make


def chosen(items: Iterable[pytest.Item], rows: Iterable[Row] = ()) -> list[Case]:
    """The cases of the tests that were selected."""
    named = {each.name: each for each in rows or ROWS}
    found = []
    for item in items:
        params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
        if getattr(item, "originalname", None) in named and {"family", "stream"} <= params.keys():
            found.append(Case(named[getattr(item, "originalname")], params["family"], params["stream"]))  # noqa: B009
    return found


def run(cases: Iterable[Case], origin: str, pace: bool = True) -> Ran:
    """All of one family and pace together: more at once, and they wait for each other's CPU instead of for what they test.
    `origin`: of the process of upstreams; `pace`: false for the wall's clock alone."""
    ran: Ran = {}
    groups: dict[tuple[str, float], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.family, case.row.pace if pace else 1.0), []).append(case)
    for (_, factor), group in groups.items():
        with asyncio.Runner(loop_factory=lambda: HastyLoop(factor)) as runner:  # noqa: B023 - it is run here
            ran |= runner.run(_together(group, origin, factor))
    return ran


async def _together(cases: list[Case], origin: str, pace: float) -> Ran:
    async with reaching(origin, pace) as faulty:
        benches = [Bench(faulty, case.family, case.stream, case.row.within) for case in cases]
        results = await asyncio.gather(*(_one(case, bench) for case, bench in zip(cases, benches)))
    return {(case.row.name, case.family, case.stream): result for case, result in zip(cases, results)}


async def _one(case: Case, bench: Bench) -> Result:
    try:
        await case.row.run(bench)
    except Exception as error:  # noqa: BLE001 - raised again by the test whose it is
        return Result(bench, error)
    return Result(bench, None)


class _HastySelector(selectors.DefaultSelector):
    def __init__(self, pace: float) -> None:
        super().__init__()
        self._pace = pace

    def select(self, timeout: float | None = None) -> Any:
        return super().select(timeout if timeout is None else timeout / self._pace)


class HastyLoop(asyncio.SelectorEventLoop):
    """A loop whose clock runs `pace` times as fast as the machine's: real sockets and processes, short waits."""

    def __init__(self, pace: float = 1.0) -> None:
        self._pace = pace
        super().__init__(_HastySelector(pace))

    def time(self) -> float:
        return super().time() * self._pace
