"""What is asked of a voice or an ear beyond what it can do: it says so before it is asked, and the route's other target serves."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from _pytest.mark import ParameterSet

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.encoding import Resampler
from gateway.contract.events import AnswerEvent, AudioDelta, Flushed, Transcript
from gateway.contract.provider import Settings
from gateway.contract.requests import Commit, Input, SpeakRequest, TranscribeRequest
from gateway.routing.engine import Engine
from gateway.routing.route import Route, Target
from gateway.routing.wish import NobodyFits
from gateway.telemetry.telemetry import Telemetry
from providers import fake
from tests.conformance.entries import ENTRIES, playing
from tests.conformance.stages import Asked, Entry, Stage, everything

NOBODYS = "tlh"
RATES = (8_000, 11_025, 44_100)


def of(*kinds: str) -> list[ParameterSet]:
    wanted = {str(entry) for entry in ENTRIES if entry.kind in kinds and entry.name != "fake"}
    return [each for each in playing("answers") if str(each.values[0]) in wanted]


KNOWING = [each for each in of("stt", "tts") if not cast(Entry, each.values[0]).name.startswith("openai_compatible")]
"""What others make of OpenAI's protocol knows whatever languages it does."""


def told(*items: Input) -> Channel[Input]:
    inputs: Channel[Input] = Channel()
    for item in items:
        inputs.put(item)
    return inputs


def engine(stage: Stage, entry: Entry, *others: str) -> Engine:
    targets = (Target("acme", stage.model()), *(Target("other", name) for name in others))
    providers = {"acme": stage.provider, "other": fake.Provider(Settings("other"))}
    return Engine({"r": Route("r", entry.kind, targets)}, providers, Telemetry({}).recorder)


async def served(
    stage: Stage, entry: Entry, request: SpeakRequest | TranscribeRequest, *items: Input
) -> list[AnswerEvent]:
    inputs = told(*items)
    inputs.close()
    async with engine(stage, entry, "ok").open("r", request, inputs) as answer:
        return [event async for event in answer]


@pytest.mark.parametrize("entry", of("tts"))
async def test_a_text_without_a_sound_is_flushed_and_harms_nothing(entry: Entry) -> None:
    async with entry.stage() as stage:
        stage.play("answers")
        texts: list[Input] = ["...", Commit(), "", Commit(), " — ?!", Commit(), "Is anybody there?", Commit()]
        inputs = told(*texts)
        provider: object = stage.provider
        events = await everything(Asked(provider.speak(stage.model(), SpeakRequest(), inputs.reader()), inputs))  # type: ignore[attr-defined]
        assert sum(isinstance(event, Flushed) for event in events) == 4
        first = next(index for index, event in enumerate(events) if isinstance(event, AudioDelta))
        assert sum(isinstance(event, Flushed) for event in events[:first]) == 3


@pytest.mark.parametrize("entry", KNOWING)
async def test_a_language_it_does_not_know_is_left_to_another(entry: Entry) -> None:
    request = SpeakRequest(language=NOBODYS) if entry.kind == "tts" else TranscribeRequest(16_000, NOBODYS)
    async with entry.stage() as stage:
        stage.play("answers")
        items = ["Is anybody there?"] if entry.kind == "tts" else [Audio.silence(1.0, 16_000)]
        assert any(
            isinstance(e, AudioDelta | Transcript) for e in await served(stage, entry, request, *items, Commit())
        )
        assert stage.used == 0
        with pytest.raises(NobodyFits, match=NOBODYS):
            async with engine(stage, entry).open("r", request, told(*items, Commit())):
                pass


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("entry", of("stt"))
async def test_sound_of_any_rate_is_heard_or_left_to_another(entry: Entry, rate: int) -> None:
    resampler = Resampler(rate)
    items = [resampler.feed(item) for item in entry.inputs() if isinstance(item, Audio)]
    async with entry.stage() as stage:
        stage.play("answers")
        events = await served(stage, entry, TranscribeRequest(rate), *items, Commit())
        finals = [event for event in events if isinstance(event, Transcript) and event.ends_turn]
        assert len(finals) == 1
        assert finals[0].text


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("entry", of("tts"))
async def test_sound_is_made_at_a_rate_that_is_told(entry: Entry, rate: int) -> None:
    """Which may be another than was asked for: whoever asked resamples, once."""
    async with entry.stage() as stage:
        stage.play("answers")
        events = await served(stage, entry, replace(SpeakRequest(), rate=rate), "Is anybody there?", Commit())
        seconds = sum(event.audio.seconds for event in events if isinstance(event, AudioDelta))
        assert 0.3 < seconds < 3.0
