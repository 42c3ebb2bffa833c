"""A call whose caller is heard in some language: who speaks it answers. In virtual time."""

from __future__ import annotations

from typing import Any

from tests.calls.scene import Ear, Scene, Voice
from tests.virtual_time import virtual


def multilingual(*languages: str) -> Ear:
    ear = Ear(["good morning to all of you", "how are you doing today", "yes", "well, then good bye"])
    ear.languages = list(languages)
    return ear


async def turns(scene: Scene, count: int) -> list[str]:
    """Which voice spoke each answer."""
    for _ in range(count):
        await scene.speak(0.5)
        await scene.until("output_audio_buffer.stopped")
    return list({told["turn"]["id"]: told["turn"]["targets"]["tts"] for told in scene.told("turn")}.values())


@virtual
async def test_the_language_the_caller_was_heard_in_chooses_the_voice() -> None:
    languages = {"voice": ("en",), "spare0": ("hi", "ta")}
    ear = multilingual("en-IN", "hi", "en", "en")
    async with Scene(ear, ["One.", "Two.", "Three.", "Four."], spare=[Voice()], languages=languages) as scene:
        # A single word tells nothing.
        assert await turns(scene, 4) == ["voice/one", "spare0/two", "spare0/two", "voice/one"]


@virtual
async def test_a_language_that_no_voice_speaks_is_answered_all_the_same() -> None:
    async with Scene(multilingual("fr"), ["One."], languages={"voice": ("en",)}) as scene:
        assert await turns(scene, 1) == ["voice/one"]


@virtual
async def test_where_the_ears_tell_nothing_any_voice_will_do() -> None:
    languages = {"voice": ("en",), "spare0": ("hi",)}
    async with Scene(multilingual(), ["One."], spare=[Voice()], languages=languages) as scene:
        assert await turns(scene, 1) == ["voice/one"]


def said_to_be(language: str) -> dict[str, Any]:
    transcription = {"model": "whisper-1", "language": language}
    return {"type": "realtime", "audio": {"input": {"transcription": transcription}}}


@virtual
async def test_the_language_that_the_session_names_is_the_one_that_is_listened_for() -> None:
    async with Scene(["hello"], ["One."], session=said_to_be("hi"), languages={"ear": ("en", "hi")}) as scene:
        await turns(scene, 1)
        assert [asked.language for asked in scene.ear.asked] == ["hi"]


@virtual
async def test_one_that_nobody_hears_is_not_asked_for() -> None:
    async with Scene(["hello"], ["One."], session=said_to_be("ta"), languages={"ear": ("en", "hi")}) as scene:
        assert await turns(scene, 1) == ["voice/one"]
        assert [asked.language for asked in scene.ear.asked] == [None]
