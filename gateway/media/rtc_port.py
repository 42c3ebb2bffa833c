"""The port to aiortc: the only module that touches its private names and aioice's, as they are in the pinned version.

tests/media/test_rtc_port.py is the contract; where it fails, read the new version before changing the pin. What is used:

* `aiortc.codecs.CODECS["audio"][0].parameters`: aiortc's own Opus entry, copied into every answer.
* `RTCIceGatherer._connection`: the `aioice.Connection` of a transport.
* `Connection.get_component_candidates`, replaced per connection: aioice leaves loopback out and binds any port.
* `Connection._protocols`, `_check_list`, `StunProtocol.receiver`: to own the sockets, and to tell a checked peer from others.
* `RTCRtpReceiver`'s jitter buffer, replaced per receiver; `JitterBuffer._packets`, `_origin`, `_remove_frame`.
* `RTCSctpTransport._advertised_rwnd`: bytes of messages it would still take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from aioice import Candidate, Connection
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, StunProtocol
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver
from aiortc.codecs import CODECS
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.sdp import SessionDescription

from gateway.media.reach import Reach, scope

_STUN = 4  # RFC 7983: a datagram whose first byte is below this is STUN's


class NoPortFree(Exception):
    """Every UDP port of the configured range is taken on every address."""


def offer_fec() -> None:
    """Answers say `minptime=10;useinbandfec=1` for Opus, so that clients send it. Once per process is enough; again is a no-op."""
    CODECS["audio"][0].parameters = {"minptime": 10, "useinbandfec": 1}


def new_peer_connection() -> RTCPeerConnection:
    """Without ICE servers: with one, answering would wait up to 5 s for it, and our addresses are known."""
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


def parse(sdp: str) -> SessionDescription:
    """For text that `transports.offer` wrote. On any other, it may raise whatever comes to its mind."""
    return SessionDescription.parse(sdp)


class InOrder(JitterBuffer):
    """Puts packets in order, and waits for nothing else.

    A jitter buffer is for whoever plays sound as it comes. A gateway's mic has no such clock, and aiortc's buffer would cost
    it 80 ms always and 280 after one loss. Here a packet waits only for one that is missing, and at most for DEPTH others:
    no delay without loss, 60 ms for the rest of the call after one.
    """

    DEPTH = 4

    def __init__(self) -> None:
        super().__init__(capacity=self.DEPTH)

    def _remove_frame(self, sequence_number: int) -> JitterFrame | None:
        packet = self._packets[self._origin % self.capacity] if self._origin is not None else None
        if packet is None:
            return None
        self.remove(1)
        return JitterFrame(packet._data, packet.timestamp)  # type: ignore[attr-defined]


def hear_at_once(receiver: RTCRtpReceiver) -> None:
    """Before anything was received."""
    receiver._RTCRtpReceiver__jitter_buffer = InOrder()  # type: ignore[attr-defined]


def overfed(peer: RTCPeerConnection) -> bool:
    """Whether the peer has sent more of unfinished messages than SCTP's flow control allows, which aiortc does not enforce."""
    return peer.sctp is not None and peer.sctp._advertised_rwnd < 0


@dataclass(slots=True)
class Ports:
    """UDP ports to bind, taken in turn so that one just closed is not at once another call's."""

    first: int = 0
    last: int = 0
    _next: int = 0

    def turn(self) -> Iterator[int]:
        """Each port once; a single 0 (the system chooses) without a range."""
        if not self.first:
            yield 0
            return
        size = self.last - self.first + 1
        for _ in range(size):
            yield self.first + self._next % size
            self._next = (self._next + 1) % size


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gateway's media lives: `addresses` bound, `announce` told instead of them."""

    addresses: Sequence[str]
    reach: Reach
    ports: Ports
    announce: str | None = None


class Wire:
    """The sockets of one peer connection. `heard_at`: when the last datagram was let in, by the loop's clock."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.heard_at = asyncio.get_running_loop().time()

    def lay(self, peer: RTCPeerConnection) -> None:
        """After the offer is set and before the answer is: candidates come from our place instead of every interface."""
        transports = [transceiver.receiver.transport for transceiver in peer.getTransceivers()]
        if peer.sctp is not None:
            transports.append(peer.sctp.transport)
        for connection in {transport.transport.iceGatherer._connection for transport in transports}:
            connection.get_component_candidates = partial(self._candidates, connection)  # type: ignore[method-assign]

    async def _candidates(
        self, connection: Connection, component: int, addresses: list[str], timeout: int = 5
    ) -> list[Candidate]:
        sockets = [await self._bind(connection, address) for address in self.place.addresses]
        bound = [socket for socket in sockets if socket is not None]
        if not bound:
            raise NoPortFree
        connection._protocols += bound
        for socket in bound:
            socket.local_candidate = self._host(component, *socket.transport.get_extra_info("sockname")[:2])
        return [socket.local_candidate for socket in bound]

    async def _bind(self, connection: Connection, address: str) -> Socket | None:
        loop = asyncio.get_running_loop()
        for port in self.place.ports.turn():
            try:
                _, socket = await loop.create_datagram_endpoint(
                    partial(Socket, connection, self, address), local_addr=(address, port)
                )
            except OSError:
                continue
            return socket
        return None

    def _host(self, component: int, address: str, port: int) -> Candidate:
        told = address
        if self.place.announce and (":" in self.place.announce) == (":" in address):
            told = self.place.announce
        return Candidate(
            foundation=candidate_foundation("host", "udp", address),
            component=component,
            transport="udp",
            priority=candidate_priority(component, "host"),
            host=told,
            port=port,
            type="host",
        )


class Socket(StunProtocol):
    """Lets in what comes from where media may go; and, other than ICE's own checks, only from a peer that passed one."""

    def __init__(self, connection: Connection, wire: Wire, address: str) -> None:
        super().__init__(connection)
        self._wire = wire
        # Only this machine reaches a loopback address, whichever of its own it sends from (browsers use an interface's).
        self._inside = scope(address) == "loopback"

    def datagram_received(self, data: bytes | str, addr: tuple[object, ...]) -> None:
        peer = (str(addr[0]), addr[1])
        if not data or not (self._inside or self._wire.place.reach.admits(peer[0])):
            return
        if isinstance(data, bytes) and data[0] >= _STUN and not self._checked(peer):
            return
        self._wire.heard_at = asyncio.get_running_loop().time()
        super().datagram_received(data, addr)

    def _checked(self, peer: tuple[str, object]) -> bool:
        live = (CandidatePair.State.IN_PROGRESS, CandidatePair.State.SUCCEEDED)
        return any(
            pair.protocol is self and pair.remote_addr == peer and pair.state in live
            for pair in self.receiver._check_list
        )
