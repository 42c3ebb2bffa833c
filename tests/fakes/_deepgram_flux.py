"""Deepgram's Flux (listen v2). Evidence: the vendor's SDK (deepgram-sdk 7.17) and its documentation of the turns' state machine;
never seen on the wire here. What it says of a turn that CloseStream cuts off is a guess: an Update, and no EndOfTurn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
from websockets.asyncio.server import ServerConnection

from tests.fakes.base import Behaviour, Dropped, Session, stalled, text
from tests.fakes.hearing import Hearing, Said

REQUEST_ID = "0190f8c0-0000-7000-8000-000000000000"
IDLE, UPDATE = 10.0, 0.25
EAGER, SURE = 0.3, 0.6
"""Seconds of quiet after which Flux thinks, and is sure, that a turn is over."""


class Flux:
    """One session."""

    def __init__(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        self._connection, self._behaviour = connection, behaviour
        query = session.query
        self._eager = "eager_eot_threshold" in query
        self._decides = float(query.get("eot_threshold", "0.7")) < 1.0
        self._timeout = float(query.get("eot_timeout_ms", "5000")) / 1000
        self._multi = "multi" in query["model"]
        self._hearing = Hearing(int(query["sample_rate"]))
        self._key = session.headers.get("authorization", "").rpartition(" ")[2]
        self._words: list[Said] = []
        self._sequence = self._index = 0
        self._began: float | None = None  # of the turn under way
        self._doubted = False
        self._updated = self._window = 0.0

    async def run(self, frames: AsyncIterator[str | bytes]) -> None:
        await self._send(type="Connected")
        try:
            while True:
                async with asyncio.timeout(IDLE):
                    frame = await anext(frames, None)
                if frame is None or await self._take(frame):
                    return
        except TimeoutError:
            await self._connection.close(1011, "NET-0001 no audio")

    async def _take(self, frame: str | bytes) -> bool:
        """Whether it was the last."""
        if isinstance(frame, bytes):
            return await self._sound(frame)
        match orjson.loads(frame):
            case {"type": "ForceEndTurn"}:
                self._words += self._hearing.rest()
                if (self._began is not None or self._words) and self._behaviour.trouble != "no-answer":
                    await self._end("manual")
            case {"type": "CloseStream"}:
                self._words += self._hearing.rest()
                if self._words:
                    await self._info("Update")
                await self._connection.close(1000)
                return True
            case {"type": "Configure"}:
                await self._send(type="ConfigureSuccess", thresholds={}, keyterms=[])
            case _:
                await self._send(type="Error", code="UNPARSABLE_CLIENT_MESSAGE", description="unknown message")
                await self._connection.close(1008, "unknown message")
                return True
        return False

    async def _sound(self, pcm: bytes) -> bool:
        behaviour = self._behaviour
        if behaviour.trouble in ("bad-audio", "echoes-key"):
            shown = self._key if behaviour.trouble == "echoes-key" else ""
            await self._connection.close(1008, f"DATA-0000 not audio {shown}")
            return True
        size = 640  # looked at as if it had come bit by bit
        for at in range(0, len(pcm), size):
            self._words += self._hearing.hear(pcm[at : at + size])
            now = self._hearing.seconds
            if behaviour.drop_after is not None and now >= behaviour.drop_after:
                raise Dropped
            if behaviour.stall_after is not None and now >= behaviour.stall_after:
                await stalled(self._connection)
            await self._follow(now)
        while behaviour.trouble == "endless":
            self._words.append(Said("again", 0.0, 0.5))
            await self._info("Update")
            await asyncio.sleep(0.005)
        return False

    async def _follow(self, now: float) -> None:
        quiet = self._hearing.quiet
        if self._began is None:
            if self._hearing.speaking and self._words:
                self._began = self._words[0].start
                await self._info("StartOfTurn")
        elif self._doubted and self._hearing.speaking:
            self._doubted = False
            await self._info("TurnResumed")
        elif (self._decides and quiet >= SURE) or quiet >= self._timeout:
            self._words += self._hearing.rest()
            await self._end("model" if quiet < self._timeout else "timeout")
        elif self._eager and self._decides and quiet >= EAGER and not self._doubted:
            self._words += self._hearing.rest()
            self._doubted = True
            await self._info("EagerEndOfTurn")
        elif now - self._updated >= UPDATE:
            await self._info("Update")

    async def _end(self, trigger: str) -> None:
        await asyncio.sleep(self._behaviour.latency)
        await self._info("EndOfTurn", trigger=trigger)
        self._words, self._began, self._doubted = [], None, False
        self._index += 1
        self._window = self._hearing.seconds

    async def _info(self, event: str, **more: object) -> None:
        self._updated = self._hearing.seconds
        if self._multi:
            more["languages"] = ["en"]
        await self._send(
            type="TurnInfo",
            event=event,
            turn_index=self._index,
            audio_window_start=round(self._window, 3),
            audio_window_end=round(self._hearing.seconds, 3),
            transcript=" ".join(word.text for word in self._words),
            words=[
                {"word": word.text, "confidence": 0.99, "start": round(word.start, 3), "end": round(word.end, 3)}
                for word in self._words
            ],
            end_of_turn_confidence=0.9 if event.endswith("EndOfTurn") else 0.1,
            **more,
        )

    async def _send(self, **message: object) -> None:
        await self._connection.send(text({"request_id": REQUEST_ID, "sequence_id": self._sequence, **message}))
        self._sequence += 1
