"""The engine: attempt, commit at the first useful event, fall back before it, close on every exit, a sample for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.errors import (
    AllTargetsFailed,
    NoSuchRoute,
    NoTargetAwake,
    ProviderError,
    RateLimited,
    Refused,
    Unavailable,
)
from gateway.contract.events import (
    AudioDelta,
    Events,
    Finished,
    Flushed,
    Passed,
    ProviderEvent,
    Ready,
    TextDelta,
    Transcript,
    Usage,
)
from gateway.contract.messages import Message
from gateway.contract.requests import ChatRequest, Commit, Input, Kind, SpeakRequest, TranscribeRequest
from gateway.routing.engine import Engine
from gateway.routing.route import Policy, Route, Target
from gateway.telemetry.decisions import Decision
from gateway.telemetry.recorder import Recorder
from gateway.telemetry.sample import Sample
from tests.virtual_time import virtual

HELLO = ChatRequest((Message.of("user", "hello"),))
POLICY = Policy("priority", ttft_deadline=2.0, answer=30.0, idle=5.0, total=60.0, retries=0, mid_stream="error")
Step = ProviderEvent | float | ProviderError | ValueError
SECOND = Audio.silence(1.0, 16_000)


class Scripted:
    """Plays a script: events are given, numbers are waited for, errors are raised. Counts what is open."""

    def __init__(
        self,
        *steps: Step,
        heard: Callable[[Input], list[Step]] | None = None,
        failing: Sequence[ProviderError] = (),
    ) -> None:
        """`failing`: what the first chats raise before the script is played."""
        self.steps, self.heard, self.failing = steps, heard, list(failing)
        self.opened = self.open = 0
        self.asked: ChatRequest | None = None

    async def _play(self, steps: tuple[Step, ...] | list[Step]) -> Events:
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
            elif isinstance(step, Exception):
                raise step
            else:
                yield step

    async def chat(self, model: str, request: ChatRequest) -> Events:
        self.opened += 1
        self.open += 1
        self.asked = request
        try:
            if self.failing:
                raise self.failing.pop(0)
            async for event in self._play(self.steps):
                yield event
        finally:
            self.open -= 1

    async def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        self.opened += 1
        self.open += 1
        try:
            async for event in self._play(self.steps):
                yield event
            async for item in inputs:
                assert self.heard is not None
                async for event in self._play(self.heard(item)):
                    yield event
            yield Finished()
        finally:
            self.open -= 1

    async def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        async for event in self.transcribe(model, TranscribeRequest(16_000), inputs):
            yield event


class Samples(list[Sample]):
    def decided(self, decision: Decision) -> None:
        pass

    def settled(self, decision: Decision) -> None:
        pass

    record = list.append


def engine(kind: Kind = "llm", **providers: Scripted) -> tuple[Engine, Samples]:
    samples = Samples()
    targets = tuple(Target(name, "m") for name in providers)
    return Engine({"r": Route("r", kind, targets, POLICY)}, providers, samples), samples


def outcomes(samples: list[Sample]) -> list[tuple[str, str]]:
    return [(sample.target, sample.outcome) for sample in samples]


OK: tuple[Step, ...] = (Passed(b"{}"), 0.3, TextDelta("hi"), Usage(output_tokens=1), Finished())


@virtual
async def test_an_answer_has_every_event_in_order_and_one_sample() -> None:
    gateway, samples = engine(a=Scripted(*OK))
    async with gateway.open("r", HELLO) as answer:
        assert str(answer.target) == "a/m"
        events = [event async for event in answer]
    assert events == [step for step in OK if not isinstance(step, float)]
    assert samples == [Sample("r", "llm", "a/m", "ok", 0.3, 0.3, Usage(output_tokens=1))]


@pytest.mark.parametrize(
    ("failing", "outcome"),
    [
        (Unavailable("503", "a", 503), "unavailable"),
        (RateLimited("429", "a", 429), "rate_limited"),
        (100.0, "timeout"),
    ],
)
def test_a_target_that_fails_before_content_is_left_for_the_next(failing: Step, outcome: str) -> None:
    @virtual
    async def run() -> None:
        first = Scripted(Passed(b"{}"), failing)
        gateway, samples = engine(a=first, b=Scripted(*OK))
        async with gateway.open("r", HELLO) as answer:
            assert str(answer.target) == "b/m"
            assert [attempt.target for attempt in answer.attempts] == ["a/m"]
            assert first.open == 0
            assert [event async for event in answer][1] == TextDelta("hi")
        assert outcomes(samples) == [("a/m", outcome), ("b/m", "ok")]

    run()


@virtual
async def test_a_stream_that_finishes_without_content_is_a_failure() -> None:
    gateway, samples = engine(a=Scripted(Passed(b"{}"), Finished()), b=Scripted(*OK))
    async with gateway.open("r", HELLO) as answer:
        assert str(answer.target) == "b/m"
    assert outcomes(samples) == [("a/m", "unavailable"), ("b/m", "cancelled")]


@virtual
async def test_a_stream_that_ends_without_finishing_is_never_a_success() -> None:
    gateway, samples = engine(a=Scripted(TextDelta("hi")), b=Scripted(*OK))
    async with gateway.open("r", HELLO) as answer:
        assert await anext(answer) == TextDelta("hi")
        with pytest.raises(Unavailable, match="without finishing"):
            await anext(answer)
    assert outcomes(samples) == [("a/m", "cut")]


@virtual
async def test_silence_in_mid_stream_is_found_by_the_idle_deadline() -> None:
    gateway, samples = engine(a=Scripted(TextDelta("hi"), 100.0))
    began = asyncio.get_running_loop().time()
    async with gateway.open("r", HELLO) as answer:
        await anext(answer)
        with pytest.raises(Unavailable, match="silent for 5 s"):
            await anext(answer)
    assert asyncio.get_running_loop().time() - began == pytest.approx(5.0)
    assert outcomes(samples) == [("a/m", "cut")]


@virtual
async def test_a_trickling_answer_ends_at_the_total_deadline() -> None:
    trickle: list[Step] = [step for _ in range(100) for step in (TextDelta("."), 4.0)]
    gateway, _ = engine(a=Scripted(*trickle))
    async with gateway.open("r", HELLO) as answer:
        with pytest.raises(Unavailable, match="not finished within 60 s"):
            [event async for event in answer]
    assert asyncio.get_running_loop().time() == pytest.approx(60.0)


@virtual
async def test_what_is_not_streamed_may_take_as_long_as_an_answer_takes() -> None:
    gateway, _ = engine(a=Scripted(20.0, TextDelta("all of it"), Finished()))
    request = ChatRequest(HELLO.messages, stream=False)
    async with gateway.open("r", request) as answer:
        assert len([event async for event in answer]) == 2


@virtual
async def test_a_request_at_fault_tries_nobody_else() -> None:
    second = Scripted(*OK)
    gateway, samples = engine(a=Scripted(Refused("no", "a", 400)), b=second)
    with pytest.raises(Refused):
        async with gateway.open("r", HELLO):
            pass
    assert second.opened == 0
    assert outcomes(samples) == [("a/m", "refused")]


@virtual
async def test_when_all_fail_the_error_names_every_attempt() -> None:
    gateway, _ = engine(a=Scripted(Unavailable("http 503", "a", 503)), b=Scripted(100.0))
    with pytest.raises(AllTargetsFailed) as failure:
        async with gateway.open("r", HELLO):
            pass
    assert [attempt.target for attempt in failure.value.attempts] == ["a/m", "b/m"]
    assert failure.value.attempts[1].seconds == pytest.approx(2.0)
    assert "a/m: http 503" in str(failure.value)
    assert "b/m: nothing useful within 2 s" in str(failure.value)


@virtual
async def test_leaving_early_closes_the_upstream_at_once() -> None:
    provider = Scripted(TextDelta("hi"), 1.0, TextDelta("there"), Finished())
    gateway, samples = engine(a=provider)
    async with gateway.open("r", HELLO) as answer:
        await anext(answer)
    assert provider.open == 0
    assert outcomes(samples) == [("a/m", "cancelled")]


@virtual
async def test_a_caller_who_is_cancelled_while_waiting_closes_the_upstream_and_tries_nobody_else() -> None:
    silent, second = Scripted(100.0), Scripted(*OK)
    gateway, samples = engine(a=silent, b=second)

    async def call() -> None:
        async with gateway.open("r", HELLO):
            pass

    task = asyncio.create_task(call())
    await asyncio.sleep(1.0)
    assert silent.open == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (silent.open, second.opened) == (0, 0)
    assert outcomes(samples) == [("a/m", "cancelled")]


@virtual
async def test_an_exception_that_no_provider_may_raise_is_recorded_as_a_bug_and_passes_by() -> None:
    provider = Scripted(ValueError("broken"))
    gateway, samples = engine(a=provider, b=Scripted(*OK))
    with pytest.raises(ValueError, match="broken"):
        async with gateway.open("r", HELLO):
            pass
    assert outcomes(samples) == [("a/m", "bug")]


@virtual
async def test_unknown_routes_and_routes_without_a_target_are_told_apart() -> None:
    gateway = Engine({"r": Route("r", "llm", (), asleep={"a/m": "A_KEY is not set"})}, {}, Samples())
    with pytest.raises(NoSuchRoute, match="the routes are: r"):
        async with gateway.open("x", HELLO):
            pass
    with pytest.raises(NoTargetAwake, match="A_KEY is not set"):
        async with gateway.open("r", HELLO):
            pass


def hears(item: Input) -> list[Step]:
    return [0.2, Transcript("yes", final=True, ends_turn=True)] if isinstance(item, Commit) else []


@virtual
async def test_a_failed_attempt_loses_no_speech() -> None:
    heard: list[Input] = []

    def hear(item: Input) -> list[Step]:
        heard.append(item)
        return hears(item)

    inputs: Channel[Input] = Channel()
    inputs.put(SECOND)
    gateway, _ = engine("stt", a=Scripted(1.0, Unavailable("reset")), b=Scripted(Ready(), heard=hear))
    async with gateway.open("r", TranscribeRequest(16_000), inputs) as answer:
        inputs.put(Commit())
        inputs.close()
        assert [type(event) for event in [e async for e in answer]] == [Ready, Transcript, Finished]
    assert heard == [SECOND, Commit()]


@virtual
async def test_each_turn_of_a_long_stream_is_a_sample_and_quiet_between_turns_is_no_failure() -> None:
    inputs: Channel[Input] = Channel()
    gateway, samples = engine("stt", a=Scripted(Ready(), heard=hears))
    async with gateway.open("r", TranscribeRequest(16_000), inputs) as answer:
        assert await anext(answer) == Ready()
        for _ in range(2):
            reading = asyncio.ensure_future(anext(answer))
            await asyncio.sleep(300)
            inputs.put(Commit())
            assert isinstance(await reading, Transcript)
        inputs.close()
        assert [event async for event in answer] == [Finished()]
    assert [(s.part, s.outcome) for s in samples[:2]] == [("turn", "ok")] * 2
    assert [s.ttft for s in samples[:2]] == [pytest.approx(0.2)] * 2
    assert [(s.part, s.outcome) for s in samples[2:]] == [("attempt", "ok")]


@virtual
async def test_a_turn_that_is_never_finalised_is_a_failure() -> None:
    inputs: Channel[Input] = Channel()
    gateway, _ = engine("stt", a=Scripted(Ready(), heard=lambda item: [100.0]))
    async with gateway.open("r", TranscribeRequest(16_000), inputs) as answer:
        await anext(answer)
        inputs.put(Commit())
        with pytest.raises(Unavailable, match="nothing useful within 2 s"):
            await anext(answer)


@virtual
async def test_speech_counts_from_its_first_text_and_may_wait_for_it() -> None:
    sound = AudioDelta(Audio(b"\x00\x20" * 24_000, 24_000))

    def speaks(item: Input) -> list[Step]:
        return [0.1, sound] if isinstance(item, str) else [Flushed()]

    inputs: Channel[Input] = Channel()
    gateway, samples = engine("tts", a=Scripted(heard=speaks))
    later = asyncio.get_running_loop()
    later.call_later(50.0, inputs.put, "Hello.")
    later.call_later(50.0, inputs.put, Commit())
    later.call_later(51.0, inputs.close)
    async with gateway.open("r", SpeakRequest(), inputs) as answer:
        assert [event async for event in answer] == [sound, Flushed(), Finished()]
    assert samples[0].outcome == "ok"
    assert samples[0].ttft == pytest.approx(0.1)


@virtual
async def test_a_voice_without_a_sound_is_left_for_the_next() -> None:
    def mute(item: Input) -> list[Step]:
        return [AudioDelta(SECOND), AudioDelta(SECOND)] if isinstance(item, str) else [Flushed()]

    def speaks(item: Input) -> list[Step]:
        return [AudioDelta(Audio(b"\x00\x20" * 24_000, 24_000))] if isinstance(item, str) else [Flushed()]

    inputs: Channel[Input] = Channel()
    inputs.put("Hello.")
    inputs.put(Commit())
    inputs.close()
    gateway, samples = engine("tts", a=Scripted(heard=mute), b=Scripted(heard=speaks))
    async with gateway.open("r", SpeakRequest(), inputs) as answer:
        assert [type(event) for event in [e async for e in answer]] == [AudioDelta, Flushed, Finished]
    assert outcomes(samples) == [("a/m", "unavailable"), ("b/m", "ok")]


@virtual
async def test_an_upload_whose_target_never_answers_is_heard_by_the_next() -> None:
    inputs: Channel[Input] = Channel()
    inputs.put(SECOND)
    inputs.put(Commit())
    inputs.close()
    gateway, samples = engine("stt", a=Scripted(Ready(), heard=lambda item: [100.0]), b=Scripted(Ready(), heard=hears))
    async with gateway.open("r", TranscribeRequest(16_000, partials=False), inputs) as answer:
        assert str(answer.target) == "b/m"
        assert [type(event) for event in [e async for e in answer]] == [Ready, Transcript, Finished]
    assert [sample.outcome for sample in samples if sample.part == "attempt"] == ["lost", "ok"]


@virtual
async def test_a_caller_slow_to_ask_is_not_the_target_s_silence() -> None:
    gateway, samples = engine(a=Scripted(TextDelta("a"), 4.0, TextDelta("b"), Finished()))
    async with gateway.open("r", HELLO) as answer:
        await anext(answer)
        await asyncio.sleep(30)
        assert [event async for event in answer] == [TextDelta("b"), Finished()]
    assert outcomes(samples) == [("a/m", "ok")]


@virtual
async def test_having_nothing_to_say_is_no_failure() -> None:
    inputs: Channel[Input] = Channel()
    inputs.put("  ")
    inputs.put(Commit())
    inputs.close()
    gateway, samples = engine("tts", a=Scripted(heard=lambda item: [Flushed()] if isinstance(item, Commit) else []))
    async with gateway.open("r", SpeakRequest(), inputs) as answer:
        assert [event async for event in answer] == [Flushed(), Finished()]
    assert outcomes(samples) == [("a/m", "ok")]


async def test_a_voice_of_the_routes_own_is_what_each_target_calls_it() -> None:
    first, second, third = (FakeVoice() for _ in range(3))
    targets = tuple(Target(name, "m") for name in ("a", "b", "c"))
    voices = {"anna": {"a": "a-17", "b/m": "b-anna"}}
    route = Route("say", "tts", targets, Policy("priority", retries=0), voices=voices)
    engine = Engine({"say": route}, {"a": first, "b": second, "c": third}, Recorder([]))
    for asked, heard in (("anna", ["a-17", "b-anna", None]), ("rose", ["rose"] * 3), (None, [None] * 3)):
        with pytest.raises(AllTargetsFailed):
            async with engine.open("say", SpeakRequest(voice=asked), said("hello")):
                pass
        assert [voice.asked.pop() for voice in (first, second, third)] == heard


class FakeVoice:
    """Notes which voice it was asked for, and fails."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def speak(self, model: str, request: SpeakRequest, inputs: object) -> Events:
        self.asked.append(request.voice)
        for error in (Unavailable("no", "x"),):
            raise error
        yield Finished()


def said(text: str) -> Channel[Input]:
    inputs: Channel[Input] = Channel()
    inputs.put(text)
    inputs.put(Commit())
    inputs.close()
    return inputs


@virtual
async def test_a_target_later_than_ever_is_waited_for_where_nobody_else_can_be_asked() -> None:
    """What was learned of it would give it one second; the policy gives it two."""
    usual: list[Step] = [0.1, TextDelta("hi"), Finished()]
    late: list[Step] = [1.8, TextDelta("hi"), Finished()]
    rest: dict[str, Scripted] = {"b": Scripted(*usual)}
    for others, wanted in (({}, ["ok"]), (rest, ["timeout", "ok"])):
        only = Scripted(*usual)
        gateway, samples = engine("llm", a=only, **others)
        for _ in range(40):
            async with gateway.open("r", HELLO) as answer:
                _ = [event async for event in answer]
        only.steps = tuple(late)
        async with gateway.open("r", HELLO) as answer:
            _ = [event async for event in answer]
        assert [sample.outcome for sample in samples[40:]] == wanted
