"""Call: a caller, a history and a leg, from the first offer to the last packet.

    call = Call("rtc_...", line, transport, codec, {"cascaded": Cascade})
    await call.run()        # returns when it is over, everything closed
    call.end("hangup")      # from outside

Owns the line between transport and leg: client events come in here, what happens goes out here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import orjson

from gateway.calls import gateway_codec
from gateway.calls.carried import CarriedIn
from gateway.calls.commands import (
    Asked,
    CallItem,
    ChangeMode,
    Command,
    Hangup,
    InputAppend,
    InputClear,
    InputCommit,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ItemTruncate,
    MessageItem,
    OutputClear,
    OutputItem,
    PlayoutDelay,
    Rejected,
    ResponseCancel,
    ResponseCreate,
    SessionUpdate,
    ShowHistory,
    decode,
    decode_ours,
)
from gateway.calls.events import (
    CallEnded,
    CallEvent,
    CallStarted,
    HistoryShown,
    InputTimedOut,
    ItemAdded,
    ItemDeleted,
    ItemShown,
    LimitLeft,
    LimitsTold,
    Measured,
    Mode,
    Problem,
    ResponseAudio,
    ResponseEnded,
    SessionChanged,
    SessionStarted,
    TurnCommitted,
)
from gateway.calls.history import Item
from gateway.calls.lead import Lead, Maker
from gateway.calls.leg import Leg, Line
from gateway.calls.realtime import RealtimeCodec
from gateway.calls.session import ServerVad, Settings, unheard_of
from gateway.calls.transport import FRAME, ClientMessage, Transport
from gateway.routing.route import CallRoute

log = logging.getLogger(__name__)

AHEAD = 30.0
"""Seconds that audio in events may come ahead of real time; what comes faster waits in the socket."""
BREATH = 50
"""Pieces of the mic put in at once, a second's worth, before others have their turn."""
LOOK = 0.1
"""Seconds between looks at whether the caller is silent, where that is to be noticed."""
SOON = 100
"""Turns of the loop in which a leg hears what is in the mic."""
FAREWELL = 0.9
"""Seconds that closing what a call opened may take before it is said to be slow."""


class Call:
    def __init__(
        self,
        call_id: str,
        line: Line,
        transport: Transport,
        codec: RealtimeCodec,
        legs: Mapping[Mode, Maker],
        apologies: Callable[[CallRoute], bytes | None] = lambda route: None,
    ) -> None:
        self.id, self.line = call_id, line
        self._transport, self._codec = transport, codec
        self.lead = Lead(line, legs, apologies)
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.owner: str | None = None
        """The key that may ask for it, by its id."""
        self.limits: Callable[[], tuple[LimitLeft, ...]] = tuple
        """What is left of that key's limits."""
        self._active = asyncio.get_running_loop().time()
        self._answered = False  # since the caller's silence was last spoken to
        self.beside: list[Callable[[str], None]] = []
        """Who else is told what the client is, sound excepted."""
        self._carried = CarriedIn()
        self._appended = 0.0  # when what was appended so far would have been spoken, by the loop's clock

    @property
    def leg(self) -> Leg:
        """The one that serves now."""
        return self.lead.leg

    def change_mode(self, mode: Mode, reason: str) -> bool:
        """Soon; False if the call's route has no such mode."""
        return self.lead.change(mode, reason)

    @property
    def history(self) -> HistoryShown:
        return HistoryShown(self.line.history.spoken())

    def end(self, reason: str) -> None:
        """Ask it to end; the first reason counts."""
        if not self._ended.done():
            self._ended.set_result(reason)

    def tell(self, event: CallEvent) -> None:
        """To the client, on the channels that have a word for it."""
        self._active = asyncio.get_running_loop().time()
        for message in self._codec.encode(event):
            self._transport.send("oai-events", message)
            if not isinstance(event, ResponseAudio):
                for told_too in self.beside:
                    told_too(message)
        if isinstance(event, ResponseEnded):
            self._answered = True
            if limits := self.limits():
                self.tell(LimitsTold(limits))
        elif isinstance(event, Measured):
            self.lead.measured(event.turn)
        if (told := gateway_codec.encode(event)) is not None:
            self._transport.send("gateway", told)

    async def wait_ended(self) -> None:
        """Returns when it is about to be closed."""
        await asyncio.wait([self._ended])

    async def run(self) -> None:
        """Until it is over; everything it opened is closed then. Raises what a leg did not expect."""
        self.tell(SessionStarted(self.line.session))
        self.tell(CallStarted(self.id, self.line.route.name, self.leg.mode, self.lead.modes))
        self._transport.play(self._speak)
        reason = "error"
        try:
            reason = await self._serve()
        finally:
            self.tell(CallEnded(reason))
            self.line.playout.flush()
            await self._transport.aclose(reason)
            log.info("call %s ended: %s", self.id, reason)

    def _speak(self, count: int) -> bytes | None:
        """The transport's ticker asks; a fault of this call must not reach it."""
        try:
            return self.line.playout.pull(count)
        except Exception as error:  # noqa: BLE001
            if not self._ended.done():
                self._ended.set_exception(error)
            return None

    async def _serve(self) -> str:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.lead.run()),
                group.create_task(self._read()),
                group.create_task(self._watch_transport()),
                group.create_task(self._watch_time()),
                group.create_task(self._watch_silence()),
            ]
            reason = await self._ended
            left = asyncio.get_running_loop().time()
            for task in tasks:
                task.cancel()
        took = asyncio.get_running_loop().time() - left
        if took > FAREWELL:
            log.warning("call %s: closing its streams took %.1f s", self.id, took)
        return reason

    async def _watch_transport(self) -> None:
        self.end(await self._transport.wait_closed())

    async def _watch_silence(self) -> None:
        """Speaks to a caller who says nothing after an answer, where the session asks for that."""
        loop, since, start, waiting = asyncio.get_running_loop(), 0.0, 0.0, False
        while True:
            detection = self.line.session.turn_detection
            patience = detection.idle_timeout_ms if isinstance(detection, ServerVad) else None
            await asyncio.sleep(LOOK if patience is not None else 1.0)
            if patience is None or self.leg.busy:
                waiting = False
            elif self._answered and not waiting:
                since, start, waiting = loop.time(), self.leg.heard_to * FRAME, True
            elif waiting and loop.time() >= since + patience / 1000:
                item = Item(self.line.new_id("item"), "user", "", "audio")
                self.tell(InputTimedOut(item.id, start, self.leg.heard_to * FRAME))
                self.tell(TurnCommitted(item, self.line.history.add(item)))
                self.leg.respond(Asked())
                self._answered = waiting = False

    async def _watch_time(self) -> None:
        loop, rules = asyncio.get_running_loop(), self.line.rules
        longest = loop.time() + rules.longest
        while (now := loop.time()) < longest:
            if self.leg.busy:
                self._active = now
            if now >= self._active + rules.idle:
                return self.end("idle")
            await asyncio.sleep(min(longest - now, rules.idle / 20))
        self.tell(Problem("invalid_request_error", "session_expired", "the session reached its longest duration"))
        self.end("expired")

    # what the client sends

    async def _read(self) -> None:
        async for message in self._transport.inbox.reader():
            await self.hear(message)

    async def hear(self, message: ClientMessage) -> None:
        """Do what it says, or tell why not."""
        await self.lead.ready.wait()
        try:
            if message.label == "gateway":
                self._active = asyncio.get_running_loop().time()
                self._do_ours(message)
            else:
                await self._obey(message)
        except Rejected as wrong:
            self._refuse(message, wrong)

    async def _obey(self, message: ClientMessage) -> None:
        if message.binary:
            raise Rejected("invalid_event", "events are JSON text, and this was a binary message")
        command = decode(message.text)
        if isinstance(command, InputAppend):
            await self._append(command)
            return
        self._active = asyncio.get_running_loop().time()
        if self._transport.audio_in_events and isinstance(command, (InputCommit, InputClear, SessionUpdate)):
            await self._hear_all(command)
        self._do(command)

    async def _append(self, command: InputAppend) -> None:
        if not self._transport.audio_in_events:
            message = "the caller's audio comes by WebRTC in this call"
            raise Rejected("invalid_value", message, "type", command.event_id)
        loop, began = asyncio.get_running_loop(), self.line.mic.end
        form = self.line.session.settings.audio.input.format
        try:
            for piece in self._carried.feed(command.audio, form):
                self.line.mic.put(piece)
                if (self.line.mic.end - began) % BREATH == 0:
                    await asyncio.sleep(0)
        except Rejected as wrong:
            raise Rejected(wrong.code, wrong.message, wrong.param, command.event_id) from None
        self._appended = max(self._appended, loop.time()) + (self.line.mic.end - began) * FRAME
        if (early := self._appended - AHEAD - loop.time()) > 0:
            await asyncio.sleep(early)

    async def _hear_all(self, command: InputCommit | InputClear | SessionUpdate) -> None:
        """What was appended before is heard before the command is done."""
        if self.line.session.turn_detection is None and isinstance(command, InputCommit):
            for piece in self._carried.finish():
                self.line.mic.put(piece)
        elif isinstance(command, InputClear):
            self._carried.clear()
        for _ in range(SOON):
            if self.leg.heard_to >= self.line.mic.end:
                return
            await asyncio.sleep(0)

    def _refuse(self, message: ClientMessage, wrong: Rejected) -> None:
        if message.label == "gateway":
            told = {"type": "error", "code": wrong.code, "message": wrong.message, "param": wrong.param}
            self._transport.send("gateway", orjson.dumps(told).decode())
        else:
            problem = Problem("invalid_request_error", wrong.code, wrong.message, wrong.param, wrong.event_id)
            self.tell(problem)

    def _do_ours(self, message: ClientMessage) -> None:
        match decode_ours(message.text):
            case ShowHistory():
                self.tell(self.history)
            case PlayoutDelay(seconds=seconds):
                self.line.playout.client_delay = seconds
            case ChangeMode(mode=mode):
                if not self.change_mode(mode, "the client asked for it"):
                    raise Rejected("no_such_mode", f"this call's route has no {mode} mode", "mode")
            case Hangup():
                self.end("hangup")

    def _do(self, command: Command) -> None:
        leg, event_id = self.leg, command.event_id
        if not self.line.session.answers and not isinstance(command, (SessionUpdate, InputCommit, InputClear)):
            raise Rejected("invalid_value", "a transcription session only hears", "type", event_id)
        match command:
            case SessionUpdate(session=settings):
                self._check_update(settings, event_id)
                self.line.session = self.line.session.updated(settings)
                leg.configure()
                self.tell(SessionChanged(self.line.session))
                self._go_to(settings.model)
            case ItemCreate() | ItemDelete() | ItemRetrieve() | ItemTruncate():
                self._do_item(command)
            case ResponseCreate(response=asked):
                if leg.responding:
                    raise Rejected(
                        "conversation_already_has_active_response", "an answer is being made", None, event_id
                    )
                leg.respond(asked or Asked())
            case ResponseCancel():
                if not leg.interrupt("client_cancelled"):
                    raise Rejected("response_cancel_not_active", "there is no answer to cancel", None, event_id)
            case OutputClear():
                leg.interrupt("client_cancelled")
            case InputCommit():
                if not leg.commit():
                    raise Rejected("input_audio_buffer_commit_empty", "no speech since the last turn", None, event_id)
            case InputClear():
                leg.clear()

    def _go_to(self, model: str | None) -> None:
        """Another route, if that names one that the key may use. Clients send names of models of their own, too."""
        if model is None or model == self.line.route.name:
            return
        if (route := self.line.names.call(model)) is not None:
            self.lead.reroute(route, "the session's model was changed")

    def _check_update(self, settings: Settings, event_id: str | None) -> None:
        kind = self.line.session.settings.type
        if settings.type != kind:
            raise Rejected("invalid_value", f"this session is of type {kind}", "session.type", event_id)
        if kind == "transcription" and (unknown := unheard_of(settings)) is not None:
            raise Rejected("unknown_parameter", f"{unknown}: unknown field", unknown, event_id)

    def _do_item(self, command: ItemCreate | ItemDelete | ItemRetrieve | ItemTruncate) -> None:
        history = self.line.history
        match command:
            case ItemCreate(item=sent, previous_item_id=previous):
                item = self._item_of(sent, command.event_id)
                if history.get(item.id) is not None:
                    raise Rejected("invalid_value", "an item has this id already", "item.id", command.event_id)
                if previous not in (None, "root"):
                    self._item(previous, "previous_item_id", command.event_id)
                self.tell(ItemAdded(item, history.add(item, previous)))
                self.leg.noted(item)
            case ItemDelete(item_id=item_id):
                self._item(item_id, "item_id", command.event_id)
                history.delete(item_id)
                self.tell(ItemDeleted(item_id))
            case ItemRetrieve(item_id=item_id):
                self.tell(ItemShown(self._item(item_id, "item_id", command.event_id)))
            case ItemTruncate(item_id=item_id, audio_end_ms=end):
                item = self._item(item_id, "item_id", command.event_id)
                if item.role != "assistant" or not self.leg.truncate(item_id, end / 1000):
                    message = "only the last answer can be truncated, once it is made"
                    raise Rejected("invalid_value", message, "item_id", command.event_id)

    def _item_of(self, sent: MessageItem | CallItem | OutputItem, event_id: str | None) -> Item:
        item_id = sent.id or self.line.new_id("item")
        match sent:
            case CallItem():
                return Item(item_id, "assistant", sent.arguments, call_id=sent.call_id, name=sent.name)
            case OutputItem() if not self.line.history.called(sent.call_id):
                raise Rejected("item_not_found", "no function was called with this id", "item.call_id", event_id)
            case OutputItem():
                return Item(item_id, "tool", sent.output, call_id=sent.call_id)
        return Item(item_id, sent.role, sent.text)

    def _item(self, item_id: str | None, param: str, event_id: str | None) -> Item:
        item = None if item_id is None else self.line.history.get(item_id)
        if item is None:
            raise Rejected("item_not_found", "there is no such item", param, event_id)
        return item
