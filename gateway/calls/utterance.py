"""Utterance: one answer as the caller, the client and the history know it, whoever makes it.

Stopping is instant and synchronous: the sound is flushed, the history is cut at the heard word, and streams close behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from gateway.calls.events import (
    Called,
    Cause,
    Interrupted,
    ItemTruncated,
    Measured,
    Problem,
    Response,
    ResponseAudio,
    ResponseBegan,
    ResponseCalled,
    ResponseEnded,
    ResponseSpoke,
    ResponseText,
    Silenced,
    Sounded,
    Sounding,
)
from gateway.calls.history import Item
from gateway.calls.ledger import Heard
from gateway.calls.leg import Line
from gateway.calls.playout import Track
from gateway.calls.session import Modality
from gateway.calls.timeline import Stage, Turn
from gateway.calls.transport import PLAYOUT_RATE
from gateway.contract.errors import GatewayError
from gateway.contract.events import FinishReason, Usage
from gateway.contract.messages import ToolCall

log = logging.getLogger(__name__)


REMEMBERED = 4
"""Answers that the client may still truncate: word of one may come when the next has begun."""


class Utterance:
    """`turn`: whose timeline it fills. `making`: whether there is more to come from the models."""

    def __init__(self, line: Line, turn: Turn, modality: Modality, metadata: Mapping[str, str] | None = None) -> None:
        self._line, self._turn = line, turn
        self.response = Response(line.new_id("resp"), modality, metadata=metadata)
        self.track: Track | None = line.playout.track(self) if modality == "audio" else None
        self.making = True
        self._failure: tuple[Stage, GatewayError] | None = None
        self._usage: Usage | None = None
        self._reason: FinishReason = "stop"
        self._interrupted = False
        self.broken = False
        """What makes it failed before it was all said."""

    @property
    def item_id(self) -> str | None:
        return self.response.item_id

    @property
    def failed(self) -> bool:
        """What makes it failed; the caller may have heard part of it."""
        return self._failure is not None

    @property
    def playing(self) -> bool:
        """Whether there is more of it to be heard."""
        return self.track is not None and not self.track.over and not self.track.stale

    def begin(self) -> None:
        self._line.tell(ResponseBegan(self.response))

    def interrupt(self, heard: Heard | None, cause: Cause) -> None:
        """The playout was flushed, and `heard` is what the caller had heard by then (None: it was not to be heard)."""
        missed = self.making or (heard is not None and not heard.whole)
        self._interrupted = True
        if missed:
            self._keep_heard(self.response.text if heard is None else heard.text)
        if self.track is not None and self.track.handed:
            self._line.tell(Silenced(self.response.id))
        if self.making:
            self._end(replace(self.response, status="cancelled", cause=cause))
        if missed and heard is not None and self.item_id is not None:
            self._line.tell(ItemTruncated(self.item_id, heard.seconds))
            self._line.tell(Interrupted(self._turn.id, heard.text, heard.estimated))
        self._done()

    def truncate(self, seconds: float) -> bool:
        """The client says so much of it was played. It may know better than our estimate, never more than was sent."""
        if self.track is None or self.item_id is None or self.making or self.playing:
            return False
        if seconds * PLAYOUT_RATE < self.track.sent:
            self._keep_heard(self.track.ledger.heard(int(seconds * PLAYOUT_RATE)).text)
        self._line.tell(ItemTruncated(self.item_id, min(seconds, self.track.sent / PLAYOUT_RATE), asked=True))
        return True

    # Listener of the playout

    def sounding(self) -> None:
        self._line.tell(Sounding(self.response.id))

    def made(self, pcm: bytes) -> None:
        self._line.tell(ResponseAudio(self.response, pcm))

    def audible(self) -> None:
        self._turn.mark("first_sent")
        self._line.tell(Measured(self._turn))

    def sounded(self) -> None:
        self._line.tell(Sounded(self.response.id))
        self._done()

    # what it says

    def _write(self, text: str) -> None:
        if self.item_id is None:
            self._open_item()
        self.response = replace(self.response, text=self.response.text + text)
        self._line.tell(ResponseText(self.response, text))

    def call(self, call: ToolCall) -> None:
        """The answer calls a tool, which the client runs."""
        if self._interrupted:
            return
        called = Called(self._line.new_id("item"), call.id, call.name, call.arguments)
        item = Item(called.item_id, "assistant", call.arguments, call_id=call.id, name=call.name)
        previous = self._line.history.add(item)
        self.response = replace(self.response, calls=(*self.response.calls, called))
        self._line.tell(ResponseCalled(self.response, previous))

    def _open_item(self) -> None:
        item = Item(self._line.new_id("item"), "assistant", None, self.response.modality, "in_progress")
        previous = self._keep(item)
        self.response = replace(self.response, item_id=item.id, before=len(self.response.calls))
        self._line.tell(ResponseSpoke(self.response, item, previous))

    def _keep(self, item: Item) -> str | None:
        """Into the history; the id of the item before it."""
        return self._line.history.add(item)

    # the end

    def _fail(self, stage: Stage, error: GatewayError) -> None:
        if self._failure is None:
            self._failure = (stage, error)
            log.warning("answer %s: %s failed: %s", self.response.id, stage, type(error).__name__)
            self.broken = self.item_id is not None
            self._line.trouble(stage, error)

    def _conclude(self) -> None:
        """Everything was made, or a stage failed; what is in the playout is still heard."""
        if self._interrupted:
            return
        response = self.response
        if self._failure is not None:
            stage, error = self._failure
            response = replace(response, status="failed", failure=f"{stage}_failed")
            self._line.tell(Problem("server_error", f"{stage}_failed", f"no {stage} target answered: {error}"))
        elif self._reason == "length":
            response = replace(response, status="incomplete", cause="max_output_tokens")
        elif self._reason == "content_filter":
            response = replace(response, status="incomplete", cause="content_filter")
        else:
            response = replace(response, status="completed")
        self._keep_made(response)
        self._end(response)
        if self.track is None:
            self._done()
            return
        self.track.finish()
        if self.track.over and not self.track.handed:
            self._done()

    def _keep_made(self, response: Response) -> None:
        """The history gets what will have been heard when the playout is done."""
        if self.item_id is None:
            return
        if self._failure is not None and self.track is not None:
            self._keep_heard(self.track.ledger.heard(self.track.ledger.samples).text)
        else:
            self._line.history.said(self.item_id, response.text.strip())

    def _keep_heard(self, text: str) -> None:
        # An item of which nothing was heard stays, empty: clients ask for it. No model is shown it.
        if self.item_id is not None:
            self._line.history.said(self.item_id, text.strip(), interrupted=True)

    def _end(self, response: Response) -> None:
        self.making = False
        self.response = replace(response, usage=self._usage)
        previous = None if self.item_id is None else self._line.history.before(self.item_id)
        self._line.tell(ResponseEnded(self.response, previous))

    def _done(self) -> None:
        if not self._turn.done:
            self._turn.done = True
            self._line.tell(Measured(self._turn))
