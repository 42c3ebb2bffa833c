"""Registry: the calls that are going on. Starts them, owns their tasks, ends them, and has the other replicas know of them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import traceback
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, Literal

from gateway.access.grant import Grant, paying
from gateway.access.meter import Left
from gateway.calls.apology import Apologies
from gateway.calls.call import Call
from gateway.calls.cascade import Cascade
from gateway.calls.commands import Rejected, decode_settings
from gateway.calls.events import CallEvent, LimitLeft, Mode
from gateway.calls.history import History
from gateway.calls.lead import Maker
from gateway.calls.leg import NAMELESS, CallRules, Line, Names, Opens, TurnModel, Vad
from gateway.calls.omni import Omni
from gateway.calls.playout import Playout
from gateway.calls.realtime import RealtimeCodec
from gateway.calls.session import AudioOut, AudioSettings, Json, Session, Settings, unheard_of
from gateway.calls.timeline import Timeline
from gateway.calls.transport import Transport
from gateway.contract.errors import BadRequest, GatewayError
from gateway.routing.route import CallRoute
from gateway.state.memory import MemoryStore
from gateway.state.store import Directory, Held

log = logging.getLogger(__name__)


class CallsFull(GatewayError):
    """`retry_after`: seconds."""

    def __init__(self, most: int, retry_after: float = 5.0) -> None:
        super().__init__(f"{most} calls are going on, which is all this gateway takes")
        self.retry_after = retry_after


def new_id(prefix: str) -> str:
    """Unguessable: knowing a call's id is enough to hang it up."""
    return f"{prefix}_{secrets.token_urlsafe(18)}"


class Registry:
    """`vad`: makes one call's VAD. `turn_model`: shared by all calls; without it, turns end by silence alone.
    `directory`: where other replicas look for calls; without it, they find none of ours, nor we of theirs."""

    def __init__(
        self,
        engine: Opens,
        vad: Callable[[], Vad],
        turn_model: TurnModel | None = None,
        rules: CallRules | None = None,
        most: int = 50,
        directory: Directory | None = None,
    ) -> None:
        self._engine, self._vad, self._turn_model = engine, vad, turn_model
        self._rules, self._most = rules or CallRules(), most
        self._calls: dict[str, tuple[Call, asyncio.Task[None]]] = {}
        self._directory = directory or MemoryStore()
        self._apologies = Apologies(engine)
        self._closing = False

    def __len__(self) -> int:
        return len(self._calls)

    def check(self, session: dict[str, Any] | None) -> Settings | None:
        """The `session` of an offer. Raises BadRequest, naming the field; CallsFull when there is no place."""
        if self._closing or len(self._calls) >= self._most:
            raise CallsFull(self._most)
        try:
            given = None if session is None else decode_settings(session)
            if given is not None and given.type == "transcription" and (unknown := unheard_of(given)) is not None:
                raise Rejected("unknown_parameter", f"{unknown}: unknown field", unknown)
            return given
        except Rejected as wrong:
            raise BadRequest(wrong.message, wrong.param) from None

    def described(self, route: CallRoute, session: dict[str, Any]) -> Json:
        """What such a session would be, as clients are told. Raises as `check` does."""
        given, whole = self.check(session), Session(new_id("sess"), _settings_of(route))
        return (whole if given is None else whole.updated(given)).as_json()

    def start(
        self,
        route: CallRoute,
        session: dict[str, Any] | None,
        transport: Transport,
        call_id: str | None = None,
        names: Names = NAMELESS,
    ) -> Call:
        """The call goes on in a task of its own until somebody hangs up. Raises BadRequest and CallsFull."""
        given = self.check(session)
        call_id = call_id or new_id("rtc")
        call = self._call(call_id, route, given, transport, names)
        grant = paying()
        call.owner, call.limits = grant.key_id, lambda: _limits(grant)
        paying().hold()  # the caller's key pays until the call is over
        task = asyncio.create_task(self._run(call), name=f"call {call_id}")
        self._calls[call_id] = (call, task)
        self._directory.register(call_id, paying().key_id)
        self._apologies.prepare(route)
        return call

    def get(self, call_id: str) -> Call | None:
        entry = self._calls.get(call_id)
        return None if entry is None else entry[0]

    async def elsewhere(self, call_id: str) -> Held | None:
        """Who holds a call that is none of ours; None also where the directory cannot say at once."""
        return await self._directory.find(call_id)

    async def end(self, call_id: str, reason: str = "hangup") -> bool:
        """Returns once it is over; False if there is no such call."""
        entry = self._calls.get(call_id)
        if entry is None:
            return False
        call, task = entry
        call.end(reason)
        await asyncio.wait([task])
        return True

    async def aclose(self) -> None:
        """Ends every call; no more are taken."""
        self._closing = True
        tasks = [task for _, task in self._calls.values()]
        for call, _ in tuple(self._calls.values()):
            call.end("shutdown")
        if tasks:
            await asyncio.wait(tasks)
        await self._apologies.aclose()

    async def _run(self, call: Call) -> None:
        try:
            await call.run()
        except Exception as error:  # noqa: BLE001  # a fault of one call must not reach the others
            log.error("call %s crashed: %s", call.id, ", ".join(_faults(error)))
        finally:
            paying().end()
            del self._calls[call.id]
            self._directory.unregister(call.id)

    def _call(
        self,
        call_id: str,
        route: CallRoute,
        given: Settings | None,
        transport: Transport,
        names: Names,
    ) -> Call:
        now = asyncio.get_running_loop().time
        session = Session(new_id("sess"), _settings_of(route), int(time.time() + self._rules.longest), new_id("conv"))
        if given is not None:
            session = session.updated(given)
        told: list[Call] = []
        carried = transport.audio_in_events

        def tell(event: CallEvent) -> None:
            told[0].tell(event)

        line = Line(
            route=route,
            session=session,
            engine=self._engine,
            mic=transport.mic,
            history=History(self._rules.history),
            playout=Playout(now, lambda: transport.round_trip, self._rules.buffered, carried),
            timeline=Timeline(now),
            tell=tell,
            new_id=new_id,
            vad=self._vad(),
            turn_model=self._turn_model,
            rules=self._rules,
            chosen_mic=carried,
            names=names,
        )
        call = Call(call_id, line, transport, RealtimeCodec(session, carried), _LEGS, self._apologies.of)
        told.append(call)
        return call


_LEGS: dict[Mode, Maker] = {"cascaded": Cascade, "omni": Omni}


def _limits(grant: Grant) -> tuple[LimitLeft, ...]:
    requests, tokens = grant.left_now()
    named: tuple[tuple[Literal["requests", "tokens"], Left | None], ...] = (("requests", requests), ("tokens", tokens))
    return tuple(LimitLeft(name, each.limit, each.remaining, each.reset) for name, each in named if each is not None)


def _settings_of(route: CallRoute) -> Settings:
    audio = AudioSettings(output=AudioOut(voice=route.voice))
    return Settings(type="realtime", model=route.name, instructions=route.instructions, audio=audio)


def _faults(error: BaseException) -> list[str]:
    """Types and places in a tree of errors. No messages: they may hold words of the call."""
    if isinstance(error, BaseExceptionGroup):
        return [fault for each in error.exceptions for fault in _faults(each)]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return [type(error).__name__ + where]
