"""Rime and Inworld against their fakes. Shapes: from other clients' sources and documentation, nothing of it was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from gateway.contract.channel import Channel
from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Unauthorized, Unavailable
from gateway.contract.events import AudioDelta, Finished, Flushed, ProviderEvent, Usage
from gateway.contract.provider import Settings
from gateway.contract.requests import Cancel, Commit, Input, SpeakRequest
from providers import inworld, rime
from tests.evidence import rests_on
from tests.fakes import speaking
from tests.fakes.base import Behaviour, Fake
from tests.fakes.inworld import Inworld
from tests.fakes.rime import Rime
from tests.fakes.routes import KEY, answered, audio_of, closing, route, settings, spoken

pytestmark = [pytest.mark.wire, rests_on("rime", "inworld")]
MODELS = {"rime": "coda", "inworld": "inworld-tts-1.5-max"}
both = pytest.mark.parametrize("name", MODELS)


@asynccontextmanager
async def vendor(name: str, behaviour: Behaviour | None = None, **options: object) -> AsyncIterator[tuple[Any, Fake]]:
    fake: Fake = Rime(behaviour) if name == "rime" else Inworld(behaviour)
    build = rime.Provider if name == "rime" else inworld.Provider
    async with fake.running() as url, closing(build(settings(url, **options))) as provider:
        yield provider, fake


def tones(text: str, rate: int = 24_000) -> bytes:
    """What the fakes say of it."""
    return b"".join(pcm for _, pcm in speaking.spoken(text, rate))


@both
async def test_a_clause_is_spoken_at_its_commit_and_its_words_are_told_with_it(name: str) -> None:
    async with vendor(name) as (provider, _):
        events = await spoken(provider, MODELS[name], "Hello ", "there. ", Commit(), "And more. ", Commit(), "Yes.")
    assert audio_of(events) == tones("Hello there. And more. Yes.")
    ends = [index for index, event in enumerate(events) if isinstance(event, Flushed)]
    assert len(ends) == 2
    assert audio_of(events[: ends[0]]) == tones("Hello there.")
    words = [word for event in events if isinstance(event, AudioDelta) for word in event.words]
    expected = [word for word, _ in speaking.spoken("Hello there. And more. Yes.", 24_000)]
    assert [word.text for word in words] == [word.text for word in expected]
    assert [word.start for word in words] == pytest.approx([word.start for word in expected], abs=0.002)
    used, last = events[-2:]
    assert isinstance(used, Usage)
    assert used.characters == 27
    assert last == Finished()


@both
async def test_a_text_of_nothing_but_punctuation_is_flushed_in_its_turn_and_not_sent(name: str) -> None:
    async with vendor(name) as (provider, fake):
        events = await spoken(provider, MODELS[name], Commit(), "Well. ", Commit(), "... ", Commit(), "!")
    kinds = [type(event) for event in events if not isinstance(event, AudioDelta)]
    assert kinds == [Flushed, Flushed, Flushed, Usage, Finished]
    assert not any("..." in str(frame) for frame in fake.sessions[0].frames)


@both
async def test_what_is_cancelled_is_not_heard_and_what_follows_is(name: str) -> None:
    inputs: Channel[Input] = Channel()
    before: tuple[Input, ...] = ("This is long, and longer. ", Commit(), "And more of it. ", Commit())
    after: tuple[Input, ...] = (Cancel(), "Yes? ", Commit())
    async with vendor(name) as (provider, fake):
        for item in before:
            inputs.put(item)
        told: list[ProviderEvent] = []
        async with aclosing(provider.speak(MODELS[name], SpeakRequest(), inputs.reader())) as events:
            told.append(await anext(events))
            for item in after:
                inputs.put(item)
            inputs.close()
            async with asyncio.timeout(5.0):
                told += [event async for event in events]
    assert sum(isinstance(event, Flushed) for event in told) == 3
    second = [index for index, event in enumerate(told) if isinstance(event, Flushed)][1]
    assert audio_of(told[second:]) == tones("Yes?")
    assert (name == "rime") == ({"operation": "clear"} in fake.sessions[0].said)


async def test_what_a_voice_is_asked_for_is_what_they_are_told() -> None:
    request = SpeakRequest(16_000, "anna", 1.25, "es-MX")
    async with vendor("rime", speaking={"temperature": "0.5"}) as (provider, fake):
        assert audio_of(await spoken(provider, "coda", "Hola. ", Commit(), request=request)) == tones("Hola.", 16_000)
        await spoken(provider, "mistv2", "Hola. ", Commit(), request=request)
    first = fake.sessions[0].query
    assert first == {
        "speaker": "anna",
        "modelId": "coda",
        "audioFormat": "pcm",
        "samplingRate": "16000",
        "lang": "es",
        "timeScaleFactor": "0.8",
        "temperature": "0.5",
    }
    assert any(session.query.get("speedAlpha") == "0.8" for session in fake.sessions)
    async with vendor("inworld", speaking={"temperature": 0.8}) as (provider, fake):
        events = await spoken(provider, MODELS["inworld"], "x" * 2_001, Commit(), request=request)
    create, *texts = fake.sessions[0].said
    assert create["create"] == {
        "voiceId": "anna",
        "modelId": MODELS["inworld"],
        "audioConfig": {"audioEncoding": "LINEAR16", "sampleRateHertz": 16_000, "speakingRate": 1.25},
        "timestampType": "WORD",
        "temperature": 0.8,
    }
    assert [len(each["send_text"]["text"]) for each in texts if "send_text" in each] == [2_000, 1]
    assert audio_of(events) == tones("x" * 2_001, 16_000)  # of which no header is a part


@pytest.mark.parametrize(
    ("name", "trouble", "kind"),
    [
        ("rime", "unauthorized", Unauthorized),
        ("rime", "no-quota", OutOfQuota),
        ("rime", "rate-limited", RateLimited),
        ("rime", "error", Unavailable),
        ("inworld", "unauthorized", Unauthorized),
        ("inworld", "no-quota", OutOfQuota),
        ("inworld", "concurrency", RateLimited),
        ("inworld", "bad-voice", Unavailable),
    ],
)
async def test_what_they_refuse_is_the_right_error_and_no_concern_of_who_asked(
    name: str, trouble: str, kind: type[ProviderError]
) -> None:
    async with vendor(name, Behaviour(trouble=trouble)) as (sick, _), vendor(name) as (well, _):
        with pytest.raises(kind) as error:
            await spoken(sick, MODELS[name], "Hello. ", Commit())
        assert type(error.value) is kind
        assert KEY.reveal() not in f"{error.value!r} {vars(error.value)}"
        events = await answered(route("tts", MODELS[name], sick, well), SpeakRequest(), "Hello. ", Commit())
    assert audio_of(events) == tones("Hello.")


def test_what_they_cannot_do_is_told_before_they_are_asked() -> None:
    first, second = rime.Provider(Settings("acme", None, KEY)), inworld.Provider(Settings("acme", None, KEY))
    assert first.cannot("arcana", SpeakRequest(language="ta-IN", speed=0.5)) is None
    assert second.cannot("inworld-tts-1.5-mini", SpeakRequest(language="he", speed=1.5)) is None
    assert second.cannot("inworld-tts-2", SpeakRequest(language="sw")) is None
    cannots = [
        first.cannot("coda", SpeakRequest(language="hi")),
        first.cannot("mistv2", SpeakRequest(language="hi")),
        first.cannot("coda", SpeakRequest(speed=2.5)),
        second.cannot("inworld-tts-1-max", SpeakRequest(language="he")),
        second.cannot("inworld-tts-1.5-max", SpeakRequest(speed=2.0)),
    ]
    assert all(cannots)
    assert rime.Provider(Settings("acme")).asleep("coda") == "its row has no key"
    assert inworld.Provider(Settings("acme")).asleep("inworld-tts-2") == "its row has no key"
