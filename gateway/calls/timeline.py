"""Timeline: when each thing happened in each turn of a call, and the delays people compare agents by.

Times are seconds since the call began, on the loop's clock. The derived names are LiveKit's, so figures can be compared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Mark = Literal[
    "last_speech_rtp",  # the caller's last voiced packet arrived
    "vad_stop",  # the VAD had seen enough silence to say so
    "turn_decided",  # the turn was taken to be over
    "stt_final",
    "llm_first_token",
    "first_clause",  # the first text went to the tts
    "tts_first_byte",
    "first_audible_sample",  # the first sample that can be heard was at hand (leading silence is not)
    "first_sent",  # it went out
]
MARKS: tuple[Mark, ...] = Mark.__args__  # type: ignore[attr-defined]
Stage = Literal["stt", "llm", "tts", "s2s"]


@dataclass(slots=True)
class Turn:
    """One exchange: the caller's words and the answer to them. A mark is set once, by the first who sets it."""

    id: str
    clock: Callable[[], float]
    marks: dict[Mark, float] = field(default_factory=dict)
    targets: dict[Stage, str] = field(default_factory=dict)
    llm_asked: float | None = None
    done: bool = False

    def mark(self, name: Mark, at: float | None = None) -> None:
        """`at`: by the call's clock; now, if left out."""
        self.marks.setdefault(name, self.clock() if at is None else at)

    def ask_llm(self) -> None:
        if self.llm_asked is None:
            self.llm_asked = self.clock()

    @property
    def transcription_delay(self) -> float | None:
        """From the caller's last voiced packet to the final transcript."""
        return self._between("last_speech_rtp", "stt_final")

    @property
    def end_of_turn_delay(self) -> float | None:
        """From the caller's last voiced packet to the decision that the turn is over."""
        return self._between("last_speech_rtp", "turn_decided")

    @property
    def llm_node_ttft(self) -> float | None:
        first = self.marks.get("llm_first_token")
        return None if first is None or self.llm_asked is None else first - self.llm_asked

    @property
    def tts_node_ttfb(self) -> float | None:
        return self._between("first_clause", "tts_first_byte")

    @property
    def e2e_latency(self) -> float | None:
        """From the caller's last voiced packet received to the first audible packet sent."""
        return self._between("last_speech_rtp", "first_sent")

    def _between(self, start: Mark, end: Mark) -> float | None:
        if start in self.marks and end in self.marks:
            return self.marks[end] - self.marks[start]
        return None


class Timeline:
    """The turns of a call; the last `kept` are remembered."""

    def __init__(self, clock: Callable[[], float], kept: int = 100) -> None:
        self._clock, self._began = clock, clock()
        self._count = 0
        self.turns: deque[Turn] = deque(maxlen=kept)

    def now(self) -> float:
        return self._clock() - self._began

    def since_start(self, at: float) -> float:
        """`at`: by the loop's clock."""
        return at - self._began

    def turn(self) -> Turn:
        self._count += 1
        self.turns.append(Turn(f"turn_{self._count}", self.now))
        return self.turns[-1]
