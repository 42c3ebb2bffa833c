"""Evidence: decayed sums of what a target's first events taught, kept so that replicas can add theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence


class Line:
    """Decayed sums of pairs (x, y), for the line through them. `w`, `x`, `y`: sums of weights and of weighted values;
    `xx`, `xy`, `yy`: about their means, so that a level that changes does not pass for a slope."""

    __slots__ = ("w", "x", "xx", "xy", "y", "yy")

    def __init__(self) -> None:
        self.w = self.x = self.y = self.xx = self.xy = self.yy = 0.0

    def add(self, x: float, y: float, weight: float) -> None:
        w = self.w
        if w > 0.0:
            dx, dy = x - self.x / w, y - self.y / w
            e = weight * w / (w + weight)
            self.xx += e * dx * dx
            self.xy += e * dx * dy
            self.yy += e * dy * dy
        self.w = w + weight
        self.x += weight * x
        self.y += weight * y

    def fade(self, level: float, spread: float) -> None:
        """Weigh the mean, and what lies about it, by so much."""
        self.w *= level
        self.x *= level
        self.y *= level
        self.xx *= spread
        self.xy *= spread
        self.yy *= spread

    def join(self, other: Line, fade: float) -> None:
        """Take in another's, which faded by `fade` since they were said. Each keeps its own mean: only what lies about it
        says how y goes with x, as loads differ between replicas for other reasons."""
        self.w += other.w * fade
        self.x += other.x * fade
        self.y += other.y * fade
        self.xx += other.xx * fade
        self.xy += other.xy * fade
        self.yy += other.yy * fade

    def slope(self, ridge: float) -> float:
        """Of y on x, never falling; `ridge` is how much `xx` must be to halve it."""
        return max(0.0, self.xy / (ridge + self.xx))

    def values(self) -> list[float]:
        return [self.w, self.x, self.y, self.xx, self.xy, self.yy]

    @staticmethod
    def of(values: Sequence[float], heaviest: float) -> Line:
        """Raises ValueError for what cannot be sums. `heaviest`: the most that they may weigh."""
        line = Line()
        line.w, line.x, line.y, line.xx, line.xy, line.yy = values
        if not all(map(math.isfinite, values)) or min(line.w, line.xx, line.yy) < 0.0 or line.w > heaviest:
            raise ValueError("these are no sums")
        return line


class Evidence:
    """`load`: ln(seconds), net of the prompt's share, on ln(1 + requests in flight). `seconds`: sum of the same in
    seconds, each at most some multiple of the typical one. `prompt`: seconds on thousands of prompt tokens, weighed so
    that errors count by their ratio. `at`: the moment for which they hold."""

    __slots__ = ("at", "load", "prompt", "seconds")

    def __init__(self, at: float) -> None:
        self.at = at
        self.load, self.prompt = Line(), Line()
        self.seconds = 0.0

    def fade(self, factor: float) -> None:
        self.load.fade(factor, factor)
        self.seconds *= factor
        if self.prompt.w:
            self.prompt.fade(factor, factor)

    def forget(self, keep: float, slope: float) -> None:
        """The level changed: keep so much of it, and so much of the slopes."""
        self.load.fade(keep, slope)
        self.seconds *= keep
        self.prompt.fade(keep, slope)

    def join(self, other: Evidence, fade: float) -> None:
        self.load.join(other.load, fade)
        self.prompt.join(other.prompt, fade)
        self.seconds += other.seconds * fade

    def values(self) -> list[float]:
        """Plain numbers, for other replicas."""
        return [self.seconds, *self.load.values(), *self.prompt.values()]

    @staticmethod
    def of(at: float, values: Sequence[float]) -> Evidence:
        """Raises ValueError for what cannot be sums."""
        if len(values) != 13 or not 0.0 <= values[0] < 1e12:
            raise ValueError("these are no sums")
        evidence = Evidence(at)
        # The prompt's weights go as 1/seconds^2: a target that answers within a millisecond counts a million a sample.
        evidence.seconds = values[0]
        evidence.load, evidence.prompt = Line.of(values[1:7], 1e6), Line.of(values[7:], 1e14)
        return evidence
