"""What every provider's stream of events is made of, whichever protocol it came over."""

import asyncio
from contextlib import aclosing
from typing import get_args

import pytest

from gateway.contract.events import (
    Answered,
    AudioDelta,
    EagerTurnEnd,
    Finished,
    Flushed,
    GoingAway,
    Passed,
    ProviderEvent,
    Ready,
    SpeechEnded,
    SpeechStarted,
    TextDelta,
    ThoughtSealed,
    ToolCallDelta,
    Transcript,
    TurnResumed,
    Usage,
)
from gateway.contract.requests import Commit, Kind
from tests.conformance.entries import ENTRIES, both_ways, playing
from tests.conformance.stages import Entry, ask, content, everything

_TURNS = {Ready, SpeechStarted, SpeechEnded, EagerTurnEnd, TurnResumed, Transcript, Usage, Finished}
VOCABULARY: dict[Kind, set[type]] = {
    "llm": {TextDelta, ToolCallDelta, ThoughtSealed, Usage, Passed, Finished},
    "tts": {AudioDelta, Flushed, Usage, Finished},
    "stt": _TURNS,
    "s2s": _TURNS | {TextDelta, ToolCallDelta, AudioDelta, Answered, GoingAway},
}
_ANSWERS: dict[tuple[str, bool], list[ProviderEvent]] = {}


async def ordinary(entry: Entry, stream: bool = True) -> list[ProviderEvent]:
    """An ordinary answer, asked for once for all tests that only look at it: models are slow to load."""
    kept = _ANSWERS.get((str(entry), stream))
    if kept is None:
        async with entry.stage() as stage:
            stage.play("answers")
            kept = _ANSWERS[str(entry), stream] = await everything(ask(entry, stage, stream))
    return kept


either = pytest.mark.parametrize(("entry", "stream"), both_ways(playing("answers")))
every = pytest.mark.parametrize("entry", playing("answers"))
speech = pytest.mark.parametrize("entry", [each for each in playing("answers") if not str(each.id).endswith("-llm")])


def test_every_provider_has_an_entry_for_every_kind_it_serves() -> None:
    assert len({str(entry) for entry in ENTRIES}) == len(ENTRIES)
    assert {entry.kind for entry in ENTRIES if entry.name == "fake"} == set(get_args(Kind)) - {
        "embed"
    }  # which has no stream: tests/api/test_embeddings.py


@either
async def test_events_are_of_the_kinds_vocabulary(entry: Entry, stream: bool) -> None:
    assert {type(event) for event in await ordinary(entry, stream)} <= VOCABULARY[entry.kind]


@either
async def test_finished_comes_last_and_once(entry: Entry, stream: bool) -> None:
    events = await ordinary(entry, stream)
    assert [type(event) for event in events].index(Finished) == len(events) - 1


@either
async def test_what_was_used_is_told_before_the_end(entry: Entry, stream: bool) -> None:
    used = [event for event in await ordinary(entry, stream) if isinstance(event, Usage)]
    assert any(
        event.input_tokens + event.output_tokens + (event.characters + event.seconds if entry.kind != "llm" else 0) > 0
        for event in used
    )


@either
async def test_no_content_is_empty(entry: Entry, stream: bool) -> None:
    counted = [count for event in await ordinary(entry, stream) if (count := content(event)) is not None]
    assert counted
    assert all(counted)


@every
async def test_a_session_is_ready_first_and_once(entry: Entry) -> None:
    kinds = [type(event) for event in await ordinary(entry)]
    assert kinds.count(Ready) == (1 if entry.kind in ("stt", "s2s") else 0)
    assert Ready not in kinds[1:]


@every
async def test_a_commit_is_answered_once(entry: Entry) -> None:
    events = await ordinary(entry)
    match entry.kind:
        case "tts":
            assert sum(isinstance(event, Flushed) for event in events) == 1
            assert isinstance(events[0], AudioDelta)
        case "stt":
            ends = [event for event in events if isinstance(event, Transcript) and event.ends_turn]
            assert [(event.final, bool(event.text)) for event in ends] == [(True, True)]
        case "s2s":
            assert any(isinstance(event, AudioDelta) for event in events)
            assert sum(isinstance(event, Answered) for event in events) == 1


@every
async def test_times_of_words_go_forward(entry: Entry) -> None:
    said = [event for event in await ordinary(entry) if isinstance(event, AudioDelta | Transcript)]
    times = [
        at for event in said if getattr(event, "final", True) for word in event.words for at in (word.start, word.end)
    ]
    assert times == sorted(times)


@every
async def test_nothing_happens_before_the_first_event_is_awaited(entry: Entry) -> None:
    async with entry.stage() as stage:
        stage.play("answers")
        asked = ask(entry, stage)
        await asyncio.sleep(0)
        assert stage.used == 0
        await asked.events.aclose()
        assert stage.used == 0


@speech
async def test_closed_inputs_end_the_stream(entry: Entry) -> None:
    async with entry.stage() as stage:
        stage.play("answers")
        events = await everything(ask(entry, stage, turn=False))
    assert isinstance(events[-1], Finished)
    assert not any(content(event) for event in events)


@speech
async def test_inputs_may_come_while_it_answers(entry: Entry) -> None:
    async with entry.stage() as stage:
        stage.play("answers")
        asked = ask(entry, stage)
        answered = 0
        async with aclosing(asked.events):
            async for event in asked.events:
                if isinstance(event, Flushed) or (isinstance(event, Transcript) and event.ends_turn):
                    answered += 1
                    if answered == 1:
                        for item in entry.inputs():
                            asked.inputs.put(item)
                        asked.inputs.put(Commit())
                    asked.inputs.close()
    assert answered == 2


@every
async def test_two_answers_at_once_are_whole(entry: Entry) -> None:
    async with entry.stage() as stage:
        stage.play("answers")
        both = await asyncio.gather(*(everything(ask(entry, stage)) for _ in range(2)))
    assert [type(events[-1]) for events in both] == [Finished, Finished]
    assert all(any(content(event) for event in events) for events in both)
