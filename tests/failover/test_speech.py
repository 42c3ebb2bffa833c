"""A voice that dies in mid-sentence: another says the rest, over HTTP and under the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.encoding import decode
from gateway.contract.errors import Unavailable
from gateway.contract.events import AudioDelta, Events, Finished, Flushed, Rerouted, Usage, Word
from gateway.contract.requests import Commit, Input, SpeakRequest
from gateway.routing.route import Policy
from tests.api.stage import stage
from tests.fakes.routes import route
from tests.fakes.speaking import spoken

pytestmark = pytest.mark.wire
RATE = 24_000
POLICY = Policy("priority", retries=0, ttft_deadline=5.0, answer=10.0, idle=5.0, total=60.0)
TEXT = "The quick brown fox jumps over the lazy dog near the river bank. Then it sleeps under a tall old tree until morning comes."


class Voice:
    """Speaks word by word. `dies`: after so many words (-1: before any sound); `times`: whether it says when; `said`: every word
    whose sound was given."""

    kind = "tts"

    def __init__(self, dies: int | None = None, times: bool = True) -> None:
        self._dies, self._times = dies, times
        self.said: list[str] = []
        self.texts: list[str] = []

    async def speak(self, model: str, request: SpeakRequest, inputs: AsyncIterator[Input]) -> Events:
        text, at = "", 0.0
        if self._dies == -1:
            raise Unavailable("never spoke", "voice")
        async for item in inputs:
            if isinstance(item, str):
                text += item
            elif isinstance(item, Commit):
                self.texts.append(text)
                for word, pcm in spoken(text, RATE, at):
                    if len(self.said) == self._dies:
                        half = len(pcm) // 4 * 2
                        yield AudioDelta(Audio(pcm[:half], RATE))  # in the middle of a word
                        raise Unavailable("gone", "voice")
                    self.said.append(word.text)
                    at += len(pcm) / 2 / RATE
                    times = (Word(word.text, word.start, word.end),) if self._times else ()
                    yield AudioDelta(Audio(pcm, RATE), times)
                yield Flushed()
                text = ""
        yield Usage(characters=1)
        yield Finished()


def put(inputs: Channel[Input], *clauses: str) -> None:
    for clause in clauses:
        inputs.put(clause)
        inputs.put(Commit())


@pytest.mark.parametrize("dies", [1, 5, 12, 13, 14, 20, 23])
async def test_the_rest_of_a_sentence_is_said_by_another(dies: int) -> None:
    first, second = Voice(dies), Voice()
    inputs: Channel[Input] = Channel()
    put(inputs, *(each + "." for each in TEXT.rstrip(".").split(".")))
    inputs.close()
    async with route("tts", "m", first, second, policy=POLICY).open("r", SpeakRequest(), inputs) as answer:
        events = [event async for event in answer]
        assert str(answer.target) == "p2/m"
    assert [*first.said, *second.said] == TEXT.split()
    assert [event for event in events if isinstance(event, Rerouted)] == [Rerouted("p1/m", "p2/m", "gone")]
    assert sum(isinstance(event, Flushed) for event in events) == 2
    words = [word for event in events if isinstance(event, AudioDelta) for word in event.words]
    assert [word.start for word in words] == sorted(word.start for word in words)
    assert isinstance(events[-1], Finished)


async def test_what_is_put_after_a_death_is_said_too() -> None:
    first, second = Voice(3), Voice()
    inputs: Channel[Input] = Channel()
    put(inputs, "One two three four five.")
    async with route("tts", "m", first, second, policy=POLICY).open("r", SpeakRequest(), inputs) as answer:
        async for event in answer:
            if isinstance(event, Flushed):
                if inputs.closed:
                    continue
                put(inputs, "Six seven.")
                inputs.close()
    assert [*first.said, *second.said] == ["One", "two", "three", "four", "five.", "Six", "seven."]


async def test_without_the_times_of_words_it_is_an_estimate_that_goes_back_rather_than_on() -> None:
    first, second = Voice(20, times=False), Voice()
    inputs: Channel[Input] = Channel()
    put(inputs, *(each + "." for each in TEXT.rstrip(".").split(".")))
    inputs.close()
    async with route("tts", "m", first, second, policy=POLICY).open("r", SpeakRequest(), inputs) as answer:
        async for _ in answer:
            pass
    again = len(first.said) + len(second.said) - len(TEXT.split())
    assert 0 <= again <= 3
    assert " ".join(second.said) == " ".join(TEXT.split()[20 - again :])


async def test_the_first_failure_is_told_where_nobody_can() -> None:
    inputs: Channel[Input] = Channel()
    put(inputs, "One two three four.")
    inputs.close()
    async with route("tts", "m", Voice(2), Voice(-1), policy=POLICY).open("r", SpeakRequest(), inputs) as answer:
        with pytest.raises(Unavailable, match="gone"):
            async for _ in answer:
                pass


async def test_over_http_the_sound_is_whole_and_the_gap_is_short() -> None:
    first, second = Voice(7), Voice()
    async with stage(policy=POLICY, say=(first, second)) as gateway:
        clock = asyncio.get_running_loop().time
        latest = clock()
        gap, data = 0.0, b""
        request = {"model": "say", "input": TEXT, "response_format": "wav"}
        async with gateway.http.stream("POST", "/v1/audio/speech", json=request) as response:
            async for piece in response.aiter_bytes():
                gap, latest = max(gap, clock() - latest), clock()
                data += piece
    whole = sum(len(pcm) for _, pcm in spoken(TEXT, RATE)) / 2 / RATE
    assert [*first.said, *second.said] == TEXT.split()
    assert whole <= decode(data, 16_000, 60.0).seconds < whole + 0.5  # half a word twice, at most
    assert gap < 1.0
