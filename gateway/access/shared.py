"""Shared: limits that replicas keep together, through Redis. It is asked before a request is let in: that is what makes them exact.

Whatever comes while one question is under way goes into the next, so two hundred requests at once are two round trips. A question that
is not answered within PATIENCE ends it: from then on each replica keeps to its share, the limit by the replicas last known, and asks
nothing until Redis answers well again; then what was used meanwhile is told.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from gateway.access.grant import Clocks
from gateway.access.key import Key
from gateway.access.meter import Meter
from gateway.access.tally import SCRIPT, SHA, Asked, Lefts, Told, asked_of
from gateway.access.window import Window
from gateway.contract.errors import AccessUnknown, GatewayError
from gateway.state.redis_link import DOWN, PREFIX, pool_of

log = logging.getLogger(__name__)

PATIENCE, LEAST = 0.03, 0.02
"""Seconds that a request waits for Redis, and what is left of them to a question that had to wait for the one before, both in steps of
STEP: a loop that is late itself does not count against Redis."""
STEP = 0.005
JOINING = 1.0
"""Seconds for connecting."""
TELL = 0.05
"""Seconds after which what was used is told, if no request takes it along sooner."""
BEAT = 5.0
"""Seconds between two words when nothing happens: the streams under way are told again, and the replicas counted."""
GRACE = 60.0
"""Seconds without Redis for which what was last told of a budget is good enough."""
BACKOFF = 5.0


Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Use:
    key: Key
    meter: Meter
    waiting: list[asyncio.Future[Lefts]] = field(default_factory=list)
    changed: bool = False
    told_at: float = 0.0

    def fades(self, since: float) -> bool:
        """What it has under way was last told before then, and is soon not believed any more."""
        return self.told_at < since and self.meter.open > 0 and self.key.limits.streams is not None


class Shared:
    """`closed`: whether keys with a budget are refused once Redis is gone for longer than GRACE; else they keep to what is known here.
    `replicas`: how many there are at least. Raises ConfigError for a URL that cannot be used."""

    def __init__(self, url: str, clocks: Clocks, closed: bool = True, replicas: int = 1) -> None:
        self._me = secrets.token_hex(8)
        self._pool = pool_of(url, JOINING)
        self._redis = Redis(connection_pool=self._pool)
        self._clocks, self._closed, self._least = clocks, closed, replicas
        self._replicas = replicas
        self._uses: dict[str, _Use] = {}
        self._wake = asyncio.Event()
        self._tried = asyncio.Event()
        self._heard: float | None = None
        self._oldest: float | None = None  # since when a request waits that nobody has asked for
        self._said: bool | None = None
        self.up = False

    async def run(self) -> None:
        """Until cancelled."""
        wait, rng = 0.0, random.Random()
        try:
            while True:
                try:
                    await self._join()
                    wait = 0.0
                    while True:
                        await self._something()
                        await self._round()
                except DOWN as error:
                    self._became(False, error)
                await asyncio.sleep(rng.uniform(0.02, 0.05 + wait))
                wait = min(BACKOFF, max(0.1, wait * 2.0))
        finally:
            self._became(False, None)
            with suppress(*DOWN):
                await self._pool.disconnect()

    async def take(self, key: Key, meter: Meter) -> Lefts:
        """One more request is under way, and what is left after it. Raises LimitReached, BudgetSpent, AccessUnknown."""
        if not self.up and not self._tried.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._tried.wait()
        if not self.up:
            return self._alone(key, meter)
        use = self._use(key, meter)
        future: asyncio.Future[Lefts] = asyncio.get_running_loop().create_future()
        if self._oldest is None:
            self._oldest = self._clocks.now()
        use.waiting.append(future)
        self._wake.set()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                meter.open -= 1  # granted, and nobody is there to take it
            raise

    def changed(self, key: Key, meter: Meter) -> None:
        """Something was used, or is over: to be told."""
        self._use(key, meter).changed = True
        self._wake.set()

    def _use(self, key: Key, meter: Meter) -> _Use:
        use = self._uses.get(key.id)
        if use is None or use.meter is not meter:
            use = self._uses[key.id] = _Use(key, meter)
        use.key = key
        return use

    def _alone(self, key: Key, meter: Meter) -> Lefts:
        now, budget = self._clocks.now(), key.limits.budget
        if budget is not None and self._closed and (self._heard is None or now - self._heard > GRACE):
            raise AccessUnknown("may still spend")
        limits = key.limits.divided(self._replicas)
        meter.take(limits, now, self._clocks.unix())
        meter.owed_requests.add(1, now)
        self._use(key, meter).changed = True
        return meter.left(limits, now)

    async def _join(self) -> None:
        try:
            await self._pool.disconnect()
            async with asyncio.timeout(JOINING):
                await self._redis.script_load(SCRIPT)
            await self._within(self._redis.ping(), PATIENCE)  # too slow to be asked is as good as gone
            self._became(True, None)
            self._wake.set()
        finally:
            self._tried.set()

    async def _something(self) -> None:
        """Returns when requests wait, at once; when something is to be told, soon; or when nothing happened for a beat."""
        with suppress(TimeoutError):
            async with asyncio.timeout(BEAT):
                await self._wake.wait()
        if self._oldest is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(TELL):
                    while self._oldest is None:
                        self._wake.clear()
                        await self._wake.wait()
        self._wake.clear()

    async def _round(self) -> None:
        """Ask and tell, of every key that has something."""
        now, unix = self._clocks.now(), self._clocks.unix()
        late = now - BEAT
        uses = [each for each in self._uses.values() if each.waiting or each.changed or each.fades(late)]
        waiting = [use.waiting for use in uses]
        asked = [asked_of(use.key, use.meter, len(each), now, unix) for use, each in zip(uses, waiting)]
        owed = [(use.meter.owed_requests, use.meter.owed_tokens) for use in uses]
        patience = PATIENCE if self._oldest is None else max(LEAST, PATIENCE - (now - self._oldest))
        self._oldest = None
        for use in uses:
            use.waiting, use.changed, use.told_at = [], False, now
            use.meter.owed_requests, use.meter.owed_tokens = Window(), Window()
        told: Sequence[Told] = ()
        try:
            told = await self._within(self._ask(asked), patience)
        finally:
            if not told:  # whether it was counted is not known: counted twice is safe
                for use, (requests, tokens) in zip(uses, owed):
                    use.meter.owed_requests.put_back(requests)
                    use.meter.owed_tokens.put_back(tokens)
                    use.changed = True
                for use, futures in zip(uses, waiting):
                    use.waiting[:0] = futures
        self._heard = self._clocks.now()
        for use, each, futures, question in zip(uses, told, waiting, asked):
            self._settle(use, each, futures, question)

    async def _ask(self, asked: Sequence[Asked]) -> list[Told]:
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.zcard(f"{PREFIX}replicas")
            for each in asked:
                pipe.evalsha(SHA, 2, *each.keys(), *each.arguments(self._me))
            replicas, *answers = await pipe.execute(raise_on_error=False)
        if any(isinstance(each, NoScriptError) for each in answers):
            # Flushed, or another Redis than before. None was run, or all that were are asked again: counted twice is safe.
            await self._redis.script_load(SCRIPT)
            return await self._ask(asked)
        for each in (replicas, *answers):
            if isinstance(each, Exception):
                raise each
        self._replicas = max(self._least, replicas)
        return [Told.of(each) for each in answers]

    def _settle(self, use: _Use, told: Told, waiting: Sequence[asyncio.Future[Lefts]], asked: Asked) -> None:
        meter, now = use.meter, self._clocks.now()
        meter.others_spent = {asked.period: told.spent - asked.spent}
        meter.others_tokens = max(0, told.tokens - meter.tokens.used(now)), now + 60.0
        left = told.left(use.key, meter.reserved)
        meter.told_left = (*left, now)
        granted = told.granted
        for future in waiting:
            if granted > 0:
                granted -= 1
                meter.requests.add(1, now)
                if not future.done():
                    meter.open += 1
                    future.set_result(left)
            elif not future.done():
                future.set_exception(told.refusal(use.key, meter.reserved, self._clocks.unix()))

    async def _within(self, doing: Awaitable[Answer], seconds: float) -> Answer:
        """Raises TimeoutError, after so many seconds during which this loop was able to hear an answer."""
        task = asyncio.ensure_future(doing)
        try:
            for _ in range(max(1, round(seconds / STEP))):
                done, _ = await asyncio.wait({task}, timeout=STEP)
                if done:
                    return task.result()
            raise TimeoutError
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    def _became(self, up: bool, why: BaseException | None) -> None:
        """One line for each change. Whoever waits is answered by what is known here."""
        if up != self._said and (up or why is not None):
            self._said = up
            if up:
                log.info("limits are shared")
            else:
                log.warning("limits are local: %s", type(why).__name__)
        self.up = up
        if up:
            self._heard = self._clocks.now()
            return
        self._oldest = None
        for use in self._uses.values():
            waiting, use.waiting = use.waiting, []
            for future in waiting:
                if not future.done():
                    try:
                        future.set_result(self._alone(use.key, use.meter))
                    except GatewayError as error:
                        future.set_exception(error)
