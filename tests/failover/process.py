"""Faulty upstreams in a process of their own, over sockets: `python -m tests.failover.process`.

    with running() as origin:                                   # the process's address; leaving ends it, and raises what broke in it
        async with reaching(origin) as faulty:
            lane = await faulty.lane("openai", "503", "well")   # an upstream on a port of its own, which plays the last for ever
            lane.url                                            # a provider's base_url
            await lane.play("well")
            for each in await lane.tries(): each.at, each.outcome, each.asked
            await lane.free()                                   # every request is over, within a second; AssertionError otherwise

Times are CLOCK_MONOTONIC's, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass

import httpx

from tests.failover.families import FAMILIES, Asked
from tests.failover.faults import Fault, script
from tests.needs import ROOT
from tests.serving import plain_http
from tests.upstreams import Exchange, Outcome, Upstream

BY = 1.0
"""Seconds in which what was left must be let go."""


@dataclass(frozen=True, slots=True)
class Try:
    """A request that came. `at`, `ended`: the machine's clock; `ended` and `outcome` are None while it is under way."""

    at: float
    ended: float | None
    outcome: Outcome | None
    asked: Asked


@dataclass(frozen=True, slots=True)
class Lane:
    """One upstream. `pace`: how many seconds of the reader's clock one of the machine's is."""

    url: str
    _path: str
    _family: str
    _http: httpx.AsyncClient
    _pace: float = 1.0

    async def play(self, *faults: Fault) -> None:
        answer = await self._http.post(self._path, json={"family": self._family, "faults": faults})
        answer.raise_for_status()

    async def tries(self) -> list[Try]:
        """In the reader's clock."""
        return await self._get("")

    async def free(self) -> list[Try]:
        """The same, once none is under way."""
        tries = await self._get("/free")
        assert all(each.outcome for each in tries), f"still under way {BY:g} s later: {tries}"
        return tries

    async def _get(self, what: str) -> list[Try]:
        answer = await self._http.get(self._path + what)
        answer.raise_for_status()
        return [
            Try(
                each["at"] * self._pace,
                each["ended"] * self._pace if each["outcome"] else None,
                each["outcome"],
                Asked(**{**each["asked"], "turns": tuple(tuple(turn) for turn in each["asked"]["turns"])}),
            )
            for each in answer.json()["tries"]
        ]


class Faulty:
    """The process, seen from a test."""

    def __init__(self, http: httpx.AsyncClient, pace: float) -> None:
        self._http, self._pace = http, pace

    async def lane(self, family: str, *faults: Fault) -> Lane:
        answer = await self._http.post("/lanes", json={"family": family, "faults": faults})
        answer.raise_for_status()
        said = answer.json()
        return Lane(said["url"], said["path"], family, self._http, self._pace)


@asynccontextmanager
async def reaching(origin: str, pace: float = 1.0) -> AsyncGenerator[Faulty]:
    async with plain_http(base_url=origin, timeout=60.0) as http:
        yield Faulty(http, pace)


@contextmanager
def running() -> Generator[str]:
    command = [sys.executable, "-m", "tests.failover.process"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            origin = process.stdout.readline().strip()
            assert origin, "the upstreams did not start"
            yield origin
        finally:
            process.stdin.close()  # which ends it, as the end of this process does
            status = process.wait(10)
        assert status == 0, "something broke in the upstreams: see above"


class _Lanes:
    """Inside the process: its upstreams, and the requests that open and look at them."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._lanes: list[tuple[str, Upstream]] = []

    async def answer(self, exchange: Exchange) -> None:
        request = exchange.request
        _, _, *rest = request.path.split("/")
        if not rest:
            asked = request.json
            upstream = await self._stack.enter_async_context(Upstream())
            self._lanes.append((asked["family"], upstream))
            self._play(upstream, asked["family"], asked["faults"])
            url = upstream.origin + FAMILIES[asked["family"]].path
            return await exchange.answer(200, {"path": f"/lanes/{len(self._lanes) - 1}", "url": url})
        family, upstream = self._lanes[int(rest[0])]
        if request.method == "POST":
            self._play(upstream, family, request.json["faults"])
            return await exchange.answer(200, {})
        if rest[1:] == ["free"]:
            try:
                await upstream.until(lambda: not upstream.busy, BY)
            except TimeoutError:
                pass  # the answer tells
        await exchange.answer(200, {"tries": _tries(family, upstream)})

    def _play(self, upstream: Upstream, family: str, faults: list[Fault]) -> None:
        upstream.play(*(script(FAMILIES[family], fault) for fault in faults))


def _tries(family: str, upstream: Upstream) -> list[dict[str, object]]:
    return [
        {
            "at": each.started,
            "ended": each.ended,
            "outcome": each.outcome,
            "asked": asdict(FAMILIES[family].asked(each.request)),
        }
        for each in upstream.exchanges
    ]


async def _serve() -> None:
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(Upstream(_Lanes(stack).answer))
        print(control.origin, flush=True)  # noqa: T201  how its parent finds it
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
