"""Deepgram's speak, against its fake (shapes: the vendor's SDK and documentation)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from gateway.contract.channel import Channel
from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Refused, Unauthorized, Unavailable
from gateway.contract.events import AudioDelta, Finished, Flushed, Usage
from gateway.contract.provider import Settings
from gateway.contract.requests import Clear, Commit, Input, SpeakRequest
from gateway.routing.route import Eject
from providers.deepgram import Provider
from tests.evidence import rests_on
from tests.fakes.base import Behaviour
from tests.fakes.deepgram import Deepgram
from tests.fakes.routes import KEY, POLICY, answered, audio_of, closing, inputs, route, said_in_call, settings, spoken
from tests.fakes.speaking import spoken as tones

pytestmark = [pytest.mark.wire, rests_on("deepgram")]
AURA = "aura-2-thalia-en"
ONE, TWO = "The first of two. ", "And this is the second. "
RATE = 24_000


@asynccontextmanager
async def deepgram(behaviour: Behaviour | None = None) -> AsyncIterator[tuple[Provider, Deepgram]]:
    fake = Deepgram(behaviour)
    async with fake.running() as url, closing(Provider(settings(url))) as provider:
        yield provider, fake
    await fake.until_left()


def sound(*texts: str, rate: int = RATE) -> bytes:
    return b"".join(pcm for text in texts for _, pcm in tones(text, rate))


async def test_every_clause_is_spoken_whole_and_then_flushed() -> None:
    async with deepgram() as (provider, fake):
        events = await spoken(provider, AURA, "The first ", "of two. ", Commit(), TWO, Commit())
    assert audio_of(events) == sound(ONE, TWO)
    flushed = [place for place, event in enumerate(events) if isinstance(event, Flushed)]
    assert audio_of(events[: flushed[0]]) == sound(ONE)
    assert len(flushed) == 2
    assert events[-2:] == [Usage(characters=len(ONE + TWO), seconds=len(sound(ONE, TWO)) / 2 / RATE), Finished()]
    assert fake.sessions[0].query == {"model": AURA, "encoding": "linear16", "sample_rate": "24000"}


async def test_what_was_not_committed_is_spoken_too_before_the_end() -> None:
    async with deepgram() as (provider, _):
        events = await spoken(provider, AURA, ONE, Commit(), TWO)
    assert audio_of(events) == sound(ONE, TWO)
    assert sum(isinstance(event, Flushed) for event in events) == 1


async def test_what_has_no_sound_is_flushed_in_order_and_deepgram_is_not_asked() -> None:
    async with deepgram() as (provider, fake):
        events = await spoken(provider, AURA, Commit(), "... ", Commit(), ONE, Commit(), "!", Commit())
    kinds = [type(event) for event in events if not isinstance(event, AudioDelta)]
    assert kinds == [Flushed] * 4 + [Usage, Finished]
    assert [message["type"] for message in fake.sessions[0].said] == ["Speak", "Flush"]


async def test_rate_voice_and_speed_are_asked_for() -> None:
    request = SpeakRequest(rate=22_050, voice="aura-2-apollo-en", speed=1.2)
    async with deepgram() as (provider, fake):
        events = await spoken(provider, AURA, ONE, Commit(), request=request)
        await spoken(provider, AURA, request=SpeakRequest(voice="alloy"))
    assert audio_of(events) == sound(ONE)
    query = fake.sessions[0].query
    assert (query["sample_rate"], query["model"], query["speed"]) == ("24000", "aura-2-apollo-en", "1.2")
    assert {session.query["model"] for session in fake.sessions} == {"aura-2-apollo-en", AURA}


async def test_cleared_speech_is_not_heard_and_its_commits_are_answered() -> None:
    long: Channel[Input] = Channel()
    async with deepgram(Behaviour(latency=0.02)) as (provider, _):
        async with aclosing(provider.speak(AURA, SpeakRequest(), long.reader())) as events, asyncio.timeout(5.0):
            for item in (ONE * 20, Commit(), ONE, Commit()):
                long.put(item)
            before = await anext(events)
            long.put(Clear())
            for item in (TWO, Commit()):
                long.put(item)
            long.close()
            after = [event async for event in events]
    assert isinstance(before, AudioDelta)
    assert sum(isinstance(event, Flushed) for event in after) == 3
    flushed = [place for place, event in enumerate(after) if isinstance(event, Flushed)]
    assert audio_of(after[flushed[1] :]) == sound(TWO)


async def test_more_clauses_than_a_connection_flushes_go_on_over_the_next() -> None:
    items: list[Input] = []
    for _ in range(25):
        items += ["Yes. ", Commit()]
    async with deepgram() as (provider, fake):
        events = await spoken(provider, AURA, *items)
    assert audio_of(events) == sound(*["Yes."] * 25)
    assert sum(isinstance(event, Flushed) for event in events) == 25
    assert [type(event) for event in events[-2:]] == [Usage, Finished]
    assert max(session.frames.count('{"type":"Flush"}') for session in fake.sessions) <= 20


async def test_a_connection_stands_ready_for_the_next_answer() -> None:
    async with deepgram() as (provider, fake):
        await spoken(provider, AURA, ONE, Commit())
        await fake.until(lambda: fake.open == 1)
        asked = fake.asked
        async with aclosing(provider.speak(AURA, SpeakRequest(), inputs(ONE, Commit()).reader())) as events:
            await anext(events)
            spoke = [session for session in fake.sessions if session.frames]
    assert len(spoke) == 2
    assert fake.sessions.index(spoke[1]) < asked


async def test_leaving_in_mid_sentence_leaves_only_what_stands_ready() -> None:
    async with deepgram(Behaviour(trouble="endless")) as (provider, fake):
        async with aclosing(provider.speak(AURA, SpeakRequest(), inputs(ONE, Commit()).reader())) as events:
            await anext(events)
        await fake.until(lambda: not fake.busy and fake.open <= 1)


@pytest.mark.parametrize("after", [0.0, 0.5, 1.7])
async def test_a_socket_that_dies_in_mid_sentence_costs_a_call_no_word_and_repeats_at_most_one(after: float) -> None:
    policy = replace(POLICY, eject=Eject(consecutive=1))
    async with deepgram(Behaviour(drop_after=after)) as (dies, _), deepgram() as (well, _):
        pcm, moves = await said_in_call(route("tts", AURA, dies, well, policy=policy), ONE + TWO)
    words, wanted = words_in(pcm), words_in(sound(ONE, TWO))
    once = [[*words[:at], *words[at + 1 :]] for at in range(1, len(words)) if words[at] == words[at - 1]]
    assert wanted in (words, *once)
    assert moves == [f"p2/{AURA}"]


def words_in(pcm: bytes) -> list[int]:
    """Of the tones that words are here: how long each is, in hundredths of a second."""
    loud = np.abs(np.frombuffer(pcm, "<i2").astype(np.int32)).reshape(-1, RATE // 100).max(axis=1) > 0
    edges = np.flatnonzero(np.diff(loud.astype(int), prepend=0, append=0))
    return [int(end - start) for start, end in zip(edges[::2], edges[1::2])]


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (Behaviour(trouble="unauthorized"), Unauthorized),
        (Behaviour(trouble="no-quota"), OutOfQuota),
        (Behaviour(trouble="rate-limited"), RateLimited),
        (Behaviour(trouble="bad-model"), Unavailable),
        (Behaviour(trouble="broken"), Unavailable),
        (Behaviour(trouble="garbage"), Unavailable),
        (Behaviour(drop_after=0.0), Unavailable),
        (Behaviour(trouble="bad-text"), Refused),
    ],
)
async def test_what_deepgram_refuses_is_the_right_error_and_no_concern_of_who_asked(
    behaviour: Behaviour, kind: type[ProviderError]
) -> None:
    async with deepgram(behaviour) as (sick, _), deepgram() as (well, _):
        with pytest.raises(kind) as error:
            await spoken(sick, AURA, ONE, Commit())
        assert type(error.value) is kind
        assert KEY.reveal() not in repr(error.value)
        if kind is not Refused:
            events = await answered(route("tts", AURA, sick, well), SpeakRequest(), ONE, Commit())
            assert audio_of(events) == sound(ONE)


def test_what_a_voice_cannot_is_told_before_anybody_is_asked() -> None:
    provider = Provider(Settings("acme", None, KEY))
    assert provider.cannot(AURA, SpeakRequest(language="en-GB")) is None
    assert provider.cannot(AURA, SpeakRequest(language="hi")) == "it does not speak hi"
    assert provider.cannot(AURA, SpeakRequest(voice="aura-2-celeste-es", language="es-MX")) is None
    assert provider.cannot(AURA, SpeakRequest(speed=2.0)) == "it speaks at 0.7 to 1.5 times the usual speed"
