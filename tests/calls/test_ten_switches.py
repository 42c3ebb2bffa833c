"""Ten changes of mode in one call, while nobody speaks, while the caller does and while the agent does. In virtual time.

Both modes hear the same way: the words of recorded speech, sample for sample, so that lost or repeated sound shows as words.
"""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator

import numpy as np

from gateway.calls.events import Mode
from gateway.calls.transport import FRAME, MIC_RATE, PLAYOUT_RATE
from gateway.contract.audio import Audio
from gateway.contract.events import (
    Answered,
    AudioDelta,
    Events,
    Finished,
    Ready,
    SpeechEnded,
    SpeechStarted,
    TextDelta,
    Transcript,
)
from gateway.contract.messages import Message
from gateway.contract.requests import Clear, Commit, ConverseRequest, Input, TranscribeRequest
from tests.calls.scene import SECONDS_A_CHARACTER, Ear, Mind, Scene, Talker, tone
from tests.fakes.hearing import Hearing
from tests.needs import ROOT
from tests.virtual_time import virtual

SPEECH = ROOT / "tests" / "data" / "speech"
SAID = ("k01_kokoro_af_heart", "k02_kokoro_am_michael", "k03_kokoro_af_heart")
PAUSE = 0.6
"""Seconds of quiet after which a turn is over, longer than any within these recordings."""


class ListeningEar(Ear):
    async def transcribe(self, model: str, request: TranscribeRequest, inputs: AsyncIterator[Input]) -> Events:
        self.open += 1
        self.opened += 1
        hearing, words = Hearing(request.rate), list[str]()
        try:
            yield Ready()
            async for item in inputs:
                match item:
                    case Audio(pcm):
                        words += [word.text for word in hearing.hear(pcm)]
                    case Clear():
                        words.clear()
                    case Commit():
                        await asyncio.sleep(self.delay)
                        words += [word.text for word in hearing.rest()]
                        yield Transcript(" ".join(words), final=True, ends_turn=True)
                        words.clear()
            yield Finished()
        finally:
            self.open -= 1


class ListeningTalker(Talker):
    async def converse(self, model: str, request: ConverseRequest, inputs: AsyncIterator[Input]) -> Events:
        self.open += 1
        self.opened += 1
        self.asked.append(request)
        hearing, words, speaking = Hearing(MIC_RATE), list[str](), False
        try:
            yield Ready()
            async for item in inputs:
                if not isinstance(item, Audio):
                    self.told.append(item)
                    continue
                words += [word.text for word in hearing.hear(item.pcm)]
                if hearing.speaking and not speaking:
                    speaking = True
                    yield SpeechStarted(hearing.seconds - item.seconds)
                elif speaking and hearing.quiet > PAUSE:
                    speaking = False
                    yield SpeechEnded(hearing.seconds - hearing.quiet)
                    words += [word.text for word in hearing.rest()]
                    yield Transcript(" ".join(words), final=True, ends_turn=True)
                    words.clear()
                    await asyncio.sleep(self.delay)
                    self.heard.append(text := f"Live answer {len(self.heard)}.")
                    yield TextDelta(text)
                    yield AudioDelta(Audio(tone(len(text) * SECONDS_A_CHARACTER, PLAYOUT_RATE, 3000), PLAYOUT_RATE))
                    yield Answered()
            yield Finished()
        finally:
            self.open -= 1


def recorded(name: str) -> tuple[list[bytes], str]:
    """In frames, and what is said."""
    with wave.open(str(SPEECH / f"{name}.wav")) as file:
        pcm = file.readframes(file.getnframes())
    size = round(FRAME * MIC_RATE) * 2
    text = " ".join((SPEECH / f"{name}.txt").read_text().split())
    return [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)], text


def vad(frame: bytes) -> float:
    return 0.95 if np.abs(np.frombuffer(frame, np.int16).astype(np.int32)).mean() > 150 else 0.02


async def says(scene: Scene, name: str, switch_at: float | None = None, to: str = "") -> str:
    """What was said. `switch_at`: the share of it after which the mode is to change."""
    frames, text = recorded(name)
    for number, frame in enumerate(frames):
        if switch_at is not None and number == round(switch_at * len(frames)):
            scene.ours(type="mode", mode=to)
        scene.stage.mic.put(Audio(frame, MIC_RATE))
        await scene.tick()
    return text


async def until(scene: Scene, kind: str, times: int) -> None:
    """Silent until there were so many of these."""
    for _ in range(1000):
        if len(scene.of(kind)) >= times:
            return
        await scene.quiet(FRAME)
    raise AssertionError(f"no {kind}; came: {scene.types[-12:]}")


def words(text: str) -> list[str]:
    return text.split()


@virtual
async def test_ten_changes_lose_no_word_of_the_callers_and_double_none_of_the_agents() -> None:
    talker, mind = ListeningTalker(), Mind([f"Written answer {n}." for n in range(20)])
    patient = {"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 600}}}}
    async with Scene(ListeningEar([]), mind, s2s=talker, vad=vad, session=patient) as scene:
        said: list[str] = []
        for number in range(10):
            to = "omni" if number % 2 == 0 else "cascaded"
            name = SAID[number % len(SAID)]
            match number % 5:
                case 0 | 1:  # in the middle of what the caller says
                    said.append(await says(scene, name, 0.5, to))
                    await until(scene, "output_audio_buffer.stopped", number + 1)
                case 2 | 3:  # in the middle of the answer
                    said.append(await says(scene, name))
                    await until(scene, "output_audio_buffer.started", number + 1)
                    scene.ours(type="mode", mode=to)
                    await until(scene, "output_audio_buffer.stopped", number + 1)
                case _:  # between two turns
                    said.append(await says(scene, name))
                    await until(scene, "output_audio_buffer.stopped", number + 1)
                    scene.ours(type="mode", mode=to)
            await scene.quiet(0.5)
            assert [told["mode"] for told in scene.told("mode")][number:] == [to]
            assert (scene.ear.open, talker.open) == ((0, 1) if to == "omni" else (1, 0))
        said.append(await says(scene, SAID[0]))
        await until(scene, "output_audio_buffer.stopped", 11)
        history = await scene.history()
        assert words(" ".join(text for role, text in history if role == "user")) == words(" ".join(said))
        answers = [text for role, text in history if role == "assistant"]
        assert len(answers) == len(said)
        assert len(set(answers)) == len(answers)
        scene.ours(type="mode", mode="omni")
        await scene.quiet(0.5)
        assert _said(talker.asked[-1].history) == history
        assert _said(mind.asked[-1].messages) == history[: len(_said(mind.asked[-1].messages))]
        assert (scene.ear.open, scene.mind.open, scene.voice.open, talker.open) == (0, 0, 0, 1)


@virtual
async def test_a_change_between_two_turns_adds_no_silence() -> None:
    async def waited(change: bool) -> float:
        """From the caller's last word to the first sound of the answer, in the cascade."""
        talker = ListeningTalker()
        patient = {"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 600}}}}
        begins: Mode = "omni" if change else "cascaded"
        async with Scene(ListeningEar([]), ["Yes."] * 9, s2s=talker, vad=vad, session=patient, start=begins) as scene:
            await says(scene, SAID[0])
            await until(scene, "output_audio_buffer.stopped", 1)
            if change:
                scene.ours(type="mode", mode="cascaded")
            await says(scene, SAID[1])
            ended = scene.now
            await until(scene, "output_audio_buffer.started", 2)
            assert scene.call.leg.mode == "cascaded"
            return scene.when("output_audio_buffer.started", 1) - ended

    assert await waited(change=True) <= await waited(change=False) + 0.05


def _said(messages: tuple[Message, ...]) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in messages if message.role != "system"]
