"""The failover catalogue beyond language models: voices, ears and speech-to-speech that fail as only these can.

Through Engine.open in virtual time, and over HTTP where there is an endpoint. The targets are the fake's, whose models'
names say how they behave. A voice that fails in mid-sentence in a call is in tests/calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import openai
import pytest

from gateway.app import create_app
from gateway.config import parse
from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.encoding import Encoder
from gateway.contract.errors import Unavailable
from gateway.contract.events import (
    Answered,
    AnswerEvent,
    AudioDelta,
    Events,
    Finished,
    Flushed,
    GoingAway,
    Ready,
    Rerouted,
    Transcript,
)
from gateway.contract.provider import Settings
from gateway.contract.requests import (
    Cancel,
    Commit,
    ConverseRequest,
    Input,
    Kind,
    SpeakRequest,
    TranscribeRequest,
)
from gateway.loader import load
from gateway.routing.engine import Answer, Engine
from gateway.routing.route import Policy, Route, Target
from gateway.telemetry.recorder import Recorder
from providers.fake import Provider as Fake
from tests.serving import client, serving
from tests.sounds import tone
from tests.virtual_time import virtual

SENTENCES = ("Good morning to all of you.", "What may I do for you today?")
SAID = "hello there my friend"
EAR = f"says-{SAID.replace(' ', '-')}"
IN_ORDER = Policy("priority")
FIRST, IDLE, ANSWER = 6.0, 20.0, 60.0
"""The defaults of ttft_deadline, idle and answer."""


class Stage:
    """A route "r" of the fake's models, in that order."""

    def __init__(self, kind: Kind, *models: str) -> None:
        self.fake, self._recorder = Fake(Settings("fake")), Recorder()
        route = Route("r", kind, tuple(Target("fake", model) for model in models), IN_ORDER)
        self.engine = Engine({"r": route}, {"fake": self.fake}, self._recorder)

    def failed(self, model: str) -> bool:
        """Whether an attempt at it is on record as a failure."""
        outcomes = [s.outcome for s in self._recorder.recent if s.target == f"fake/{model}" and s.part == "attempt"]
        return bool(outcomes) and not {"ok", "cancelled"} & set(outcomes)


def inputs(*items: Input, close: bool = True) -> Channel[Input]:
    channel: Channel[Input] = Channel()
    for item in items:
        channel.put(item)
    if close:
        channel.close()
    return channel


def sentences() -> Channel[Input]:
    return inputs(*(item for sentence in SENTENCES for item in (sentence, Commit())))


def a_second() -> Audio:
    return Audio(tone(300, 1.0, 16_000).tobytes(), 16_000)


async def rest(answer: Answer, into: list[AnswerEvent]) -> None:
    async with asyncio.timeout(600.0):
        async for event in answer:
            into.append(event)  # noqa: PERF401 - what came before an error counts


def sound(events: Sequence[AnswerEvent]) -> bytes:
    return b"".join(event.audio.pcm for event in events if isinstance(event, AudioDelta))


async def spoken(text: Channel[Input], model: str = "ok") -> bytes:
    """What that model makes of it."""
    async with aclosing(Fake(Settings("fake")).speak(model, SpeakRequest(), text.reader())) as events:
        return sound([event async for event in events])


@pytest.mark.parametrize("model", ["silence", "hang", "empty", "error-503", "garbage"])
@virtual
async def test_a_voice_that_gives_no_sound_is_left_for_the_next(model: str) -> None:
    stage = Stage("tts", model, "ok")
    events: list[AnswerEvent] = []
    async with stage.engine.open("r", SpeakRequest(), sentences()) as answer:
        assert str(answer.target) == "fake/ok"
        await rest(answer, events)
    assert sound(events) == await spoken(sentences())
    assert isinstance(events[-1], Finished)
    assert stage.failed(model)
    assert asyncio.get_running_loop().time() < FIRST + 1.0


@virtual
async def test_a_voice_whose_short_answer_is_silence_is_left_too() -> None:
    events: list[AnswerEvent] = []
    async with Stage("tts", "silence", "ok").engine.open("r", SpeakRequest(), inputs("Yes.", Commit())) as answer:
        await rest(answer, events)
    assert sound(events) == await spoken(inputs("Yes.", Commit()))


@virtual
async def test_a_voice_that_draws_breath_is_not_left() -> None:
    class Breathes:
        async def speak(self, model: str, request: SpeakRequest, inputs: Channel[Input]) -> Events:
            yield AudioDelta(Audio.silence(0.6, 24_000))
            yield AudioDelta(Audio(tone(300, 0.5, 24_000).tobytes(), 24_000))
            for _ in SENTENCES:
                yield Flushed()
            yield Finished()

    recorder = Recorder()
    route = Route("r", "tts", (Target("breathes", "m"), Target("fake", "ok")), IN_ORDER)
    engine = Engine({"r": route}, {"breathes": Breathes(), "fake": Fake(Settings("fake"))}, recorder)
    async with engine.open("r", SpeakRequest(), sentences()) as answer:
        assert str(answer.target) == "breathes/m"
        await rest(answer, [])
    assert [sample.outcome for sample in recorder.recent] == ["ok"]


@pytest.mark.parametrize("model", ["cut-after-8", "hang-after-8"])
@virtual
async def test_a_voice_that_stops_in_mid_sentence_failed_and_another_says_the_rest(model: str) -> None:
    """The second sentence has eight words, and two of them were said. How well it is joined, and who fails: test_speech.py."""
    stage = Stage("tts", model, "ok")
    events: list[AnswerEvent] = []
    async with stage.engine.open("r", SpeakRequest(), sentences()) as answer:
        await rest(answer, events)
    assert isinstance(events[-1], Finished)
    assert sum(isinstance(event, Flushed) for event in events) == len(SENTENCES)
    assert stage.failed(model)
    assert asyncio.get_running_loop().time() < IDLE + 1.0


@pytest.mark.parametrize("model", ["never-final", "hang", "error-503"])
@virtual
async def test_an_ear_that_never_finishes_a_file_is_left_for_the_next(model: str) -> None:
    stage = Stage("stt", model, EAR)
    events: list[AnswerEvent] = []
    heard = inputs(a_second(), Commit())
    async with stage.engine.open("r", TranscribeRequest(16_000, partials=False), heard) as answer:
        await rest(answer, events)
    assert [event.text for event in events if isinstance(event, Transcript) and event.final] == [SAID]
    assert stage.failed(model)
    assert asyncio.get_running_loop().time() < ANSWER + 1.0


@pytest.mark.parametrize("over", [False, True])
@virtual
async def test_an_ear_that_never_finishes_a_turn_is_found_out_and_the_next_hears_the_turn(over: bool) -> None:
    """`over`: nothing more will be said, so that it ends without it."""
    stage = Stage("stt", "never-final", EAR)
    heard = inputs(a_second(), close=False)
    events: list[AnswerEvent] = []
    async with stage.engine.open("r", TranscribeRequest(16_000), heard) as answer:
        heard.put(Commit())
        if over:
            heard.close()
        async for event in answer:
            events.append(event)
            if isinstance(event, Transcript) and event.final:
                heard.close()
    assert stage.failed("never-final")
    assert asyncio.get_running_loop().time() < FIRST + 1.0
    assert [event.text for event in events if isinstance(event, Transcript) and event.final] == [SAID]


@pytest.mark.parametrize("model", ["hang", "ready-20s", "error-503"])
@virtual
async def test_speech_to_speech_that_is_not_ready_is_left_for_the_next(model: str) -> None:
    stage = Stage("s2s", model, "ok")
    events: list[AnswerEvent] = []
    request = ConverseRequest(rate=16_000, turns="client")
    async with stage.engine.open("r", request, inputs(a_second(), Commit())) as answer:
        assert str(answer.target) == "fake/ok"
        await rest(answer, events)
    assert events[0] == Ready()
    assert sound(events) == a_second().pcm
    assert stage.failed(model)
    assert asyncio.get_running_loop().time() < FIRST + 1.0


def session() -> tuple[ConverseRequest, Channel[Input]]:
    """A conversation in which the caller has said two seconds, and nothing was committed yet."""
    return ConverseRequest(rate=16_000, turns="client"), inputs(a_second(), a_second(), close=False)


async def until_answered(answer: Answer, into: list[AnswerEvent]) -> None:
    async with asyncio.timeout(4000.0):
        async for event in answer:
            into.append(event)
            if isinstance(event, Answered):
                return


@pytest.mark.parametrize("model", ["never-final", "silence", "hang-after-0", "cut-after-0", "empty"])
@virtual
async def test_speech_to_speech_that_does_not_answer_is_taken_over_by_the_next_which_hears_it_all(model: str) -> None:
    """It was ready, and then half-open, or it sends audio without sound, or breaks off, or says that it answered."""
    stage = Stage("s2s", model, "ok")
    events: list[AnswerEvent] = []
    request, heard = session()
    async with stage.engine.open("r", request, heard) as answer:
        assert str(answer.target) == f"fake/{model}"
        heard.put(Commit())
        await until_answered(answer, events)
        assert str(answer.target) == "fake/ok"
    moved = next(n for n, event in enumerate(events) if isinstance(event, Rerouted))
    assert events[moved] == Rerouted(f"fake/{model}", "fake/ok", events[moved].reason)  # type: ignore[union-attr]  # it is one
    assert sound(events[moved:]) == a_second().pcm * 2
    assert not any(sound(events[:moved]))
    assert stage.failed(model)
    assert stage.fake.live == 0
    assert asyncio.get_running_loop().time() < FIRST + 1.0


@virtual
async def test_speech_to_speech_whose_audio_is_silent_is_left_after_a_second_of_it() -> None:
    stage = Stage("s2s", "silence+tick-100ms", "ok")
    request, heard = session()
    async with stage.engine.open("r", request, heard) as answer:
        heard.put(Commit())
        await until_answered(answer, [])
    assert asyncio.get_running_loop().time() < 1.5


@pytest.mark.parametrize("model", ["hang-after-3", "cut-after-3", "silence", "never-final", "hang-after-0"])
@virtual
async def test_speech_to_speech_that_stalls_with_nobody_to_take_over_is_found_out(model: str) -> None:
    """Also after its first audio, from where on nobody could: the call moves to another leg."""
    others = ["ok"] if model.endswith("-3") else []
    stage = Stage("s2s", model, *others)
    events: list[AnswerEvent] = []
    request, heard = session()
    async with stage.engine.open("r", request, heard) as answer:
        heard.put(Commit())
        with pytest.raises(Unavailable):
            await rest(answer, events)
    assert stage.failed(model)
    assert any(sound(events)) == model.endswith("-3")
    assert asyncio.get_running_loop().time() < IDLE + 1.0


@virtual
async def test_speech_to_speech_that_stalls_in_a_later_answer_is_found_out_and_the_caller_told() -> None:
    """The next target would not know what was said before: it is for the caller to open it, with the history."""
    stage = Stage("s2s", "hang-after-25", "ok")
    request, heard = session()
    async with stage.engine.open("r", request, heard) as answer:
        heard.put(Commit())
        await until_answered(answer, [])
        for item in (a_second(), Commit()):
            heard.put(item)
        with pytest.raises(Unavailable):
            await rest(answer, [])
    assert stage.failed("hang-after-25")


@virtual
async def test_a_turn_that_came_while_the_last_was_answered_is_owed_from_there_on() -> None:
    stage = Stage("s2s", "hang-after-20+tick-100ms")  # pieces, as many as two seconds have
    events: list[AnswerEvent] = []
    request, heard = session()
    loop = asyncio.get_running_loop()
    async with stage.engine.open("r", request, heard) as answer:
        heard.put(Commit())
        loop.call_later(1.0, heard.put, a_second())
        loop.call_later(1.0, heard.put, Commit())
        await until_answered(answer, events)
        answered = loop.time()
        with pytest.raises(Unavailable):
            await rest(answer, events)
    assert sound(events) == a_second().pcm * 2
    assert loop.time() < answered + FIRST + 1.0


@virtual
async def test_a_session_may_be_silent_for_as_long_as_no_answer_is_owed() -> None:
    events: list[AnswerEvent] = []
    request, heard = session()
    loop = asyncio.get_running_loop()
    async with Stage("s2s", "slow-4s").engine.open("r", request, heard) as answer:
        for _ in range(2):  # before the first turn, and between two
            loop.call_later(3600.0, heard.put, a_second())
            loop.call_later(3600.1, heard.put, Commit())
            await until_answered(answer, events)
    assert sum(isinstance(event, Answered) for event in events) == 2
    assert loop.time() > 7200.0


@pytest.mark.parametrize("asked", [True, False], ids=["before it began", "while it is given"])
@virtual
async def test_a_cancelled_answer_need_not_begin_but_must_end(asked: bool) -> None:
    class Obeys:
        async def converse(self, model: str, request: ConverseRequest, inputs: AsyncIterator[Input]) -> Events:
            yield Ready()
            async for item in inputs:
                if isinstance(item, Commit) and not asked:
                    yield AudioDelta(a_second())
                elif isinstance(item, Cancel):
                    await asyncio.sleep(FIRST + 4.0)
                    if model == "ends":
                        yield Answered("cancelled")

    for model in ("ends", "hangs"):
        recorder = Recorder()
        route = Route("r", "s2s", (Target("obeys", model),), IN_ORDER)
        engine = Engine({"r": route}, {"obeys": Obeys()}, recorder)
        events: list[AnswerEvent] = []
        request, heard = session()
        async with engine.open("r", request, heard) as answer:
            heard.put(Commit())
            heard.put(Cancel())
            with pytest.raises(TimeoutError if model == "ends" else Unavailable):
                async with asyncio.timeout(3600.0):
                    await rest(answer, events)
        assert any(isinstance(event, Answered) for event in events) == (model == "ends")


@virtual
async def test_a_session_that_will_be_dropped_says_so_while_it_can_still_be_left() -> None:
    """GoAway: whoever holds the session opens the next beside it, and leaves it at a turn's end."""
    stage = Stage("s2s", "go-away-10s", "ok")
    clock = asyncio.get_running_loop().time
    request, heard = session()
    async with stage.engine.open("r", request, heard) as old:
        heard.put(Commit())
        async for event in old:
            if isinstance(event, GoingAway):
                break
        assert event == GoingAway(10.0)
        assert clock() < 1.0
        heard.mark()
        heard.put(a_second())
        heard.put(Commit())  # it still answers
        events: list[AnswerEvent] = []
        await until_answered(old, events)
        assert sound(events) == a_second().pcm
        await rest(old, events)
        assert isinstance(events[-1], Finished)
    assert 9.0 < clock() < 11.0
    assert not stage.failed("go-away-10s")  # that a session ends when it was said to is no ill health


# Over HTTP


@asynccontextmanager
async def gateway(kind: Kind, *models: str) -> AsyncGenerator[openai.AsyncOpenAI]:
    """The whole gateway and OpenAI's client; a route "r", with deadlines of a second so that nobody waits for them."""
    targets = ", ".join(f"fake/{model}" for model in models)
    text = "\n".join(
        [
            "policies: {hasty: {order: priority, ttft_deadline: 1s, answer: 1s, idle: 1s}}",
            f"routes: {{r: {{kind: {kind}, policy: hasty, targets: [{targets}]}}}}",
        ]
    )
    config = parse(text)
    async with serving(create_app(config, load(config, {}))) as served, client(served) as official:
        yield official


@pytest.mark.wire
@pytest.mark.parametrize("model", ["silence", "hang", "error-503"])
async def test_speech_over_http_is_the_next_voices(model: str) -> None:
    async with gateway("tts", model, "ok") as official:
        said = await official.audio.speech.create(
            model="r", voice="anna", input=" ".join(SENTENCES), response_format="pcm"
        )
        assert said.response.headers["x-trunkline-target"] == "fake/ok"
        assert said.content == await spoken(inputs(" ".join(SENTENCES), Commit()))


@pytest.mark.wire
@pytest.mark.parametrize("model", ["cut-after-8", "hang-after-8"])
async def test_speech_over_http_that_stops_in_mid_sentence_is_whole_by_another(model: str) -> None:
    async with gateway("tts", model, "ok") as official:
        said = await official.audio.speech.create(
            model="r", voice="anna", input=" ".join(SENTENCES), response_format="pcm"
        )
        assert len(said.content) >= len(await spoken(inputs(" ".join(SENTENCES), Commit())))


@pytest.mark.wire
@pytest.mark.parametrize("model", ["never-final", "hang", "error-503"])
async def test_a_transcription_over_http_is_the_next_ears(model: str) -> None:
    encoder = Encoder("wav", 16_000)
    file = encoder.feed(a_second()) + encoder.finish()
    async with gateway("stt", model, EAR) as official:
        heard = await official.audio.transcriptions.create(model="r", file=("a.wav", file))
        assert heard.text == SAID
