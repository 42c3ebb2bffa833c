"""What the programs in Python here share: what they say, in real time, and what their tool tells."""

import asyncio
import wave
from collections.abc import AsyncIterator

FRAME, RATE = 0.02, 24_000
WEATHER = "It rains in Pune, and it will go on raining for a good while yet, as it does at this time of the year, until the wind turns."


async def pieces(path: str, quiet: float = 1.5) -> AsyncIterator[bytes]:
    """The file, and a silence after it, in pieces of FRAME as they would be spoken."""
    with wave.open(path) as file:
        pcm = file.readframes(file.getnframes()) + bytes(round(quiet * RATE) * 2)
    size = round(FRAME * RATE) * 2
    due = asyncio.get_running_loop().time()
    for at in range(0, len(pcm) - size + 1, size):
        yield pcm[at : at + size]
        due += FRAME
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
