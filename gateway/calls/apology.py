"""Apology: a line for when nobody can answer, spoken once by the route's own voice and kept, to be heard when that voice is gone.

It is no part of the conversation: no model is shown it, and the history does not hold it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.calls.history import Item
from gateway.calls.leg import Line, Opens
from gateway.calls.transport import PLAYOUT_RATE
from gateway.calls.utterance import Utterance
from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.encoding import Resampler
from gateway.contract.errors import GatewayError
from gateway.contract.events import AudioDelta
from gateway.contract.requests import Commit, Input, SpeakRequest
from gateway.routing.route import CallRoute

log = logging.getLogger(__name__)

LONGEST = 15.0
"""Seconds of a line; what is longer is cut."""
SOON, TRIES = 0.1, 15
"""Seconds after which it is looked again whether something is still being said, and how often."""
QUIET = 10.0
"""Seconds after one in which there is no other."""


class Apologies:
    """The lines of this process, by voice. They are spoken in the background when a route's first call begins, and again with
    the next where that failed. Whose call that is pays for it."""

    def __init__(self, engine: Opens) -> None:
        self._engine = engine
        self._kept: dict[tuple[str, str, str | None], bytes] = {}
        self._making: dict[tuple[str, str, str | None], asyncio.Task[None]] = {}

    def prepare(self, route: CallRoute) -> None:
        key = _key(route)
        if route.apology and key not in self._kept and key not in self._making:
            task = self._making[key] = asyncio.create_task(self._make(route), name=f"apology of {route.name}")
            task.add_done_callback(lambda _: self._making.pop(key, None))

    def of(self, route: CallRoute) -> bytes | None:
        """Its sound at PLAYOUT_RATE; None where it was never spoken."""
        return self._kept.get(_key(route))

    async def aclose(self) -> None:
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _make(self, route: CallRoute) -> None:
        inputs: Channel[Input] = Channel()
        inputs.put(route.apology)
        inputs.put(Commit())
        inputs.close()
        pcm, resampler = bytearray(), Resampler(PLAYOUT_RATE)
        request = SpeakRequest(PLAYOUT_RATE, route.voice, language=route.language)
        try:
            async with self._engine.open(route.tts, request, inputs) as answer:
                async for event in answer:
                    if isinstance(event, AudioDelta):
                        pcm += _at_playout_rate(event.audio, resampler)
        except GatewayError as error:
            log.warning("the apology of route %s could not be spoken: %s", route.name, type(error).__name__)
            return
        self._kept[_key(route)] = bytes(pcm[: round(LONGEST * PLAYOUT_RATE) * 2])


def _key(route: CallRoute) -> tuple[str, str, str | None]:
    return (route.tts, route.apology, route.voice)


def _at_playout_rate(audio: Audio, resampler: Resampler) -> bytes:
    return audio.pcm if audio.rate == PLAYOUT_RATE else resampler.feed(audio).pcm


class Apology(Utterance):
    """One, as the client knows it: an answer whose item is not kept."""

    def __init__(self, line: Line) -> None:
        super().__init__(line, line.timeline.turn(), line.session.modality)

    def say(self, text: str, pcm: bytes) -> None:
        self.begin()
        self._write(text)
        if self.track is not None:
            self.track.ledger.clause(text)
            self.track.push(pcm)
            self.track.ledger.flushed()
        self._conclude()

    def _keep(self, item: Item) -> str | None:
        return None


class Apologist:
    """Says it in one call. `sound`: of the call's route, as far as there is one."""

    def __init__(self, line: Line, sound: Callable[[CallRoute], bytes | None]) -> None:
        self._line, self._sound = line, sound
        self._last = float("-inf")
        self._later: asyncio.TimerHandle | None = None

    def say(self, tries: int = TRIES) -> None:
        """Once what is being said is over, if that is soon; nothing where there was one just now."""
        self.cancel()
        line, loop = self._line, asyncio.get_running_loop()
        route = line.route
        pcm = self._sound(route) if line.session.modality == "audio" else b""
        if not route.apology or pcm is None or not line.session.answers or loop.time() - self._last < QUIET:
            return
        if line.playout.idle:
            self._last = loop.time()
            Apology(line).say(route.apology, pcm)
        elif tries:
            self._later = loop.call_later(SOON, self.say, tries - 1)

    def cancel(self) -> None:
        """There is no need any more."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
