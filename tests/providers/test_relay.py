"""Sessions of stt that follow one another: on the speech files, over Deepgram's fake, which hears sample for sample."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise

import pytest

from gateway.contract.errors import Unavailable
from gateway.contract.events import Events, Finished, ProviderEvent, Ready, Usage
from gateway.contract.requests import Commit, Input, TranscribeRequest
from providers._relay import Open, relay
from providers.deepgram import Provider
from tests.fakes.base import Behaviour
from tests.fakes.deepgram import Deepgram
from tests.fakes.routes import RATE, UTTERANCES, closing, finals, inputs, pieces, said, settings, text_of, turns

pytestmark = pytest.mark.wire
ALL: list[Input] = []
for _name in UTTERANCES:
    ALL += [*pieces(_name), Commit()]
SECONDS = sum(piece.seconds for name in UTTERANCES for piece in pieces(name))


@asynccontextmanager
async def sessions(behaviour: Behaviour | None = None, turns: str = "client") -> AsyncIterator[tuple[Open, Deepgram]]:
    fake = Deepgram(behaviour)
    request = TranscribeRequest(RATE, turns="server" if turns == "server" else "client")
    async with fake.running() as url, closing(Provider(settings(url))) as provider:
        yield lambda sound: provider.session("nova-3", request, sound), fake


async def everything(open: Open, items: list[Input], cap: float | None = None) -> list[ProviderEvent]:
    async with aclosing(relay(open, inputs(*items).reader(), cap)) as events:
        return [event async for event in events]


def check(events: list[ProviderEvent], names: Sequence[str] = UTTERANCES) -> None:
    """Every word once, at its time, and what is said once is said once."""
    assert text_of(events) == " ".join(map(said, names))
    words = [word for final in finals(events) for word in final.words]
    assert all(a.end <= b.start + 0.05 for a, b in pairwise(words))
    assert words[-1].end == pytest.approx(SECONDS, abs=1.5)
    assert [type(event) for event in events].count(Ready) == 1
    used, last = events[-2:]
    assert isinstance(used, Usage)
    assert used.seconds == pytest.approx(SECONDS, abs=0.1)
    assert isinstance(last, Finished)


async def test_a_session_that_is_old_is_followed_by_another_between_two_turns() -> None:
    async with sessions() as (open, fake):
        events = await everything(open, ALL, cap=0.0)
    check(events)
    assert turns(events) == [said(name) for name in UTTERANCES]
    assert len(fake.sessions) == len(UTTERANCES) + 1


async def test_one_that_is_not_old_is_not() -> None:
    async with sessions() as (open, fake):
        check(await everything(open, ALL, cap=60.0))
    assert len(fake.sessions) == 1


async def test_where_the_provider_ends_the_turns_the_last_word_is_where_the_next_session_begins() -> None:
    items: list[Input] = [piece for name in UTTERANCES for piece in pieces(name, quiet=0.6)]
    async with sessions(turns="server") as (open, fake):
        events = await everything(open, items, cap=0.0)
    assert turns(events) == [said(name) for name in UTTERANCES]
    assert len(fake.sessions) == len(UTTERANCES) + 1


@pytest.mark.parametrize("after", [5.7, 7.0, 9.3, 12.0])
async def test_a_session_that_is_lost_is_followed_by_another_from_the_last_word_that_was_final(after: float) -> None:
    async with sessions(Behaviour(drop_after=after, times=1)) as (open, fake):
        events = await everything(open, ALL)
    check(events)
    assert turns(events) == [said(name) for name in UTTERANCES]
    assert len(fake.sessions) == 2


@pytest.mark.parametrize("after", [5.7, 8.1, 12.0])
async def test_in_mid_turn_the_next_begins_after_the_last_word_that_was_final(after: float) -> None:
    names = UTTERANCES[::-1]
    items: list[Input] = [*(piece for name in names for piece in pieces(name, 0.7)), Commit()]
    async with sessions(Behaviour(drop_after=after, times=1)) as (open, fake):
        events = await everything(open, items)
    check(events, names)
    assert len(turns(events)) == 1
    assert len(fake.sessions) == 2


async def test_one_that_is_lost_before_it_settled_anything_is_a_failure() -> None:
    async with sessions(Behaviour(drop_after=1.0, times=1)) as (open, fake):
        with pytest.raises(Unavailable):
            await everything(open, ALL)
    assert len(fake.sessions) == 1


async def test_where_no_other_session_opens_the_old_one_goes_on() -> None:
    opened = 0
    async with sessions() as (open, fake):

        def once(sound: AsyncIterator[Input]) -> Events:
            nonlocal opened
            opened += 1
            if opened > 1:
                fake.behaviour = Behaviour(trouble="broken")
            return open(sound)

        check(await everything(once, ALL, cap=0.0))
    assert opened > 1
    assert len(fake.sessions) == 1
