"""The caller's turns in a session of OpenAI's Realtime protocol: which item each is, and what was said in it. Pure.

Transcripts come in their own time, some before their turn is an item and some after the next, and are given in the order of the
turns: one final for each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gateway.contract.events import ProviderEvent, Transcript

REMEMBERED = 64
"""Turns that are over, of which some providers say more than once that they are."""


@dataclass(slots=True, eq=False)
class _Turn:
    """`id`: of its item, None before there is one; `text`: what was heard so far; `over`: and no more will be;
    `lost`: it could not be written down."""

    id: str | None = None
    text: str = ""
    over: bool = False
    lost: bool = False


class Turns:
    def __init__(self) -> None:
        self._turns: deque[_Turn] = deque()
        self._known: deque[str] = deque(maxlen=REMEMBERED)  # items of turns that are over
        self._asked = 0  # commits of ours that are not items yet
        self._endpointed: set[str] = set()  # items of turns that the provider ended, and did not commit yet

    def __bool__(self) -> bool:
        """Whether there is one without a final."""
        return bool(self._turns)

    def ask(self) -> None:
        """We committed one."""
        self._asked += 1
        self._turns.append(_Turn())

    def refused(self) -> bool:
        """The provider says that there was nothing to commit: whether we asked for that."""
        if not self._asked:
            return False
        self._asked -= 1
        self._unnamed().over = True
        return True

    def ended(self, item: str) -> None:
        """The provider found the end of one."""
        self._endpointed.add(item)

    def committed(self, item: str) -> bool:
        """It became an item: whether that was our doing."""
        if not self._asked or item in self._endpointed:
            self._endpointed.discard(item)
            self._heard_of(item)
            return False
        self._asked -= 1
        ours, early = self._unnamed(), self._named(item)
        if early is not None:  # its words came before it was committed
            ours.text, ours.over = early.text, early.over
            self._turns.remove(early)
        ours.id = item
        return True

    def transcribed(self, kind: str, said: dict[str, Any]) -> Iterable[ProviderEvent]:
        """`said`: a conversation.item.input_audio_transcription.`kind`. What it adds to the turn that is next to be told."""
        turn = self._heard_of(str(said.get("item_id")))
        if turn is None:
            return
        match kind:
            case "delta":
                turn.text += str(said.get("delta") or "")
            case "updated":  # xAI: all of it so far
                turn.text = str(said.get("transcript") or "")
            case "completed":
                turn.text = str(said.get("transcript") or "")
                turn.over = said.get("status") != "in_progress"  # xAI says it of parts, too
            case "failed":
                turn.text, turn.over, turn.lost = "", True, True
        if turn is self._turns[0] and not turn.over and (text := turn.text.strip()):
            yield Transcript(text)

    def finals(self) -> Iterable[ProviderEvent]:
        """Of the turns that are over, as far as none before them is open."""
        while self._turns and self._turns[0].over:
            turn = self._turns.popleft()
            if turn.id is not None:
                self._known.append(turn.id)
            yield Transcript(turn.text.strip(), final=True, ends_turn=True, lost=turn.lost)

    def _unnamed(self) -> _Turn:
        return next(turn for turn in self._turns if turn.id is None)

    def _named(self, item: str) -> _Turn | None:
        return next((turn for turn in self._turns if turn.id == item), None)

    def _heard_of(self, item: str) -> _Turn | None:
        """The turn of that item; None where it is over."""
        if item in self._known:
            return None
        turn = self._named(item)
        if turn is None:
            turn = _Turn(item)
            self._turns.append(turn)
        return turn
