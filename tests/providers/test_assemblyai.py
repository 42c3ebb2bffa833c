"""What is AssemblyAI's own, against its fake: shapes from SDK and documentation, never recorded."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from gateway.contract.errors import Unavailable
from gateway.contract.events import Transcript
from gateway.contract.requests import Commit, TranscribeRequest
from providers import _assemblyai_stt, assemblyai
from tests.evidence import rests_on
from tests.fakes import assemblyai as fake
from tests.fakes.assemblyai import AssemblyAI
from tests.fakes.base import Behaviour
from tests.fakes.routes import KEY, RATE, UTTERANCES, closing, finals, heard, pieces, said, settings, text_of

pytestmark = [pytest.mark.wire, rests_on("assemblyai")]
K02 = UTTERANCES[1]


async def test_what_is_asked_for_is_in_the_address() -> None:
    upstream = AssemblyAI()
    request = TranscribeRequest(RATE, "es-MX", "a bank", diarize=True, keywords=("Trunkline", "x" * 51))
    async with upstream.running() as url:
        async with closing(assemblyai.Provider(settings(url, listening={"vad_threshold": "0.6"}))) as provider:
            await heard(provider, "u3-rt-pro", Commit(), request=request)
            await heard(
                provider, "universal-streaming-english", Commit(), request=TranscribeRequest(RATE, turns="server")
            )
    first, second = (session.query for session in upstream.sessions)
    assert first == {
        "sample_rate": "16000",
        "encoding": "pcm_s16le",
        "speech_model": "u3-rt-pro",
        "format_turns": "true",
        "min_turn_silence": "5000",
        "max_turn_silence": "5000",
        "language_detection": "true",
        "language_codes": '["es"]',
        "speaker_labels": "true",
        "keyterms_prompt": '["Trunkline"]',
        "prompt": "a bank",
        "vad_threshold": "0.6",
    }
    assert set(second) == {"sample_rate", "encoding", "speech_model", "format_turns", "vad_threshold"}
    assert upstream.sessions[0].headers["authorization"] == KEY.reveal()


@pytest.mark.parametrize(("options", "trouble"), [({"format": False}, None), ({}, "plain")])
async def test_a_turn_is_told_once_in_the_form_that_comes(
    options: dict[str, object], trouble: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_assemblyai_stt, "FORMATTING", 0.02)
    async with AssemblyAI(Behaviour(trouble=trouble)).running() as url:
        async with closing(assemblyai.Provider(settings(url, **options))) as provider:
            events = await heard(provider, "universal-streaming-english", *pieces(K02), Commit())
    plain = " ".join(word.lower().strip(".,?!") for word in said(K02).split())
    assert [(final.text, final.ends_turn) for final in finals(events)] == [(plain, True)]


async def test_a_commit_that_is_not_answered_is_over_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_assemblyai_stt, "PATIENCE", 0.02)
    async with AssemblyAI().running() as url:
        async with closing(assemblyai.Provider(settings(url))) as provider:
            silence = [piece for piece in pieces(K02, quiet=2.0) if not piece.pcm.strip(b"\0")]
            events = await heard(provider, "universal-streaming-english", *silence, Commit(), *pieces(K02), Commit())
    assert [final.text for final in finals(events)] == ["", said(K02)]


async def test_sound_goes_no_faster_than_real_time_but_for_a_little_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "AHEAD", 3.6)
    async with AssemblyAI().running() as url:
        async with closing(assemblyai.Provider(settings(url))) as provider:
            monkeypatch.setattr(assemblyai, "AHEAD", 100.0)
            with pytest.raises(Unavailable) as error:
                await heard(provider, "m", *pieces(K02), Commit())
            assert error.value.status == 3007
            monkeypatch.setattr(assemblyai, "AHEAD", 3.5)
            began = asyncio.get_running_loop().time()
            assert text_of(await heard(provider, "m", *pieces(K02), Commit())) == said(K02)
            took = asyncio.get_running_loop().time() - began
    seconds = sum(piece.seconds for piece in pieces(K02))
    assert seconds - 3.6 <= took < seconds - 3.0


async def test_frames_are_as_long_as_they_may_be() -> None:
    upstream = AssemblyAI()
    async with upstream.running() as url, closing(assemblyai.Provider(settings(url))) as provider:
        await heard(provider, "m", *pieces(K02, 0.013), Commit())
        await heard(provider, "m", *pieces(K02, 2.7), Commit())
    sizes = [len(frame) / 2 / RATE for each in upstream.sessions for frame in each.frames if isinstance(frame, bytes)]
    assert min(sizes) >= 0.05
    assert max(sizes) <= 1.0


def test_times_are_seconds_of_what_was_put_and_not_of_the_silence_that_fills_a_frame() -> None:
    codec = _assemblyai_stt.Hearing("acme", TranscribeRequest(RATE, diarize=True), False)
    (piece, *_) = pieces(K02, 0.12)
    assert sum(len(frame) for _ in range(2) for frame in codec.put(piece)) == 2 * len(piece.pcm)
    (short, *_) = pieces(K02, 0.02)
    assert list(codec.put(short)) == []
    (frame, force) = codec.put(Commit())
    assert (len(frame), force) == (1600, _assemblyai_stt.FORCE)
    words = [{"text": "hello", "start": 400, "end": 500, "confidence": 1.0, "word_is_final": True}]
    turn = {"turn_order": 0, "turn_is_formatted": False, "end_of_turn": True, "transcript": "hello", "words": words}
    (_, final) = codec.hear(
        orjson.dumps({**turn, "language_code": "en", "speaker_label": "B", "type": "Turn"}).decode()
    )
    assert isinstance(final, Transcript)
    assert [final.words[0].start, final.words[0].end] == pytest.approx([0.37, 0.47])
    assert (final.text, final.language, final.speaker) == ("hello", "en", "B")


def test_a_formatted_text_that_comes_too_late_is_not_told_again() -> None:
    codec = _assemblyai_stt.Hearing("acme", TranscribeRequest(RATE), True)
    words = [{"text": "hello", "start": 400, "end": 500, "confidence": 1.0, "word_is_final": True}]
    plain = {"turn_order": 0, "turn_is_formatted": False, "end_of_turn": True, "transcript": "hello", "words": words}
    assert list(codec.hear(orjson.dumps({**plain, "type": "Turn"}).decode())) == []
    (told,) = codec.late()
    assert isinstance(told, Transcript)
    assert told.text == "hello"
    late = {**plain, "turn_is_formatted": True, "transcript": "Hello.", "type": "Turn"}
    assert list(codec.hear(orjson.dumps(late).decode())) == []
