"""History: what was said in a call, by both sides. The only place that changes it.

An assistant's item holds what the caller heard, not what the model wrote: it is cut where the caller interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from gateway.contract.messages import Message, Text, ToolCall

Role = Literal["user", "assistant", "system", "tool"]
Status = Literal["in_progress", "completed", "incomplete"]


@dataclass(frozen=True, slots=True)
class Item:
    """`text`: None while it is being said or transcribed. `form`: how it came. `interrupted`: less was heard than was meant.
    `call_id`: of a tool's call, whose `name` it has and whose arguments are the text, or of what the tool had to say (role tool)."""

    id: str
    role: Role
    text: str | None = None
    form: Literal["text", "audio"] = "text"
    status: Status = "completed"
    interrupted: bool = False
    call_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """Consecutive items of one side, as one; a tool's call, or what it had to say, by itself."""

    role: Role
    text: str
    interrupted: bool = False
    call_id: str | None = None
    name: str | None = None

    @property
    def message(self) -> Message:
        if self.call_id is None:
            return Message.of(self.role, self.text)
        if self.name is None:
            return Message("tool", (Text(self.text),), tool_call_id=self.call_id)
        return Message("assistant", tool_calls=(ToolCall(self.call_id, self.name, self.text),))


class History:
    """`budget`: tokens, by estimate, that a request may hold; the oldest turns stay out beyond it. `most`, `most_text`: items,
    and characters of text, kept at all."""

    def __init__(self, budget: int = 1500, most: int = 1000, most_text: int = 500_000) -> None:
        self._budget, self._most, self._most_text = budget, most, most_text
        self._items: list[Item] = []
        self._left_out = 0  # said() entries that requests no longer hold

    def __len__(self) -> int:
        return len(self._items)

    def get(self, item_id: str) -> Item | None:
        return next((item for item in self._items if item.id == item_id), None)

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Append, or insert behind `after`. Returns the id of the item before it."""
        at = len(self._items)
        if after is not None:
            at = 0 if after == "root" else self._index(after) + 1
        self._items.insert(at, item)
        while len(self._items) > self._most or (self._text() > self._most_text and len(self._items) > 1):
            del self._items[0]
            at -= 1
        return self._items[at - 1].id if at > 0 else None

    def before(self, item_id: str) -> str | None:
        """The id of the item before it; None if it is the first, or gone."""
        for before, item in pairwise(self._items):
            if item.id == item_id:
                return before.id
        return None

    def said(self, item_id: str, text: str, interrupted: bool = False) -> Item | None:
        """The item's text is known (or known better). None if it was deleted meanwhile."""
        item = self.get(item_id)
        if item is None:
            return None
        status: Status = "incomplete" if interrupted else "completed"
        changed = replace(item, text=text, status=status, interrupted=interrupted)
        self._items[self._index(item_id)] = changed
        return changed

    def delete(self, item_id: str) -> bool:
        item = self.get(item_id)
        if item is None:
            return False
        self._items.remove(item)
        return True

    @property
    def unanswered(self) -> bool:
        """Whether the last thing said is the caller's."""
        said = self._said(with_system=False)
        return bool(said) and said[-1].role == "user"

    def spoken(self) -> tuple[Said, ...]:
        """Both sides' words in order; what one side said in pieces (a resumed sentence) is one."""
        return tuple(each for each in self._said(with_system=False) if each.call_id is None)

    def called(self, call_id: str) -> bool:
        """Whether there is such a call."""
        return any(item.call_id == call_id and item.name is not None for item in self._items)

    def messages(self, instructions: str, open_calls: bool = False) -> tuple[Message, ...]:
        """For a language model: the instructions and as much of the conversation as the budget holds, the newest part.
        `open_calls`: with calls whose tool has not answered yet."""
        said = self._said(with_system=True)
        system = [Message.of("system", instructions)] if instructions.strip() else []
        cost = [_tokens(each.text) for each in said]
        held = sum(cost[self._left_out :]) + sum(_tokens(message.text) for message in system)
        if held > self._budget:
            # Drop a quarter at once: requests then keep the same beginning for many turns, which prompt caches live on.
            while held > 0.75 * self._budget and self._left_out < len(said) - 1:
                held -= cost[self._left_out]
                self._left_out += 1
        kept = said[min(self._left_out, max(0, len(said) - 1)) :]
        return (*system, *(each.message for each in _paired(kept, open_calls)))

    def _said(self, with_system: bool) -> list[Said]:
        merged: list[Said] = []
        for item in self._items:
            text = (item.text or "").strip()
            if item.call_id is not None:
                merged.append(Said(item.role, item.text or "", False, item.call_id, item.name))
                continue
            if not text or (item.role == "system" and not with_system):
                continue
            if merged and merged[-1].call_id is None and merged[-1].role == item.role:
                merged[-1] = Said(item.role, f"{merged[-1].text} {text}", merged[-1].interrupted or item.interrupted)
            else:
                merged.append(Said(item.role, text, item.interrupted))
        return merged

    def _text(self) -> int:
        return sum(len(item.text or "") for item in self._items)

    def _index(self, item_id: str) -> int:
        """ValueError if there is none."""
        for index, item in enumerate(self._items):
            if item.id == item_id:
                return index
        raise ValueError(f"no item {item_id}")


def _paired(said: list[Said], open_calls: bool) -> list[Said]:
    """Without answers of tools whose call is gone and, unless they are wanted, without calls that are not answered: models refuse both."""
    called = {each.call_id for each in said if each.name is not None}
    answered = {each.call_id for each in said if each.name is None}
    return [
        each
        for each in said
        if each.call_id is None
        or (each.call_id in called if each.name is None else open_calls or each.call_id in answered)
    ]


def _tokens(text: str) -> int:
    """Estimate: four bytes of UTF-8 a token, and four tokens for what frames a message."""
    return 4 + len(text.encode()) // 4
