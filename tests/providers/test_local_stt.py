"""local_stt: what is said is understood, once for each commit, and known early."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.errors import Unavailable
from gateway.contract.events import Events, Finished, Ready, Transcript, Usage
from gateway.contract.provider import Settings
from gateway.contract.requests import Clear, Commit, Input, TranscribeRequest
from providers._resample import from_pcm, resample, to_pcm
from providers.local_stt import Provider
from tests.providers.speaking import (
    closing,
    events_of,
    heard,
    inputs,
    stopped,
    utterance,
    utterances,
    word_error_rate,
    worker_of,
)

CHUNK = 640
PAUSE = Audio.silence(0.2, 16_000)


@pytest.fixture
async def stt() -> AsyncGenerator[Provider]:
    async with closing(Provider(Settings("local_stt"))) as provider:
        yield provider


def chunks(audio: Audio) -> list[Audio]:
    """As a call brings it."""
    return [Audio(audio.pcm[at : at + CHUNK], audio.rate) for at in range(0, len(audio.pcm), CHUNK)]


def spoken(path: Path) -> Audio:
    """Without the silence at its end."""
    audio, _ = utterance(path)
    samples = from_pcm(audio.pcm)
    return Audio(to_pcm(samples[: np.flatnonzero(np.abs(samples) > 0.02)[-1] + 1]), audio.rate)


async def until_final(events: Events) -> Transcript:
    async for event in events:
        if isinstance(event, Transcript) and event.final:
            return event
    raise AssertionError("no final transcript")


@pytest.mark.models
async def test_the_utterances_are_understood(stt: Provider, speech: Path) -> None:
    pairs = [(said, await heard(stt, audio)) for audio, said in utterances(speech)]
    assert len(pairs) == 4
    assert word_error_rate(pairs) <= 0.1


@pytest.mark.models
async def test_people_are_understood(stt: Provider, shared: Path) -> None:
    pairs = [(said, await heard(stt, audio)) for audio, said in utterances(shared / "speech")]
    assert len(pairs) == 7
    assert word_error_rate(pairs) <= 0.15


@pytest.mark.models
async def test_any_rate_is_understood(stt: Provider, speech: Path) -> None:
    audio, said = utterance(speech / "k02_kokoro_am_michael.wav")
    for rate in (8_000, 44_100, 48_000):
        other = Audio(to_pcm(resample(from_pcm(audio.pcm), audio.rate, rate)), rate)
        assert word_error_rate([(said, await heard(stt, other))]) <= 0.1


@pytest.mark.models
async def test_every_commit_has_one_final_transcript_in_order(stt: Provider, speech: Path) -> None:
    first, said_first = utterance(speech / "k01_kokoro_af_heart.wav")
    second, said_second = utterance(speech / "k02_kokoro_am_michael.wav")
    channel = inputs(first, Commit(), Commit(), second, Commit(), first)
    events = await events_of(stt, channel, 16_000)
    finals = [event for event in events if isinstance(event, Transcript) and event.final]
    assert all(event.ends_turn for event in finals)
    said = [said_first, "", said_second, said_first]  # the last was not committed, and the inputs ended
    assert [final.text == "" for final in finals] == [text == "" for text in said]
    assert word_error_rate([(text, final.text) for text, final in zip(said, finals) if text]) <= 0.1
    assert isinstance(events[0], Ready)
    usage, finished = events[-2:]
    assert isinstance(usage, Usage)
    assert usage.seconds == pytest.approx(2 * first.seconds + second.seconds)
    assert finished == Finished()


@pytest.mark.models
async def test_where_nobody_speaks_nothing_is_heard(stt: Provider) -> None:
    time, rng = np.arange(48_000) / 16_000, np.random.default_rng(7)
    nobody = {
        "silence": np.zeros(48_000),
        "noise": rng.normal(0, 0.05, 48_000),
        "hum": 0.05 * np.sin(2 * np.pi * 50 * time) + 0.02 * np.sin(2 * np.pi * 150 * time),
        "clicks": np.where(np.arange(48_000) % 8000 == 0, 0.5, 0.0),
    }
    heard_of = {
        kind: await heard(stt, Audio(to_pcm(sound.astype(np.float32)), 16_000)) for kind, sound in nobody.items()
    }
    assert heard_of == dict.fromkeys(nobody, "")


@pytest.mark.models
async def test_partial_transcripts_come_while_it_is_said(stt: Provider, speech: Path) -> None:
    audio, said = utterance(speech / "k01_kokoro_af_heart.wav")
    channel: Channel[Input] = Channel(60.0)
    async with aclosing(stt.transcribe("moonshine", TranscribeRequest(16_000), channel.reader())) as events:
        assert isinstance(await anext(events), Ready)
        half = len(audio.pcm) // 4 * 2
        for chunk in chunks(Audio(audio.pcm[:half], 16_000)):
            channel.put(chunk)
        partial = await anext(events)
        assert isinstance(partial, Transcript)
        assert not partial.final
        assert 0 < len(partial.text) < len(said)


@pytest.mark.models
async def test_after_a_pause_the_final_transcript_is_there_at_once(stt: Provider, speech: Path) -> None:
    audio = spoken(speech / "k02_kokoro_am_michael.wav")
    channel: Channel[Input] = Channel(60.0)
    async with aclosing(stt.transcribe("moonshine", TranscribeRequest(16_000), channel.reader())) as events:
        await anext(events)
        for chunk in chunks(Audio(audio.pcm + PAUSE.pcm, 16_000)):
            channel.put(chunk)
        partial = await anext(events)
        assert isinstance(partial, Transcript)
        jobs = (await worker_of(stt).report()).done
        for chunk in chunks(PAUSE):
            channel.put(chunk)
        channel.put(Commit())
        final = await until_final(events)
        assert final == Transcript(partial.text, final=True, ends_turn=True)
        assert (await worker_of(stt).report()).done == jobs


@pytest.mark.models
async def test_words_after_the_pause_are_not_lost(stt: Provider, speech: Path) -> None:
    audio, said = utterance(speech / "k02_kokoro_am_michael.wav")
    channel: Channel[Input] = Channel(60.0)
    async with aclosing(stt.transcribe("moonshine", TranscribeRequest(16_000), channel.reader())) as events:
        await anext(events)
        middle = 2 * round(1.6 * 16_000)
        for chunk in chunks(Audio(audio.pcm[:middle] + PAUSE.pcm, 16_000)):
            channel.put(chunk)
        await anext(events)
        for chunk in chunks(Audio(audio.pcm[middle:], 16_000)):
            channel.put(chunk)
        channel.put(Commit())
        final = await until_final(events)
        assert word_error_rate([(said, final.text)]) <= 0.25


@pytest.mark.models
async def test_what_was_cleared_is_forgotten(stt: Provider, speech: Path) -> None:
    wrong, _ = utterance(speech / "k01_kokoro_af_heart.wav")
    right, said = utterance(speech / "k02_kokoro_am_michael.wav")
    events = await events_of(stt, inputs(wrong, Clear(), right, Commit()), 16_000)
    finals = [event.text for event in events if isinstance(event, Transcript) and event.final]
    assert word_error_rate([(said, " ".join(finals))]) <= 0.1


@pytest.mark.models
@pytest.mark.parametrize("size", [CHUNK, 10_000_000], ids=["in pieces", "at once"])
async def test_a_recording_of_a_minute_comes_in_segments(stt: Provider, speech: Path, size: int) -> None:
    pairs = utterances(speech) * 4
    pcm = b"".join(audio.pcm for audio, _ in pairs)
    pieces = [Audio(pcm[at : at + size], 16_000) for at in range(0, len(pcm), size)]
    events = await events_of(stt, inputs(*pieces, Commit()), 16_000)
    finals = [event for event in events if isinstance(event, Transcript) and event.final]
    assert len(finals) > 4
    assert [event.ends_turn for event in finals] == [False] * (len(finals) - 1) + [True]
    assert word_error_rate([(" ".join(said for _, said in pairs), " ".join(event.text for event in finals))]) <= 0.15


@pytest.mark.models
async def test_leaving_stops_the_work_within_a_second(stt: Provider, speech: Path) -> None:
    audio, _ = utterance(speech / "k01_kokoro_af_heart.wav")
    channel = inputs(*[audio] * 10, Commit())
    async with aclosing(stt.transcribe("moonshine", TranscribeRequest(16_000), channel.reader())) as events:
        await anext(events)
        await anext(events)
    await stopped(stt)


@pytest.mark.models
async def test_another_language_is_left_to_others(stt: Provider) -> None:
    request = TranscribeRequest(16_000, language="de-DE")
    with pytest.raises(Unavailable, match="it knows en"):
        await anext(stt.transcribe("moonshine", request, inputs().reader()))


def test_it_says_why_it_sleeps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRUNKLINE_MODELS", str(tmp_path))
    provider = Provider(Settings("local_stt"))
    assert "it has moonshine" in str(provider.asleep("whisper"))
    assert "trunkline" in str(provider.asleep("moonshine"))
    with pytest.raises(ValueError, match="there is no option 'thread'; there are threads"):
        Provider(Settings("local_stt", options={"thread": 1}))
    with pytest.raises(ValueError, match="a whole number from 1"):
        Provider(Settings("local_stt", options={"threads": "two"}))
