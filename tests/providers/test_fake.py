"""The fake: each behaviour does what its name says, on the loop's clock. What every provider must do is in tests/conformance."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import numpy as np
import pytest

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.errors import (
    ContextTooLong,
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
    Events,
    Finished,
    Flushed,
    ProviderEvent,
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
    ChatRequest,
    Clear,
    Commit,
    ConverseRequest,
    Input,
    Respond,
    SpeakRequest,
    TranscribeRequest,
)
from providers.fake import Provider
from tests.virtual_time import virtual

HELLO = ChatRequest((Message.of("user", "hello out there"),))


def fake() -> Provider:
    return Provider(Settings("fake"))


def tone(seconds: float, rate: int = 16_000) -> Audio:
    at = np.arange(round(seconds * rate)) / rate
    return Audio((np.sin(2 * np.pi * 300 * at) * 8000).astype("<i2").tobytes(), rate)


def inputs(*items: Input) -> Channel[Input]:
    channel: Channel[Input] = Channel()
    for item in items:
        channel.put(item)
    channel.close()
    return channel


async def timed(events: Events) -> list[tuple[float, ProviderEvent]]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with aclosing(events):
        return [(round(loop.time() - began, 3), event) async for event in events]


async def every(events: Events) -> list[ProviderEvent]:
    return [event for _, event in await timed(events)]


def said(events: list[ProviderEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@virtual
async def test_it_counts_in_sentences() -> None:
    events = await every(fake().chat("words-12", HELLO))
    assert said(events) == "one two three four five six seven eight nine ten. one two."
    assert events[-2:] == [Usage(3, 12), Finished("stop")]


@virtual
async def test_it_says_echoes_thinks_and_calls() -> None:
    assert said(await every(fake().chat("says-hello-there", HELLO))) == "hello there"
    assert said(await every(fake().chat("echo", HELLO))) == "hello out there"
    assert (await every(fake().chat("reasoning", HELLO)))[0] == TextDelta("I count.", "reasoning")
    called = await every(fake().chat("tools", ChatRequest((), tools=(Tool("look"),))))
    deltas = [event for event in called if isinstance(event, ToolCallDelta)]
    assert (deltas[0].name, "".join(delta.arguments for delta in deltas)) == ("look", '{"number":20}')
    assert called[-1] == Finished("tool_calls")


@virtual
async def test_it_stops_at_max_tokens() -> None:
    events = await every(fake().chat("ok", ChatRequest((), max_tokens=2)))
    assert (said(events), events[-1]) == ("one two", Finished("length"))


@virtual
async def test_slow_and_tick_take_time() -> None:
    events = await timed(fake().chat("slow-2s+tick-500ms+words-3", HELLO))
    assert [at for at, event in events if isinstance(event, TextDelta)] == [2.0, 2.5, 3.0]


@virtual
async def test_cut_after_breaks_off_and_hang_after_falls_silent() -> None:
    async with aclosing(fake().chat("cut-after-3", HELLO)) as events:
        assert said([await anext(events) for _ in range(3)]) == "one two three"
        with pytest.raises(Unavailable, match="cut off"):
            await anext(events)
    for model, given in (("hang", 0), ("hang-after-3", 3), ("cut-after-5+hang-after-2", 2)):
        async with aclosing(fake().chat(model, HELLO)) as events:
            for _ in range(given):
                await anext(events)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 3600)


@pytest.mark.parametrize(
    ("model", "kind", "status"),
    [
        ("error-400", Refused, 400),
        ("error-401", Unauthorized, 401),
        ("error-402", OutOfQuota, 402),
        ("error-413", ContextTooLong, 413),
        ("error-429+retry-2s", RateLimited, 429),
        ("error-503", Unavailable, 503),
        ("garbage", Unavailable, None),
    ],
)
@virtual
async def test_errors(model: str, kind: type[ProviderError], status: int | None) -> None:
    with pytest.raises(kind) as caught:
        await every(fake().chat(model, HELLO))
    assert (type(caught.value), caught.value.provider, caught.value.status) == (kind, "fake", status)
    assert caught.value.retry_after == (2.0 if "retry" in model else None)
    assert (caught.value.detail is not None) == (kind in (Refused, ContextTooLong))


@virtual
async def test_times_limits_the_faults_to_the_first_requests() -> None:
    provider = fake()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await every(provider.chat("error-503+times-2+words-1", HELLO))
    assert said(await every(provider.chat("error-503+times-2+words-1", HELLO))) == "one."
    with pytest.raises(Unavailable):
        await every(provider.chat("error-503+times-1", HELLO))


@virtual
async def test_empty_finishes_without_content() -> None:
    assert await every(fake().chat("empty", HELLO)) == [Usage(3), Finished()]
    assert [type(e) for e in await every(fake().speak("empty", SpeakRequest(), inputs("hi", Commit()).reader()))] == [
        Flushed,
        Usage,
        Finished,
    ]


@virtual
async def test_it_counts_what_is_open_and_remembers_what_was_asked() -> None:
    provider = fake()
    async with aclosing(provider.chat("ok", HELLO)) as events:
        assert (provider.live, provider.opened) == (0, 0)
        await anext(events)
        assert (provider.live, provider.opened) == (1, 1)
    assert (provider.live, provider.opened) == (0, 1)
    assert list(provider.asked) == [("ok", HELLO)]


@pytest.mark.parametrize("model", ["", "okay", "slow-2", "words-x", "error-200", "ok+nonsense", "cut-after-", "slow"])
def test_an_unknown_behaviour_sleeps_and_says_what_there_is(model: str) -> None:
    reason = fake().asleep(model)
    assert reason is not None
    assert model.split("+")[-1] in reason
    assert ("cut-after-20" in reason) == ("understand" not in reason)


@pytest.mark.parametrize(
    "model", ["ok", "slow-2s+tick-20ms+words-5", "hang-after-3", "says-a-b-c", "never-final", "ok+ok"]
)
def test_a_known_one_is_awake(model: str) -> None:
    assert fake().asleep(model) is None


@virtual
async def test_an_unknown_one_that_is_asked_all_the_same_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await every(fake().chat("nonsense", HELLO))


def test_it_has_no_options() -> None:
    with pytest.raises(ValueError, match="names"):
        Provider(Settings("fake", options={"x": 1}))


@virtual
async def test_it_speaks_a_tone_for_each_word_and_flushes_each_commit() -> None:
    told = inputs("Hello ", "there. ", Commit(), "How ", Commit(), Commit(), "left over")
    events = await every(fake().speak("ok", SpeakRequest(), told.reader()))
    assert [e.words[0].text if isinstance(e, AudioDelta) else type(e) for e in events] == (
        ["Hello", "there.", Flushed, "How", Flushed, Flushed, "left", "over", Usage, Finished]
    )
    spoken = [event for event in events if isinstance(event, AudioDelta)]
    heard = np.frombuffer(b"".join(event.audio.pcm for event in spoken), "<i2").astype(float)
    for word in (word for event in spoken for word in event.words):
        part = heard[round(word.start * 24_000) : round(word.end * 24_000)]
        assert np.sqrt(np.mean(part**2)) > 3000, word
    usage = events[-2]
    assert isinstance(usage, Usage)
    assert usage.characters == len("Hello there. How left over")
    assert usage.seconds == pytest.approx(len(heard) / 24_000)


@virtual
async def test_its_silence_is_as_long_as_its_speech() -> None:
    def audio(events: list[ProviderEvent]) -> bytes:
        return b"".join(event.audio.pcm for event in events if isinstance(event, AudioDelta))

    spoken, silent = [
        audio(await every(fake().speak(model, SpeakRequest(), inputs("hello", Commit()).reader())))
        for model in ("ok", "silence")
    ]
    assert silent == bytes(len(spoken))


@virtual
async def test_what_was_cleared_is_not_spoken() -> None:
    for forget in (Cancel(), Clear()):
        events = await every(fake().speak("ok", SpeakRequest(), inputs("no", forget, "yes", Commit()).reader()))
        assert [event.words[0].text for event in events if isinstance(event, AudioDelta)] == ["yes"]


@virtual
async def test_each_clause_of_a_slow_voice_is_late() -> None:
    events = await timed(fake().speak("slow-1s", SpeakRequest(), inputs("a", Commit(), "b", Commit()).reader()))
    assert [at for at, event in events if isinstance(event, AudioDelta)] == [1.0, 2.0]


SECOND = Audio.silence(1.0, 16_000)
LISTEN = TranscribeRequest(16_000)


@virtual
async def test_it_hears_two_words_a_second_and_answers_each_commit() -> None:
    told = inputs(*[SECOND] * 2, Commit(), SECOND, Clear(), SECOND, Commit(), Commit())
    events = await every(fake().transcribe("ok", LISTEN, told.reader()))
    assert events[0] == Ready()
    heard = [(event.text, event.final, event.ends_turn) for event in events if isinstance(event, Transcript)]
    assert heard == [
        ("one two", False, False),
        ("one two three four", False, False),
        ("one two three four", True, True),
        ("one two", False, False),
        ("one two", False, False),
        ("one two", True, True),
        ("", True, True),
    ]
    assert events[-2:] == [Usage(seconds=4.0), Finished()]


@virtual
async def test_words_have_times_from_the_start_of_the_stream() -> None:
    events = await every(fake().transcribe("ok", LISTEN, inputs(SECOND, Commit(), SECOND, Commit()).reader()))
    last = [event for event in events if isinstance(event, Transcript)][-1]
    assert [(word.text, word.start, word.end) for word in last.words] == [("one", 1.0, 1.5), ("two", 1.5, 2.0)]


@virtual
async def test_it_hears_what_it_is_told_to() -> None:
    request = TranscribeRequest(16_000, partials=False)
    events = await every(fake().transcribe("says-call-me-back", request, inputs(SECOND, Commit()).reader()))
    assert [event.text for event in events if isinstance(event, Transcript)] == ["call me back"]


@virtual
async def test_never_final_hears_and_does_not_answer() -> None:
    events = await every(fake().transcribe("never-final", LISTEN, inputs(SECOND, Commit()).reader()))
    assert [event.final for event in events if isinstance(event, Transcript)] == [False]


@virtual
async def test_ready_can_be_late_and_a_final_slow() -> None:
    events = await timed(fake().transcribe("ready-1s+slow-2s", LISTEN, inputs(SECOND, Commit()).reader()))
    assert [at for at, event in events if isinstance(event, Ready)] == [1.0]
    assert [at for at, event in events if isinstance(event, Transcript) and event.final] == [3.0]


@virtual
async def test_it_answers_speech_with_that_speech() -> None:
    speech = [Audio.silence(0.3, 16_000), tone(0.6), Audio.silence(0.7, 16_000)]
    events = await every(fake().converse("ok", ConverseRequest(rate=16_000), inputs(*speech).reader()))
    started, ended = [event for event in events if isinstance(event, SpeechStarted | SpeechEnded)]
    assert [started.at, ended.at] == pytest.approx([0.3, 0.9])
    assert b"".join(e.audio.pcm for e in events if isinstance(e, AudioDelta)) == b"".join(a.pcm for a in speech)
    assert [type(event) for event in events if not isinstance(event, AudioDelta)] == [
        Ready,
        SpeechStarted,
        SpeechEnded,
        Transcript,
        Usage,
        Answered,
        Finished,
    ]


@virtual
async def test_it_answers_commits_where_the_client_says_when() -> None:
    request = ConverseRequest(rate=16_000, turns="client")
    told = inputs(tone(1.0), Audio.silence(1.0, 16_000), Commit(), "hello", Commit())
    events = await every(fake().converse("ok", request, told.reader()))
    assert not any(isinstance(event, SpeechStarted | SpeechEnded) for event in events)
    assert [event.text for event in events if isinstance(event, Transcript)] == ["one two three four", ""]
    assert said(events) == "hello"
    silent = await every(fake().converse("silence", request, inputs(tone(1.0), Commit()).reader()))
    assert {byte for event in silent if isinstance(event, AudioDelta) for byte in event.audio.pcm} == {0}
    mute = await every(fake().converse("never-final", request, inputs(tone(1.0), Commit()).reader()))
    assert [type(event) for event in mute] == [Ready, Finished]


Open = Callable[[Provider, Channel[Input]], Events]
OPENS: list[Open] = [
    lambda provider, channel: provider.chat("tick-1s", HELLO),
    lambda provider, channel: provider.speak("tick-1s", SpeakRequest(), channel.reader()),
    lambda provider, channel: provider.transcribe("ok", LISTEN, channel.reader()),
    lambda provider, channel: provider.converse("tick-1s", ConverseRequest(rate=16_000), channel.reader()),
]


@pytest.mark.parametrize("start", OPENS, ids=["llm", "tts", "stt", "s2s"])
@virtual
async def test_a_stream_that_is_left_is_no_longer_live(start: Open) -> None:
    provider = fake()
    channel: Channel[Input] = Channel()
    channel.put("some words")
    channel.put(Commit())
    async with aclosing(start(provider, channel)) as events:
        await anext(events)
        assert provider.live == 1
    assert provider.live == 0


async def test_s2s_answers_when_it_is_asked_to_and_not_before() -> None:
    told = inputs(Message.of("user", "well"), Commit(answer=False), Respond())
    events = await every(fake().converse("ok", ConverseRequest(turns="client"), told.reader()))
    kinds = [type(event) for event in events if not isinstance(event, AudioDelta)]
    assert kinds == [Ready, Transcript, TextDelta, Usage, Answered, Finished]
    assert any(isinstance(event, AudioDelta) for event in events)
