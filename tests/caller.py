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
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import av
import httpx
import numpy as np
import numpy.typing as npt
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtp import RtpPacket

Samples = npt.NDArray[np.int16]
RATE = 24_000
"""Samples per second of what is heard."""
_MIC_RATE = 48_000  # what aiortc encodes at: no resampler of its own, which would hold back a frame
_MIC_FRAME = 960
_WINDOW = 0.01
VOICED = 250.0
"""RMS of 10 ms, of 32768, from which it counts as voiced (about -42 dBFS)."""


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


@dataclass(frozen=True, slots=True)
class Said:
    """An utterance as it left the mouth; times of the loop's clock."""

    began: float
    samples: Samples

    @property
    def ended(self) -> float:
        return self.began + len(self.samples) / _MIC_RATE

    @property
    def voice_began(self) -> float:
        return self.began + float(voiced(self.samples, _MIC_RATE)[0]) * _WINDOW

    @property
    def voice_ended(self) -> float:
        return self.began + float(voiced(self.samples, _MIC_RATE)[-1] + 1) * _WINDOW


def voiced(samples: Samples, rate: int) -> npt.NDArray[np.intp]:
    """Indices of the 10 ms windows that are voiced."""
    return np.flatnonzero(loudness(samples, rate) >= VOICED)


def loudness(samples: Samples, rate: int) -> npt.NDArray[np.float64]:
    """RMS of each whole 10 ms window."""
    size = round(rate * _WINDOW)
    whole = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    rms: npt.NDArray[np.float64] = np.sqrt((whole**2).mean(axis=1))
    return rms


def load(path: Path, rate: int = _MIC_RATE) -> Samples:
    """A sound file as mono at `rate`."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    pieces: list[npt.NDArray[Any]] = []
    with av.open(str(path)) as container:
        for frame in [*container.decode(audio=0), None]:
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    return np.concatenate(pieces).astype(np.int16)


class Heard:
    """What came by RTP."""

    def __init__(self) -> None:
        self._decoder = av.CodecContext.create("libopus", "r")
        self._decoder.sample_rate, self._decoder.layout, self._decoder.format = 48_000, "mono", "s16"
        self._first: int | None = None
        self._pieces: list[tuple[int, Samples]] = []
        self._origin = float("inf")
        self.packets: list[tuple[float, int, int]] = []
        """(arrival, RTP timestamp, bytes of payload) of each packet."""
        self._news = asyncio.Event()

    def take(self, packet: RtpPacket, at: float) -> None:
        if self._first is None:
            self._first = packet.timestamp
        ahead = (packet.timestamp - self._first + 2**31) % 2**32 - 2**31
        index = ahead * RATE // 48_000
        self.packets.append((at, packet.timestamp, len(packet.payload)))
        self._origin = min(self._origin, at - index / RATE)
        for frame in self._decoder.decode(av.Packet(packet.payload)):
            wide = frame.to_ndarray().reshape(-1).astype(np.int32)
            self._pieces.append((index, ((wide[0::2] + wide[1::2]) // 2).astype(np.int16)))
        self._news.set()

    @property
    def origin(self) -> float:
        """When the first sample came, by the packet that was delayed least."""
        return self._origin

    def samples(self) -> Samples:
        """The whole recording; zeros where nothing came."""
        if not self._pieces:
            return np.zeros(0, np.int16)
        recording = np.zeros(max(index + len(piece) for index, piece in self._pieces), np.int16)
        for index, piece in self._pieces:
            recording[index : index + len(piece)] = piece
        return recording

    def time_of(self, index: int) -> float:
        return self._origin + index / RATE

    def index_at(self, time: float) -> int:
        return max(0, round((time - self._origin) * RATE))

    def between(self, start: float, end: float) -> Samples:
        return self.samples()[self.index_at(start) : self.index_at(end)]

    def voice_after(self, time: float) -> float:
        """LookupError if there is none yet."""
        start = self.index_at(time)
        found = voiced(self.samples()[start:], RATE)
        if not len(found):
            raise LookupError
        return self.time_of(start) + float(found[0]) * _WINDOW

    def voice_before(self, time: float) -> float:
        """When the last voiced 10 ms that began before t ended. LookupError if there is none."""
        end = self.index_at(time)
        found = voiced(self.samples()[:end], RATE)
        if not len(found):
            raise LookupError
        return self.time_of(0) + float(found[-1] + 1) * _WINDOW

    def silence_after(self, time: float, lasting: float = 0.2) -> float:
        """LookupError if there is none yet."""
        start, run = self.index_at(time), round(lasting / _WINDOW)
        quiet = loudness(self.samples()[start:], RATE) < VOICED
        for first in range(len(quiet) - run + 1):
            if quiet[first : first + run].all():
                return self.time_of(start) + first * _WINDOW
        raise LookupError

    async def until(self, found: Callable[[], float], within: float = 10.0) -> float:
        """`found()` as soon as it no longer raises LookupError, tried at every packet."""
        async with asyncio.timeout(within):
            while True:
                self._news.clear()
                try:
                    return found()
                except LookupError:
                    await self._news.wait()


class Mic(MediaStreamTrack):
    """Utterances at real time, silence between them."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._clock = asyncio.get_running_loop().time
        self.start: float | None = None
        self.frames = 0
        """How many were spoken, 20 ms each."""
        self._said: list[tuple[int, Samples]] = []
        self.lateness = 0.0
        """The worst a frame was late, in seconds: how far the times of `Said` can be trusted."""

    def say(self, samples: Samples, at: float | None = None) -> Said:
        """`at`: not before the frame after next."""
        assert self.start is not None, "the call is not connected"
        soonest = (self.frames + 1) * _MIC_FRAME
        first = soonest if at is None else max(soonest, round((at - self.start) * _MIC_RATE))
        self._said.append((first, samples))
        return Said(self.start + first / _MIC_RATE, samples)

    async def recv(self) -> av.AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        if self.start is None:
            self.start = self._clock()
        # The frame's last sample is spoken now: no microphone gives a frame before.
        ahead = self.start + (self.frames + 1) * _MIC_FRAME / _MIC_RATE - self._clock()
        self.lateness = max(self.lateness, -ahead)
        if ahead > 0:
            await asyncio.sleep(ahead)
        frame = av.AudioFrame(format="s16", layout="mono", samples=_MIC_FRAME)
        frame.planes[0].update(self._cut(self.frames * _MIC_FRAME).tobytes())
        frame.sample_rate, frame.time_base = _MIC_RATE, Fraction(1, _MIC_RATE)
        frame.pts = self.frames * _MIC_FRAME
        self.frames += 1
        return frame

    def _cut(self, start: int) -> Samples:
        frame = np.zeros(_MIC_FRAME, np.int16)
        for first, samples in self._said:
            piece = samples[max(0, start - first) : max(0, start + _MIC_FRAME - first)]
            offset = max(0, first - start)
            frame[offset : offset + len(piece)] = piece
        self._said = [(first, samples) for first, samples in self._said if first + len(samples) > start + _MIC_FRAME]
        return frame


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
            await self._drain
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
