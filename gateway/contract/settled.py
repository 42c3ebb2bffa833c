"""How far a stream of speech to text is final, and where whoever hears on is to begin. Pure.

Used between the sessions of one provider (providers/_relay.py) and between the targets of a route (gateway/routing/rehearing.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from gateway.contract.channel import Channel
from gateway.contract.events import ProviderEvent, SpeechEnded, SpeechStarted, Transcript, Usage, Word
from gateway.contract.requests import Commit, Input

ROUNDED = 0.01
"""Seconds by which the end of a word may be told too early: who hears its last 5 ms again may take it for another."""
Event = TypeVar("Event", bound=ProviderEvent)


@dataclass(frozen=True, slots=True)
class Place:
    """Before the input `index`, with `at` seconds of sound before it, of which `skip` seconds are left out."""

    index: int
    at: float
    skip: float = 0.0

    @property
    def seconds(self) -> float:
        return self.at + self.skip


class Unsettled:
    """Which of the inputs of a stream are not final, from the one at `start` on."""

    def __init__(self, inputs: Channel[Input], start: int) -> None:
        self._inputs, self._open = inputs, start
        self._zero = inputs.before(start)

    def settle(self, final: Transcript, taken: int) -> Place | None:
        """Where it goes on after this, whose times count from the first input: behind its last word, with `ends_turn` behind the next
        Commit if there is one. A turn that the provider ended without telling when its words were said ends with all that was taken,
        up to the index `taken`. None where nothing tells, so that nobody could go on without saying something again."""
        inputs = self._inputs
        self._open, taken = max(self._open, inputs.first), min(taken, inputs.end)
        if final.ends_turn:
            for index in range(self._open, taken):
                if isinstance(inputs.entry(index).item, Commit):
                    self._open = index + 1
                    return self._behind(inputs.before(index) - self._zero, taken)
        if final.words:
            return self._behind(final.words[-1].end + ROUNDED, taken)
        if final.ends_turn:
            return self._behind(float("inf"), taken)
        return None if final.text else self._behind(0.0, taken)

    def _behind(self, second: float, taken: int) -> Place:
        """Never behind a Commit that is not answered."""
        while self._open < taken:
            entry = self._inputs.entry(self._open)
            at = entry.before - self._zero
            if isinstance(entry.item, Commit):
                return Place(self._open, at)
            if at + entry.seconds > second + 1e-6:
                return Place(self._open, at, max(0.0, second - at))
            self._open += 1
        return Place(self._open, self._inputs.before(self._open) - self._zero)


def later(event: Event, seconds: float, used: float = 0.0) -> Event:
    """The event of a stream that began so many seconds later, and after others had used some."""
    match event:
        case SpeechStarted(float(at)) | SpeechEnded(float(at)) if seconds:
            return replace(event, at=at + seconds)
        case Transcript(words=words) if words and seconds:
            moved = tuple([Word(word.text, word.start + seconds, word.end + seconds) for word in words])
            return replace(event, words=moved)
        case Usage() if used:
            return replace(event, seconds=event.seconds + used)
    return event
