"""Cascade: the leg that answers with three routes: stt, llm, tts.

mic -> VAD -> turn -> Transcriber -> history -> Reply -> playout. Whoever speaks last decides: speech over an answer stops it,
speech while one is being thought of takes the turn back, and the next answer covers both pieces.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import replace

from gateway.calls.commands import Asked
from gateway.calls.events import (
    Cause,
    InputCleared,
    Measured,
    Mode,
    PartialHeard,
    Problem,
    Rerouted,
    SpeechBegan,
    SpeechStopped,
    TranscriptionLost,
    TurnCommitted,
    TurnTranscribed,
)
from gateway.calls.history import Item
from gateway.calls.leg import VAD_FRAME, Handover, Line
from gateway.calls.reply import Reply
from gateway.calls.session import SemanticVad
from gateway.calls.timeline import Turn
from gateway.calls.transcriber import CallerTurn, Transcriber
from gateway.calls.transport import FRAME, MIC_RATE
from gateway.calls.turns import Ended, Paused, Resumed, Sign, Started, TurnDetector
from gateway.calls.utterance import REMEMBERED
from gateway.calls.wanted import heard_by, rules_of
from gateway.contract.audio import SAMPLE_BYTES, Audio
from gateway.contract.errors import GatewayError
from gateway.routing.engine import Answer
from gateway.routing.route import CallRoute

log = logging.getLogger(__name__)

FRAME_BYTES = VAD_FRAME * SAMPLE_BYTES
MODEL_HEARS = 8.0
"""Seconds of a turn that the turn model is given, the last ones."""
MIC_STALLS = 0.2
"""Seconds without a packet in the middle of a turn that count as silence."""


class Cascade:
    mode: Mode = "cascaded"

    def __init__(self, line: Line, route: CallRoute) -> None:
        self._line, self.route = line, route
        self.ready = asyncio.Event()
        self._serving = asyncio.Event()
        self._handed = Handover()
        self._heard_to = 0  # the piece of the mic after the last one heard
        self._turn_from = 0  # where the turn that is open began
        self._detector = TurnDetector(rules_of(line.session.turn_detection, line.rules.turns))
        self._transcriber = Transcriber(line.engine, *heard_by(line, route), self, line.session.id)
        self._turn: CallerTurn | None = None
        self._reply: Reply | None = None
        self._replies: deque[Reply] = deque(maxlen=REMEMBERED)
        self._reply_task: asyncio.Task[None] | None = None
        self._owed: Turn | None = None  # a turn to be answered once the answer that may not be interrupted is made
        self._spare: Turn | None = None  # a turn that waits for the client to ask for its answer
        self._recent: deque[Audio] = deque()  # pieces not (yet) part of a turn
        self._held: list[Audio] = []  # pieces of a pause: speech if the turn resumes
        self._speech: deque[Audio] = deque()  # the turn's last seconds, for the turn model
        self._rest = b""  # of the mic, less than a frame
        self._last_voiced = 0.0  # loop's clock
        self._judging: asyncio.Task[None] | None = None
        self._stt: str | None = None
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self._transcriber.run())
            self._group.create_task(self._listen())
            self.ready.set()
            await self._serving.wait()
            if self._handed.answer:
                self._start(Reply(self._line, self.route, self._line.timeline.turn(), going_on=self._handed.cut))
            elif self.route.greeting and self._line.session.answers and not len(self._line.history):
                self._start(Reply(self._line, self.route, self._line.timeline.turn(), script=self.route.greeting))

    def serve(self, handover: Handover) -> None:
        self._handed = handover
        self._serving.set()

    def handover(self) -> Handover:
        if self._turn is not None:
            return Handover(self._turn_from, self._turn.item_id)
        reply = self._reply
        owed = self._owed is not None or self._transcriber.waiting or self.responding
        failed = reply is not None and reply.failed
        return Handover(self._heard_to, answer=owed or failed, cut=reply is not None and reply.broken)

    # commands

    @property
    def heard_to(self) -> int:
        return self._heard_to

    @property
    def busy(self) -> bool:
        return self._turn is not None or self.responding or not self._line.playout.idle or self._transcriber.waiting

    @property
    def responding(self) -> bool:
        return self._reply is not None and self._reply.making

    @property
    def answering(self) -> bool:
        return self.responding or not self._line.playout.idle or self._transcriber.waiting

    def noted(self, item: Item) -> None:
        """The next answer reads it in the history."""

    def configure(self) -> None:
        """The session changed."""
        self._detector.rules = rules_of(self._line.session.turn_detection, self._line.rules.turns)
        self._transcriber.configure(*heard_by(self._line, self.route))

    def commit(self) -> bool:
        if self._turn is None:
            return False
        self._detector.end()
        self._turn.answer = False
        self._close_turn(self._detector.heard, told=self._line.session.turn_detection is not None)
        return True

    def clear(self) -> None:
        if self._turn is not None:
            self._stop_judging()
            self._held.clear()
            self._detector.end()
            self._transcriber.drop()
            self._finish(self._turn.timeline)
            self._turn = None
        self._recent.clear()
        self._line.tell(InputCleared())

    def respond(self, asked: Asked) -> None:
        turn, self._spare = self._spare or self._line.timeline.turn(), None
        self._start(Reply(self._line, self.route, turn, asked), after_finals=True)

    def interrupt(self, cause: Cause) -> bool:
        stopped = False
        for track, heard in self._line.playout.flush():
            if isinstance(track.listener, Reply):
                track.listener.interrupt(heard, cause)
                stopped = True
        if self._reply is not None and self._reply.making:  # an answer in text alone
            self._reply.interrupt(None, cause)
            stopped = True
        if self._reply_task is not None:
            self._reply_task.cancel()
        if self._owed is not None:
            self._finish(self._owed)
            self._owed = None
        return stopped

    def truncate(self, item_id: str, seconds: float) -> bool:
        reply = next((each for each in self._replies if each.item_id == item_id), None)
        if reply is None:
            return False
        if self._line.playout.as_made and (reply.making or reply.playing):
            self.interrupt("client_cancelled")  # they stopped playing it
        return reply.truncate(seconds)

    # mic

    async def _listen(self) -> None:
        await self._serving.wait()
        reader = self._line.mic.reader(self._handed.mic)
        self._heard_to = reader.index
        while True:
            try:
                async with asyncio.timeout(MIC_STALLS if self._detector.speaking else None):
                    piece = await anext(reader)
            except StopAsyncIteration:
                return
            except TimeoutError:
                self._stalled()
                continue
            self._heard_to = reader.index
            self._hear(piece, reader.at)

    def _hear(self, piece: Audio, at: float) -> None:
        if self._line.chosen_mic and self._line.session.turn_detection is None:
            self._take_whole(piece, at)
            return
        self._keep(piece)
        self._rest += piece.pcm
        while len(self._rest) >= FRAME_BYTES:
            frame, self._rest = self._rest[:FRAME_BYTES], self._rest[FRAME_BYTES:]
            playing, thinking = self._line.playout.speaking, self.responding
            sign = self._detector.hear(self._line.vad(frame), VAD_FRAME / MIC_RATE, playing, thinking)
            if self._detector.in_speech:
                self._last_voiced = at
            self._act(sign)

    def _take_whole(self, piece: Audio, at: float) -> None:
        """All that comes is of the turn that the client will commit."""
        if self._turn is None:
            self._open_turn(self._detector.heard)
        self._put(piece)
        self._detector.heard += piece.seconds
        self._last_voiced = at

    def _stalled(self) -> None:
        """The mic dried up in the middle of a turn (muted, or packets are missing): time goes on all the same."""
        for _ in range(round(MIC_STALLS * MIC_RATE / VAD_FRAME)):
            self._act(self._detector.hear(0.0, VAD_FRAME / MIC_RATE))

    def _keep(self, piece: Audio) -> None:
        """Put a piece where it belongs: into the turn, aside in a pause, or among the recent ones."""
        if self._turn is None or not self._detector.speaking:
            self._recent.append(piece)
            self._trim(self._recent, self._detector.rules.prefix + 1.0)
        elif self._judging is not None or self._held:
            self._held.append(piece)
        else:
            self._put(piece)

    def _put(self, piece: Audio) -> None:
        self._transcriber.put(piece)
        self._speech.append(piece)
        self._trim(self._speech, MODEL_HEARS)

    @staticmethod
    def _trim(pieces: deque[Audio], seconds: float) -> None:
        while len(pieces) * FRAME > seconds:
            pieces.popleft()

    def _act(self, sign: Sign | None) -> None:
        match sign:
            case Started(at):
                self._open_turn(at)
            case Paused(_, pause):
                if self._turn is not None:
                    self._turn.timeline.marks.pop("vad_stop", None)
                    self._turn.timeline.mark("vad_stop")
                self._judge(pause)
            case Resumed():
                self._stop_judging()
                for piece in self._held:
                    self._put(piece)
                self._held.clear()
            case Ended(at):
                self._ended(at)

    def _judge(self, pause: int) -> None:
        """Ask the turn model, while the silence goes on."""
        assert self._group is not None
        self._judging = self._group.create_task(self._ask_model(pause))

    async def _ask_model(self, pause: int) -> None:
        if not isinstance(self._line.session.turn_detection, SemanticVad):
            return
        finished: float | None = None
        if self._line.turn_model is not None:
            try:
                finished = await self._line.turn_model.complete(b"".join(piece.pcm for piece in self._speech))
            except GatewayError as error:
                log.warning("the turn model failed: %s", type(error).__name__)
        self._act(self._detector.judged(pause, finished))

    def _stop_judging(self) -> None:
        if self._judging is not None and self._judging is not asyncio.current_task():
            self._judging.cancel()
        self._judging = None

    # turns

    def _open_turn(self, at: float) -> None:
        detection = self._line.session.turn_detection
        if self._turn is None:
            handed, self._handed = self._handed, replace(self._handed, item_id=None)
            turn = CallerTurn(handed.item_id or self._line.new_id("item"), self._line.timeline.turn(), at)
            self._turn, self._turn_from = turn, self._heard_to - len(self._recent)
            self._transcriber.begin(turn)
            if detection is not None and handed.item_id is None:
                self._line.tell(SpeechBegan(turn.item_id, max(0.0, at - self._detector.rules.prefix)))
            if detection is not None and detection.interrupt_response:
                self.interrupt("turn_detected")
        skipped = self._detector.heard - at + self._detector.rules.prefix
        self._trim(self._recent, skipped + FRAME)
        for piece in self._recent:
            self._put(piece)
        self._recent.clear()

    def _ended(self, at: float) -> None:
        detection = self._line.session.turn_detection
        if self._turn is None:
            return
        if detection is None:
            # The client decides about turns. Silence in between is left out; speech after it is the same turn.
            self._stop_judging()
            self._held.clear()
            return
        self._turn.answer = detection.create_response
        self._close_turn(at, told=True)

    def _close_turn(self, at: float, told: bool) -> None:
        turn, self._turn = self._turn, None
        assert turn is not None
        self._stop_judging()
        self._held.clear()
        self._speech.clear()
        timeline = turn.timeline
        timeline.mark("last_speech_rtp", self._line.timeline.since_start(self._last_voiced))
        timeline.mark("vad_stop")
        timeline.mark("turn_decided")
        if self._stt is not None:
            timeline.targets["stt"] = self._stt
        if told:
            self._line.tell(SpeechStopped(turn.item_id, at))
        if not turn.answer:
            if self._spare is not None:
                self._finish(self._spare)
            self._spare = timeline
        item = Item(turn.item_id, "user", None, "audio")
        self._line.tell(TurnCommitted(item, self._line.history.add(item)))
        self._transcriber.commit()

    # what the transcriber tells

    def heard_partial(self, turn: CallerTurn) -> None:
        self._line.tell(PartialHeard(turn.item_id, turn.text))

    def heard_final(self, turn: CallerTurn) -> None:
        turn.timeline.mark("stt_final")
        self._line.heard_in(turn.language, turn.text)
        self._line.history.said(turn.item_id, turn.text)
        self._line.tell(TurnTranscribed(turn.item_id, turn.text, turn.seconds))
        self._answer(turn)

    def lost(self, turn: CallerTurn, error: GatewayError) -> None:
        log.warning("a turn of %.1f s was lost: %s", turn.seconds, type(error).__name__)
        self._line.history.said(turn.item_id, "")
        self._line.tell(TranscriptionLost(turn.item_id, str(error)))
        self._line.tell(Problem("server_error", "stt_failed", f"no stt target answered: {error}"))
        self._line.trouble("stt", error)
        self._answer(turn)

    def stt_served(self, answer: Answer) -> None:
        before, self._stt = self._stt, str(answer.target)
        reason = "; ".join(f"{a.target}: {a.error}" for a in answer.attempts)
        if answer.attempts or before not in (None, self._stt):
            self._line.tell(Rerouted("stt", self._stt, reason or f"{before} failed"))

    # answers

    def _answer(self, turn: CallerTurn) -> None:
        """The caller's turn is known; answer it, unless they go on speaking."""
        if not turn.answer:
            return  # the client asks for it, or does not
        if not self._line.history.unanswered or self._turn is not None or self._transcriber.waiting:
            self._finish(turn.timeline)
        elif self.responding:
            self._owed = turn.timeline
        else:
            self._start(Reply(self._line, self.route, turn.timeline))

    def _finish(self, turn: Turn) -> None:
        turn.done = True
        self._line.tell(Measured(turn))

    def _start(self, reply: Reply, after_finals: bool = False) -> None:
        assert self._group is not None
        self._reply = reply
        self._replies.append(reply)
        reply.begin()
        self._reply_task = self._group.create_task(self._run_reply(reply, after_finals))

    async def _run_reply(self, reply: Reply, after_finals: bool) -> None:
        if after_finals:
            await self._transcriber.settled()
        await reply.run()
        if (owed := self._owed) is not None and self._reply is reply:
            self._owed = None
            self._start(Reply(self._line, self.route, owed))
