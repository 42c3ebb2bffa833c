"""Standing: how a target stands with its route now. Ejection: the moment it is left out for a while."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.contract.requests import Kind


@dataclass(frozen=True, slots=True)
class Standing:
    """`ttft_p50`, `ttft_p95`: what is expected of it, seconds, None where nothing is known; `error_rate`, `share` (of the
    route's recent requests): 0 to 1; `ejected_for`, `resting_for`: seconds left, `why` it is out; `samples`: how much of the
    expectation is evidence, in samples that have not faded; `asleep`: why it cannot serve here at all; `shadow`: it is
    sent copies of requests, and serves nobody."""

    route: str
    kind: Kind
    target: str
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    error_rate: float = 0.0
    in_flight: int = 0
    share: float = 0.0
    ejected_for: float | None = None
    resting_for: float | None = None
    why: str | None = None
    samples: float = 0.0
    asleep: str | None = None
    shadow: bool = False

    @property
    def known(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.samples or self.error_rate or self.in_flight or self.share or self.why or self.asleep)

    def beside(self, whole: Standing) -> Standing:
        """As one, of a target that is asked for streams (this) and for whole answers; it is out if it is out for either."""
        shown, other = (self, whole) if self.known or not whole.known else (whole, self)
        if shown.why is not None or other.why is None:
            return shown
        return replace(shown, ejected_for=other.ejected_for, resting_for=other.resting_for, why=other.why)


@dataclass(frozen=True, slots=True)
class Ejection:
    """`seconds`: for how long, None until the configuration changes; `why`: in words of ours."""

    route: str
    kind: Kind
    target: str
    seconds: float | None
    why: str
