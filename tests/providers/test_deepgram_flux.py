"""Deepgram's Flux, against its fake (shapes: the vendor's SDK and documentation)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from gateway.contract.audio import Audio
from gateway.contract.events import (
    EagerTurnEnd,
    Finished,
    ProviderEvent,
    Ready,
    SpeechStarted,
    Transcript,
    TurnResumed,
    Usage,
)
from gateway.contract.requests import Clear, Commit, TranscribeRequest
from providers import _deepgram_flux
from providers.deepgram import Provider
from tests.evidence import rests_on
from tests.fakes.base import Behaviour
from tests.fakes.deepgram import Deepgram
from tests.fakes.routes import (
    RATE,
    UTTERANCES,
    closing,
    finals,
    heard,
    pieces,
    route,
    said,
    settings,
    text_of,
    transcribed,
    turns,
)

pytestmark = [pytest.mark.wire, rests_on("deepgram")]
FLUX = "flux-general-en"
K01, K02 = UTTERANCES[:2]
SERVER = TranscribeRequest(RATE, turns="server")


@asynccontextmanager
async def flux(behaviour: Behaviour | None = None, **options: object) -> AsyncIterator[tuple[Provider, Deepgram]]:
    fake = Deepgram(behaviour)
    async with fake.running() as url, closing(Provider(settings(url, **options))) as provider:
        yield provider, fake


async def test_every_word_is_heard_once_and_only_a_commit_ends_the_turn() -> None:
    async with flux() as (provider, fake):
        events = await heard(provider, FLUX, *pieces(K01, quiet=1.0), Commit(), *pieces(K02), Commit(), Commit())
    assert turns(events) == [said(K01), said(K02), ""]
    words = [word for final in finals(events) for word in final.words]
    assert [word.text for word in words] == f"{said(K01)} {said(K02)}".split()
    assert all(a.end <= b.start + 0.05 for a, b in pairwise(words))
    assert events[0] == Ready()
    assert [type(event) for event in events[-2:]] == [Usage, Finished]
    query = fake.sessions[0].query
    assert (query["eot_threshold"], "eager_eot_threshold" in query, "endpointing" in query) == ("1.0", False, False)
    sizes = {len(frame) for frame in fake.sessions[0].frames if isinstance(frame, bytes)}
    assert all(size % 2560 == 0 for size in list(sizes)[:-2])


async def test_flux_decides_guesses_early_and_takes_it_back() -> None:
    half = len(pieces(K01, quiet=0.0)) // 2
    sound = pieces(K01, quiet=0.0)
    pause = Audio.silence(0.4, RATE)
    async with flux(eager_eot_threshold=0.4) as (provider, fake):
        events = await heard(
            provider, FLUX, *sound[:half], pause, *sound[half:], Audio.silence(1.0, RATE), request=SERVER
        )
    assert turns(events) == [said(K01)]
    assert _kinds(events) == [
        Ready,
        SpeechStarted,
        EagerTurnEnd,
        TurnResumed,
        EagerTurnEnd,
        "end of turn",
        Usage,
        Finished,
    ]
    eager = [event.text for event in events if isinstance(event, EagerTurnEnd)]
    assert said(K01).startswith(eager[0])
    assert eager[1] == said(K01)
    assert fake.sessions[0].query["eager_eot_threshold"] == "0.4"


def _kinds(events: list[ProviderEvent]) -> list[object]:
    kinds = ["end of turn" if isinstance(each, Transcript) and each.ends_turn else type(each) for each in events]
    return [kind for kind in kinds if kind is not Transcript]


async def test_partials_grow_until_the_end_of_the_turn() -> None:
    async with flux() as (provider, _):
        events = await heard(provider, FLUX, *pieces(K01), Commit())
    partials = [each.text for each in events if isinstance(each, Transcript) and not each.final]
    assert len(partials) > 3
    assert all(b.startswith(a) and a != b for a, b in pairwise(partials))


async def test_what_was_said_last_without_a_commit_is_heard_too() -> None:
    async with flux() as (provider, _):
        events = await heard(provider, FLUX, *pieces(K01), Commit(), *pieces(K02))
    assert text_of(events) == f"{said(K01)} {said(K02)}"
    assert len(turns(events)) == 1


async def test_what_is_cleared_is_not_heard() -> None:
    async with flux() as (provider, _):
        events = await heard(provider, FLUX, *pieces(K01), Clear(), *pieces(K02), Commit())
    assert turns(events) == [said(K02)]


async def test_a_commit_that_flux_ignores_is_over_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_deepgram_flux, "PATIENCE", 0.05)
    async with flux() as (provider, _):
        events = await heard(provider, FLUX, Audio.silence(1.0, RATE), Commit(), *pieces(K01), Commit())
    assert turns(events) == ["", said(K01)]


async def test_a_language_is_a_hint_to_the_model_that_knows_ten() -> None:
    async with flux() as (provider, fake):
        request = TranscribeRequest(RATE, "hi-IN")
        events = await heard(provider, "flux-general-multi", *pieces(K01), Commit(), request=request)
    assert fake.sessions[0].query["language_hint"] == "hi"
    assert finals(events)[0].language == "en"  # as it heard
    assert "does not know the language 'ta'" in str(
        provider.cannot("flux-general-multi", TranscribeRequest(RATE, "ta"))
    )
    assert "does not know the language 'hi'" in str(provider.cannot(FLUX, TranscribeRequest(RATE, "hi")))
    assert provider.cannot(FLUX, TranscribeRequest(RATE, diarize=True)) == "it does not tell speakers apart"


@pytest.mark.parametrize("after", [0.5, 2.0, 4.6])
async def test_a_socket_that_dies_in_mid_utterance_costs_a_call_no_word(after: float) -> None:
    async with flux(Behaviour(drop_after=after, times=1)) as (dies, _), flux() as (well, _):
        texts = await transcribed(route("stt", FLUX, dies, well), [K01, K02])
    assert texts == [said(K01), said(K02)]
