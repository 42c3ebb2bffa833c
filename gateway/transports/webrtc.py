"""WebRTC: a caller by RTP and data channels. aiortc does ICE, DTLS and SCTP; the media is ours (gateway.media).

    webrtc = WebRtc(Media(), "127.0.0.1")
    transport, answer = await webrtc.answer(offer)
    ...
    await webrtc.aclose()

A caller is gone when it closes its events channel or DTLS, when ICE says so, when nothing at all came from it for
`gone_after` seconds, or when it never connected within `connect_within`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from aiortc import RTCDataChannel, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.exceptions import OperationError
from aiortc.sdp import candidate_from_sdp

from gateway.calls.transport import ClientMessage, Label, Speaker
from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.errors import BadRequest
from gateway.media import rtc_port
from gateway.media.egress import Egress
from gateway.media.ingest import Ingest
from gateway.media.reach import Media, Reach, bound
from gateway.transports.offer import MAX_CANDIDATES, Offer, read_fragment, read_offer

logger = logging.getLogger(__name__)

MAX_MESSAGE = 256 * 1024
"""Bytes of a text message from the caller; also what the answer says."""
MAX_UNSENT = 1000
"""Messages kept for a data channel that is not open yet."""
MAX_UNREAD = 500
"""Messages from the caller that are kept; the oldest go first."""
MAX_CHANNELS = 16
"""Data channels a caller may open, of which two are of use."""
MAX_BUFFERED = 4 * 1024 * 1024
"""Bytes a caller may be behind in reading its events before it is taken for gone."""
_LOOK = 1.0  # seconds between looks at whether the caller is still there
_FLUSH = 0.2  # seconds that the last messages get to leave


class WebRtc:
    """Answers offers. `host`: the address that HTTP is bound to; where the offered addresses come from if `media` names none."""

    def __init__(
        self,
        media: Media | None = None,
        host: str = "127.0.0.1",
        *,
        connect_within: float = 15.0,
        gone_after: float = 15.0,
    ) -> None:
        media = media or Media()
        addresses = bound(media, host)
        self._place = rtc_port.Place(
            addresses, Reach.of(media, addresses), rtc_port.Ports(*(media.ports or (0, 0))), media.announce
        )
        self._connect_within, self._gone_after = connect_within, gone_after
        self._transports: set[WebRtcTransport] = set()
        rtc_port.offer_fec()

    async def answer(self, offer_sdp: str) -> tuple[WebRtcTransport, str]:
        """The caller's connection (still connecting) and the SDP to give it. Raises BadRequest."""
        offer = read_offer(offer_sdp, self._place.reach.admits)
        peer = rtc_port.new_peer_connection()
        transport = WebRtcTransport(peer, rtc_port.Wire(self._place), offer)
        try:
            answer = await transport.accept()
        except BaseException:
            await peer.close()
            raise
        self._transports = {each for each in self._transports if not each.freed}
        self._transports.add(transport)
        transport.start(self._connect_within, self._gone_after)
        return transport, answer

    async def aclose(self) -> None:
        """End every connection."""
        await asyncio.gather(*(transport.aclose() for transport in self._transports))
        self._transports.clear()


class WebRtcTransport:
    """One caller; see gateway.calls.transport.Transport."""

    audio_in_events = False

    def __init__(self, peer: RTCPeerConnection, wire: rtc_port.Wire, offer: Offer) -> None:
        loop = asyncio.get_running_loop()
        self.mic: Channel[Audio] = Channel()
        self.inbox: Channel[ClientMessage] = Channel(items=MAX_UNREAD)
        self.egress = Egress()
        self._peer, self._wire, self._offer = peer, wire, offer
        self._candidates = offer.candidates
        self._ingest = Ingest(self.mic)
        self._channels: dict[Label, RTCDataChannel] = {}
        self._channels_opened = 0
        self._unsent: dict[Label, deque[str]] = {"oai-events": deque(), "gateway": deque()}
        self._round_trip = 0.0
        self._connected, self._drained = asyncio.Event(), asyncio.Event()
        self._ended: asyncio.Future[str] = loop.create_future()
        self._life: asyncio.Task[None] | None = None
        peer.on("datachannel", self._opened)
        peer.on("connectionstatechange", self._state_changed)

    # -- the Transport protocol

    def play(self, speaker: Speaker) -> None:
        self.egress.play(speaker)

    def send(self, label: Label, message: str) -> None:
        channel = self._channels.get(label)
        if self._ended.done():
            return
        if channel is None:
            if len(self._unsent[label]) < MAX_UNSENT:
                self._unsent[label].append(message)
        else:
            self._transmit(channel, message)

    def has(self, label: Label) -> bool:
        return label in self._channels

    @property
    def round_trip(self) -> float:
        return self._round_trip

    async def wait_closed(self) -> str:
        return await asyncio.shield(self._ended)

    async def aclose(self, reason: str = "") -> None:
        self._end("closed")
        if self._life is not None:
            await asyncio.shield(self._life)

    # -- beyond it

    @property
    def connected(self) -> bool:
        """Whether it ever was."""
        return self._connected.is_set()

    @property
    def freed(self) -> bool:
        """Whether the caller is gone and nothing of it is left here."""
        return self._life is not None and self._life.done()

    async def trickle(self, fragment: str) -> None:
        """Candidates that the caller found after its offer. Raises BadRequest."""
        found = read_fragment(fragment, self._offer, self._wire.place.reach.admits)
        self._candidates += len(found)
        if self._candidates > MAX_CANDIDATES:
            raise BadRequest(f"the call has more than {MAX_CANDIDATES} candidates", "candidate")
        if self._ended.done():
            return
        for mid, line in found:
            candidate = candidate_from_sdp(line)
            candidate.sdpMid = mid
            await self._peer.addIceCandidate(candidate)

    async def accept(self) -> str:
        """The answer to the offer. For WebRtc only, once. Raises BadRequest."""
        transceiver = self._peer.addTransceiver(self.egress, direction="sendrecv")
        # Opus first whatever the offer's order: aiortc labels what we send with the first codec.
        transceiver.setCodecPreferences(RTCRtpSender.getCapabilities("audio").codecs)
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(self._offer.sdp, "offer"))
        except OperationError:
            raise BadRequest("the offer has an m-line with no codec in common with us", "sdp") from None
        for other in self._peer.getTransceivers():
            if other is not transceiver:
                other.direction = "inactive"
        rtc_port.hear_at_once(transceiver.receiver)
        self._wire.lay(self._peer)
        try:
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except rtc_port.NoPortFree:
            raise BadRequest("no UDP port is free for media", status=503) from None
        return self._peer.localDescription.sdp

    def start(self, connect_within: float, gone_after: float) -> None:
        """Begin to live. For WebRtc only, once."""
        self._life = asyncio.create_task(self._live(connect_within, gone_after), name="webrtc")

    # -- its life

    async def _live(self, connect_within: float, gone_after: float) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                duties = [group.create_task(self._watch(connect_within, gone_after))]
                track = self._peer.getTransceivers()[0].receiver.track
                if track is not None:
                    duties.append(group.create_task(self._ingest.run(track)))
                reason = await self.wait_closed()
                for duty in duties:
                    duty.cancel()
            logger.info("a WebRTC caller is gone: %s", reason)
        finally:
            self._end("failed")
            await self._free()

    async def _free(self) -> None:
        try:
            async with asyncio.timeout(_FLUSH):
                while self._behind():
                    self._drained.clear()
                    await self._drained.wait()
        except TimeoutError:
            logger.info("the last events of a call did not leave")
        finally:
            await self._peer.close()
            self._channels.clear()

    def _behind(self) -> int:
        """Bytes of events that have not left."""
        if self._peer.connectionState != "connected":
            return 0
        return sum(channel.bufferedAmount for channel in self._channels.values() if channel.readyState == "open")

    async def _watch(self, connect_within: float, gone_after: float) -> None:
        try:
            async with asyncio.timeout(connect_within):
                await self._connected.wait()
        except TimeoutError:
            self._end("never connected")
            return
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(_LOOK, gone_after / 4))
            if loop.time() - self._wire.heard_at > gone_after:
                self._end("vanished")
                return
            if rtc_port.overfed(self._peer):
                self._end("sends more than it may")
                return
            await self._measure()

    async def _measure(self) -> None:
        for report in (await self._peer.getSenders()[0].getStats()).values():
            if report.type == "remote-inbound-rtp" and report.roundTripTime is not None:
                self._round_trip = max(0.0, report.roundTripTime)

    def _end(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)
            self.mic.close()
            self.inbox.close()

    def _state_changed(self) -> None:
        match self._peer.connectionState:
            case "connected":
                self._connected.set()
            case "failed":
                self._end("vanished" if self._connected.is_set() else "never connected")
            case "closed":
                self._end("hung up")

    # -- data channels

    def _opened(self, channel: RTCDataChannel) -> None:
        self._channels_opened += 1
        if self._channels_opened > MAX_CHANNELS:
            self._end("opens too many channels")
        label = channel.label
        if label not in ("oai-events", "gateway") or label in self._channels:
            channel.close()
            return
        self._take(channel, "oai-events" if label == "oai-events" else "gateway")

    def _take(self, channel: RTCDataChannel, label: Label) -> None:
        self._channels[label] = channel
        channel.on("message", lambda message: self._received(label, message))
        channel.on("bufferedamountlow", self._drained.set)
        if label == "oai-events":
            channel.on("close", lambda: self._end("hung up"))
        while self._unsent[label]:
            self._transmit(channel, self._unsent[label].popleft())

    def _received(self, label: Label, message: str | bytes) -> None:
        if not isinstance(message, str) or len(message) > MAX_MESSAGE or len(message.encode()) > MAX_MESSAGE:
            logger.warning("a message on %s was refused: %d long, %s", label, len(message), type(message).__name__)
            return
        if not self.inbox.closed:
            self.inbox.put(ClientMessage(label, message))

    def _transmit(self, channel: RTCDataChannel, message: str) -> None:
        if channel.readyState != "open":
            return
        if channel.bufferedAmount > MAX_BUFFERED:
            self._end("does not read its events")
            return
        try:
            channel.send(message)
        except ValueError:  # larger than the caller said it takes
            logger.warning("a message of %d characters is larger than the caller takes", len(message))
