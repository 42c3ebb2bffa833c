"""Channel: nothing is lost by a failed, a second or a cancelled reader; memory is bounded."""

import asyncio

import pytest

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel, ChannelClosed
from tests.virtual_time import virtual


def speech(seconds: float) -> Audio:
    return Audio.silence(seconds, 16_000)


@virtual
async def test_every_reader_has_everything_from_the_mark_on() -> None:
    channel: Channel[str] = Channel()
    for word in ("a", "b", "c"):
        channel.put(word)
    first, second = channel.reader(), channel.reader()
    assert [first.take(), first.take()] == ["a", "b"]
    channel.mark(first.index)
    late = channel.reader()
    channel.put("d")
    channel.close()
    assert [item async for item in first] == ["c", "d"]
    assert [item async for item in second] == ["a", "b", "c", "d"]
    assert [item async for item in late] == ["c", "d"]


@virtual
async def test_a_cancelled_read_loses_nothing() -> None:
    channel: Channel[str] = Channel()
    reader = channel.reader()
    reading = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(1)
    channel.put("a")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await anext(reader) == "a"


@virtual
async def test_overflow_drops_the_oldest_and_says_so() -> None:
    channel: Channel[Audio] = Channel(seconds=3.0)
    slow = channel.reader()
    for _ in range(5):
        channel.put(speech(1.0))
    assert channel.lost == pytest.approx(2.0)
    channel.close()
    assert len([item async for item in slow]) == 3
    assert slow.lost == 2


@virtual
async def test_text_is_bounded_too() -> None:
    channel: Channel[str] = Channel(items=10)
    for number in range(25):
        channel.put(str(number))
    assert channel.reader().take() == "15"


@virtual
async def test_a_reader_knows_when_each_item_was_put() -> None:
    channel: Channel[str] = Channel()
    reader = channel.reader()
    channel.put("a")
    await asyncio.sleep(2)
    channel.put("b")
    await asyncio.sleep(2)
    assert [(reader.take(), reader.at), (reader.take(), reader.at)] == [("a", 0.0), ("b", 2.0)]


@virtual
async def test_what_is_put_after_the_end_is_refused() -> None:
    channel: Channel[str] = Channel()
    channel.close()
    channel.close()
    with pytest.raises(ChannelClosed):
        channel.put("a")
    assert [item async for item in channel.reader()] == []
