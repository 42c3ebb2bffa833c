"""Turns: from the VAD's confidence, frame by frame, to "the caller began", "paused", "is done". Pure: time is counted in frames.

quiet --enough speech--> Started --120 ms of silence--> Paused (ask the turn model) --hangover or time-out--> Ended
                                      ^------------------- Resumed ------------------------'
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TurnRules:
    """Confidences are the VAD's, 0 to 1; times are seconds. Starting values from MEDIA.md, not optima."""

    speech: float = 0.5
    """Confidence from which a frame is speech."""
    silence: float = 0.35
    """Confidence below which a frame is silence; between the two it is whatever the one before was."""
    start_after: float = 0.064
    """Speech that opens a turn while nobody else speaks."""
    resume_after: float = 0.096
    """Speech that takes back a turn whose answer is being thought of."""
    interrupt: float = 0.85
    interrupt_after: float = 0.16
    """Speech of at least that confidence, that long, interrupts an answer being heard."""
    prefix: float = 0.3
    """Audio kept from before the first frame of speech."""
    ask_after: float = 0.12
    """Silence after which the turn model is asked."""
    hangover: float = 0.19
    """Silence that ends a turn the model calls finished."""
    finished: float = 0.5
    """The model's answer from which a turn is finished."""
    patience: float = 1.2
    """Silence that ends any turn."""
    unjudged: float = 0.6
    """Silence that ends a turn that no model can judge."""
    longest: float = 60.0
    """A turn is cut here, whatever is said."""


@dataclass(frozen=True, slots=True)
class Started:
    """`at`: where the speech began. All `at` are seconds of the caller's audio."""

    at: float


@dataclass(frozen=True, slots=True)
class Paused:
    """`at`: where the silence began. `pause` counts pauses: a verdict on an older one is ignored."""

    at: float
    pause: int


@dataclass(frozen=True, slots=True)
class Resumed:
    at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """`at`: where the last speech ended."""

    at: float


Sign = Started | Paused | Resumed | Ended


class TurnDetector:
    """`rules` may be replaced between frames. `heard`: seconds of audio so far."""

    def __init__(self, rules: TurnRules | None = None) -> None:
        self.rules = rules or TurnRules()
        self.heard = 0.0
        self.speaking = False
        """Whether a turn is open (a pause in it included)."""
        self._began = 0.0
        self._voiced = self._strong = 0.0  # seconds, while quiet: evidence for a turn
        self._last_speech = 0.0  # where the last frame of speech ended
        self._was_speech = False
        self._pause = 0
        self._paused = False
        self._enough = 0.0  # silence that ends this pause, and the turn

    @property
    def in_speech(self) -> bool:
        """Whether the last frame was speech."""
        return self._was_speech

    def hear(self, confidence: float, seconds: float, over: bool = False, thinking: bool = False) -> Sign | None:
        """One frame. `over`: an answer is being heard; `thinking`: one is on its way."""
        begin, self.heard = self.heard, self.heard + seconds
        rules = self.rules
        if confidence >= rules.speech:
            self._was_speech = True
        elif confidence < rules.silence:
            self._was_speech = False
        if not self.speaking:
            return self._quiet(confidence, begin, seconds, over, thinking)
        if self._was_speech:
            return self._speech()
        return self._silence()

    def judged(self, pause: int, finished: float | None) -> Sign | None:
        """The turn model's answer about a pause, 0 to 1; None if it has none."""
        if not self._paused or pause != self._pause:
            return None
        rules = self.rules
        if finished is None:
            self._enough = min(rules.unjudged, rules.patience)
        elif finished >= rules.finished:
            self._enough = min(rules.hangover, rules.patience)
        return self._silence()

    def end(self) -> None:
        """The turn is over by someone else's word."""
        self.speaking = self._paused = False
        self._voiced = self._strong = 0.0

    def _quiet(self, confidence: float, begin: float, seconds: float, over: bool, thinking: bool) -> Sign | None:
        if not self._was_speech:
            self._voiced = self._strong = 0.0
            return None
        if self._voiced == 0.0:
            self._began = begin
        self._voiced += seconds
        self._strong = self._strong + seconds if confidence >= self.rules.interrupt else self._strong
        self._last_speech = self.heard
        rules = self.rules
        needed = rules.resume_after if thinking else rules.start_after
        enough = self._strong >= rules.interrupt_after - 1e-6 if over else self._voiced >= needed - 1e-6
        if not enough:
            return None
        self.speaking, self._paused = True, False
        self._voiced = self._strong = 0.0
        return Started(self._began)

    def _speech(self) -> Sign | None:
        self._last_speech = self.heard
        if self.heard - self._began >= self.rules.longest:
            self.end()
            return Ended(self.heard)
        if self._paused:
            self._paused = False
            return Resumed(self.heard)
        return None

    def _silence(self) -> Sign | None:
        silent = self.heard - self._last_speech + 1e-6
        if not self._paused and silent >= self.rules.ask_after:
            self._paused, self._enough = True, self.rules.patience
            self._pause += 1
            if silent < self._enough:
                return Paused(self._last_speech, self._pause)
        if self._paused and silent >= self._enough:
            self.end()
            return Ended(self._last_speech)
        return None
