"""WebRTC with a stock aiortc client on 127.0.0.1."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import numpy as np
import pytest

from gateway.media.reach import Media
from gateway.transports.webrtc import WebRtc, WebRtcTransport
from tests.caller import RATE, Caller, Samples

pytestmark = pytest.mark.wire


@pytest.fixture
async def webrtc() -> AsyncGenerator[WebRtc]:
    webrtc = WebRtc(Media(), "127.0.0.1")
    yield webrtc
    await webrtc.aclose()


def tone(hertz: float, seconds: float, rate: int, level: float = 8000) -> Samples:
    return (np.sin(np.arange(round(seconds * rate)) * hertz * 2 * np.pi / rate) * level).astype(np.int16)


def pitch(samples: Samples, rate: int) -> float:
    """The strongest frequency, in hertz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / rate)[spectrum.argmax()])


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


async def test_audio_goes_both_ways(webrtc: WebRtc) -> None:
    async with Caller(webrtc) as caller:
        spoken = memoryview(tone(440, 1.0, 24_000).tobytes())
        position = 0

        def speak(samples: int) -> bytes | None:
            nonlocal position
            piece = bytes(spoken[position : position + samples * 2])
            position += samples * 2
            return piece or None

        caller.say(tone(700, 1.0, 48_000))
        caller.transport.play(speak)
        mic = await mic_of(caller.transport, 1.5)
        began = await caller.heard.until(lambda: caller.heard.voice_after(0))
        await caller.heard.until(lambda: caller.heard.silence_after(began), within=5)
        heard = caller.heard.between(began + 0.1, began + 0.9)
    voice = np.flatnonzero(np.abs(mic.astype(np.int32)) > 1000)
    assert 0.95 < (voice[-1] - voice[0]) / 16_000 < 1.05
    assert abs(pitch(mic[voice[0] : voice[-1]], 16_000) - 700) < 2
    assert abs(pitch(heard, RATE) - 440) < 2


async def test_events_go_both_ways_and_wait_for_the_channel_to_open(webrtc: WebRtc) -> None:
    caller = Caller(webrtc)
    async with caller:
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
