"""Routes: the names that clients put in `model`, and the targets and policy behind each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.contract.requests import Kind

Order = Literal["ttft", "priority", "weighted", "cost"]
MidStream = Literal["error", "restart", "continue"]


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one provider, and what its route's file says of it.

    `weight`: its share where the order is weighted; `price`: in whatever unit the route's targets share; `context`: tokens;
    `canary`: the share of requests that try it first, whatever the order; `shadow`: the share of requests of which it gets a
    copy, where it serves nobody.
    """

    provider: str
    model: str
    weight: float = 1.0
    price: float | None = None
    context: int | None = None
    region: str | None = None
    languages: tuple[str, ...] = ()
    canary: float | None = None
    shadow: float | None = None
    _name: str = field(init=False, repr=False, compare=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "_name", f"{self.provider}/{self.model}")

    def __str__(self) -> str:
        return self._name


@dataclass(frozen=True, slots=True)
class Eject:
    """`consecutive` failures put a target out for `base` seconds, twice as long each time, at most `longest`."""

    consecutive: int = 3
    base: float = 5.0
    longest: float = 20.0


@dataclass(frozen=True, slots=True)
class Probing:
    """A target that nobody asked for `every` seconds is, at most `daily` times in 24 hours."""

    every: float = 600.0
    daily: int = 50


@dataclass(frozen=True, slots=True)
class Policy:
    """How a route is served; seconds throughout. See docs/routes.md.

    `ttft_deadline`: until the first useful event; `answer`: the same where nothing is streamed, until the whole answer;
    `idle`: between events after the first, while something is owed; `total`: of a whole llm answer; `hedge`, `retry_budget`:
    shares of the live requests; `retries`: on the same target; `max_price`: targets above it are left out; `probe`: None for no probes.
    """

    order: Order = "ttft"
    ttft_deadline: float = 6.0
    answer: float = 60.0
    idle: float = 20.0
    total: float = 600.0
    hedge: float = 0.05
    eject: Eject = field(default_factory=Eject)
    retries: int = 1
    retry_budget: float = 0.1
    mid_stream: MidStream = "continue"
    max_price: float | None = None
    probe: Probing | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """`asleep`: targets of the file that are left out here, with the reason; `voices`: what each provider (or target) calls a
    voice of the route's own name; `shadows`: targets that only get copies."""

    name: str
    kind: Kind
    targets: tuple[Target, ...]
    policy: Policy = field(default_factory=Policy)
    asleep: Mapping[str, str] = field(default_factory=dict)
    voices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    shadows: tuple[Target, ...] = ()

    def voice(self, name: str | None, target: Target) -> str | None:
        """What the target calls it; None for its own voice. A name that is not the route's is the caller's to know."""
        known = self.voices.get(name) if name is not None else None
        if known is None:
            return name
        return known.get(str(target), known.get(target.provider))


@dataclass(frozen=True, slots=True)
class Switch:
    """When a call changes its mode by itself. `on_failure`: the mode it is in can serve no more; `ttft`: an answer took longer
    than so many seconds, `turns` times in a row; `back_after`: seconds after which it goes back to the mode it began in;
    `minutes`: of the mode it began in, after which it goes on in the other for good; `usd`: US dollars that omni may cost in one
    call; `language`: the caller is heard in a language that the mode does not speak and the other does."""

    on_failure: bool = True
    back_after: float = 30.0
    ttft: float | None = None
    turns: int = 3
    minutes: float | None = None
    usd: float | None = None
    language: bool = False


@dataclass(frozen=True, slots=True)
class CallRoute:
    """What answers a call: the routes of each mode, and how the agent behaves.

    `instructions`: the system prompt; `greeting`: spoken first, if not empty; `apology`: spoken where nobody can answer;
    `voice`: passed to tts and s2s; `s2s`: of the omni mode, where there is one; `start`: the mode it begins in.
    """

    name: str
    stt: str
    llm: str
    tts: str
    instructions: str = ""
    greeting: str = ""
    voice: str | None = None
    language: str | None = None
    s2s: str | None = None
    start: Literal["cascaded", "omni"] = "cascaded"
    switch: Switch = field(default_factory=Switch)
    apology: str = ""
