"""WebRTC with a stock aiortc client on 127.0.0.1."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from itertools import pairwise

import numpy as np
import psutil
import pytest

from gateway.contract.errors import BadRequest
from gateway.media.reach import Media
from gateway.transports.webrtc import MAX_MESSAGE, WebRtc, WebRtcTransport
from tests.caller import RATE, Caller, voiced
from tests.sounds import Samples, pitch, tone
from tests.transports.offers import BAD, CHROMIUM, FIREFOX, GOOD, OPENAI, TOO_LARGE
from tests.transports.test_offer import QUICK, mutated

pytestmark = pytest.mark.wire


@pytest.fixture
async def webrtc() -> AsyncGenerator[WebRtc]:
    webrtc = WebRtc(Media(), "127.0.0.1", connect_within=5.0, gone_after=1.0)
    yield webrtc
    await webrtc.aclose()


@pytest.fixture(autouse=True)
async def no_socket_left() -> AsyncGenerator[None]:
    before = udp_sockets()
    yield
    assert udp_sockets() == before


def udp_sockets() -> int:
    return len(psutil.Process().net_connections("udp"))


def speech(sound: Samples) -> Callable[[int], bytes | None]:
    """A speaker of that sound, then of silence."""
    left = memoryview(sound.tobytes())

    def speak(samples: int) -> bytes | None:
        nonlocal left
        piece, left = bytes(left[: samples * 2]), left[samples * 2 :]
        return piece or None

    return speak


async def mic_of(transport: WebRtcTransport, seconds: float) -> Samples:
    """What the gateway heard, `seconds` of it."""
    pieces: list[bytes] = []
    async with asyncio.timeout(seconds + 5):
        async for audio in transport.mic.reader():
            assert audio.rate == 16_000
            assert audio.samples == 320
            pieces.append(audio.pcm)
            if len(pieces) * 320 >= seconds * 16_000:
                break
    return np.frombuffer(b"".join(pieces), np.int16)


async def reason_of(transport: WebRtcTransport, within: float) -> str:
    async with asyncio.timeout(within):
        return await transport.wait_closed()


async def test_audio_goes_both_ways(webrtc: WebRtc) -> None:
    async with Caller(webrtc) as caller:
        caller.say(tone(700, 1.0, 48_000))
        caller.transport.play(speech(tone(440, 1.0, 24_000)))
        mic = await mic_of(caller.transport, 1.5)
        ended = await caller.heard.until(lambda: caller.heard.silence_after(caller.heard.voice_after(0), lasting=0.5))
        heard = caller.heard.between(0, ended)
    voice = voiced(mic, 16_000)
    assert abs(len(voice) * 0.01 - 1.0) < 0.06
    assert abs(pitch(mic[voice[0] * 160 : voice[-1] * 160], 16_000) - 700) < 2
    assert abs(len(voiced(heard, RATE)) * 0.01 - 1.0) < 0.06  # where a busy machine held up the loop there is a gap
    assert abs(pitch(heard, RATE) - 440) < 2


async def test_every_frame_spoken_is_a_piece_in_the_mic(webrtc: WebRtc) -> None:
    async with Caller(webrtc) as caller:
        await caller.until_true(lambda: caller.mic.frames > 150)
        spoken = caller.mic.frames
        await caller.until_true(lambda: caller.transport.mic.end >= spoken - 1, within=2.0)
        filled = round(caller.transport._ingest.silence / 0.02)  # where a busy machine held up the caller
        assert caller.transport.mic.end - filled <= caller.mic.frames + 1


async def test_what_is_heard_arrives_at_once(webrtc: WebRtc) -> None:
    """From the sound leaving the mouth, at the end of its 20 ms, to the mic: the client's encoder, ours and a thread hop."""
    async with Caller(webrtc) as caller:
        reader = caller.transport.mic.reader()
        await mic_of(caller.transport, 0.1)
        delays = []
        for number in range(5):
            said = caller.say(tone(500, 0.1, 48_000))
            async with asyncio.timeout(2):
                async for audio in reader:
                    if len(voiced(np.frombuffer(audio.pcm, np.int16), 16_000)) == 2:
                        delays.append(reader.at - said.began - 0.02)
                        break
            async with asyncio.timeout(2):
                async for _ in reader:
                    if reader.at > said.ended + 0.1 + 0.01 * number:
                        break
    assert min(delays) < 0.04  # on a busy machine some take longer; aiortc's own path never took less than 80 ms


async def test_what_is_said_leaves_at_once(webrtc: WebRtc) -> None:
    """From the speaker being asked to the packet at the client: encoding, encryption and a loopback socket."""
    asked: list[float] = []

    def speak(samples: int) -> bytes:
        asked.append(time.monotonic())
        return bytes(samples * 2)

    async with Caller(webrtc) as caller:
        before = len(caller.heard.packets)
        caller.transport.play(speak)
        await caller.until_true(lambda: len(caller.heard.packets) > before + 60)
        arrivals = [at for at, _, _ in caller.heard.packets]
        stamps = [stamp for _, stamp, _ in caller.heard.packets]
    delays = [min(at for at in arrivals if at >= when) - when for when in asked[:50]]
    assert sorted(delays)[10] < 0.005
    assert {(b - a) % 960 for a, b in pairwise(stamps)} == {0}
    assert abs((arrivals[-1] - arrivals[0]) - (stamps[-1] - stamps[0]) % 2**32 / 48_000) < 0.03


async def test_events_go_both_ways_and_wait_for_the_channel_to_open(webrtc: WebRtc) -> None:
    async with Caller(webrtc) as caller:
        transport: WebRtcTransport = caller.transport
        transport.send("oai-events", '{"type": "session.created"}')
        transport.send("gateway", '{"type": "timeline"}')
        caller.send("oai-events", {"type": "session.update"})
        caller.send("gateway", {"type": "history"})
        await caller.until("session.created")
        await caller.until("timeline", "gateway")
        reader = transport.inbox.reader()
        async with asyncio.timeout(5):
            got = {(message.label, message.text) for message in [await anext(reader), await anext(reader)]}
        assert got == {("oai-events", '{"type": "session.update"}'), ("gateway", '{"type": "history"}')}
        assert transport.has("oai-events")
        assert transport.has("gateway")


async def test_what_is_sent_before_the_channel_opens_comes_first_and_in_order(webrtc: WebRtc) -> None:
    class Eager(WebRtc):
        async def answer(self, offer_sdp: str) -> tuple[WebRtcTransport, str]:
            transport, answer = await super().answer(offer_sdp)
            for number in range(1200):
                transport.send("oai-events", f'{{"type": "early", "n": {number}}}')
            return transport, answer

    webrtc.__class__ = Eager
    async with Caller(webrtc, channels=("gateway", "oai-events")) as caller:
        caller.transport.send("oai-events", '{"type": "late"}')
        await caller.until("late")
        assert [event.body["n"] for event in caller.of("oai-events", "early")] == list(range(1000))


@pytest.mark.parametrize("channels", [(), ("oai-events",), ("gateway",), ("something", "oai-events")])
async def test_any_of_the_channels_may_be_missing(webrtc: WebRtc, channels: tuple[str, ...]) -> None:
    async with Caller(webrtc, channels=channels) as caller:
        await mic_of(caller.transport, 0.2)
        await caller.until_true(
            lambda: (
                caller.transport.has("oai-events") == ("oai-events" in channels)
                and caller.transport.has("gateway") == ("gateway" in channels)
            )
        )
        caller.transport.send("gateway", "{}")
        caller.transport.send("oai-events", "{}")


async def test_only_texts_of_a_sane_size_are_taken(webrtc: WebRtc) -> None:
    async with Caller(webrtc) as caller:
        assert caller.peer.sctp is not None
        assert caller.peer.sctp._remote_max_message_size == MAX_MESSAGE  # the answer says so
        caller.peer.sctp._remote_max_message_size = 0
        caller.channels["oai-events"].send(b"bytes")
        caller.channels["oai-events"].send("x" * (MAX_MESSAGE + 1))
        caller.channels["oai-events"].send("x" * MAX_MESSAGE)
        reader = caller.transport.inbox.reader()
        async with asyncio.timeout(5):
            assert len((await anext(reader)).text) == MAX_MESSAGE


async def test_a_client_that_never_ends_its_message_is_cut_off(webrtc: WebRtc) -> None:
    async with Caller(webrtc) as caller:
        assert caller.peer.sctp is not None
        caller.peer.sctp._remote_max_message_size = 0
        caller.channels["oai-events"].send("x" * (8 << 20))
        assert await reason_of(caller.transport, 10.0) == "sends more than it may"


async def test_a_client_that_opens_channels_without_end_is_cut_off(webrtc: WebRtc) -> None:
    async with Caller(webrtc) as caller:
        for number in range(40):
            caller.peer.createDataChannel(f"more {number}")
        assert await reason_of(caller.transport, 5.0) == "opens too many channels"


async def test_what_is_larger_than_the_client_takes_is_left_out(webrtc: WebRtc) -> None:
    async with Caller(webrtc) as caller:
        caller.transport._channels["oai-events"].transport._remote_max_message_size = 1000
        caller.transport.send("oai-events", '{"type": "' + "x" * 2000 + '"}')
        caller.transport.send("oai-events", '{"type": "small"}')
        await caller.until("small")


async def test_the_answer_has_opus_first_with_fec_and_no_foreign_address(webrtc: WebRtc) -> None:
    for offer in GOOD:
        transport, answer = await webrtc.answer(offer)
        lines = answer.splitlines()
        opus = next(line.split(":")[1].split()[0] for line in lines if "opus/48000" in line)
        assert f"a=fmtp:{opus} minptime=10;useinbandfec=1" in lines
        assert next(line for line in lines if line.startswith("m=audio")).split()[3] == opus
        hosts = {line.split()[4] for line in lines if line.startswith("a=candidate")}
        assert hosts == {"127.0.0.1"}
        await transport.aclose()


async def test_opus_is_chosen_whatever_the_offers_order(webrtc: WebRtc) -> None:
    transport, answer = await webrtc.answer(OPENAI.replace("SAVPF 96 9 0 8", "SAVPF 0 8 9 96"))
    assert next(line for line in answer.splitlines() if line.startswith("m=audio")).split()[3] == "96"
    await transport.aclose()


async def test_video_is_answered_inactive(webrtc: WebRtc) -> None:
    audio, application = CHROMIUM.split("m=application")
    video = audio[audio.index("m=audio") :].partition("a=rtpmap")[0].replace("mid:0", "mid:2")
    video = video.replace("m=audio 54447 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126", "m=video 9 UDP/TLS/RTP/SAVPF 97")
    offer = f"{audio.replace('BUNDLE 0 1', 'BUNDLE 0 2 1')}{video}a=rtpmap:97 VP8/90000\nm=application{application}"
    transport, answer = await webrtc.answer(offer)
    section = answer[answer.index("m=video") : answer.index("m=application")]
    assert "a=inactive" in section
    assert "a=sendrecv" in answer[: answer.index("m=video")]
    await transport.aclose()


async def test_a_client_that_closes_is_gone_at_once(webrtc: WebRtc) -> None:
    async with Caller(webrtc) as caller:
        transport = caller.transport
    assert await reason_of(transport, 1.0) == "hung up"
    assert transport.mic.closed
    assert transport.inbox.closed


async def test_a_client_that_closes_its_events_channel_is_gone_at_once(webrtc: WebRtc) -> None:
    async with Caller(webrtc) as caller:
        caller.channels["oai-events"].close()
        assert await reason_of(caller.transport, 1.0) == "hung up"


async def test_a_client_without_channels_that_closes_is_gone_at_once(webrtc: WebRtc) -> None:
    async with Caller(webrtc, channels=()) as caller:
        transport = caller.transport
    assert await reason_of(transport, 1.0) == "hung up"


async def test_a_client_that_vanishes_is_gone_in_bounded_time(webrtc: WebRtc) -> None:
    async with Caller(webrtc) as caller:
        caller.vanish()
        began = time.monotonic()
        assert await reason_of(caller.transport, 4.0) == "vanished"
        assert 0.9 < time.monotonic() - began < 2.0  # gone_after is 1 s here


async def test_a_client_that_never_connects_is_given_up() -> None:
    webrtc = WebRtc(Media(), "127.0.0.1", connect_within=0.3)
    transport, _ = await webrtc.answer(OPENAI)
    assert await reason_of(transport, 2.0) == "never connected"
    await webrtc.aclose()


async def test_a_call_can_be_hung_up_while_it_connects(webrtc: WebRtc) -> None:
    class Hasty(WebRtc):
        async def answer(self, offer_sdp: str) -> tuple[WebRtcTransport, str]:
            transport, answer = await super().answer(offer_sdp)
            await transport.aclose()
            return transport, answer

    webrtc.__class__ = Hasty
    caller = Caller(webrtc)
    with pytest.raises(TimeoutError):
        await caller.connect(within=0.3)
    await caller.leave()


async def test_hanging_up_frees_everything_and_the_last_words_still_leave(webrtc: WebRtc) -> None:
    async with Caller(webrtc) as caller:
        for number in range(100):
            caller.transport.send("gateway", f'{{"type": "n", "n": {number}}}')
        caller.transport.send("gateway", '{"type": "ended"}')
        await caller.transport.aclose()
        await caller.transport.aclose()
        assert await caller.transport.wait_closed() == "closed"
        caller.transport.send("gateway", '{"type": "too late"}')
        await caller.until("ended", "gateway")
        assert len(caller.of("gateway", "n")) == 100
        await caller.until_true(lambda: caller.peer.connectionState == "closed")


async def test_the_round_trip_is_known_after_a_while(webrtc: WebRtc) -> None:
    async with Caller(webrtc) as caller:
        assert caller.transport.round_trip == 0.0
        await caller.until_true(lambda: 0 < caller.transport.round_trip < 0.1, within=8)


async def test_a_call_connects_through_trickled_candidates(webrtc: WebRtc) -> None:
    class Trickling(WebRtc):
        """Gets an offer with no candidates, and those in a fragment afterwards."""

        async def answer(self, offer_sdp: str) -> tuple[WebRtcTransport, str]:
            lines = offer_sdp.splitlines(keepends=True)
            bare = [line for line in lines if not line.startswith(("a=candidate", "a=end-of-candidates"))]
            transport, answer = await super().answer("".join(bare))
            found = [line for line in lines if line.startswith("a=candidate")]
            await transport.trickle(
                "".join(["m=audio 9 RTP/AVP 0\r\n", "a=mid:0\r\n", *found, "a=end-of-candidates\r\n"])
            )
            assert transport._wire.place.reach.admits("127.0.0.1")
            return transport, answer

    webrtc.__class__ = Trickling
    async with Caller(webrtc) as caller:
        await mic_of(caller.transport, 0.2)


async def test_nothing_is_sent_to_an_address_out_of_our_scope() -> None:
    """A gateway that is public to its callers, and one of them who names an address inside."""
    webrtc = WebRtc(Media(addresses=("127.0.0.1",), announce="1.2.3.4"), connect_within=5.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside:
        inside.bind(("127.0.0.1", 0))
        inside.setblocking(False)
        candidate = f"a=candidate:1 1 udp 2122194687 127.0.0.1 {inside.getsockname()[1]} typ host"
        offer = "\n".join(f"{candidate}\n{line}" if line.startswith("m=app") else line for line in OPENAI.split("\n"))
        transport, _ = await webrtc.answer(offer)
        await transport.trickle(f"m=audio 9 RTP/AVP 0\r\na=mid:0\r\n{candidate}\r\n")
        await asyncio.sleep(0.3)  # fifteen of ICE's beats
        with pytest.raises(BlockingIOError):
            inside.recv(2048)
    await webrtc.aclose()


async def test_a_forged_fingerprint_ends_the_handshake(webrtc: WebRtc) -> None:
    class Forging(WebRtc):
        async def answer(self, offer_sdp: str) -> tuple[WebRtcTransport, str]:
            lines = [
                "a=fingerprint:sha-256 " + ":".join(["00"] * 32) if line.startswith("a=fingerprint:sha-256") else line
                for line in offer_sdp.splitlines()
                if not line.startswith(("a=fingerprint:sha-384", "a=fingerprint:sha-512"))
            ]
            return await super().answer("\r\n".join(lines) + "\r\n")

    webrtc.__class__ = Forging
    caller = Caller(webrtc)
    with pytest.raises(TimeoutError):
        await caller.connect(within=1.0)
    assert await reason_of(caller.transport, 5.0) == "never connected"
    assert caller.transport.mic.end == 0
    await caller.leave()


@pytest.mark.parametrize("offer", [*BAD.values(), *TOO_LARGE.values()], ids=[*BAD, *TOO_LARGE])
async def test_bad_offers_are_refused_before_any_socket_is_opened(webrtc: WebRtc, offer: str) -> None:
    before, began = udp_sockets(), time.thread_time()
    with pytest.raises(BadRequest) as refused:
        await webrtc.answer(offer)
    assert time.thread_time() - began < QUICK
    assert refused.value.status == (413 if offer in TOO_LARGE.values() else 400)
    assert udp_sockets() == before


async def test_broken_offers_are_refused_or_answered_and_nothing_is_left() -> None:
    webrtc, rng, answered = WebRtc(Media(), "127.0.0.1"), random.Random(10), 0
    before = udp_sockets()
    gc.collect()
    gc.disable()  # what is timed is the work, not the collection of 2000 peer connections
    try:
        for text in mutated(rng, 2000):
            began = time.thread_time()
            with suppress(BadRequest):
                transport, answer = await webrtc.answer(text)
                assert time.thread_time() - began < QUICK
                assert answer.startswith("v=0")
                await transport.aclose()
                answered += 1
    finally:
        gc.enable()
    assert 200 < answered < 1800
    assert udp_sockets() == before


async def test_without_a_free_port_the_gateway_is_busy() -> None:
    webrtc = WebRtc(Media(addresses=("203.0.113.7",)), "127.0.0.1")
    with pytest.raises(BadRequest) as refused:
        await webrtc.answer(FIREFOX)
    assert refused.value.status == 503
