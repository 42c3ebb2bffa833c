"""Gemini Live against its fake: what is said, heard, cancelled, called, and gone on with over another socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import orjson
import pytest

from gateway.contract.channel import Channel
from gateway.contract.errors import (
    OutOfQuota,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from gateway.contract.events import (
    Answered,
    AudioDelta,
    Finished,
    GoingAway,
    Ready,
    SpeechEnded,
    SpeechStarted,
    TextDelta,
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
    ToolChoice,
    ToolResult,
)
from providers import gemini
from tests.fakes.base import Behaviour
from tests.fakes.gemini_live import GeminiTalks
from tests.fakes.routes import KEY, pieces, said
from tests.providers.dialogues import Dialogue

MODEL = "gemini-live-2.5-flash"
WEATHER = Tool("get_weather", "The weather.", '{"type":"object","properties":{"city":{"type":"string"}}}')
FIRST, SECOND = "k01_kokoro_af_heart", "k02_kokoro_am_michael"


@asynccontextmanager
async def dialogue(
    request: ConverseRequest | None = None, behaviour: Behaviour | None = None
) -> AsyncIterator[Dialogue[GeminiTalks]]:
    fake = GeminiTalks(behaviour)
    async with fake.running() as url:
        provider = gemini.Provider(Settings("acme", url.replace("ws", "http", 1), KEY))
        inputs: Channel[Input] = Channel()
        asked = request or ConverseRequest()
        async with aclosing(provider.converse(MODEL, asked, inputs.reader())) as events:
            yield Dialogue(events, inputs, fake)
        await provider.aclose()
        await fake.until_left()


def spoken(name: str = FIRST, quiet: float = 1.0) -> Sequence[Input]:
    return pieces(name, quiet=quiet)


async def test_what_the_caller_says_is_heard_and_answered() -> None:
    async with dialogue() as talk:
        talk.put(*spoken())
        assert await talk.answered() == f"You said: {said(FIRST)}"
        talk.put(*spoken(SECOND))
        await talk.answered()
        assert isinstance(talk.came[0], Ready)
        assert talk.heard == [said(FIRST), said(SECOND)]
        kinds = [type(each) for each in talk.came if isinstance(each, SpeechStarted | SpeechEnded | Answered)]
        assert kinds == [SpeechStarted, SpeechEnded, Answered] * 2
        times = [each.at for each in talk.came if isinstance(each, SpeechStarted | SpeechEnded)]
        assert times == sorted(at for at in times if at is not None)
        assert talk.all(Usage)[-1].input_tokens == 2 * 1197


async def test_the_session_is_at_the_place_of_the_protocol_with_the_key_in_a_header() -> None:
    async with dialogue() as talk:
        await talk.until(lambda event: isinstance(event, Ready))
        session = talk.fake.sessions[0]
        assert session.path == "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
        assert session.headers["x-goog-api-key"] == KEY.reveal()
        assert session.query == {}


async def test_a_session_is_told_all_that_was_asked_for() -> None:
    history = (Message.of("user", "I am Ada."), Message.of("assistant", "Hello Ada."))
    request = ConverseRequest(
        "Be brief.", history, "Puck", (WEATHER,), patience=0.4, interrupts=False, speaks=False, max_tokens=77
    )
    async with dialogue(request) as talk:
        talk.put("Who am I?", Respond())
        assert await talk.answered() == "You said: Who am I?"
        setup = talk.sent[0]["setup"]
        assert setup["generationConfig"] == {
            "responseModalities": ["TEXT"],
            "maxOutputTokens": 77,
            "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Puck"}}},
        }
        assert setup["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
        assert setup["realtimeInputConfig"] == {
            "automaticActivityDetection": {"silenceDurationMs": 400},
            "activityHandling": "NO_INTERRUPTION",
        }
        assert talk.fake.talk_now.history[:3] == [("user", "I am Ada."), ("model", "Hello Ada."), ("user", "Who am I?")]
        assert talk.all(AudioDelta) == []


async def test_nothing_is_sent_before_the_setup_is_done() -> None:
    async with dialogue() as talk:
        talk.put(*spoken(quiet=0.1))
        await talk.until(lambda event: isinstance(event, Ready))
        assert list(talk.sent[0]) == ["setup"]


async def test_a_client_that_decides_about_turns_is_answered_when_it_commits() -> None:
    async with dialogue(ConverseRequest(turns="client")) as talk:
        talk.put(*spoken(), Commit())
        assert await talk.answered() == f"You said: {said(FIRST)}"
        assert talk.heard == [said(FIRST)]
        assert talk.all(SpeechStarted) == []
        kinds = [next(iter(each["realtime_input"])) for each in talk.sent_of("realtime_input")]
        assert (kinds[0], kinds[-1], set(kinds[1:-1])) == ("activityStart", "activityEnd", {"audio"})


async def test_a_turn_committed_and_answered_later() -> None:
    async with dialogue(ConverseRequest(turns="client")) as talk:
        talk.put(*spoken(), Commit(answer=False))
        await talk.until(lambda event: isinstance(event, Transcript) and event.final)
        talk.put(Respond())
        assert await talk.answered() == f"You said: {said(FIRST)}"


async def test_a_commit_of_nothing_is_answered_here() -> None:
    async with dialogue(ConverseRequest(turns="client")) as talk:
        talk.put(Commit())
        await talk.answered()
        assert talk.heard == [""]


async def test_speech_over_an_answer_ends_it() -> None:
    async with dialogue(behaviour=Behaviour(trouble="endless")) as talk:
        talk.put("Count.", Respond())
        await talk.until(lambda event: isinstance(event, AudioDelta))
        talk.put(*spoken(quiet=0.0))
        assert await talk.until(lambda event: isinstance(event, Answered)) == Answered("cancelled")
        assert isinstance(
            [each for each in talk.came if not isinstance(each, Usage | TextDelta | AudioDelta)][-2], SpeechStarted
        )


async def test_a_cancelled_answer_is_heard_of_no_more_and_the_next_is_whole() -> None:
    async with dialogue(behaviour=Behaviour(trouble="endless")) as talk:
        talk.put("Count.", Respond())
        await talk.until(lambda event: isinstance(event, AudioDelta))
        talk.put(Cancel())
        assert await talk.until(lambda event: isinstance(event, Answered)) == Answered("cancelled")
        talk.fake.behaviour.trouble = None
        talk.put("Hello.", Respond())
        assert await talk.answered() == "You said: Hello."


async def test_a_tool_is_called_and_its_result_told() -> None:
    async with dialogue(ConverseRequest(tools=(WEATHER,))) as talk:
        talk.put("What is the weather?", Respond())
        await talk.until(lambda event: event == Answered("tool_calls"))
        [call] = talk.all(ToolCallDelta)
        assert (call.name, orjson.loads(call.arguments)) == ("get_weather", {"city": "London"})
        talk.put(ToolResult(call.id or "", "Rain."), Respond())
        assert await talk.answered() == "The tool says: Rain."


async def test_a_session_that_will_be_dropped_goes_on_over_another_socket() -> None:
    async with dialogue(ConverseRequest("One.")) as talk:
        talk.fake.warns.set()
        talk.put(*spoken())
        await talk.answered()
        talk.put(*spoken(SECOND))
        assert await talk.answered() == f"You said: {said(SECOND)}"
        assert len(talk.fake.sessions) == 2
        assert "handle" in talk.sent[0]["setup"]["sessionResumption"]
        assert talk.heard == [said(FIRST), said(SECOND)]
        assert sum(isinstance(event, Ready) for event in talk.came) == 1
        assert talk.all(GoingAway) == []
        assert [role for role, _ in talk.fake.talk_now.history] == ["user", "model", "user", "model"]


async def test_settings_change_over_another_socket_but_for_the_voice() -> None:
    async with dialogue(ConverseRequest("One.", voice="Puck")) as talk:
        talk.put("Hello.", Respond())
        await talk.answered()
        talk.put(ConverseRequest("Two.", voice="Kore"), *spoken())
        await talk.answered()
        talk.put("Hello again.", Respond())
        assert await talk.answered() == "You said: Hello again."
        setup = talk.sent[0]["setup"]
        assert setup["systemInstruction"] == {"parts": [{"text": "Two."}]}
        voice = setup["generationConfig"]["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"]
        assert voice == "Puck"


async def test_without_a_handle_it_says_that_it_will_be_dropped() -> None:
    fake = GeminiTalks()
    fake.resumes = False
    fake.warns.set()
    async with fake.running() as url:
        provider = gemini.Provider(Settings("acme", url.replace("ws", "http", 1), KEY))
        inputs: Channel[Input] = Channel()
        async with aclosing(provider.converse(MODEL, ConverseRequest(), inputs.reader())) as events:
            talk = Dialogue(events, inputs, fake)
            talk.put("Hello.", Respond())
            await talk.answered()
            assert await talk.until(lambda event: isinstance(event, GoingAway)) == GoingAway(50.0)
            await fake.hang_up()
            await talk.until(lambda event: isinstance(event, Finished))
        await provider.aclose()


async def test_sockets_that_are_dropped_again_and_again_are_a_failure() -> None:
    async with dialogue(behaviour=Behaviour(trouble="drops")) as talk:
        with pytest.raises(Unavailable, match="again and again"):
            await talk.answered()
        assert len(talk.fake.sessions) == 4


async def test_a_socket_that_is_lost_while_nobody_speaks_is_followed_by_another() -> None:
    async with dialogue(behaviour=Behaviour(trouble="drops", times=1)) as talk:
        talk.put(*spoken())
        assert await talk.answered() == f"You said: {said(FIRST)}"
        assert len(talk.fake.sessions) == 2


TROUBLES: list[tuple[str, type[ProviderError]]] = [
    ("unauthorized", Unauthorized),
    ("no-quota", OutOfQuota),
    ("rate-limited", RateLimited),
    ("http-429", RateLimited),
    ("unknown-model", Unavailable),
    ("server-error", Unavailable),
    ("refuses", Refused),
    ("echoes-key", Refused),
]


@pytest.mark.parametrize(("trouble", "error"), TROUBLES)
async def test_what_it_says_when_it_fails(trouble: str, error: type[ProviderError]) -> None:
    async with dialogue(behaviour=Behaviour(trouble=trouble)) as talk:
        await talk.fails_as(error)


def test_what_it_cannot() -> None:
    provider = gemini.Provider(Settings("acme", None, KEY))
    assert provider.cannot(MODEL, ConverseRequest()) is None
    assert provider.cannot(MODEL, ConverseRequest(answers=False)) is not None
    assert provider.cannot(MODEL, ConverseRequest(tool_choice=ToolChoice("required"))) is not None
