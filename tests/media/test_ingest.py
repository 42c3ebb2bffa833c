"""Ingest: the mic's samples tell the time, whatever the network did."""

from __future__ import annotations

import asyncio
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.media.ingest import LONGEST_GAP, PIECE, RATE, STALL, Ingest
from tests.sounds import Samples, pitch, tone
from tests.virtual_time import virtual


def frame(samples: Samples, rate: int, pts: int, layout: str = "mono") -> av.AudioFrame:
    made = av.AudioFrame(format="s16", layout=layout, samples=len(samples))
    made.planes[0].update((np.repeat(samples, 2) if layout == "stereo" else samples).tobytes())
    made.sample_rate, made.pts, made.time_base = rate, pts, Fraction(1, rate)
    return made


def frames(sound: Samples, rate: int, size: int, layout: str = "mono") -> list[av.AudioFrame]:
    return [frame(sound[at : at + size], rate, at, layout) for at in range(0, len(sound), size)]


def heard(mic: Channel[Audio]) -> Samples:
    reader, pieces = mic.reader(), []
    while reader.index < mic.end:
        audio = reader.take()
        assert (audio.rate, audio.samples) == (RATE, PIECE)
        pieces.append(audio.pcm)
    return np.frombuffer(b"".join(pieces), np.int16)


def listening() -> tuple[Channel[Audio], Ingest]:
    mic: Channel[Audio] = Channel(clock=lambda: 0.0)
    return mic, Ingest(mic, clock=lambda: 0.0)


class Track(MediaStreamTrack):
    """Frames put by hand."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.queue: asyncio.Queue[av.AudioFrame | None] = asyncio.Queue()

    async def recv(self) -> av.AudioFrame:
        got = await self.queue.get()
        if got is None:
            raise MediaStreamError
        return got


@pytest.mark.parametrize(
    ("rate", "size", "layout"),
    [
        (48_000, 960, "stereo"),
        (48_000, 480, "stereo"),
        (48_000, 2880, "stereo"),
        (8_000, 160, "mono"),
        (16_000, 320, "mono"),
    ],
)
def test_any_codecs_frames_become_16_khz_in_pieces_of_20_ms(rate: int, size: int, layout: str) -> None:
    mic, ingest = listening()
    for each in frames(tone(440, 1.2, rate), rate, size, layout):
        ingest.take(each)
    sound = heard(mic)
    assert abs(len(sound) - 1.2 * RATE) <= PIECE
    assert abs(pitch(sound, RATE) - 440) < 2


def test_every_frame_gives_its_piece_at_once() -> None:
    mic, ingest = listening()
    for count, each in enumerate(frames(tone(440, 0.2, 48_000), 48_000, 960, "stereo"), 1):
        ingest.take(each)
        assert mic.end == count


def test_lost_frames_leave_silence_of_their_length() -> None:
    mic, ingest = listening()
    for index, each in enumerate(frames(tone(440, 1.0, 48_000), 48_000, 960, "stereo")):
        if not 20 <= index < 25:
            ingest.take(each)
    sound = heard(mic)
    assert len(sound) == RATE
    assert ingest.silence == pytest.approx(0.1)
    assert np.abs(sound[20 * PIECE + 40 : 25 * PIECE - 40]).max() < 50
    assert np.abs(sound[26 * PIECE :]).max() > 5000


def test_a_sender_that_starts_its_clock_anew_leaves_no_hour_of_silence() -> None:
    mic, ingest = listening()
    ingest.take(frame(tone(440, 0.02, 48_000), 48_000, 0))
    ingest.take(frame(tone(440, 0.02, 48_000), 48_000, round((LONGEST_GAP + 3600) * 48_000)))
    ingest.take(frame(tone(440, 0.02, 48_000), 48_000, 0))
    assert len(heard(mic)) == 3 * PIECE
    assert ingest.silence == 0


@virtual
async def test_a_caller_that_sends_nothing_is_silent_in_real_time() -> None:
    mic: Channel[Audio] = Channel()
    track, ingest = Track(), Ingest(mic)
    running = asyncio.create_task(ingest.run(track))
    track.queue.put_nowait(frame(tone(440, 0.02, 48_000), 48_000, 0))
    await asyncio.sleep(2.0)
    assert abs(mic.end * PIECE / RATE - 2.0) <= 0.04
    track.queue.put_nowait(frame(tone(440, 0.02, 48_000), 48_000, 96_000))
    await asyncio.sleep(0.02)
    assert abs(mic.end * PIECE / RATE - 2.02) <= 0.04  # what was filled in is not filled in again
    track.queue.put_nowait(None)
    await running


@virtual
async def test_a_pause_shorter_than_a_stall_is_left_to_the_jitter_buffer() -> None:
    mic: Channel[Audio] = Channel()
    track, ingest = Track(), Ingest(mic)
    running = asyncio.create_task(ingest.run(track))
    track.queue.put_nowait(frame(tone(440, 0.02, 48_000), 48_000, 0))
    await asyncio.sleep(STALL * 0.9)
    assert mic.end == 1
    track.queue.put_nowait(None)
    await running
