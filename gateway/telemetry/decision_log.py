"""DecisionLog: the latest decisions, newest first, for whoever asks why."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from gateway.telemetry.decisions import Decision
from gateway.telemetry.sample import Outcome

KEPT = 2_000
"""Decisions. With twenty candidates each they are about 5 MB."""

Ending = Outcome | Literal["open", "untried"]
"""How a request went: as the attempt that served it did, `open` while it runs, `untried` where no target was asked."""
Asked = Ending | Literal["failed"]
"""What may be asked for: an ending, or `failed` for all that are the gateway's or a target's fault."""
ENDINGS: tuple[str, ...] = (*get_args(Outcome), "open", "untried")
NOT_FAILED = frozenset({"ok", "cancelled", "refused", "open"})


def ending_of(decision: Decision) -> Ending:
    """Of the whole request. The attempt that counts: the last that went on with the answer, else the one that was chosen,
    else the last that was not merely slower than another."""
    if not decision.done:
        return "open"
    if len(decision.tried) == 1 and (only := decision.tried[0]).why != "shadow" and only.outcome != "lost":
        return only.outcome or "untried"
    counted = [tried for tried in decision.tried if tried.why != "shadow" and tried.outcome not in (None, "lost")]
    for wanted in (
        [tried for tried in counted if tried.why == "continue"],
        [tried for tried in counted if tried.target == decision.chosen],
        counted,
    ):
        if wanted:
            return wanted[-1].outcome or "open"
    return "untried"


def is_hedged(decision: Decision) -> bool:
    return any(tried.why == "hedge" for tried in decision.tried)


def is_probe(decision: Decision) -> bool:
    """Whether no caller asked for it."""
    return decision.order == "probe"


@dataclass(frozen=True, slots=True)
class Filter:
    """What is asked of the log; None leaves it open. `target`: was tried; `since`: Unix seconds, later than which."""

    route: str | None = None
    target: str | None = None
    outcome: str | None = None
    hedged: bool | None = None
    since: float | None = None

    def takes(self, decision: Decision) -> bool:
        return (
            (self.route is None or decision.route == self.route)
            and (self.target is None or any(tried.target == self.target for tried in decision.tried))
            and (self.hedged is None or is_hedged(decision) == self.hedged)
            and (self.outcome is None or self._ended(ending_of(decision)))
        )

    def _ended(self, ending: str) -> bool:
        return ending not in NOT_FAILED if self.outcome == "failed" else ending == self.outcome


class DecisionLog:
    """`decided` is a sink of the recorder. Decisions are kept as they are made, so those under way are here too."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept: deque[Decision] = deque(maxlen=kept)

    def __len__(self) -> int:
        return len(self._kept)

    def decided(self, decision: Decision) -> None:
        self._kept.append(decision)

    def latest(self, asked: Filter, limit: int) -> list[Decision]:
        """Newest first, at most `limit`."""
        return [decision for decision, _ in zip(self._matching(asked), range(limit))]

    def _matching(self, asked: Filter) -> Iterator[Decision]:
        for decision in reversed(self._kept):
            if asked.since is not None and decision.at <= asked.since:
                return
            if asked.takes(decision):
                yield decision
