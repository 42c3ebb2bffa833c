"""What is Gladia's own, against its fake: shapes from SDK and documentation, never recorded."""

from __future__ import annotations

import orjson
import pytest

from gateway.contract.errors import Refused, Unavailable
from gateway.contract.events import Transcript, Usage
from gateway.contract.provider import Settings
from gateway.contract.requests import Commit, TranscribeRequest
from providers import _gladia_stt
from providers.gladia import Provider
from tests.evidence import rests_on
from tests.fakes.base import Behaviour
from tests.fakes.gladia import Gladia
from tests.fakes.routes import KEY, RATE, UTTERANCES, closing, finals, heard, pieces, said, settings, text_of

pytestmark = [pytest.mark.wire, rests_on("gladia")]
K01, K02 = UTTERANCES[:2]


async def test_what_is_asked_for_is_in_what_is_posted_and_the_key_in_its_header_alone() -> None:
    upstream = Gladia()
    async with upstream.running() as url, closing(Provider(settings(url, region="eu-west"))) as provider:
        request = TranscribeRequest(8_000, "hi-IN", partials=False, keywords=("Trunkline",))
        await heard(provider, "solaria-1", request=request)
        await heard(provider, "solaria-1")
    first, second = upstream.posted
    assert first.path == "/v2/live?region=eu-west"
    assert first.headers["x-gladia-key"] == KEY.reveal()
    config = orjson.loads(first.body)
    messages = config.pop("messages_config")
    assert not messages.pop("receive_partial_transcripts")
    assert all(messages.values())
    assert config == {
        "encoding": "wav/pcm",
        "bit_depth": 16,
        "sample_rate": 8_000,
        "channels": 1,
        "model": "solaria-1",
        "endpointing": 0.3,
        "maximum_duration_without_endpointing": 60,
        "language_config": {"languages": ["hi"], "code_switching": False},
        "realtime_processing": {
            "custom_vocabulary": True,
            "custom_vocabulary_config": {"vocabulary": ["Trunkline"]},
        },
    }
    assert orjson.loads(second.body)["language_config"] == {"languages": [], "code_switching": True}
    assert KEY.reveal() not in f"{[session.headers for session in upstream.sessions]}"


async def test_every_turn_is_a_session_and_its_times_count_from_the_first_sound_of_all() -> None:
    upstream = Gladia()
    async with upstream.running() as url, closing(Provider(settings(url))) as provider:
        events = await heard(provider, "solaria-1", *pieces(K01), Commit(), *pieces(K02), Commit())
    first, second = [final for final in finals(events) if final.ends_turn]
    lasts = sum(piece.seconds for piece in pieces(K01))
    assert first.words[-1].end < lasts < second.words[0].start
    assert len(upstream.posted) == len(upstream.sessions) == 2
    (usage,) = [event for event in events if isinstance(event, Usage)]
    assert usage.seconds == pytest.approx(lasts + sum(piece.seconds for piece in pieces(K02)))


@pytest.mark.parametrize("after", [0.0, 1.0, 2.5, 4.0])
async def test_a_session_whose_socket_is_closed_goes_on_on_another(after: float) -> None:
    upstream = Gladia(Behaviour(trouble="closes", drop_after=after, times=1))
    async with upstream.running() as url, closing(Provider(settings(url))) as provider:
        events = await heard(provider, "solaria-1", *pieces(K01), Commit(), *pieces(K02), Commit())
    assert [final.text for final in finals(events) if final.ends_turn][1:] == [said(K02)]
    assert text_of(events) == f"{said(K01)} {said(K02)}"
    first, second, _ = upstream.sessions
    assert first.query == second.query
    assert len(upstream.posted) == 2


async def test_a_session_that_is_closed_again_and_again_and_one_that_is_over_are_given_up() -> None:
    for behaviour, sockets in ((Behaviour(trouble="closes", drop_after=1.0), 4), (Behaviour(trouble="over"), 1)):
        upstream = Gladia(behaviour)
        async with upstream.running() as url, closing(Provider(settings(url))) as provider:
            with pytest.raises(Unavailable):
                await heard(provider, "solaria-1", *pieces(K01), Commit())
        assert len(upstream.sessions) == sockets


async def test_sound_that_is_not_taken_is_refused() -> None:
    async with Gladia(Behaviour(trouble="bad-audio")).running() as url, closing(Provider(settings(url))) as provider:
        with pytest.raises(Refused):
            await heard(provider, "solaria-1", *pieces(K02), Commit())


def test_what_is_final_of_a_turn_is_part_of_its_partials_until_it_is_told() -> None:
    codec = _gladia_stt.Hearing("acme", TranscribeRequest(RATE), 10.0)
    word = {"word": " One.", "start": 0.5, "end": 1.0, "confidence": 1.0}
    assert list(codec.hear(_transcript("One.", True, word))) == []
    assert list(codec.hear(_transcript("two", False))) == [Transcript("One. two", language="en")]
    (told,) = codec.hear(_transcript("Two.", True))
    assert isinstance(told, Transcript)
    assert (told.text, told.final, told.words[0].start, codec.last and codec.last.text) == ("One.", True, 10.5, "Two.")


def _transcript(text: str, final: bool, *words: dict[str, object]) -> str:
    utterance = {"text": text, "start": 0.0, "end": 1.0, "language": "en", "words": list(words)}
    return orjson.dumps({"type": "transcript", "data": {"id": "0", "is_final": final, "utterance": utterance}}).decode()


async def test_a_session_without_an_address_of_a_socket_is_a_failure() -> None:
    for answer in ({}, {"url": "http://elsewhere"}, {"url": 5}):
        upstream = Gladia()
        setattr(upstream, "_post", lambda posted, said=answer: (201, said, {}))  # noqa: B010 - of this one alone
        async with upstream.running() as url, closing(Provider(settings(url))) as provider:
            with pytest.raises(Unavailable, match="no address"):
                await heard(provider, "solaria-1", Commit())


def test_what_gladia_cannot_do_is_said_before_it_is_asked() -> None:
    provider = Provider(Settings("acme", None, KEY))
    asked = {
        "it takes sound at 8000": TranscribeRequest(24_000),
        "it does not tell who speaks": TranscribeRequest(RATE, diarize=True),
        "it does not translate": TranscribeRequest(RATE, translate=True),
    }
    for why, request in asked.items():
        assert (provider.cannot("solaria-1", request) or "").startswith(why)
