"""local_tts: what is written is said, clause by clause, and can be understood."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.errors import Unavailable
from gateway.contract.events import AudioDelta, Finished, Flushed, ProviderEvent, Usage
from gateway.contract.provider import Settings
from gateway.contract.requests import Cancel, Clear, Commit, Input, SpeakRequest
from providers import local_stt
from providers.local_tts import Provider
from tests.providers.speaking import closing, heard, inputs, stopped, word_error_rate

SENTENCES = (
    "Could you tell me what time you close on Saturday?",
    "I would like to book an appointment with the doctor.",
    "The weather is lovely today, and the birds are singing in the garden.",
)


@pytest.fixture
async def tts() -> AsyncGenerator[Provider]:
    async with closing(Provider(Settings("local_tts"))) as provider:
        yield provider


async def spoken(tts: Provider, *items: Input, request: SpeakRequest | None = None) -> list[ProviderEvent]:
    async with aclosing(tts.speak("joe", request or SpeakRequest(), inputs(*items).reader())) as events:
        return [event async for event in events]


def sound(events: list[ProviderEvent]) -> Audio:
    deltas = [event.audio for event in events if isinstance(event, AudioDelta)]
    assert len({audio.rate for audio in deltas}) == 1
    return Audio(b"".join(audio.pcm for audio in deltas), deltas[0].rate)


def shape(events: list[ProviderEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


@pytest.mark.models
async def test_what_it_says_is_understood(tts: Provider) -> None:
    async with closing(local_stt.Provider(Settings("local_stt"))) as stt:
        pairs = []
        for text in SENTENCES:
            audio = sound(await spoken(tts, text, Commit(), request=SpeakRequest(rate=16_000)))
            assert audio.rate == 16_000
            pairs.append((text, await heard(stt, audio)))
    assert word_error_rate(pairs) <= 0.1


@pytest.mark.models
async def test_every_clause_is_flushed_and_what_is_left_is_said_at_the_end(tts: Provider) -> None:
    events = await spoken(tts, "Hello ", "there.", Commit(), "How are you?", Commit(), "Goodbye.")
    assert shape(events) == ["AudioDelta", "Flushed", "AudioDelta", "Flushed", "AudioDelta", "Usage", "Finished"]
    assert events[-2] == Usage(characters=len("Hello there.How are you?Goodbye."))
    assert events[-1] == Finished()


@pytest.mark.models
async def test_where_there_is_nothing_to_say_nothing_is_said(tts: Provider) -> None:
    events = await spoken(tts, "...", Commit(), "", Commit(), " — ", Commit(), "\n")
    assert shape(events) == ["Flushed"] * 3 + ["Usage", "Finished"]


@pytest.mark.models
async def test_the_rate_is_the_one_asked_for_and_changes_only_the_rate(tts: Provider) -> None:
    for rate in (8_000, 22_050, 24_000, 48_000):
        audio = sound(await spoken(tts, SENTENCES[0], request=SpeakRequest(rate=rate)))
        assert audio.rate == rate
        assert 2.0 < audio.seconds < 4.5


@pytest.mark.models
async def test_speed_is_honoured(tts: Provider) -> None:
    slow, fast = [
        sound(await spoken(tts, SENTENCES[2], request=SpeakRequest(speed=speed))).seconds for speed in (0.5, 2.0)
    ]
    assert 2.5 < slow / fast < 5.0


@pytest.mark.models
async def test_a_long_text_comes_in_pieces(tts: Provider) -> None:
    events = await spoken(tts, "and then another thing happened to us " * 20)
    deltas = [event for event in events if isinstance(event, AudioDelta)]
    assert len(deltas) > 3
    assert max(delta.audio.seconds for delta in deltas) < 15


@pytest.mark.models
async def test_cancelling_drops_what_was_not_said_and_still_answers_each_commit(tts: Provider) -> None:
    channel: Channel[Input] = Channel()
    async with aclosing(tts.speak("joe", SpeakRequest(), channel.reader())) as events:
        for item in (SENTENCES[0], Commit(), SENTENCES[1] * 20, Commit(), SENTENCES[2]):
            channel.put(item)
        assert isinstance(await anext(events), AudioDelta)
        channel.put(Cancel())
        channel.put("Fine.")
        channel.put(Commit())
        channel.close()
        rest = [event async for event in events]
    assert shape(rest).count("Flushed") == 3
    assert shape(rest)[-4:] == ["AudioDelta", "Flushed", "Usage", "Finished"]
    assert sum(event.audio.seconds for event in rest if isinstance(event, AudioDelta)) < 10


@pytest.mark.models
async def test_cleared_text_is_not_said(tts: Provider) -> None:
    events = await spoken(tts, SENTENCES[0], Clear(), "Yes.", Commit())
    assert sound(events).seconds < 1.5


@pytest.mark.models
async def test_leaving_stops_the_voice_within_a_second(tts: Provider) -> None:
    channel = inputs(SENTENCES[2] * 40, Commit())
    async with aclosing(tts.speak("joe", SpeakRequest(), channel.reader())) as events:
        await anext(events)
    assert (await stopped(tts)).aborted == 1


@pytest.mark.models
async def test_another_language_is_left_to_others(tts: Provider) -> None:
    with pytest.raises(Unavailable, match="it knows en"):
        await spoken(tts, "Guten Tag.", request=SpeakRequest(language="de"))
    assert Flushed() in await spoken(tts, "Good day.", Commit(), request=SpeakRequest(language="en-GB", voice="alloy"))


def test_it_says_why_it_sleeps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRUNKLINE_MODELS", str(tmp_path))
    provider = Provider(Settings("local_tts"))
    assert "it has joe" in str(provider.asleep("alloy"))
    assert "trunkline" in str(provider.asleep("joe"))
    with pytest.raises(ValueError, match="there is no option 'voice'"):
        Provider(Settings("local_tts", options={"voice": "amy"}))
