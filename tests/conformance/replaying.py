"""Recorded sessions of realtime protocols (`../shared/recordings/realtime`), replayed on a socket.

A line is {"dir": "sent" | "received", "data": ...}, in the order in which the recording client saw them. The replay waits for
the client's frames where the recording has them, by their kinds, and says what the provider said.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection

from gateway.contract.channel import Channel
from gateway.contract.events import Answered, ProviderEvent, Transcript
from gateway.contract.provider import Closable, Secret, Settings, SpeechToSpeech
from gateway.contract.requests import ConverseRequest, Input
from tests.fakes.base import Behaviour, Fake, Session
from tests.needs import SHARED

Json = dict[str, Any]


@dataclass(frozen=True)
class Line:
    sent: bool
    data: Json


def recorded(name: str) -> list[Line]:
    lines = (SHARED / "recordings" / "realtime" / f"{name}.ws.jsonl").read_bytes().splitlines()
    read = [orjson.loads(line) for line in lines]
    return [Line(each["dir"] == "sent", each["data"]) for each in read]


class Replay(Fake):
    """`kind`: of a frame; `binary`: how the provider frames its JSON. `came`: the client's frames."""

    def __init__(self, lines: list[Line], kind: Callable[[Json], str], binary: bool = False) -> None:
        super().__init__()
        self._lines, self._kind, self._binary = lines, kind, binary
        self.came: list[Json] = []

    def of(self, kind: str) -> list[Json]:
        return [each for each in self.came if self._kind(each) == kind]

    async def talk(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        frames = self.heard(connection, session)
        had: Counter[str] = Counter()
        wanted: Counter[str] = Counter()
        for line in self._lines:
            kind = self._kind(line.data)
            if not line.sent:
                data = orjson.dumps(line.data)
                await connection.send(data if self._binary else data.decode())
                continue
            wanted[kind] += 1
            while had[kind] < wanted[kind]:
                came = orjson.loads(await anext(frames))
                self.came.append(came)
                had[self._kind(came)] += 1
        async for _ in frames:
            pass


@dataclass
class Replayed:
    events: list[ProviderEvent]
    replay: Replay

    def all(self, kind: type[ProviderEvent]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


async def replayed(
    build: Callable[[Settings], Any],
    replay: Replay,
    model: str,
    request: ConverseRequest,
    inputs: list[Input],
    answers: int,
    finals: int = 0,
    then: Callable[[ProviderEvent], Iterator[Input]] | None = None,
) -> Replayed:
    """The session until it has given so many answers and final transcripts. `then`: what is put upon an event."""
    channel: Channel[Input] = Channel()
    for item in inputs:
        channel.put(item)
    events: list[ProviderEvent] = []
    async with replay.running() as url, asyncio.timeout(10):
        provider = build(Settings("acme", url.replace("ws", "http", 1), Secret("key-0123456789")))
        assert isinstance(provider, SpeechToSpeech)
        assert isinstance(provider, Closable)
        async with aclosing(provider.converse(model, request, channel.reader())) as stream:
            async for event in stream:
                events.append(event)
                for item in then(event) if then is not None else ():
                    channel.put(item)
                done = sum(isinstance(each, Answered) for each in events)
                heard = sum(isinstance(each, Transcript) and each.final for each in events)
                if done >= answers and heard >= finals:
                    break
        await replay.until_left()
        await provider.aclose()
    return Replayed(events, replay)


def holds(ours: object, theirs: object) -> bool:
    """Whether all that `theirs` says is in `ours`, where both speak of it."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return all(holds(ours[name], value) for name, value in theirs.items() if name in ours)
    return ours == theirs
