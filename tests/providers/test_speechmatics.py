"""What is Speechmatics' own, against its fake: shapes from SDK and documentation, never recorded."""

from __future__ import annotations

import orjson
import pytest

from gateway.contract.errors import Refused
from gateway.contract.events import Ready, SpeechStarted, Transcript
from gateway.contract.provider import Settings
from gateway.contract.requests import Commit, TranscribeRequest
from providers._speechmatics_stt import Hearing
from providers.speechmatics import Provider
from tests.evidence import rests_on
from tests.fakes.base import Behaviour
from tests.fakes.routes import KEY, RATE, UTTERANCES, closing, finals, heard, pieces, said, settings, text_of
from tests.fakes.speechmatics import Speechmatics

pytestmark = [pytest.mark.wire, rests_on("speechmatics")]
K01, K02 = UTTERANCES[:2]


async def test_what_is_asked_for_is_in_the_configuration() -> None:
    upstream = Speechmatics()
    async with upstream.running() as url, closing(Provider(settings(url, max_delay=700))) as provider:
        request = TranscribeRequest(8_000, "zh-CN", diarize=True, keywords=("Trunkline",), turns="server")
        await heard(provider, "standard", Commit(), request=request)
        await heard(provider, "melia-1", Commit(), request=TranscribeRequest(RATE, "hi-IN", partials=False))
        await heard(provider, "melia-1", Commit())
    first, second, third = (each.said[0]["transcription_config"] for each in upstream.sessions)
    assert first == {
        "model": "standard",
        "language": "cmn",
        "enable_partials": True,
        "max_delay": 0.7,
        "conversation_config": {"end_of_utterance_silence_trigger": 0.5},
        "diarization": "speaker",
        "additional_vocab": [{"content": "Trunkline"}],
    }
    assert (second["language"], second["language_hints"], second["max_delay"]) == ("multi", ["hi"], 4.0)
    assert (third["language"], "language_hints" in third) == ("multi", False)
    assert upstream.sessions[0].said[0]["audio_format"]["sample_rate"] == 8_000


async def test_sound_waits_until_recognition_has_started_and_is_counted() -> None:
    upstream = Speechmatics(Behaviour(0.05))
    async with upstream.running() as url, closing(Provider(settings(url))) as provider:
        events = await heard(provider, "enhanced", *pieces(K02), Commit())
    assert text_of(events) == said(K02)
    (session,) = upstream.sessions
    assert isinstance(session.frames[0], str)
    assert session.said[-1] == {"message": "EndOfStream", "last_seq_no": len(pieces(K02))}


async def test_words_are_final_as_they_come_and_no_mark_is_a_word() -> None:
    async with Speechmatics().running() as url, closing(Provider(settings(url))) as provider:
        events = await heard(provider, "enhanced", *pieces(K01), Commit())
    told = finals(events)
    assert len(told) > 2
    assert [final.ends_turn for final in told] == [False] * (len(told) - 1) + [True]
    assert not any(final.text.startswith((".", ",", "?")) for final in told)
    assert {final.language for final in told} == {"en"}


async def test_where_speech_begins_is_told_where_speechmatics_ends_turns() -> None:
    async with Speechmatics().running() as url, closing(Provider(settings(url))) as provider:
        request = TranscribeRequest(RATE, turns="server")
        events = await heard(provider, "enhanced", *pieces(K01, quiet=1.2), *pieces(K02), request=request)
    began = [event.at for event in events if isinstance(event, SpeechStarted)]
    ends = [final.words[0].start for final in finals(events) if final.words]
    assert len(began) == 2
    assert set(began) <= set(ends)


async def test_sound_that_cannot_be_decoded_is_refused() -> None:
    async with Speechmatics(Behaviour(trouble="bad-audio")).running() as url:
        async with closing(Provider(settings(url))) as provider:
            with pytest.raises(Refused) as error:
                await heard(provider, "enhanced", *pieces(K02), Commit())
    assert KEY.reveal() not in f"{error.value!r} {error.value.detail}"


def result(content: str, start: float, speaker: str | None = None, **more: str) -> dict[str, object]:
    alternative = {"content": content, "confidence": 1.0, "language": "ja", "speaker": speaker}
    return {"type": "word", "start_time": start, "end_time": start + 0.2, "alternatives": [alternative], **more}


def frame(kind: str, **fields: object) -> str:
    return orjson.dumps({"message": kind, **fields}).decode()


def test_languages_without_spaces_have_none_and_speakers_are_told_apart() -> None:
    codec = Hearing("acme", {}, TranscribeRequest(RATE, diarize=True))
    assert list(codec.hear(frame("RecognitionStarted", language_pack_info={"word_delimiter": ""}))) == [Ready()]
    words = [result("今日", 0.0, "S1"), result("は", 0.2, "S1"), result("はい", 0.4, "S2")]
    told = list(codec.hear(frame("AddTranscript", results=words)))
    mark = result("。", 0.6, "S2", attaches_to="previous")
    told += codec.hear(frame("AddTranscript", results=[mark]))
    told += codec.hear(frame("EndOfUtterance", metadata={"end_time": 0.6}))
    texts = [(event.text, event.speaker) for event in told if isinstance(event, Transcript)]
    assert texts == [("今日は", "S1"), ("はい。", "S2")]


@pytest.mark.parametrize("options", [{"max_delay": 500}, {"max_delay": 5000}, {"endpointing": 1000}])
def test_options_that_speechmatics_would_refuse_are_refused_here(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="max_delay"):
        Provider(Settings("acme", None, KEY, options))
