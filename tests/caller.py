"""A caller for tests: a stock aiortc client on 127.0.0.1 that speaks WAV files and records what it hears.

    async with Caller("http://127.0.0.1:8080") as caller:          # or Caller(app); or Caller(webrtc) for no HTTP at all
        said = caller.say(speech / "k01_kokoro_af_heart.wav")      # now; `at=` for a time of the loop's clock
        event = await caller.until("response.done", within=20)     # an event of oai-events, the next of that type
        heard = caller.heard
        delay = heard.voice_after(said.voice_ended) - said.voice_ended

Everything has times of one clock, the loop's (`time.monotonic`, the same in every process of the machine):

* `Said`: `began` and `ended` (first and last sample leave the mouth), `voice_began` and `voice_ended` (the voiced part).
  A frame goes out 20 ms after its first sample, as from a real microphone.
* `Heard`: what came by RTP, tapped before any jitter buffer and placed by RTP timestamp, 24 kHz mono. `samples()` is
  the whole recording; `time_of(i)` and `index_at(t)` convert; `between(t, u)` cuts; `voice_after(t)`: when the first
  voiced 10 ms at or after t began, `voice_before(t)`: when the last one before t ended; `silence_after(t, lasting=0.2)`:
  when the first pause of that length began. `until(found)`: waits until one of these finds something.
* `caller.events`: every event of both data channels, `Event(at, label, body)`, in order.

`hang_up()` sends DELETE; `leave()` closes the peer connection properly; `vanish()` drops the sockets without a word.
Leaving the `async with` leaves the call. `send(label, {...})` sends an event, `location` is the call's path.
`Caller(..., offer_only=True)` makes the offer and stops there (`caller.offer`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import httpx
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtp import RtpPacket

from tests.heard import RATE, Heard, voiced
from tests.mic import Mic, Said, load
from tests.sounds import Samples

__all__ = ["RATE", "Caller", "Event", "Heard", "Mic", "Said", "Samples", "load", "voiced"]


class Answers(Protocol):
    """What has `answer`, such as WebRtc."""

    async def answer(self, offer_sdp: str) -> tuple[Any, str]: ...


@dataclass(frozen=True, slots=True)
class Event:
    at: float
    label: str
    body: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.body.get("type"))


@dataclass(slots=True)
class _Signalling:
    """How the offer reaches the gateway."""

    target: object
    client: httpx.AsyncClient | None = field(default=None)

    async def open(self) -> None:
        if isinstance(self.target, str):
            self.client = httpx.AsyncClient(base_url=self.target, timeout=30)
        elif not hasattr(self.target, "answer"):
            asgi = httpx.ASGITransport(app=self.target)  # type: ignore[arg-type]
            self.client = httpx.AsyncClient(transport=asgi, base_url="http://trunkline.test", timeout=30)

    async def aclose(self) -> None:
        if self.client is not None:
            await self.client.aclose()


class Caller:
    """See the top of the file. `session`: sent as OpenAI's multipart form; without it the SDP goes alone. `route`: `?model=`."""

    def __init__(
        self,
        target: str | Answers | Callable[..., Awaitable[None]],
        *,
        session: dict[str, Any] | None = None,
        route: str | None = None,
        channels: Sequence[str] = ("oai-events", "gateway"),
        offer_only: bool = False,
    ) -> None:
        self._signalling = _Signalling(target)
        self._session, self._route, self._labels, self._offer_only = session, route, tuple(channels), offer_only
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.mic = Mic()
        self.heard = Heard()
        self.events: list[Event] = []
        self.channels: dict[str, RTCDataChannel] = {}
        self.location = ""
        self.offer = ""
        self.response: httpx.Response | None = None
        self.transport: Any = None
        """The gateway's side, when the target is a WebRtc."""
        self._read: dict[str, int] = {}
        self._news = asyncio.Event()
        self._drain: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    async def connect(self, within: float = 10.0) -> None:
        """Until ICE, DTLS and every data channel are up."""
        await self._signalling.open()
        ready = [self._channel(label) for label in self._labels]
        self.peer.addTrack(self.mic)
        self._on_loopback()
        await self.peer.setLocalDescription(await self.peer.createOffer())
        self.offer = self.peer.localDescription.sdp
        if self._offer_only:
            return
        answer = await self._exchange(self.offer)
        self.peer.on("track", self._track)
        await self.peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        async with asyncio.timeout(within):
            for opened in ready:
                await opened.wait()
            await self.until_true(lambda: self.peer.connectionState == "connected" and self.mic.start is not None)

    def say(self, what: Path | Samples, at: float | None = None) -> Said:
        """A file, or samples at 48 kHz."""
        return self.mic.say(load(what) if isinstance(what, Path) else what, at)

    def send(self, label: str, body: dict[str, Any]) -> None:
        self.channels[label].send(json.dumps(body))

    def of(self, label: str, kind: str | None = None) -> list[Event]:
        return [event for event in self.events if event.label == label and kind in (None, event.type)]

    async def until(
        self,
        kind: str,
        label: str = "oai-events",
        within: float = 10.0,
        where: Callable[[dict[str, Any]], bool] = lambda body: True,
    ) -> Event:
        """The next event of that type that no earlier `until` of this label and type has given."""
        key = f"{label} {kind}"
        async with asyncio.timeout(within):
            while True:
                self._news.clear()
                for index in range(self._read.get(key, 0), len(self.events)):
                    event = self.events[index]
                    if event.label == label and event.type == kind and where(event.body):
                        self._read[key] = index + 1
                        return event
                await self._news.wait()

    async def until_true(self, holds: Callable[[], bool], within: float = 10.0) -> None:
        """Looks every 5 ms; for states that no event tells."""
        async with asyncio.timeout(within):
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def hang_up(self) -> httpx.Response:
        assert self._signalling.client is not None
        return await self._signalling.client.delete(self.location)

    async def leave(self) -> None:
        """Close properly. Again is a no-op."""
        await self.peer.close()
        if self._drain is not None:
            self._drain.cancel()  # the track of a call that never connected does not end by itself
            await asyncio.wait([self._drain])
        await self._signalling.aclose()

    def vanish(self) -> None:
        """From now on nothing leaves and nothing arrives, and no one is told."""
        for connection in self._connections():
            for protocol in connection._protocols:
                protocol.transport = _Unplugged(protocol.transport)
                protocol.datagram_received = lambda *_: None

    async def _exchange(self, offer: str) -> str:
        client = self._signalling.client
        if client is None:
            self.transport, answer = await self._signalling.target.answer(offer)  # type: ignore[attr-defined]
            return str(answer)
        params = {"model": self._route} if self._route else {}
        path = "/v1/realtime/calls"
        if self._session is None:
            headers = {"content-type": "application/sdp"}
            self.response = await client.post(path, params=params, content=offer, headers=headers)
        else:
            files = {
                "sdp": (None, offer, "application/sdp"),
                "session": (None, json.dumps(self._session), "application/json"),
            }
            self.response = await client.post(path, params=params, files=files)
        self.response.raise_for_status()
        self.location = self.response.headers["location"]
        return self.response.text

    def _channel(self, label: str) -> asyncio.Event:
        opened = asyncio.Event()
        channel = self.channels[label] = self.peer.createDataChannel(label)
        channel.on("open", opened.set)
        channel.on("message", lambda text: self._message(label, text))
        return opened

    def _message(self, label: str, text: str) -> None:
        self.events.append(Event(asyncio.get_running_loop().time(), label, json.loads(text)))
        self._news.set()

    def _track(self, track: MediaStreamTrack) -> None:
        receiver = self.peer.getReceivers()[0]
        stock, clock = receiver._handle_rtp_packet, asyncio.get_running_loop().time

        async def tap(packet: RtpPacket, arrival_time_ms: int) -> None:
            self.heard.take(packet, clock())
            await stock(packet, arrival_time_ms)

        receiver._handle_rtp_packet = tap  # type: ignore[method-assign]
        self._drain = asyncio.create_task(_drained(track))

    def _on_loopback(self) -> None:
        """Aioice leaves 127.0.0.1 out by itself."""
        for connection in self._connections():
            stock = connection.get_component_candidates
            connection.get_component_candidates = lambda component, addresses, timeout=5, stock=stock: stock(
                component, ["127.0.0.1"], timeout
            )

    def _connections(self) -> list[Any]:
        transports = [each.receiver.transport for each in self.peer.getTransceivers()]
        if self.peer.sctp is not None:
            transports.append(self.peer.sctp.transport)
        return list({transport.transport.iceGatherer._connection for transport in transports})


class _Unplugged:
    """A UDP transport with its cable out."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def sendto(self, data: bytes, addr: object = None) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


async def _drained(track: MediaStreamTrack) -> None:
    while True:
        try:
            await track.recv()
        except MediaStreamError:
            return
