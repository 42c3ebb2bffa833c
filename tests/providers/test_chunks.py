"""Sound is put together for transcribers, and nothing else waits for it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.requests import Commit, Input
from providers._chunks import Chunks

PIECE = Audio(b"\1\0" * 320, 16_000)


async def given(*items: Input) -> list[Input]:
    inputs: Channel[Input] = Channel()
    for item in items:
        inputs.put(item)
    inputs.close()
    return [item async for item in Chunks(inputs.reader())]


async def test_two_pieces_are_one_frame() -> None:
    assert await given(*[PIECE] * 4) == [Audio(PIECE.pcm * 2, 16_000)] * 2


async def test_what_is_long_enough_stays_as_it_is() -> None:
    long = Audio(PIECE.pcm * 5, 16_000)
    assert await given(long, long) == [long, long]


async def test_a_commit_and_the_end_send_what_is_held() -> None:
    assert await given(PIECE, Commit(), PIECE) == [PIECE, Commit(), PIECE]
    assert await given(Commit(), Commit()) == [Commit(), Commit()]


async def test_rates_are_not_mixed() -> None:
    other = Audio(b"\2\0" * 160, 8_000)
    assert await given(PIECE, other, other) == [PIECE, Audio(other.pcm * 2, 8_000)]


async def test_a_cancelled_read_loses_nothing() -> None:
    inputs: Channel[Input] = Channel()
    chunks = Chunks(inputs.reader())
    inputs.put(PIECE)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(chunks)
    inputs.put(Commit())
    assert [await anext(chunks), await anext(chunks)] == [PIECE, Commit()]


async def test_who_waits_for_sound_is_woken_by_enough_of_it_and_by_anything_else() -> None:
    for last, expected in ((PIECE, Audio(PIECE.pcm * 2, 16_000)), (Commit(), PIECE)):
        inputs: Channel[Input] = Channel()
        reading = asyncio.ensure_future(anext(Chunks(inputs.reader())))
        await asyncio.sleep(0)
        inputs.put(PIECE)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not reading.done()
        inputs.put(last)
        async with asyncio.timeout(1.0):
            assert await reading == expected
