"""For tests of the embedded speech engines: utterances, what is heard of them, and how wrong that is."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import jiwer

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.events import ProviderEvent, Transcript
from gateway.contract.provider import Closable, SpeechToText
from gateway.contract.requests import Commit, Input, TranscribeRequest
from gateway.contract.worker import Report, Worker
from tests.browser.words import plain

P = TypeVar("P", bound=Closable)


@asynccontextmanager
async def closing(provider: P) -> AsyncGenerator[P]:
    try:
        yield provider
    finally:
        await provider.aclose()


def worker_of(provider: object) -> Worker:
    worker = getattr(provider, "_worker")  # noqa: B009 - nothing public tells of its jobs
    assert isinstance(worker, Worker)
    return worker


async def stopped(provider: object) -> Report:
    """The worker's account, once it does nothing. Fails after a second."""
    async with asyncio.timeout(1):
        while (report := await worker_of(provider).report()).running or report.waiting:
            pass
    return report


def utterances(folder: Path) -> list[tuple[Audio, str]]:
    """All of a folder, with what is said in each."""
    return [utterance(path) for path in sorted(folder.glob("*.wav"))]


def utterance(path: Path) -> tuple[Audio, str]:
    with wave.open(str(path)) as file:
        audio = Audio(file.readframes(file.getnframes()), file.getframerate())
    return audio, path.with_suffix(".txt").read_text()


def inputs(*items: Input) -> Channel[Input]:
    """Closed, with these."""
    channel: Channel[Input] = Channel(seconds=3600.0)
    for item in items:
        channel.put(item)
    channel.close()
    return channel


async def events_of(stt: SpeechToText, channel: Channel[Input], rate: int) -> list[ProviderEvent]:
    async with aclosing(stt.transcribe("moonshine", TranscribeRequest(rate), channel.reader())) as events:
        return [event async for event in events]


async def heard(stt: SpeechToText, audio: Audio) -> str:
    """The whole of its final transcripts."""
    events = await events_of(stt, inputs(audio, Commit()), audio.rate)
    return " ".join(event.text for event in events if isinstance(event, Transcript) and event.final)


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Of (said, heard) pairs together, as tests.browser.words compares them."""
    said, understood = zip(*pairs)
    return float(jiwer.wer([plain(text) for text in said], [plain(text) for text in understood]))
