"""Egress in virtual time: one frame to a slot, whatever the loop does."""

from __future__ import annotations

import asyncio

from gateway.media.egress import TAIL, Egress
from gateway.media.opus import FRAME_SAMPLES
from gateway.simulate.clock import VirtualLoop
from tests.virtual_time import virtual

FRAME = 0.02


class Counting:
    """An encoder that counts, and says what it was given."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def encode(self, pcm: bytes) -> bytes:
        self.frames.append(pcm)
        return b"%d" % len(self.frames)


def stall(seconds: float) -> None:
    """The loop is held up that long."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop._jumping.now += seconds


@virtual
async def test_a_frame_goes_out_every_20_ms_with_the_timestamp_of_its_slot() -> None:
    egress, loop = Egress(Counting()), asyncio.get_running_loop()
    began = loop.time()
    for slot in range(50):
        packet = await egress.recv()
        assert packet.pts == slot * 960
        assert abs(loop.time() - began - slot * FRAME) < 1e-6


@virtual
async def test_the_speaker_is_asked_the_moment_its_samples_go_out() -> None:
    egress, loop = Egress(Counting()), asyncio.get_running_loop()
    asked: list[tuple[float, int]] = []

    def speak(samples: int) -> bytes:
        asked.append((round(loop.time(), 6), samples))
        return bytes(samples * 2)

    egress.play(speak)
    for _ in range(5):
        await egress.recv()
    assert asked == [(round(slot * FRAME, 6), FRAME_SAMPLES) for slot in range(5)]


@virtual
async def test_silence_is_encoded_once_and_repeated() -> None:
    encoder = Counting()
    egress = Egress(encoder)
    packets = [bytes(await egress.recv()) for _ in range(TAIL + 20)]
    assert len(encoder.frames) == TAIL
    assert set(packets[TAIL - 1 :]) == {b"%d" % TAIL}
    egress.play(lambda samples: b"\1" * samples * 2)
    assert bytes(await egress.recv()) == b"%d" % (TAIL + 1)


@virtual
async def test_a_short_last_piece_is_filled_up_with_silence() -> None:
    encoder = Counting()
    egress = Egress(encoder)
    egress.play(lambda samples: b"\1\1")
    await egress.recv()
    assert encoder.frames == [b"\1\1" + bytes(FRAME_SAMPLES * 2 - 2)]


@virtual
async def test_a_frame_a_little_late_goes_out_at_once_and_the_next_in_time() -> None:
    egress, loop = Egress(Counting()), asyncio.get_running_loop()
    await egress.recv()
    stall(0.03)
    packet = await egress.recv()
    assert (packet.pts, round(loop.time(), 6)) == (960, 0.03)
    packet = await egress.recv()
    assert (packet.pts, round(loop.time(), 6)) == (1920, 0.04)
    assert egress.skipped == 0


@virtual
async def test_after_a_stall_slots_are_given_up_and_nothing_is_sent_in_a_burst() -> None:
    egress, loop = Egress(Counting()), asyncio.get_running_loop()
    position = 0

    def speak(samples: int) -> bytes:
        nonlocal position
        position += samples
        return bytes(samples * 2)

    egress.play(speak)
    await egress.recv()
    stall(0.5)
    stamps, times = [], []
    for _ in range(5):
        stamps.append((await egress.recv()).pts)
        times.append(round(loop.time(), 6))
    assert stamps == [slot * 960 for slot in (25, 26, 27, 28, 29)]
    assert times == [0.5, 0.52, 0.54, 0.56, 0.58]
    assert egress.skipped == 24
    assert position == 6 * FRAME_SAMPLES  # speech is late by the stall; none of it is lost


@virtual
async def test_the_time_of_each_hand_over_is_kept() -> None:
    egress = Egress(Counting())
    for _ in range(3):
        await egress.recv()
    stall(0.004)  # what sending takes
    await egress.recv()
    assert egress.sent == 3
    assert round(egress.sent_at, 6) == 0.044
    assert round(egress.lateness, 6) == 0.004
