"""Asides: attempts that no caller waits for, whose answers are thrown away. Probes ask a target that nobody asked for long;
shadow copies send a request to a target that is watched and not used as well."""

from __future__ import annotations

import asyncio
import math
import random
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.events import Finished
from gateway.contract.messages import Message
from gateway.contract.requests import ChatRequest, Commit, EmbedRequest, Input, Request, SpeakRequest, TranscribeRequest
from gateway.routing.attempt import is_whole
from gateway.routing.background import Background
from gateway.routing.boards import Boards
from gateway.routing.fleet import Fleet
from gateway.routing.opening import Opening, Recorder
from gateway.routing.route import Route, Target
from gateway.routing.wish import why_not, wish_of
from gateway.telemetry.decisions import Decision
from gateway.telemetry.ledger import Ledger

COPIES = 8
"""Shadow copies under way at one target; beyond them none is made."""
LONGEST = 30.0
"""Seconds that a probe may take after its first event."""
MOST_TOKENS = 16
RATE = 16_000


class Asides:
    """Makes them, and owns their tasks."""

    def __init__(self, boards: Boards, recorder: Recorder, rng: random.Random, ledger: Ledger | None = None) -> None:
        self._boards, self._recorder, self._rng, self._ledger = boards, recorder, rng, ledger
        self._background = Background()
        self._copies = Counter[tuple[str, Target]]()

    def copy(self, opening: Opening, region: str | None, fleet: Fleet) -> None:
        """Send the request to its route's shadows too, each for its share, where they could serve it."""
        now = asyncio.get_running_loop().time()
        route = replace(opening.route, targets=opening.route.shadows)
        wish = wish_of(opening.request, region, None, fleet.unfit(route, opening.request))
        board = self._boards.of(route, is_whole(opening.request), now, shadow=True)
        for target in route.targets:
            if self._rng.random() >= (target.shadow or 0.0) or why_not(target, wish, route.policy) is not None:
                continue
            who = (route.name, target)
            if board.resting(now, target) is not None or self._copies[who] >= COPIES:
                continue
            copy = Opening(
                _once(route),
                opening.request,
                None,
                board,
                fleet.providers,
                opening.decision,
                self._recorder,
                self._rng,
                self._ledger,
                wish.tokens,
                "shadow",
            )
            self._copies[who] += 1
            fleet.open += 1
            opening.copied()
            self._background.start(
                _ask(copy, target, "shadow"), f"copy for {target}", partial(self._copied, who, opening, fleet)
            )

    def probe(self, route: Route, target: Target, decision: Decision, fleet: Fleet) -> asyncio.Task[None]:
        """Ask it something small, and learn of it as of any request. The task fails as the attempt does."""
        asked = probe_of(route, target)
        board = self._boards.of(route, is_whole(asked.request), asyncio.get_running_loop().time())
        inputs: Channel[Input] = Channel()
        opening = Opening(
            _once(route),
            asked.request,
            inputs,
            board,
            fleet.providers,
            decision,
            self._recorder,
            self._rng,
            self._ledger,
            purpose="probe",
        )
        fleet.open += 1

        def over() -> None:
            fleet.left()
            opening.settle()

        return self._background.start(_probe(opening, target, asked, inputs), f"probe of {target}", over)

    async def aclose(self) -> None:
        """Cancels what is under way."""
        await self._background.aclose()

    def _copied(self, who: tuple[str, Target], opening: Opening, fleet: Fleet) -> None:
        self._copies[who] -= 1
        fleet.left()
        opening.copy_over()


@dataclass(frozen=True, slots=True)
class Probe:
    """What a target is probed with. `first`: its inputs; `ready`: those that it gets once it listens."""

    request: Request
    first: Sequence[Input] = ()
    ready: Sequence[Input] = ()


def probe_of(route: Route, target: Target) -> Probe:
    """As an ordinary request of the route's kind, as small as it may be; speech as in a call, with a final asked for."""
    language = target.languages[0] if target.languages else None
    match route.kind:
        case "llm":
            return Probe(ChatRequest((Message.of("user", "Hi"),), max_tokens=MOST_TOKENS))
        case "tts":
            return Probe(SpeakRequest(language=language), ("Hi.", Commit()))
        case "stt":
            return Probe(TranscribeRequest(RATE, language), (), (_hum(), Commit()))
        case "s2s":
            raise ValueError("a probe of s2s could act: its tools do")
        case "embed":
            return Probe(EmbedRequest(("Hi",)))


@cache
def _hum() -> Audio:
    """Half a second of a quiet tone."""
    wave = (round(500 * math.sin(math.tau * 220 * n / RATE)) for n in range(RATE // 2))
    return Audio(array("h", wave).tobytes(), RATE)


async def _probe(opening: Opening, target: Target, asked: Probe, inputs: Channel[Input]) -> None:
    """Raises GatewayError, TimeoutError."""
    for item in asked.first:
        inputs.put(item)
    if not asked.ready:
        inputs.close()

    def ready() -> None:
        for item in asked.ready:
            inputs.put(item)
        inputs.close()

    async with asyncio.timeout(opening.route.policy.ttft_deadline + LONGEST):
        await _ask(opening, target, "probe", ready)


async def _ask(
    opening: Opening, target: Target, why: Literal["probe", "shadow"], ready: Callable[[], None] = lambda: None
) -> None:
    """Raises GatewayError. Reads the whole answer, so that its usage is told. `ready`: called once it has begun."""
    attempt, _ = await opening.race([target], why)
    try:
        ready()
        while not isinstance(await attempt.next(), Finished):
            pass
    except BaseException as error:
        await attempt.close(error)
        raise
    await attempt.close()


def _once(route: Route) -> Route:
    """The same, where nothing is tried again: nobody waits for it."""
    return replace(route, policy=replace(route.policy, retries=0))
