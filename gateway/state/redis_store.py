"""RedisStore: state shared through Redis, about every second. Without Redis the gateway goes on alone, and says so."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from gateway.state.exchange import Exchange
from gateway.state.redis_link import DOWN, RedisLink, Subscription
from gateway.state.shared_clock import SharedClock
from gateway.state.store import Ejection, Held, Replica, State
from gateway.state.wire import encode_held

log = logging.getLogger(__name__)

LONGEST_ID = 128
"""Characters of a call's id."""
TELLING = 10_000
"""Things to tell that wait; those that are left out are said again by the next beat, or expire."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds throughout. `beat`: between two statements; `patience`: for each exchange with Redis; `quiet`: without our own
    echo, until news count as lost; `forget`: until a silent replica is forgotten; `call`: until a call that nobody renews
    is gone; `find`: for finding one; `backoff`: the longest wait between two tries to reach Redis; `leave`: to say goodbye.
    """

    beat: float = 1.0
    patience: float = 1.0
    quiet: float = 3.0
    forget: float = 60.0
    call: float = 6.0
    find: float = 0.05
    backoff: float = 5.0
    leave: float = 0.5


class RedisStore:
    """Raises ConfigError for a URL that cannot be used. What it is told costs microseconds, whatever Redis does.

    `name`: this replica's, as the others are told it; `reached_at`: its URL.
    """

    def __init__(
        self, url: str, pace: Pace | None = None, rng: random.Random | None = None, reached_at: str | None = None
    ) -> None:
        self._pace, self._rng = pace or Pace(), rng or random.Random()
        self.name = secrets.token_hex(8)
        self._link = RedisLink(url, self.name, self._pace.patience)
        self._clock = SharedClock()
        self._exchange: Exchange | None = None
        self._reached_at = reached_at
        self._calls: dict[str, bytes] = {}  # as Redis is told them
        self._over: set[str] = set()  # calls that ended, until Redis was told
        self._renew_at = 0.0
        self._telling: deque[Callable[[], Awaitable[None]]] = deque(maxlen=TELLING)
        self._told = asyncio.Event()
        self._finding = asyncio.Semaphore(8)
        self._state: State = "joining"

    @property
    def state(self) -> State:
        return self._state

    async def run(self, replica: Replica) -> None:
        """See Store. One task; its own are children of it."""
        exchange = self._exchange = Exchange(replica, self.name, self._clock, self._pace.forget)
        try:
            while True:
                subscription = await self._joined(exchange)
                try:
                    self._became("shared")
                    await self._stay(subscription, exchange)
                finally:
                    await subscription.aclose()
                # A restarted Redis is met by all replicas: not all at once.
                await asyncio.sleep(self._rng.uniform(0.0, self._pace.beat))
        except Exception as error:
            self._became("local", _first(error))  # a mistake of ours; the gateway goes on
            raise
        finally:
            await self._leave()

    def ejected(self, ejection: Ejection) -> None:
        exchange, now = self._exchange, asyncio.get_running_loop().time()
        if exchange is not None:
            exchange.eject(ejection, now)
            self._tell(lambda: self._link.publish(exchange.news(ejection, now)))

    def register(self, call_id: str, owner: str | None = None) -> None:
        if _is_call(call_id):
            held = self._calls[call_id] = encode_held(Held(self.name, owner, self._reached_at))
            self._tell(partial(self._hold, {call_id: held}))

    def unregister(self, call_id: str) -> None:
        if self._calls.pop(call_id, None) is not None and self._state == "shared":  # else it expires
            self._over.add(call_id)
            self._tell(self._release)

    async def find(self, call_id: str) -> Held | None:
        if self._state != "shared" or not _is_call(call_id):
            return None
        with suppress(*DOWN):
            async with asyncio.timeout(self._pace.find), self._finding:
                return await self._link.find(call_id)
        return None

    def _tell(self, say: Callable[[], Awaitable[None]]) -> None:
        if self._state == "shared":  # else it is said by the first beat
            self._telling.append(say)
            self._told.set()

    async def _joined(self, exchange: Exchange) -> Subscription:
        """Tries until Redis was reached, and once did all that it must."""

        def failed(attempt: RetryCallState) -> None:
            self._became("local", attempt.outcome.exception() if attempt.outcome is not None else None)
            exchange.forget_silent(asyncio.get_running_loop().time())

        retrying = AsyncRetrying(wait=self._backoff, retry=retry_if_exception_type(DOWN), before_sleep=failed)
        return await retrying(self._join, exchange)

    def _backoff(self, attempt: RetryCallState) -> float:
        """Full jitter: anything up to twice as long each time."""
        most = min(self._pace.backoff, self._pace.beat * 2.0 ** min(attempt.attempt_number - 1, 16) / 4.0)
        return self._rng.uniform(0.0, most)

    async def _join(self, exchange: Exchange) -> Subscription:
        await self._link.aclose()  # nothing of the last time
        subscription = await self._link.subscribe()
        try:
            self._renew_at = 0.0
            await self._beat(exchange)
        except BaseException:
            await subscription.aclose()
            raise
        return subscription

    async def _stay(self, subscription: Subscription, exchange: Exchange) -> None:
        """Returns when Redis is out of reach."""
        self._telling.clear()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._beats(exchange), name="state: beats")
                group.create_task(self._listen(subscription, exchange), name="state: news")
                group.create_task(self._tells(), name="state: tells")
        except* DOWN as errors:
            self._became("local", _first(errors))

    async def _beats(self, exchange: Exchange) -> None:
        while True:
            await asyncio.sleep(self._pace.beat * self._rng.uniform(0.9, 1.1))
            await self._beat(exchange)

    async def _beat(self, exchange: Exchange) -> None:
        """Say what is to be said, and read what the others said: three round trips."""
        loop = asyncio.get_running_loop()
        sent = loop.time()
        server = await self._link.time()
        now = loop.time()
        self._clock.sample(sent, now, server)
        if self._calls and now >= self._renew_at:
            await self._hold(dict(self._calls))
            self._renew_at = now + self._pace.call / 3.0
        names = await self._link.speak(exchange.statement(now), self._clock.shared(now), self._pace.forget)
        for name, raw in (await self._link.read(names)).items() if names else ():
            exchange.read(name, raw, loop.time())
            await asyncio.sleep(0)  # each may be long: requests come first
        exchange.forget_silent(now)

    async def _hold(self, calls: dict[str, bytes]) -> None:
        await self._link.hold(calls, self._pace.call)
        if over := calls.keys() - self._calls.keys():  # meanwhile, and Redis may have been told that first
            self._over.update(over)
            await self._release()

    async def _release(self) -> None:
        over = list(self._over)
        await self._link.release(over)
        self._over.difference_update(over)

    async def _listen(self, subscription: Subscription, exchange: Exchange) -> None:
        while True:
            news = await subscription.next(self._pace.quiet)
            if news is not None:
                exchange.hear(news, asyncio.get_running_loop().time())

    async def _tells(self) -> None:
        while True:
            await self._told.wait()
            self._told.clear()
            while self._telling:
                await self._telling.popleft()()

    async def _leave(self) -> None:
        """Take back what was said, if that is quickly done; it expires otherwise."""
        with suppress(*DOWN):
            if self._state == "shared":
                async with asyncio.timeout(self._pace.leave):
                    await self._link.release(self._calls.keys() | self._over)
                    await self._link.leave()
        with suppress(*DOWN):
            await self._link.aclose()

    def _became(self, state: State, why: BaseException | None = None) -> None:
        """One line for each change. Names of errors only: their messages may hold the address."""
        if state != self._state:
            self._state = state
            if state == "shared":
                log.info("state is shared")
            else:
                log.warning("state is %s: %s", state, type(why).__name__)


def _is_call(call_id: str) -> bool:
    """Whether it can be the id of one: anything may be asked for."""
    return 0 < len(call_id) <= LONGEST_ID and call_id.isascii() and call_id.isprintable()


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
