"""The contract with aiortc and aioice: what rtc_port uses of their private names is there, and does what it is used for."""

from __future__ import annotations

import asyncio
import inspect
import socket
from importlib.metadata import version

import aioice
import aiortc
import pytest
from aioice.ice import CandidatePair, StunProtocol
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.codecs import CODECS
from aiortc.jitterbuffer import JitterBuffer
from aiortc.mediastreams import AudioStreamTrack
from aiortc.rtp import RtpPacket

from gateway.media import rtc_port
from gateway.media.reach import Media, Reach
from tests.transports.offers import OPENAI


def place(*addresses: str, ports: rtc_port.Ports | None = None, announce: str | None = None) -> rtc_port.Place:
    reach = Reach.of(Media(announce=announce), addresses)
    return rtc_port.Place(addresses, reach, ports or rtc_port.Ports(), announce)


async def answered(wire: rtc_port.Wire) -> RTCPeerConnection:
    rtc_port.offer_fec()
    peer = rtc_port.new_peer_connection()
    peer.addTrack(AudioStreamTrack())
    try:
        await peer.setRemoteDescription(RTCSessionDescription(OPENAI, "offer"))
        wire.lay(peer)
        await peer.setLocalDescription(await peer.createAnswer())
    except BaseException:
        await peer.close()
        raise
    return peer


def candidates(peer: RTCPeerConnection) -> list[tuple[str, int]]:
    parsed = rtc_port.parse(peer.localDescription.sdp)
    return [(each.ip, each.port) for each in parsed.media[0].ice_candidates]


def test_the_versions_are_those_this_was_written_for() -> None:
    assert version("aiortc") == aiortc.__version__ == "1.16.0"
    assert version("aioice") == "0.13.0"


def test_the_private_names_are_there() -> None:
    assert CODECS["audio"][0].mimeType == "audio/opus"
    connection = aioice.Connection(ice_controlling=False)
    assert list(inspect.signature(connection.get_component_candidates).parameters) == [
        "component",
        "addresses",
        "timeout",
    ]
    assert connection._protocols == []
    assert connection._check_list == []
    assert {state.name for state in CandidatePair.State} >= {"IN_PROGRESS", "SUCCEEDED"}
    assert list(inspect.signature(StunProtocol.datagram_received).parameters) == ["self", "data", "addr"]


def rtp(sequence: int) -> RtpPacket:
    packet = RtpPacket(payload_type=96, sequence_number=sequence % 2**16, timestamp=sequence * 960)
    packet._data = b"%d" % sequence  # type: ignore[attr-defined]
    return packet


def arriving(*sequences: int) -> list[list[int]]:
    """What each arrival releases."""
    buffer, released = rtc_port.InOrder(), []
    for sequence in sequences:
        _, frame = buffer.add(rtp(sequence))
        released.append([] if frame is None else [int(frame.data)])
    return released


def test_packets_in_order_wait_for_nothing() -> None:
    assert arriving(7, 8, 9, 10) == [[7], [8], [9], [10]]
    assert arriving(65_534, 65_535, 65_536, 65_537) == [[65_534], [65_535], [65_536], [65_537]]


def test_packets_that_changed_places_come_in_order() -> None:
    assert arriving(1, 3, 2, 4, 5) == [[1], [], [2], [3], [4]]


def test_a_lost_packet_is_waited_for_while_four_others_come_and_no_other_is_lost() -> None:
    released = arriving(*[1, 2, 3, *range(5, 20)])
    assert released[:7] == [[1], [2], [3], [], [], [], [5]]
    assert [each for one in released for each in one] == [1, 2, 3, *range(5, 17)]


def test_one_that_comes_too_late_is_left_out() -> None:
    released = arriving(1, 3, 4, 5, 6, 2, 7, 8)
    assert [each for one in released for each in one] == [1, 3, 4, 5]


async def test_the_receiver_has_the_buffer_that_is_replaced() -> None:
    peer = rtc_port.new_peer_connection()
    receiver = peer.addTransceiver("audio").receiver
    assert isinstance(receiver._RTCRtpReceiver__jitter_buffer, JitterBuffer)  # type: ignore[attr-defined]
    rtc_port.hear_at_once(receiver)
    assert isinstance(receiver._RTCRtpReceiver__jitter_buffer, rtc_port.InOrder)  # type: ignore[attr-defined]
    await peer.close()


@pytest.mark.wire
async def test_a_peer_that_sent_nothing_has_not_sent_too_much() -> None:
    peer = await answered(rtc_port.Wire(place("127.0.0.1")))
    assert peer.sctp is not None
    assert peer.sctp._advertised_rwnd > 256 * 1024
    assert not rtc_port.overfed(peer)
    await peer.close()


@pytest.mark.wire
async def test_the_answer_asks_for_fec_and_comes_at_once() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    peer = await answered(rtc_port.Wire(place("127.0.0.1")))
    assert loop.time() - began < 1
    assert "a=fmtp:96 minptime=10;useinbandfec=1" in peer.localDescription.sdp
    await peer.close()


@pytest.mark.wire
async def test_candidates_are_of_our_addresses_and_ports_only() -> None:
    ports = rtc_port.Ports(*free_ports(2))
    first, second = [await answered(rtc_port.Wire(place("127.0.0.1", ports=ports))) for _ in range(2)]
    assert candidates(first) == [("127.0.0.1", ports.first)]
    assert candidates(second) == [("127.0.0.1", ports.last)]
    with pytest.raises(rtc_port.NoPortFree):
        await answered(rtc_port.Wire(place("127.0.0.1", ports=ports)))
    await first.close()
    third = await answered(rtc_port.Wire(place("127.0.0.1", ports=ports)))
    assert candidates(third) == [("127.0.0.1", ports.first)]
    await second.close()
    await third.close()


@pytest.mark.wire
async def test_an_announced_address_stands_in_the_answer() -> None:
    peer = await answered(rtc_port.Wire(place("127.0.0.1", announce="1.2.3.4")))
    assert [address for address, _ in candidates(peer)] == ["1.2.3.4"]
    assert "c=IN IP4 1.2.3.4" in peer.localDescription.sdp
    assert "127.0.0.1" not in peer.localDescription.sdp
    await peer.close()


@pytest.mark.wire
async def test_datagrams_of_strangers_are_not_let_in() -> None:
    wire = rtc_port.Wire(place("127.0.0.1"))
    peer = await answered(wire)
    began = wire.heard_at
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for packet in (b"\x16\xfe\xfd hello", b"\x80\x60 rtp", b""):  # a ClientHello, plain RTP, nothing
            stranger.sendto(packet, candidates(peer)[0])
        await asyncio.sleep(0.05)
    assert wire.heard_at == began
    await peer.close()


def free_ports(count: int) -> tuple[int, int]:
    """First and last of `count` neighbouring UDP ports that are free now."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1])
        try:
            for port in range(first, first + count):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return first, first + count - 1
