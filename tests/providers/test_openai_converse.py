"""Speech to speech over OpenAI's Realtime protocol, against its fake: what is said, heard, cancelled, cut and called."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import orjson
import pytest

from gateway.contract.channel import Channel
from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Unauthorized, Unavailable
from gateway.contract.events import (
    Answered,
    AudioDelta,
    Finished,
    GoingAway,
    Ready,
    SpeechEnded,
    SpeechStarted,
    ToolCallDelta,
    Transcript,
    Usage,
)
from gateway.contract.messages import Message, Tool
from gateway.contract.provider import Settings
from gateway.contract.requests import (
    Cancel,
    Commit,
    ConverseRequest,
    Input,
    Respond,
    ToolResult,
    Truncate,
)
from providers import openai, openai_compatible
from providers._openai_converse_body import GA
from providers._openai_conversing import converse
from providers._openai_upstream import Upstream
from tests.fakes.base import Behaviour
from tests.fakes.openai_realtime import OpenAITalks, XaiTalks
from tests.fakes.routes import KEY, pieces
from tests.providers.dialogues import Dialogue

WEATHER = Tool("get_weather", "The weather.", '{"type":"object","properties":{"city":{"type":"string"}}}')
NAME = "k01_kokoro_af_heart"
COUNTED = "one two three four"
"""What the fake makes of its sound, which comes resampled: a word for each half second."""


@asynccontextmanager
async def dialogue(
    request: ConverseRequest | None = None,
    behaviour: Behaviour | None = None,
    fake: OpenAITalks | None = None,
    session: str = "openai",
) -> AsyncIterator[Dialogue[OpenAITalks]]:
    fake = fake or OpenAITalks(behaviour)
    async with fake.running() as url:
        row = Settings("acme", url.replace("ws", "http", 1), KEY, {"session": session})
        provider = openai_compatible.Provider(row)
        inputs: Channel[Input] = Channel()
        asked = request or ConverseRequest(turns="client")
        async with aclosing(provider.converse("gpt-realtime", asked, inputs.reader())) as events:
            yield Dialogue(events, inputs, fake)
        await provider.aclose()
        await fake.until_left()


def spoken(name: str = NAME, quiet: float = 1.0) -> Sequence[Input]:
    return pieces(name, quiet=quiet)


async def test_what_the_caller_says_is_heard_and_answered() -> None:
    async with dialogue(ConverseRequest(turns="server")) as talk:
        talk.put(*spoken())
        words = await talk.answered()
        await talk.until(lambda event: isinstance(event, Transcript) and event.final) if not talk.heard else None
        assert isinstance(talk.came[0], Ready)
        assert talk.heard == [COUNTED]
        assert words == f"You said: {COUNTED}"
        assert [type(each) for each in talk.came if isinstance(each, SpeechStarted | SpeechEnded)] == [
            SpeechStarted,
            SpeechEnded,
        ]
        assert sum(each.audio.seconds for each in talk.all(AudioDelta)) > 1.0
        assert talk.all(Usage)[-1].output_tokens == 120


async def test_the_last_partial_before_the_final_grows_towards_it() -> None:
    async with dialogue() as talk:
        talk.put(*spoken(), Commit())
        await talk.answered()
        partials = [event.text for event in talk.all(Transcript) if not event.final]
        assert partials
        assert all(COUNTED.startswith(each) for each in partials)


async def test_a_session_is_told_all_that_was_asked_for() -> None:
    history = (Message.of("user", "I am Ada."), Message.of("assistant", "Hello Ada."))
    request = ConverseRequest(
        "Be brief.", history, "marin", (WEATHER,), language="hi-IN", patience=0.4, answers=False, max_tokens=77
    )
    async with dialogue(request) as talk:
        talk.put("Who am I?", Respond("Whisper.", 20))
        await talk.answered()
        told = talk.sent[0]["session"]
        assert told["audio"]["input"]["turn_detection"] == {
            "type": "server_vad",
            "silence_duration_ms": 400,
            "create_response": False,
            "interrupt_response": True,
        }
        assert told["audio"]["input"]["transcription"] == {"model": "gpt-4o-mini-transcribe", "language": "hi"}
        assert (told["audio"]["output"]["voice"], told["max_output_tokens"]) == ("marin", 77)
        assert (told["instructions"], told["tools"][0]["name"]) == ("Be brief.", "get_weather")
        assert talk.sent_of("response.create")[0]["response"] == {"instructions": "Whisper.", "max_output_tokens": 20}
        assert talk.fake.history()[:3] == [
            ("user", "I am Ada."),
            ("assistant", "Hello Ada."),
            ("user", "Who am I?"),
        ]


async def test_a_session_that_judges_by_the_words_is_asked_for() -> None:
    async with dialogue(ConverseRequest(eagerness="low", interrupts=False)) as talk:
        await talk.until(lambda event: isinstance(event, Ready))
        turns = talk.sent[0]["session"]["audio"]["input"]["turn_detection"]
        assert turns == {
            "type": "semantic_vad",
            "eagerness": "low",
            "create_response": True,
            "interrupt_response": False,
        }


async def test_a_session_can_change_but_for_its_voice() -> None:
    async with dialogue(ConverseRequest("One.", voice="ash", turns="client")) as talk:
        talk.put("Hello.", Respond())
        await talk.answered()
        talk.put(ConverseRequest("Two.", voice="sage", turns="client", speaks=False), "Again.", Respond())
        assert await talk.answered() == "You said: Again."
        session = talk.fake.talks[-1].session
        assert (session["instructions"], session["output_modalities"]) == ("Two.", ["text"])
        assert session["audio"]["output"]["voice"] == "ash"


async def test_answers_asked_for_at_once_are_made_one_after_another() -> None:
    async with dialogue() as talk:
        talk.put("First.", Respond(), Respond(), Respond())
        await talk.answered(3)
        assert len(talk.all(Answered)) == 3
        assert len(talk.sent_of("response.create")) == 3


async def test_a_cancelled_answer_is_heard_of_no_more_and_the_next_is_whole() -> None:
    async with dialogue(behaviour=Behaviour(trouble="endless")) as talk:
        talk.put("Count.", Respond())
        await talk.until(lambda event: isinstance(event, AudioDelta))
        talk.put(Cancel())
        assert (await talk.until(lambda event: isinstance(event, Answered))) == Answered("cancelled")
        talk.fake.behaviour.trouble = None
        before = len(talk.came)
        talk.put("Hello.", Respond())
        assert await talk.answered() == "You said: Hello."
        assert not any(isinstance(event, ToolCallDelta) for event in talk.came[before:])


async def test_answers_that_wait_are_cancelled_with_the_one_that_is_made() -> None:
    async with dialogue(behaviour=Behaviour(trouble="endless")) as talk:
        talk.put("Count.", Respond(), Respond())
        await talk.until(lambda event: isinstance(event, AudioDelta))
        talk.put(Cancel())
        for _ in range(2):
            await talk.until(lambda event: event == Answered("cancelled"))


async def test_speech_over_an_answer_ends_it() -> None:
    async with dialogue(ConverseRequest(turns="server"), Behaviour(trouble="endless")) as talk:
        talk.put("Count.", Respond())
        await talk.until(lambda event: isinstance(event, AudioDelta))
        talk.put(*spoken(quiet=0.0))
        await talk.until(lambda event: event == Answered("cancelled"))
        assert any(isinstance(event, SpeechStarted) for event in talk.came)


async def test_an_answer_is_cut_at_what_was_heard_of_it() -> None:
    async with dialogue() as talk:
        talk.put("Tell me a long story of the sea.", Respond())
        words = await talk.answered()
        talk.put(Truncate(0.9), "Go on.", Respond())
        await talk.answered()
        assert talk.sent_of("conversation.item.truncate")[0]["audio_end_ms"] == 900
        kept = talk.fake.history()[1][1]
        assert words.startswith(kept)
        assert 0 < len(kept) < len(words)


async def test_what_was_heard_to_its_end_is_not_cut() -> None:
    async with dialogue() as talk:
        talk.put("Hello.", Respond())
        await talk.answered()
        talk.put(Truncate(60.0), "Again.", Respond())
        await talk.answered()
        assert talk.sent_of("conversation.item.truncate") == []


async def test_a_commit_of_nothing_is_answered_here() -> None:
    async with dialogue() as talk:
        talk.put(Commit())
        await talk.answered()
        assert talk.heard == [""]
        assert talk.sent_of("input_audio_buffer.commit") == []


async def test_a_turn_that_is_not_to_be_answered_is_heard_alone() -> None:
    async with dialogue() as talk:
        talk.put(*spoken(), Commit(answer=False))
        await talk.until(lambda event: isinstance(event, Transcript) and event.final)
        talk.close()
        await talk.until(lambda event: isinstance(event, Finished))
        assert talk.heard == [COUNTED]
        assert talk.all(Answered) == []


@pytest.mark.parametrize("session", ["openai", "xai"])
async def test_a_tool_is_called_and_its_result_told(session: str) -> None:
    fake = XaiTalks() if session == "xai" else OpenAITalks()
    async with dialogue(ConverseRequest(tools=(WEATHER,), turns="client"), fake=fake, session=session) as talk:
        talk.put("What is the weather?", Respond())
        await talk.until(lambda event: event == Answered("tool_calls"))
        calls = talk.all(ToolCallDelta)
        assert calls[0].name == "get_weather"
        assert orjson.loads("".join(each.arguments for each in calls)) == {"city": "London"}
        talk.put(ToolResult(calls[0].id or "", "Rain."), Respond())
        assert await talk.answered() == "The tool says: Rain."


async def test_xais_turns_are_heard_once_each() -> None:
    async with dialogue(ConverseRequest(turns="server"), fake=XaiTalks(), session="xai") as talk:
        talk.put(*spoken())
        assert await talk.answered() == f"You said: {COUNTED}"
        talk.put(*spoken("k02_kokoro_am_michael"))
        await talk.answered()
        assert talk.heard[0] == COUNTED
        assert len(talk.heard) == 2
        assert talk.all(Usage)[-1].output_tokens == 240
        assert talk.sent[0]["session"]["turn_detection"]["type"] == "server_vad"
        talk.put(Truncate(0.1), "Again.", Respond())
        await talk.answered()
        assert talk.sent_of("conversation.item.truncate") == []


async def test_a_call_whose_words_nobody_writes_down_goes_on() -> None:
    fake = OpenAITalks()
    fake.deaf = True
    async with dialogue(ConverseRequest(turns="server"), fake=fake) as talk:
        talk.put(*spoken())
        assert await talk.answered() == f"You said: {COUNTED}"
        assert talk.heard == [""]


async def test_what_was_refused_of_one_thing_ends_no_session() -> None:
    async with dialogue() as talk:
        talk.put(ToolResult("call_of_nobody", "x"), "Hello.", Respond())
        assert await talk.answered() == "You said: Hello."


TROUBLES: list[tuple[str, type[ProviderError]]] = [
    ("unauthorized", Unauthorized),
    ("no-quota", OutOfQuota),
    ("rate-limited", RateLimited),
    ("unknown-model", Unavailable),
    ("server-error", Unavailable),
    ("fails", Unavailable),
]


@pytest.mark.parametrize(("trouble", "error"), TROUBLES)
async def test_what_it_says_when_it_fails(trouble: str, error: type[ProviderError]) -> None:
    async with dialogue(behaviour=Behaviour(trouble=trouble)) as talk:
        await talk.fails_as(error)


async def test_a_session_says_before_its_end_that_it_will_be_dropped() -> None:
    fake = OpenAITalks()
    async with fake.running() as url:
        upstream = Upstream(Settings("acme", url, KEY), url.replace("ws", "http", 1))
        inputs: Channel[Input] = Channel()
        asked = ConverseRequest(turns="client")
        async with aclosing(converse(upstream, "gpt-realtime", asked, inputs.reader(), GA, 0.2)) as events:
            talk = Dialogue(events, inputs, fake)
            talk.put("Hello.", Respond())
            await talk.answered()
            going = await talk.until(lambda event: isinstance(event, GoingAway))
            assert going == GoingAway(0.1)
            await fake.hang_up()
            await talk.until(lambda event: isinstance(event, Finished))
        await upstream.aclose()


async def test_a_session_that_is_dropped_without_a_word_has_failed() -> None:
    async with dialogue(behaviour=Behaviour(drop_after=0.3)) as talk:
        talk.put("Hello you there.", Respond())
        with pytest.raises(Unavailable):
            await talk.answered()


def test_rows_without_a_key_are_asleep_and_xai_answers_by_voice() -> None:
    assert openai.Provider(Settings("openai")).asleep("gpt-realtime") is not None
    row = Settings("xai", "https://example.test/v1", KEY, {"session": "xai"})
    xai = openai_compatible.Provider(row)
    assert xai.cannot("grok-voice-latest", ConverseRequest(speaks=False)) is not None
    assert xai.cannot("grok-voice-latest", ConverseRequest()) is None
    with pytest.raises(ValueError, match="session"):
        openai_compatible.Provider(Settings("x", "https://example.test/v1", KEY, {"session": "other"}))
