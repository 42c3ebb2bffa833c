"""Lead: which leg serves a call, and the change from one to another. Make before break.

The new leg is opened and seeded with the history while the old one serves; it takes over where nobody waits for an answer,
or at once when the caller speaks. The mic is a Channel: what the caller says meanwhile is heard by whoever serves next. A leg
that will not open leaves the call as it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from gateway.calls.apology import Apologist
from gateway.calls.events import Mode, ModeChanged, ModeKept, Problem, SessionChanged
from gateway.calls.leg import Handover, Leg, Line
from gateway.calls.timeline import Stage, Turn
from gateway.calls.transport import FRAME, MIC_RATE, PLAYOUT_RATE
from gateway.contract.errors import GatewayError, Unavailable
from gateway.contract.requests import ConverseRequest, SpeakRequest, TranscribeRequest
from gateway.routing.route import CallRoute, Switch

log = logging.getLogger(__name__)

OPENS = 8.0
"""Seconds that a new leg may take to open."""
BOUNDARY = 30.0
"""Seconds for which a change waits for a moment that suits it; then it is made in the middle of whatever goes on."""
AGAIN, AGAIN_MOST = 0.5, 8.0
"""Seconds before a leg that failed is opened anew, where there is no other mode: twice as long each time."""
SOON = 1.5
"""Seconds for which a caller whom nobody answers is left without a word."""
STEADY = 60.0
"""Seconds that a mode must have served for its next failure to count as a new one."""


Maker = Callable[[Line, CallRoute], Leg]


@dataclass(frozen=True, slots=True)
class _Wish:
    """`route`: another than the call's, to go on with."""

    mode: Mode
    reason: str
    urgent: bool = False
    route: CallRoute | None = None


@dataclass(slots=True, eq=False)
class _Running:
    leg: Leg
    task: asyncio.Task[None]
    since: float


class Lead:
    """`makers`: how to make a leg of each mode; `sound`: of a route's apology. `leg`: the one that serves; `ready`: set once one does."""

    def __init__(
        self, line: Line, makers: Mapping[Mode, Maker], sound: Callable[[CallRoute], bytes | None] = lambda route: None
    ) -> None:
        self._line, self._makers = line, makers
        self._apologist = Apologist(line, sound)
        self.leg = makers[self._start](line, line.route)
        self.ready = asyncio.Event()
        self._wish: _Wish | None = None
        self._news = asyncio.Event()
        self._slow = 0  # answers in a row that took too long
        self._back_after = self._rules.back_after
        self._back_at: float | None = None
        self._spent_at: float | None = None  # when the mode it began in has served for as long as it may
        self._spent = False
        self._failures = 0
        self._paid = 0.0  # US dollars for omni
        self._foreign = False  # it left the mode it began in for one that speaks the caller's language
        line.trouble, line.leaving = self._trouble, self._leaving
        line.paid, line.understood = self._pay, self._understood

    @property
    def modes(self) -> tuple[Mode, ...]:
        return _modes(self._line.route)

    @property
    def _start(self) -> Mode:
        return self._line.route.start

    @property
    def _rules(self) -> Switch:
        return self._line.route.switch

    def reroute(self, route: CallRoute, reason: str) -> None:
        """Go on with another route, soon, in the mode that it begins in."""
        self._back_at = None
        self._ask(_Wish(route.start, reason, route=route))

    def change(self, mode: Mode, reason: str) -> bool:
        """Soon; False if the route has no such mode. `ModeChanged` or `ModeKept` tells what became of it."""
        if mode not in self.modes:
            return False
        if mode != self.leg.mode:
            self._back_at, self._foreign = None, False
            self._ask(_Wish(mode, reason))
        return True

    def measured(self, turn: Turn) -> None:
        """A turn is over: its answer may have been too slow too often."""
        if self._rules.ttft is None or turn.e2e_latency is None or not turn.done:
            return
        self._slow = self._slow + 1 if turn.e2e_latency > self._rules.ttft else 0
        if self._slow >= self._rules.turns and (other := self._other()) is not None:
            self._slow = 0
            self._ask(_Wish(other, f"{self._rules.turns} answers in a row took more than {self._rules.ttft:g} s"))

    async def run(self) -> None:
        """Until cancelled."""
        running = self._launch(self.leg)
        running.leg.serve(Handover())
        try:
            if await self._got_ready(running):
                self.ready.set()
            self._count_minutes()
            while True:
                await self._until_news(running)
                if running.task.done():
                    running = await self._replace(running, _failure(running.task))
                elif (wish := self._wish) is not None:
                    self._wish = None
                    running = await self._change(running, wish)
                elif self._spent_at is not None and self._now() >= self._spent_at:
                    running = await self._leave_for_good(running)
                elif self._back_at is not None and self._now() >= self._back_at:
                    self._back_at = None
                    running = await self._change(running, _Wish(self._start, "it serves again"))
        finally:
            self._apologist.cancel()
            await _ended(running.task)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _ask(self, wish: _Wish) -> None:
        if self._wish is None or wish.urgent:
            self._wish = wish
        self._news.set()

    def _other(self) -> Mode | None:
        return next((mode for mode in self.modes if mode != self.leg.mode), None)

    def _trouble(self, stage: Stage, error: GatewayError) -> None:
        other = self._other()
        if stage == "s2s":
            return  # a session that fails ends its leg by itself
        if self._rules.on_failure and other is not None:
            self._ask(_Wish(other, f"{stage} failed: {error}", urgent=True))
        else:
            self._apologist.say()

    def _pay(self, usd: float) -> None:
        self._paid += usd
        most, other = self._rules.usd, self._other()
        if most is not None and self._paid >= most and other is not None and self.leg.mode == "omni":
            self._spent = True
            self._ask(_Wish(other, f"omni has cost ${self._paid:.2f}, of the ${most:g} that it may in a call"))

    def _understood(self, language: str) -> None:
        mode, other = self.leg.mode, self._other()
        if not self._rules.language or other is None:
            return
        if not self._speaks(mode, language) and self._speaks(other, language):
            self._foreign = other != self._start
            self._ask(_Wish(other, f"{mode} does not speak {language}"))
        elif self._foreign and self._speaks(self._start, language):
            self._foreign = False
            self._ask(_Wish(self._start, f"it speaks {language}"))

    def _speaks(self, mode: Mode, language: str) -> bool:
        """As far as the targets declare."""
        route, fits = self._line.route, self._line.engine.fits
        if mode == "cascaded":
            hears = fits(route.stt, TranscribeRequest(MIC_RATE, language))
            return hears and fits(route.tts, SpeakRequest(PLAYOUT_RATE, language=language))
        return route.s2s is not None and fits(route.s2s, ConverseRequest(language=language))

    def _leaving(self, seconds: float) -> None:
        self._ask(_Wish(self.leg.mode, "its session is about to be dropped"))

    def _launch(self, leg: Leg) -> _Running:
        task = asyncio.create_task(leg.run(), name=f"leg {leg.mode}")
        task.add_done_callback(lambda _: self._news.set())
        return _Running(leg, task, self._now())

    async def _until_news(self, running: _Running) -> None:
        self._news.clear()
        if running.task.done() or self._wish is not None:
            return
        try:
            async with asyncio.timeout_at(min(filter(None, (self._back_at, self._spent_at)), default=None)):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _change(self, old: _Running, wish: _Wish) -> _Running:
        """As wished, or as it was."""
        began = self._now()
        try:
            with self._apology_after(SOON) if wish.urgent else nullcontext():
                new = await self._open(wish.mode, wish.route)
        except GatewayError as error:
            if wish.urgent:
                self._apologist.say()
            log.info("a call stays %s: %s", old.leg.mode, type(error).__name__)
            self._line.tell(ModeKept(old.leg.mode, wish.mode, f"{wish.mode} did not open: {error}"))
            if wish.mode == self._start and wish.route is None:
                self._later()
            return old
        try:
            if not wish.urgent:
                await self._boundary(old)
        except BaseException:
            await _ended(new.task)
            raise
        return await self._take_over(old, new, wish.reason, began)

    async def _replace(self, old: _Running, error: GatewayError) -> _Running:
        """The leg that served failed: another mode, else the same anew, until one opens."""
        began, pause = self._now(), AGAIN
        self._failures = 0 if began - old.since > STEADY else self._failures + 1
        other = self._other() if self._rules.on_failure else None
        order = [mode for mode in (other, old.leg.mode) if mode is not None]
        if old.leg.mode != self._start:
            order = order[::-1] if other is None else order
        while True:
            with self._apology_after(SOON):
                for mode in order:
                    try:
                        new = await self._open(mode)
                    except GatewayError as failure:
                        log.warning("a call's %s leg did not open: %s", mode, type(failure).__name__)
                        continue
                    return await self._take_over(old, new, f"{old.leg.mode} failed: {error}", began)
            self._apologist.say()
            self._line.tell(Problem("server_error", "no_leg", f"nobody can answer this call now: {error}"))
            await asyncio.sleep(pause)
            pause = min(AGAIN_MOST, pause * 2)

    @contextmanager
    def _apology_after(self, seconds: float) -> Iterator[None]:
        """If it takes longer."""
        timer = asyncio.get_running_loop().call_later(seconds, self._apologist.say)
        try:
            yield
        finally:
            timer.cancel()

    def _count_minutes(self) -> None:
        minutes = self._rules.minutes
        self._spent_at = None if minutes is None or self._other() is None else self._now() + minutes * 60

    async def _leave_for_good(self, running: _Running) -> _Running:
        self._spent_at = None
        other = self._other()
        if running.leg.mode != self._start or other is None:
            self._spent = True
            self._back_at = None
            return running
        new = await self._change(
            running, _Wish(other, f"{self._start} for {self._rules.minutes:g} minutes, and no longer")
        )
        self._spent = new is not running
        self._spent_at = None if self._spent else self._now() + self._back_after
        self._back_at = None
        return new

    async def _open(self, mode: Mode, route: CallRoute | None = None) -> _Running:
        """A leg that is ready to serve. Raises GatewayError."""
        new = self._launch(self._makers[mode](self._line, route or self._line.route))
        try:
            if await self._got_ready(new):
                return new
            raise _failure(new.task) if new.task.done() else Unavailable(f"not ready within {OPENS:g} s")
        except BaseException:
            await _ended(new.task)
            raise

    async def _got_ready(self, running: _Running) -> bool:
        """False where it failed, or takes too long."""
        waiting = asyncio.create_task(running.leg.ready.wait())
        try:
            await asyncio.wait({waiting, running.task}, timeout=OPENS, return_when=asyncio.FIRST_COMPLETED)
            return running.leg.ready.is_set() and not running.task.done()
        finally:
            await _ended(waiting)

    async def _boundary(self, old: _Running) -> None:
        """Until nobody waits for an answer, or the leg that serves is at its end."""
        deadline = self._now() + BOUNDARY
        while old.leg.answering and not old.task.done() and self._now() < deadline:  # noqa: ASYNC110  four things at once
            await asyncio.sleep(FRAME)

    async def _take_over(self, old: _Running, new: _Running, reason: str, began: float) -> _Running:
        handover = old.leg.handover()
        self._apologist.cancel()
        await _ended(old.task)
        self.leg = new.leg
        if new.leg.route is not self._line.route:
            self._move(new.leg.route)
        new.leg.serve(handover)
        self.ready.set()
        if new.leg.mode != self._start:
            self._later()
        elif old.leg.mode != self._start and self._failures == 0:
            self._back_after = self._rules.back_after
        log.info("a call is %s now", new.leg.mode)
        self._line.tell(ModeChanged(old.leg.mode, new.leg.mode, reason, self._now() - began, new.leg.route.name))
        return new

    def _move(self, route: CallRoute) -> None:
        """The call is of another route. What the client said of its session stays; what was the old route's is the new one's."""
        line, before = self._line, self._line.route
        line.route, self._back_after, self._slow, self._spent = route, route.switch.back_after, 0, False
        self._paid, self._foreign = 0.0, False
        self._count_minutes()
        if (session := line.session.moved(before, route)) != line.session:
            line.session = session
            self.leg.configure()
            line.tell(SessionChanged(session))

    def _later(self) -> None:
        """When to try the mode it began in once more: the sooner it failed again, the later."""
        if self._spent or self._foreign:
            return
        self._back_at = self._now() + self._back_after
        self._back_after = min(self._back_after * 2, 600.0)


def _modes(route: CallRoute) -> tuple[Mode, ...]:
    return ("cascaded",) if route.s2s is None else ("cascaded", "omni")


def _failure(task: asyncio.Task[None]) -> GatewayError:
    """Why a leg ended. Raises what no leg may raise."""
    error = None if task.cancelled() else task.exception()
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, GatewayError):
        return error
    if error is not None:
        raise error
    return Unavailable("it ended by itself")


async def _ended(task: asyncio.Task[None] | asyncio.Task[bool]) -> None:
    task.cancel()
    await asyncio.wait([task])
