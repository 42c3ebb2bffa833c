"""What a faulty upstream does, in whatever family it speaks: one script for each name in Fault.

Its answer is ANSWER, sixty words. Told what was said of it before (a prefill, or an earlier turn of its own), it goes on
from there, unless the name says otherwise. What is not streamed has the same faults, as far as a body can have them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from tests.failover.families import Asked, Error, Family
from tests.upstream_scripts import text
from tests.upstreams import Exchange, Script

Fault = Literal[
    "well",
    "429-for-2s",  # with Retry-After
    "429",
    "500",
    "503",
    "reset",  # before headers
    "silent",
    "first-after-20s",  # headers at once
    "dies-after-40",  # words; without a terminator
    "pauses-30s-after-20",
    "broken-event",  # the tenth event is half of one, which comes whole after it
    "broken-word",  # the tenth event is half of one
    "unterminated",  # complete, and closed without a terminator
    "lingers",  # complete, without a terminator, and never closed
    "too-long",
    "against-policy",
    "repeats",  # says all of its answer, whatever was said before
    "repeats-some",  # goes on from ten words before
    "diverges",  # begins as its answer does, and then says something else
    "another",  # gives an answer of its own
    "no-prefill",  # refuses to be prefilled, else goes on
    "no-prefill-repeats",
    "slow-words",  # for callers that leave in between
]

ANSWER = text(60)
HALF_EVENT, HALF_BODY = (
    b'data: {"id":"broken","choices":[{"index":0,"delta":{"content":"BROK\n\n',
    b'{"id":"broken","choi',
)
SLOW = 0.05


def goes_on(asked: Asked) -> str:
    delivered = asked.delivered
    return ANSWER[len(delivered) :] if delivered and ANSWER.startswith(delivered) else ANSWER


def goes_back(asked: Asked) -> str:
    """Over the ten words before."""
    said = len(asked.delivered.split())
    return " ".join(ANSWER.split()[max(0, said - 10) :])


def repeats(asked: Asked) -> str:
    return ANSWER


def diverges(asked: Asked) -> str:
    return " ".join([*ANSWER.split()[:3], *(f"x{n}" for n in range(4, 61))])


def another(asked: Asked) -> str:
    return "Certainly! I shall count: " + ", ".join(str(n) for n in range(1, 61))


Says = Callable[[Asked], str]


def script(family: Family, fault: Fault) -> Script:
    return _Speaker(family).script(fault)


class _Speaker:
    def __init__(self, family: Family) -> None:
        self._family = family

    def script(self, fault: Fault) -> Script:
        match fault:
            case "well":
                return self.says(goes_on)
            case "429-for-2s":
                return self.fails("rate-limited", 429, retry_after="2")
            case "429":
                return self.fails("rate-limited", 429)
            case "500" | "503":
                return self.fails("failing", int(fault))
            case "reset":
                return _reset
            case "silent":
                return _silent
            case "first-after-20s":
                return self.says(goes_on, pause=(0, 20.0))
            case "dies-after-40":
                return self.dies(40)
            case "pauses-30s-after-20":
                return self.says(goes_on, pause=(20, 30.0))
            case "broken-event":
                return self.says(goes_on, broken=9)
            case "broken-word":
                return self.says(goes_on, broken=9, lost=True)
            case "unterminated":
                return self.says(goes_on, end="closed")
            case "lingers":
                return self.says(goes_on, end="open")
            case "too-long":
                return self.fails(fault, 400)
            case "against-policy":
                return self.fails(fault, self._family.policy_status)
            case "repeats":
                return self.says(repeats)
            case "repeats-some":
                return self.says(goes_back)
            case "diverges":
                return self.says(diverges)
            case "another":
                return self.says(another)
            case "no-prefill":
                return self.unless_prefilled(self.says(goes_on))
            case "no-prefill-repeats":
                return self.unless_prefilled(self.says(repeats))
            case "slow-words":
                return self.says(goes_on, tick=SLOW)

    def fails(self, kind: Error, status: int, **headers: str) -> Script:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}

        async def play(exchange: Exchange) -> None:
            await exchange.answer(status, self._family.error(kind), fields)

        return play

    def unless_prefilled(self, otherwise: Script) -> Script:
        refuses = self.fails("no-prefill", 400)

        async def play(exchange: Exchange) -> None:
            prefilled = self._family.asked(exchange.request).prefilled
            await (refuses if prefilled else otherwise)(exchange)

        return play

    def dies(self, after: int) -> Script:
        async def play(exchange: Exchange) -> None:
            asked = self._family.asked(exchange.request)
            if asked.stream:
                await self._begin(exchange, asked, goes_on(asked).split(" ")[:after])
            else:
                body = self._family.whole(asked, goes_on(asked))
                await _promise(exchange, len(body))
                await exchange.raw(body[: len(body) // 2])
            exchange.hang_up()

        return play

    def says(
        self,
        says: Says,
        tick: float = 0.0,
        pause: tuple[int, float] | None = None,
        broken: int | None = None,
        lost: bool = False,
        end: Literal["terminated", "closed", "open"] = "terminated",
    ) -> Script:
        """`tick`: seconds between words; `pause`: after so many words, for so many seconds; `broken`: after so many words half
        an event comes, in the next one's place if that is `lost`; `end`: how the stream does. A body that is broken is half of one."""

        async def whole(exchange: Exchange, asked: Asked) -> None:
            body = self._family.whole(asked, says(asked))
            if broken is not None:
                return await exchange.answer(200, HALF_BODY)
            await asyncio.sleep(tick * len(says(asked).split()))
            if pause is None:
                return await exchange.answer(200, body)
            await _promise(exchange, len(body))
            half = len(body) // 2 if pause[0] else 0
            await exchange.raw(body[:half])
            await asyncio.sleep(pause[1])
            await exchange.raw(body[half:])

        async def play(exchange: Exchange) -> None:
            asked = self._family.asked(exchange.request)
            if not asked.stream:
                return await whole(exchange, asked)
            words = _pieces(says(asked))
            await self._begin(exchange, asked, [])
            for n, word in enumerate(words):
                if pause is not None and n == pause[0]:
                    await asyncio.sleep(pause[1])
                if n == broken:
                    await exchange.send(HALF_EVENT)
                if n != broken or not lost:
                    await exchange.send(self._family.delta(asked, word))
                if tick:
                    await asyncio.sleep(tick)
            await exchange.send(self._family.ends(asked, len(words)))
            if end == "open":
                await exchange.gone()
            if end == "terminated" and self._family.terminator:
                await exchange.send(self._family.terminator)
            await exchange.end()

        return play

    async def _begin(self, exchange: Exchange, asked: Asked, words: list[str]) -> None:
        await exchange.head()
        await exchange.send(self._family.begins(asked))
        for piece in _pieces(" ".join(words)):
            await exchange.send(self._family.delta(asked, piece))


def _pieces(said: str) -> list[str]:
    """A text word by word, each with the space before it."""
    words = said.split(" ")
    return [word if n == 0 else f" {word}" for n, word in enumerate(words) if word or n]


async def _promise(exchange: Exchange, size: int) -> None:
    """The head of a body of that length."""
    await exchange.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % size)


async def _reset(exchange: Exchange) -> None:
    exchange.reset()


async def _silent(exchange: Exchange) -> None:
    await exchange.gone()
