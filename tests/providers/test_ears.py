"""What those that only hear have in common, each against its fake: shapes from SDK and documentation, never recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from itertools import pairwise

import pytest

from gateway.contract.channel import Channel
from gateway.contract.errors import ProviderError
from gateway.contract.events import AnswerEvent, Finished, Ready, SpeechEnded, SpeechStarted, Transcript, Usage
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from providers import assemblyai
from tests.evidence import rests_on
from tests.fakes import assemblyai as assemblyai_fake
from tests.fakes.base import Behaviour
from tests.fakes.routes import (
    KEY,
    RATE,
    UTTERANCES,
    answered,
    finals,
    heard,
    pieces,
    route,
    said,
    settings,
    text_of,
    transcribed,
)
from tests.providers.ears import EARS, Ear

pytestmark = [pytest.mark.wire, rests_on("assemblyai", "speechmatics", "gladia")]
K01, K02 = UTTERANCES[:2]
SERVER = TranscribeRequest(RATE, turns="server")


@pytest.fixture(autouse=True)
def no_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sound may come as fast as it can, or every test would take as long as its sound."""
    monkeypatch.setattr(assemblyai, "AHEAD", 100.0)
    monkeypatch.setattr(assemblyai_fake, "AHEAD", 100.0)


ears = pytest.mark.parametrize("ear", EARS, ids=str)
troubles = pytest.mark.parametrize(
    ("ear", "trouble"), [pytest.param(ear, each, id=f"{ear}-{each}") for ear in EARS for each in ear.troubles]
)


def turns(events: Sequence[AnswerEvent]) -> list[str]:
    """What was said in each, finally."""
    texts, open_texts = [], []
    for final in finals(events):
        open_texts.append(final.text)
        if final.ends_turn:
            texts.append(" ".join(filter(None, open_texts)))
            open_texts = []
    return texts


@ears
@pytest.mark.parametrize("latency", [0.0, 0.03])
@pytest.mark.parametrize("seconds", [0.02, 0.1, 2.5])
async def test_every_word_is_heard_once_with_its_times_and_a_commit_ends_the_turn(
    ear: Ear, seconds: float, latency: float
) -> None:
    async with ear.open(Behaviour(latency)) as (provider, fake):
        events = await heard(provider, ear.model, *pieces(K01, seconds), Commit(), *pieces(K02, seconds), Commit())
    assert text_of(events) == f"{said(K01)} {said(K02)}"
    assert turns(events) == [said(K01), said(K02)]
    words = [word for final in finals(events) for word in final.words]
    assert " ".join(word.text for word in words) == text_of(events)
    assert all(a.start < a.end <= b.start + 0.05 for a, b in pairwise(words))
    first = sum(piece.seconds for piece in pieces(K01))
    assert words[len(said(K01).split()) - 1].end <= first <= words[len(said(K01).split())].start
    partials = [event.text for event in events if isinstance(event, Transcript) and not event.final]
    assert seconds > 1.0 or any(said(K01).lower().startswith(partial.lower()[:6]) for partial in partials)
    assert events[0] == Ready()
    assert [type(event) for event in events[-2:]] == [Usage, Finished]
    assert {type(event) for event in events} <= {Ready, SpeechStarted, SpeechEnded, Transcript, Usage, Finished}
    for session in fake.sessions:
        assert KEY.reveal() not in f"{session.path} {session.query}"
        if ear.key is not None:
            name, form = ear.key
            assert session.headers[name] == form.format(KEY.reveal())


@ears
async def test_the_provider_may_decide_that_a_turn_is_over(ear: Ear) -> None:
    async with ear.open() as (provider, _):
        sound = [*pieces(K01, quiet=1.6), *pieces(K02, quiet=1.6)]
        events = await heard(provider, ear.model, *sound, request=SERVER)
    assert turns(events) == [said(K01), said(K02)]


@ears
async def test_a_commit_of_nothing_is_answered_at_once_and_in_order(ear: Ear) -> None:
    async with ear.open(Behaviour(0.02)) as (provider, _):
        events = await heard(provider, ear.model, Commit(), *pieces(K01), Commit(), Commit())
    assert turns(events) == ["", said(K01), ""]


@ears
async def test_what_is_cleared_is_not_heard(ear: Ear) -> None:
    async with ear.open(Behaviour(0.02)) as (provider, _):
        sound: list[Input] = [
            *pieces(K01),
            Clear(),
            Clear(),
            *pieces(K02),
            Commit(),
            *pieces(K01)[:12],
            Clear(),
            Commit(),
        ]
        events = await heard(provider, ear.model, *sound)
    assert turns(events) == [said(K02), ""]
    assert text_of(events) == said(K02)
    (start, *_) = [word.start for final in finals(events) for word in final.words]
    assert start > sum(piece.seconds for piece in pieces(K01)) - 0.05


@ears
async def test_a_file_is_heard_to_its_end_and_nothing_but_finals_is_said_of_it(ear: Ear) -> None:
    file = TranscribeRequest(RATE, partials=False)
    async with ear.open() as (provider, _):
        sound = [*pieces(K01, 1.0, 1.6), *pieces(K02, 1.0)]
        events = await heard(provider, ear.model, *sound, Commit(), request=file)
    told = [event for event in events if isinstance(event, Transcript)]
    assert all(event.final for event in told)
    assert text_of(events) == f"{said(K01)} {said(K02)}"
    assert [event.ends_turn for event in told] == [False] * (len(told) - 1) + [True]


@troubles
async def test_what_it_says_of_itself_is_the_right_error_and_no_concern_of_who_asked(ear: Ear, trouble: str) -> None:
    async with ear.open(Behaviour(trouble=trouble)) as (sick, _), ear.open() as (well, _):
        with pytest.raises(ear.troubles[trouble]) as error:
            await heard(sick, ear.model, *pieces(K01), Commit())
        assert type(error.value) is ear.troubles[trouble]
        assert isinstance(error.value, ProviderError)
        assert error.value.provider == "acme"
        assert KEY.reveal() not in repr(error.value)
        asked = route("stt", ear.model, sick, well)
        events = await answered(asked, TranscribeRequest(RATE), *pieces(K01), Commit())
    assert text_of(events) == said(K01)


@ears
@pytest.mark.parametrize("after", [0.5, 2.0, 3.5])
async def test_a_socket_that_dies_in_mid_utterance_costs_a_call_no_word(ear: Ear, after: float) -> None:
    targets: list[str] = []
    async with ear.open(Behaviour(drop_after=after, times=1)) as (dies, _), ear.open() as (well, _):
        texts = await transcribed(route("stt", ear.model, dies, well), [K01, K02], targets)
    assert texts == [said(K01), said(K02)]


@ears
async def test_a_session_that_gets_old_is_followed_by_another_between_turns(
    ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not ear.cap:
        return  # none of its sessions is longer than a turn
    monkeypatch.setattr(ear.cap, 0.0)
    async with ear.open(Behaviour(0.02)) as (provider, fake):
        sound: list[Input] = []
        for name in (K01, K02, K01):
            sound += [*pieces(name), Commit()]
        events = await heard(provider, ear.model, *sound)
    assert turns(events) == [said(K01), said(K02), said(K01)]
    words = [word for final in finals(events) for word in final.words]
    assert all(a.end <= b.start + 0.05 for a, b in pairwise(words))
    assert words[-1].end > sum(piece.seconds for name in (K01, K02) for piece in pieces(name))
    assert len(fake.sessions) == 4
    assert events.count(Ready()) == 1


@ears
@pytest.mark.parametrize("after", [6.0, 7.5])
async def test_a_socket_that_dies_after_a_turn_is_followed_by_another_of_its_own(ear: Ear, after: float) -> None:
    async with ear.open(Behaviour(drop_after=after, times=1)) as (provider, _):
        channel: Channel[Input] = Channel()
        first: list[Input] = [*pieces(K01), Commit()]
        second: list[Input] = [*pieces(K02), Commit()]
        async with aclosing(provider.transcribe(ear.model, TranscribeRequest(RATE), channel.reader())) as events:
            told: list[AnswerEvent] = []
            for item in first:
                channel.put(item)
            async with asyncio.timeout(10.0):
                async for event in events:
                    told.append(event)
                    if isinstance(event, Transcript) and event.ends_turn:
                        for item in second if len(turns(told)) == 1 else ():
                            channel.put(item)
                        if len(turns(told)) == 2:
                            channel.close()
    assert turns(told) == [said(K01), said(K02)]


@ears
def test_what_it_cannot_do_is_said_before_it_is_asked(ear: Ear) -> None:
    provider = ear.build(settings("ws://localhost:1"))
    cannot, asleep = getattr(provider, "cannot"), getattr(provider, "asleep")  # noqa: B009 - not of every provider
    assert "does not know the language 'xx'" in cannot(ear.model, TranscribeRequest(RATE, "xx"))
    assert cannot(ear.model, TranscribeRequest(RATE, "en-IN")) is None
    assert asleep(ear.model) is None
