"""Omni: the leg that one speech-to-speech session answers. The provider hears, decides about turns, thinks and speaks.

One leg is one session: when that fails, so does `run`, and whoever leads the call opens the next leg.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.calls.commands import Asked
from gateway.calls.events import (
    Cause,
    InputCleared,
    ItemDeleted,
    Mode,
    PartialHeard,
    Rerouted,
    SpeechBegan,
    SpeechStopped,
    TranscriptionLost,
    TurnCommitted,
    TurnTranscribed,
)
from gateway.calls.history import Item
from gateway.calls.leg import Handover, Line
from gateway.calls.session import SemanticVad, ServerVad
from gateway.calls.spoken import Spoken
from gateway.calls.timeline import Turn
from gateway.calls.transport import FRAME, PLAYOUT_RATE
from gateway.calls.utterance import REMEMBERED, Utterance
from gateway.contract import events
from gateway.contract.channel import Channel
from gateway.contract.errors import GatewayError, Unavailable
from gateway.contract.events import Answered, AudioDelta, GoingAway, TextDelta, ToolCallDelta, Transcript, Usage
from gateway.contract.messages import Message, ToolCall
from gateway.contract.requests import (
    Cancel,
    Clear,
    Commit,
    ConverseRequest,
    Eagerness,
    Input,
    Respond,
    ToolResult,
    Truncate,
)
from gateway.routing.engine import Answer
from gateway.routing.route import CallRoute

log = logging.getLogger(__name__)

KEPT = 30.0
"""Seconds of the caller's audio that wait for a session which does not take it."""
PREFIX = 0.3
"""Seconds before speech was noticed that belong to it."""
_PATIENCE = {"low": 2.0, "medium": 1.0, "auto": 1.0, "high": 0.5}
"""Of `semantic_vad`, by eagerness: seconds of silence that end a turn, for providers that know nothing finer."""


@dataclass(slots=True, eq=False)
class _HeardTurn:
    """What the caller says. `start`: the piece of the mic where it begins."""

    item_id: str
    timeline: Turn
    start: int
    began: float
    seconds: float = 0.0
    text: str = ""


class Omni:
    mode: Mode = "omni"

    def __init__(self, line: Line, route: CallRoute) -> None:
        self._line, self.route = line, route
        self.ready = asyncio.Event()
        self._serving = asyncio.Event()
        self._inputs: Channel[Input] = Channel(KEPT)
        self._first = self._next = 0  # pieces of the mic: the first that was put in, and the one after the last
        self._times: deque[float] = deque(maxlen=round(KEPT / FRAME))  # when the last pieces came, by the loop's clock
        self._handed: Handover | None = None
        self._turn: _HeardTurn | None = None
        self._awaiting: deque[_HeardTurn] = deque()  # committed, and not transcribed
        self._utterance: Spoken | None = None
        self._utterances: deque[Spoken] = deque(maxlen=REMEMBERED)
        self._spare: Turn | None = None  # a turn that waits for the client to ask for its answer
        self._target = ""
        self._used = Usage()  # by the session, as it last said
        self._cost = 0.0  # of it, in US dollars, as last told
        self._void = 0  # answers that were stopped, of which the session did not yet say that they are over
        self._owed = False  # the caller's last words are not answered

    async def run(self) -> None:
        """Raises GatewayError when the session fails, and when none can be opened."""
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(self._listen())
            try:
                await self._converse()
            except GatewayError as error:
                self._break_off(error)
                raise
            finally:
                listening.cancel()

    def serve(self, handover: Handover) -> None:
        self._handed = handover
        self._serving.set()

    def handover(self) -> Handover:
        if not self.ready.is_set():
            return self._handed or Handover()
        if self._turn is not None:
            return Handover(self._turn.start, self._turn.item_id)
        if self._awaiting and not self.responding:
            return Handover(self._again(self._awaiting))
        said = self._utterance
        failed = said is not None and said.failed
        return Handover(self._next, answer=self._owed or failed, cut=said is not None and said.broken)

    def _again(self, turns: Iterable[_HeardTurn]) -> int:
        """Where the mic is to be heard again, for turns of which nobody knows what was said. They will be other items then."""
        for turn in turns:
            self._line.history.delete(turn.item_id)
            self._line.tell(ItemDeleted(turn.item_id))
        return min(turn.start for turn in turns)

    # commands

    @property
    def heard_to(self) -> int:
        return self._next

    @property
    def busy(self) -> bool:
        return self._turn is not None or self.answering

    @property
    def answering(self) -> bool:
        return self.responding or self._owed or not self._line.playout.idle

    @property
    def responding(self) -> bool:
        return self._utterance is not None and self._utterance.making

    def configure(self) -> None:
        self._inputs.put(self._request())

    def noted(self, item: Item) -> None:
        if item.role == "tool" and item.call_id is not None:
            self._inputs.put(ToolResult(item.call_id, item.text or ""))
        elif item.call_id is not None and item.name is not None:
            call = ToolCall(item.call_id, item.name, item.text or "")
            self._inputs.put(Message("assistant", tool_calls=(call,)))
        elif item.text:
            self._inputs.put(Message.of(item.role, item.text))

    def commit(self) -> bool:
        if self._turn is None and self._next == self._first:
            return False
        turn = self._turn or self._open(self._next)
        self._inputs.put(Commit(answer=False))
        self._close(turn, self._heard, told=False, answer=False)
        return True

    def clear(self) -> None:
        self._turn = None
        self._inputs.put(Clear())
        self._line.tell(InputCleared())

    def respond(self, asked: Asked) -> None:
        limit = asked.max_output_tokens if isinstance(asked.max_output_tokens, int) else None
        turn, self._spare = self._spare or self._line.timeline.turn(), None
        self._speak(turn, asked)
        self._inputs.put(Respond(asked.instructions, limit))

    def interrupt(self, cause: Cause) -> bool:
        stopped = self.responding
        if stopped:
            self._void += 1
            self._inputs.put(Cancel())
        for track, heard in self._line.playout.flush():
            if isinstance(track.listener, Utterance):
                track.listener.interrupt(heard, cause)
                if track.listener is self._utterance and not heard.whole:
                    self._inputs.put(Truncate(heard.seconds))
                stopped = True
        if self._utterance is not None and self._utterance.making:  # an answer in text alone
            self._utterance.interrupt(None, cause)
        self._owed = False
        return stopped

    def truncate(self, item_id: str, seconds: float) -> bool:
        utterance = next((each for each in self._utterances if each.item_id == item_id), None)
        if utterance is None:
            return False
        if self._line.playout.as_made and (utterance.making or utterance.playing):
            self.interrupt("client_cancelled")  # they stopped playing it
        if not utterance.truncate(seconds):
            return False
        if utterance is self._utterance:
            self._inputs.put(Truncate(seconds))
        return True

    # the session

    def _request(self) -> ConverseRequest:
        session, detection = self._line.session, self._line.session.turn_detection
        patience: float | None = None
        eagerness: Eagerness | None = None
        match detection:
            case ServerVad():
                patience = detection.silence_duration_ms / 1000
            case SemanticVad():
                patience, eagerness = _PATIENCE[detection.eagerness], detection.eagerness
        return ConverseRequest(
            session.settings.instructions,
            self._line.history.messages("", open_calls=True),
            session.voice,
            rate=PLAYOUT_RATE,
            turns="client" if detection is None else "server",
            language=self.route.language,
            patience=patience,
            answers=detection is not None and detection.create_response,
            speaks=session.modality == "audio",
            max_tokens=session.max_tokens,
            tools=session.tools,
            tool_choice=session.tool_choice,
            eagerness=eagerness,
            interrupts=detection is None or detection.interrupt_response,
        )

    async def _converse(self) -> None:
        line = self._line
        assert self.route.s2s is not None  # else there is no such leg
        async with line.engine.open(self.route.s2s, self._request(), self._inputs, sticky=line.session.id) as answer:
            self._served(answer)
            self.ready.set()
            async for event in answer:
                self._hear(event, answer)
        raise Unavailable("the session ended by itself")

    async def _listen(self) -> None:
        await self._serving.wait()
        assert self._handed is not None  # `serve` sets it first
        reader = self._line.mic.reader(self._handed.mic)
        self._first = self._next = reader.index
        if self._handed.answer:
            self._owed = True
            self._inputs.put(Respond())
        async for piece in reader:
            self._next = reader.index
            self._times.append(reader.at)
            self._inputs.put(piece)

    def _served(self, answer: Answer) -> None:
        target, before = str(answer.target), self._target
        self._target = target
        reasons = [f"{attempt.target}: {attempt.error}" for attempt in answer.attempts]
        if reasons or before not in ("", target):
            self._line.tell(Rerouted("s2s", target, "; ".join(reasons) or f"{before} failed"))

    def _hear(self, event: events.AnswerEvent, answer: Answer) -> None:
        match event:
            case events.SpeechStarted(at):
                self._started(at)
            case events.SpeechEnded(at):
                turn = self._turn or self._open(self._piece(at))
                self._close(turn, self._heard if at is None else self._said(at), True, self._request().answers)
            case Transcript():
                self._transcribed(event)
            case TextDelta() | AudioDelta() | ToolCallDelta() if self._void:
                pass  # of an answer that was stopped
            case TextDelta(text, "text" | "refusal"):
                self._answer().text(text)
            case AudioDelta(audio, words):
                self._answer().sound(audio.pcm, audio.rate, words)
            case ToolCallDelta():
                self._answer().calls.add(event)
            case Usage():  # of the session so far
                if self._utterance is not None and self._utterance.making and not self._void:
                    self._utterance.used(event.minus(self._used))
                self._used = event
                self._pay(answer.cost)
            case Answered() if self._void:
                self._void -= 1
            case Answered(reason):
                self._owed = False
                if self._utterance is not None and self._utterance.making:
                    self._utterance.finished(reason)
            case events.Rerouted():
                self._used, self._void = Usage(), 0
                self._served(answer)
            case GoingAway(seconds):
                log.info("the session with %s will be dropped in %.0f s", self._target, seconds)
                self._line.leaving(seconds)
            case _:
                pass

    def _pay(self, usd: float | None) -> None:
        """`usd`: what the session has cost so far; None if nobody knows."""
        if usd is not None and usd > self._cost:
            more, self._cost = usd - self._cost, usd
            self._line.paid(more)

    def _break_off(self, error: GatewayError) -> None:
        """The session failed. What it said already is still heard."""
        if self._utterance is not None and self._utterance.making:
            self._utterance.broke_off(error)

    # turns

    @property
    def _heard(self) -> float:
        """Seconds of the call's audio so far."""
        return self._next * FRAME

    def _said(self, at: float) -> float:
        """`at`: seconds of the session's audio; of the call's."""
        return self._first * FRAME + at

    def _piece(self, at: float | None) -> int:
        return self._next if at is None else min(self._next, self._first + int(at / FRAME))

    def _open(self, piece: int) -> _HeardTurn:
        handed, item_id = self._handed, None
        if handed is not None and handed.item_id is not None and piece <= handed.mic_or(0) + round(2.0 / FRAME):
            item_id = handed.item_id
            self._handed = replace(handed, item_id=None)
        start = max(self._first, piece - round(PREFIX / FRAME))
        turn = _HeardTurn(item_id or self._line.new_id("item"), self._line.timeline.turn(), start, piece * FRAME)
        if item_id is None and self._line.session.turn_detection is not None:
            self._line.tell(SpeechBegan(turn.item_id, max(0.0, piece * FRAME - PREFIX)))
        return turn

    def _started(self, at: float | None) -> None:
        detection = self._line.session.turn_detection
        if detection is not None and detection.interrupt_response:
            self.interrupt("turn_detected")
        if self._turn is None:
            self._turn = self._open(self._piece(at))

    def _close(self, turn: _HeardTurn, ended: float, told: bool, answer: bool) -> None:
        self._turn = None
        turn.seconds = max(0.0, ended - turn.began)
        timeline = turn.timeline
        late = self._next - round(ended / FRAME)
        if 0 < late <= len(self._times):
            timeline.mark("last_speech_rtp", self._line.timeline.since_start(self._times[-late]))
        timeline.mark("vad_stop")
        timeline.mark("turn_decided")
        timeline.targets["s2s"] = self._target
        if told:
            self._line.tell(SpeechStopped(turn.item_id, ended))
        item = Item(turn.item_id, "user", None, "audio")
        self._line.tell(TurnCommitted(item, self._line.history.add(item)))
        self._awaiting.append(turn)
        self._owed = answer
        self._spare = timeline

    def _transcribed(self, event: Transcript) -> None:
        turn = self._awaiting[0] if self._awaiting else self._turn
        if turn is None:
            return
        if not event.final:
            self._line.tell(PartialHeard(turn.item_id, " ".join(filter(None, (turn.text, event.text.strip())))))
            return
        turn.text = " ".join(filter(None, (turn.text, event.text.strip())))
        if event.ends_turn and self._awaiting:
            self._awaiting.popleft()
            turn.timeline.mark("stt_final")
            self._line.heard_in(event.language, turn.text)
            self._line.history.said(turn.item_id, turn.text)
            if event.lost and not turn.text:
                self._line.tell(TranscriptionLost(turn.item_id, f"{self._target} could not write down what was said"))
            else:
                self._line.tell(TurnTranscribed(turn.item_id, turn.text, turn.seconds))

    # answers

    def _answer(self) -> Spoken:
        """The answer that is being made, begun with its first word or sound."""
        if self._utterance is None or not self._utterance.making:
            turn, self._spare = self._spare or self._line.timeline.turn(), None
            self._speak(turn, Asked())
        assert self._utterance is not None
        return self._utterance

    def _speak(self, turn: Turn, asked: Asked) -> None:
        self._utterance = Spoken(self._line, turn, asked)
        self._utterances.append(self._utterance)
        self._utterance.begin()
        self._owed = False
