"""Reply: one answer of a cascade, from the history through llm, clauses and tts to the playout.

The two streams run side by side; the tts is opened before the llm has said anything. Stopping is instant and synchronous:
the sound is flushed, the history is cut at the heard word, and the streams close behind it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import replace

from gateway.calls import sentences
from gateway.calls.calling import Calls
from gateway.calls.commands import Asked
from gateway.calls.events import (
    Rerouted,
)
from gateway.calls.leg import Line
from gateway.calls.playout import Track
from gateway.calls.session import choice_of
from gateway.calls.timeline import Stage, Turn
from gateway.calls.transport import PLAYOUT_RATE
from gateway.calls.utterance import Utterance
from gateway.contract.channel import Channel
from gateway.contract.encoding import Resampler
from gateway.contract.errors import GatewayError
from gateway.contract.events import AudioDelta, Finished, Flushed, TextDelta, ToolCallDelta, Usage, Word
from gateway.contract.events import Rerouted as Moved
from gateway.contract.messages import Message
from gateway.contract.requests import ChatRequest, Commit, Input, SpeakRequest
from gateway.routing.continuation import GO_ON
from gateway.routing.engine import Answer
from gateway.routing.route import CallRoute

log = logging.getLogger(__name__)

SILENT = "(The caller says nothing.)"
MOVES = 3
"""Times the speech of one answer may move to another tts stream after it had begun."""


class Reply(Utterance):
    """`script`: said as it is, instead of asking a language model (a greeting). `going_on`: with what was cut off last."""

    def __init__(
        self,
        line: Line,
        route: CallRoute,
        turn: Turn,
        asked: Asked | None = None,
        script: str | None = None,
        going_on: bool = False,
    ) -> None:
        self._route = route
        self._asked, self._script, self._going_on = asked or Asked(), script, going_on
        modality = (self._asked.output_modalities or [line.session.modality])[0]
        super().__init__(line, turn, modality, self._asked.metadata)
        self._clauses = sentences.Clauses(line.rules.cuts)
        self._speak_next = Channel[Input]()
        self._unsaid: deque[str] = deque()  # clauses sent to the tts and not flushed by it
        self._thinking: asyncio.Task[None] | None = None
        self._moved: str | None = None  # why the speech goes on with another stream

    async def run(self) -> None:
        """Make the answer. Returns when all of it is in the playout, or it failed."""
        async with asyncio.TaskGroup() as group:
            self._thinking = group.create_task(self._think())
            if self.track is not None:
                group.create_task(self._speak(self.track))
        self._conclude()

    # llm

    async def _think(self) -> None:
        try:
            if self._script is not None:
                self._wrote(self._script)
            else:
                await self._ask()
            self._say(self._clauses.flush())
        except GatewayError as error:
            self._fail("llm", error)
        self._speak_next.close()

    async def _ask(self) -> None:
        line, asked = self._line, self._asked
        instructions = line.session.settings.instructions if asked.instructions is None else asked.instructions
        limit = asked.max_output_tokens if isinstance(asked.max_output_tokens, int) else line.session.max_tokens
        messages = line.history.messages(instructions)
        if self._going_on:
            messages = (*messages, Message.of("user", GO_ON))
        elif messages and messages[-1].role == "assistant":  # asked for again, of which models know nothing
            messages = (*messages, Message.of("user", SILENT))
        tools = line.session.tools if asked.tools is None else tuple(each.told for each in asked.tools)
        choice = line.session.tool_choice if asked.tool_choice is None else choice_of(asked.tool_choice)
        request = ChatRequest(
            messages, tools=tools, max_tokens=limit or line.rules.answer, tool_choice=choice if tools else None
        )
        calls = Calls()
        self._turn.ask_llm()
        async with line.engine.open(self._route.llm, request, sticky=line.session.id) as answer:
            self._served("llm", answer)
            async for event in answer:
                match event:
                    case TextDelta(text, kind="text" | "refusal"):
                        self._wrote(text)
                    case ToolCallDelta():
                        calls.add(event)
                    case Usage():
                        self._usage = event
                    case Finished(reason):
                        self._reason = reason
        for call in calls:
            self.call(call)

    def _wrote(self, text: str) -> None:
        if not text:
            return
        if self._script is None:
            self._turn.mark("llm_first_token")
        self._write(text)
        self._say(self._clauses.feed(text))

    def _say(self, clauses: list[str]) -> None:
        if self.track is None:
            return
        for clause in clauses:
            self._turn.mark("first_clause")
            self.track.ledger.clause(clause)
            self._unsaid.append(clause)
            self._put(self._speak_next, clause)

    @staticmethod
    def _put(channel: Channel[Input], clause: str) -> None:
        # A clause with nothing to say is committed too: every clause is answered by one Flushed.
        if spoken := sentences.speakable(clause):
            channel.put(spoken + " ")
        channel.put(Commit())

    # tts

    async def _speak(self, track: Track) -> None:
        moves = 0
        while True:
            try:
                await self._speak_stream(track)
                return
            except GatewayError as error:
                moves += 1
                spoke = track.ledger.samples  # of which all may be taken back
                track.retract()
                if track.stale or not spoke or moves > MOVES:
                    self._fail("tts", error)
                    if self._thinking is not None:
                        self._thinking.cancel()
                    return
                self._move(track, error)

    def _move(self, track: Track, error: GatewayError) -> None:
        """Say what is unsaid with another stream, from the beginning of the clause that was cut off."""
        log.info("tts of route %s failed in mid-answer (%s); moving", self._route.tts, type(error).__name__)
        old, self._speak_next = self._speak_next, Channel[Input]()
        for clause in self._unsaid:
            self._put(self._speak_next, clause)
        if old.closed:
            self._speak_next.close()
        self._moved = f"{self._turn.targets['tts']}: {error}"

    def _request(self) -> SpeakRequest:
        """In the route's language, else in the caller's, if any target speaks it."""
        line, language = self._line, self._route.language
        speed = line.session.settings.audio.output.speed
        request = SpeakRequest(PLAYOUT_RATE, line.session.voice, speed, language or line.language)
        if language is None and line.language is not None and not line.engine.fits(self._route.tts, request):
            return replace(request, language=None)
        return request

    async def _speak_stream(self, track: Track) -> None:
        line, request = self._line, self._request()
        base, resampler = track.written, Resampler(PLAYOUT_RATE)
        async with line.engine.open(self._route.tts, request, self._speak_next, sticky=line.session.id) as answer:
            self._served("tts", answer)
            async for event in answer:
                match event:
                    case AudioDelta(audio, words):
                        self._turn.mark("tts_first_byte")
                        pcm = audio.pcm if audio.rate == PLAYOUT_RATE else resampler.feed(audio).pcm
                        track.push(pcm, [(word, base + _sample(word)) for word in words])
                        if track.first_audible is not None:
                            self._turn.mark("first_audible_sample")
                        await track.room()
                    case Moved(_, target, reason):
                        self._turn.targets["tts"] = target
                        line.tell(Rerouted("tts", target, reason))
                    case Flushed() if self._unsaid:
                        self._unsaid.popleft()
                        track.ledger.flushed()
        track.push(resampler.finish().pcm)
        while self._unsaid:
            self._unsaid.popleft()
            track.ledger.flushed()

    def _served(self, stage: Stage, answer: Answer) -> None:
        target = str(answer.target)
        self._turn.targets[stage] = target
        reasons = [f"{attempt.target}: {attempt.error}" for attempt in answer.attempts]
        if stage == "tts" and self._moved is not None:
            reasons.insert(0, self._moved)
            self._moved = None
        if reasons:
            self._line.tell(Rerouted(stage, target, "; ".join(reasons)))


def _sample(word: Word) -> int:
    return int(word.end * PLAYOUT_RATE)
