"""Soniox, against its fake. The shapes rest on the vendor's SDK and documentation: nothing of it was recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise

import pytest

from gateway.contract.audio import Audio
from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Refused, Unauthorized, Unavailable
from gateway.contract.events import (
    AudioDelta,
    Finished,
    Flushed,
    ProviderEvent,
    Ready,
    SpeechStarted,
    Transcript,
    Usage,
)
from gateway.contract.provider import Secret, Settings
from gateway.contract.requests import Cancel, Clear, Commit, Input, SpeakRequest, TranscribeRequest
from providers.soniox import Provider
from tests.conformance.speech import pieces, recorded, words
from tests.evidence import rests_on
from tests.fakes.base import Behaviour
from tests.fakes.soniox import Soniox
from tests.providers.speech_routes import asked, calling, channel, engine, every, said, say, sound, turns

pytestmark = [pytest.mark.wire, rests_on("soniox")]
HEAR = TranscribeRequest(16_000)
ONE, TWO = "k01_kokoro_af_heart", "k02_kokoro_am_michael"


@asynccontextmanager
async def soniox(how: Behaviour | None = None) -> AsyncIterator[tuple[Provider, Soniox]]:
    fake = Soniox(how)
    async with fake.running() as url:
        provider = Provider(Settings("soniox", url, Secret("key-of-soniox")))
        try:
            yield provider, fake
        finally:
            await provider.aclose()
        await fake.until_left()


async def test_a_turn_is_partials_and_one_final_with_its_words_in_seconds() -> None:
    async with soniox() as (provider, fake):
        events = await every(provider.transcribe("stt-rt-v5", HEAR, channel(*pieces(recorded()), Commit()).reader()))
    assert isinstance(events[0], Ready)
    partials = [event.text for event in events if isinstance(event, Transcript) and not event.final]
    assert len(partials) > 3
    assert all(later.startswith(sooner.rpartition(" ")[0]) for sooner, later in pairwise(partials))
    (final,) = [event for event in events if isinstance(event, Transcript) and event.final]
    assert (final.text.split(), final.ends_turn, final.language) == (words(), True, "en")
    assert [word.text for word in final.words] == words()
    assert all(a.end <= b.start + 0.01 and a.start < a.end for a, b in pairwise(final.words))
    assert isinstance(events[-1], Finished)
    (usage,) = [event for event in events if isinstance(event, Usage)]
    assert usage.seconds == pytest.approx(recorded().seconds, abs=0.1)
    (session,) = fake.sessions
    assert session.headers["authorization"] == "Bearer key-of-soniox"
    assert session.said[0] == {
        "model": "stt-rt-v5",
        "audio_format": "pcm_s16le",
        "sample_rate": 16_000,
        "num_channels": 1,
        "enable_language_identification": True,
        "enable_endpoint_detection": False,
    }
    assert session.frames[-1] == ""


async def test_what_a_request_asks_for_is_in_the_configuration() -> None:
    request = TranscribeRequest(
        8_000, "hi-IN", "a bank", False, diarize=True, translate=True, keywords=("Sarvam", "UPI"), turns="server"
    )
    async with soniox() as (provider, fake):
        await every(provider.transcribe("m", request, channel().reader()))
    config = fake.sessions[0].said[0]
    assert (config["sample_rate"], config["language_hints"], config["enable_speaker_diarization"]) == (
        8000,
        ["hi"],
        True,
    )
    assert config["translation"] == {"type": "one_way", "target_language": "en"}
    assert config["context"] == {"text": "a bank", "terms": ["Sarvam", "UPI"]}
    assert config["enable_endpoint_detection"]


async def test_every_commit_is_answered_once_and_what_was_cleared_is_not_heard() -> None:
    one, two = pieces(recorded(ONE)), pieces(recorded(TWO))
    inputs = channel(Commit(), *one, Clear(), Commit(), *two, Commit(), Commit(), *one, Commit())
    async with soniox(Behaviour(latency=0.02)) as (provider, _):
        events = await every(provider.transcribe("m", HEAR, inputs.reader()))
    assert [text.split() for text in turns(events)] == [[], [], words(TWO), [], words(ONE)]
    assert said(events) == [*words(TWO), *words(ONE)]
    heard = " ".join(event.text for event in events if isinstance(event, Transcript))
    assert words(ONE)[0] not in heard.split(words(TWO)[0])[0]


async def test_the_provider_ends_turns_where_it_is_asked_to() -> None:
    audio = [*pieces(recorded(ONE, 1.2)), *pieces(recorded(TWO, 1.2))]
    async with soniox() as (provider, _):
        request = TranscribeRequest(16_000, turns="server")
        events = await every(provider.transcribe("m", request, channel(*audio).reader()))
    assert [text.split() for text in turns(events)] == [words(ONE), words(TWO)]
    started = [event.at for event in events if isinstance(event, SpeechStarted)]
    assert len(started) == 2
    assert started[1] is not None
    assert 0.0 < started[1] - recorded(ONE, 1.2).seconds < 1.0


async def test_an_upload_is_segments_with_their_speakers_and_one_end() -> None:
    audio: list[Input] = [*pieces(recorded(ONE, 1.2)), *pieces(recorded(TWO, 1.2)), Commit()]
    async with soniox() as (provider, _):
        request = TranscribeRequest(16_000, partials=False, diarize=True)
        events = await every(provider.transcribe("m", request, channel(*audio).reader()))
    finals = [event for event in events if isinstance(event, Transcript)]
    assert all(event.final for event in finals)
    assert [event.text.split() for event in finals if event.text] == [words(ONE), words(TWO)]
    assert {event.speaker for event in finals if event.text} == {"1"}
    assert [event.ends_turn for event in finals] == [False] * (len(finals) - 1) + [True]


ERRORS = [
    ("unauthorized", Unauthorized, 401),
    ("no-quota", OutOfQuota, 402),
    ("rate-limited", RateLimited, 429),
    ("concurrency", RateLimited, 429),
    ("bad-model", Unavailable, 400),
    ("server-error", Unavailable, 500),
]
failing = pytest.mark.parametrize(("trouble", "kind", "status"), ERRORS)


@failing
async def test_each_signal_is_its_error_and_a_route_with_another_target_never_shows_it(
    trouble: str, kind: type[ProviderError], status: int
) -> None:
    async with soniox(Behaviour(trouble=trouble)) as (bad, _), soniox() as (good, _):
        text: list[Input] = ["Hello there.", Commit()]
        with pytest.raises(kind) as error:
            await every(bad.speak("tts-rt-v1", SpeakRequest(), channel(*text).reader()))
        assert (error.value.status, error.value.provider) == (status, "soniox")
        events, who = await asked(engine("tts", {"bad": bad, "good": good}, "tts-rt-v1"), SpeakRequest(), *text)
        assert (who, bool(sound(events))) == ("good", True)
        with pytest.raises(kind) as error:
            await every(bad.transcribe("stt-rt-v5", HEAR, channel(*pieces(recorded()), Commit()).reader()))
        assert (error.value.status, error.value.provider) == (status, "soniox")
        items: list[Input] = [*pieces(recorded()), Commit()]
        events, who = await asked(engine("stt", {"bad": bad, "good": good}, "stt-rt-v5"), HEAR, *items)
        assert (who, said(events)) == ("good", words())


async def test_audio_that_cannot_be_decoded_is_refused_without_its_words() -> None:
    async with soniox(Behaviour(trouble="bad-audio")) as (provider, _):
        with pytest.raises(Refused) as error:
            await every(provider.transcribe("m", HEAR, channel(Audio(b"\1\0" * 16_000, 16_000), Commit()).reader()))
    assert "key-of-soniox" not in f"{error.value.detail} {error.value}"


@pytest.mark.parametrize("trouble", [None, "restart"])
async def test_killing_the_socket_in_mid_utterance_loses_and_doubles_no_word(trouble: str | None) -> None:
    how = Behaviour(trouble=trouble, times=1, drop_after=None if trouble else 2.0)
    async with soniox(how) as (first, fake), soniox() as (second, _):
        async with calling(engine("stt", {"first": first, "second": second}, "m")) as (transcriber, listener):
            await say(transcriber, pieces(recorded(ONE)))
            await listener.heard.wait()
            listener.heard.clear()
            await say(transcriber, pieces(recorded(TWO)))
            await listener.heard.wait()
        assert [text.split() for text in listener.texts] == [words(ONE), words(TWO)]
        assert fake.sessions[0].over
        # "restart" comes before it is ready; a stream that fails later is followed by the next target's.
        assert listener.served == (["second"] if trouble else ["first", "second"])


async def test_a_socket_lost_in_a_later_turn_is_followed_by_another_of_the_same() -> None:
    one, two = pieces(recorded(ONE)), pieces(recorded(TWO))
    async with soniox(Behaviour(times=1, drop_after=recorded(ONE).seconds + 1.5)) as (provider, fake):
        inputs = channel(*one, Commit(), closed=False)
        heard: list[ProviderEvent] = []
        async with aclosing(provider.transcribe("m", HEAR, inputs.reader())) as events:
            async for event in events:
                heard.append(event)
                if turns(heard) and not inputs.closed:
                    later: list[Input] = [*two, Commit()]
                    for item in later:
                        inputs.put(item)
                    inputs.close()
    assert said(heard) == [*words(ONE), *words(TWO)]
    assert len(fake.sessions) == 2
    finals = [event for event in heard if isinstance(event, Transcript) and event.final]
    assert finals[1].words[0].start > recorded(ONE).seconds
    (usage,) = [event for event in heard if isinstance(event, Usage)]
    assert usage.seconds == pytest.approx(recorded(ONE).seconds + recorded(TWO).seconds, abs=0.2)


async def test_a_clause_is_spoken_and_flushed_with_word_times_from_the_start() -> None:
    async with soniox() as (provider, fake):
        inputs = channel("Is anybody ", "there?", Commit(), "This takes some time.", Commit())
        events = await every(
            provider.speak("tts-rt-v1", SpeakRequest(voice="Maya", speed=1.2, language="ta-IN"), inputs.reader())
        )
    spoken = [event for event in events if isinstance(event, AudioDelta)]
    assert {event.audio.rate for event in spoken} == {24_000}
    told = [word for event in spoken for word in event.words]
    assert [word.text for word in told] == ["Is", "anybody", "there?", "This", "takes", "some", "time."]
    assert all(a.end <= b.start + 1e-6 for a, b in pairwise(told))
    seconds = len(sound(events)) / 48_000
    assert told[-1].end == pytest.approx(seconds, abs=0.1)
    assert [type(event) for event in events if not isinstance(event, AudioDelta)] == [Flushed, Flushed, Usage, Finished]
    (usage,) = [event for event in events if isinstance(event, Usage)]
    assert usage.seconds == pytest.approx(seconds)
    assert usage.characters == len("Is anybody there?This takes some time.")
    config = fake.sessions[0].said[0]
    assert {name: config[name] for name in ("language", "voice", "speed", "audio_format", "sample_rate")} == {
        "language": "ta",
        "voice": "Maya",
        "speed": 1.2,
        "audio_format": "pcm_s16le",
        "sample_rate": 24_000,
    }


async def test_what_cannot_be_spoken_is_flushed_in_its_order_and_no_error() -> None:
    async with soniox(Behaviour(latency=0.02)) as (provider, _):
        inputs = channel(Commit(), "...", Commit(), "Hello.", Commit(), "?!", Commit(), "Bye.", Commit(), Commit())
        events = await every(provider.speak("m", SpeakRequest(), inputs.reader()))
    order = "".join(
        "F" if isinstance(event, Flushed) else "a" if isinstance(event, AudioDelta) else "" for event in events
    )
    assert order == "FFaFFaFF"


async def test_cancelled_clauses_are_flushed_and_no_more_is_heard_of_them() -> None:
    async with soniox(Behaviour(trouble="endless", times=1)) as (provider, fake):
        inputs = channel("Endless.", Commit(), "Never said.", Commit(), "Nor this", closed=False)
        async with aclosing(provider.speak("m", SpeakRequest(), inputs.reader())) as events:
            assert isinstance(await anext(events), AudioDelta)
            inputs.put(Cancel())
            flushed = 0
            while flushed < 2:
                flushed += isinstance(await anext(events), Flushed)
            inputs.close()
            assert [type(event) async for event in events] == [Usage, Finished]
        cancelled = [message["stream_id"] for message in fake.sessions[0].said if message.get("cancel")]
    assert cancelled == ["s0", "s1"]


async def test_a_second_answer_pays_no_handshake_and_a_broken_one_leaves_none_behind() -> None:
    async with soniox() as (provider, fake):
        for _ in range(3):
            await every(provider.speak("m", SpeakRequest(), channel("Hello.", Commit()).reader()))
        busy = [session for session in fake.sessions if session.frames]
        assert len(fake.sessions) <= 2
        async with aclosing(
            provider.speak("m", SpeakRequest(), channel("Hello you there.", closed=False).reader())
        ) as events:
            fake.behaviour = Behaviour(trouble="silent")
            await events.aclose()
        assert busy


async def test_audio_that_is_none_counts_as_a_failure() -> None:
    async with soniox(Behaviour(trouble="garbage")) as (provider, _):
        with pytest.raises(Unavailable):
            await every(provider.speak("m", SpeakRequest(), channel("Hello.", Commit()).reader()))


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (TranscribeRequest(16_000, "mai-IN"), "it does not know the language 'mai-IN'"),
        (SpeakRequest(language="xx"), "it does not know the language 'xx'"),
        (SpeakRequest(speed=2.0), "it speaks at 0.7 to 1.3 of its speed"),
    ],
)
def test_what_it_cannot_do_is_said_before_it_is_asked(request_: TranscribeRequest | SpeakRequest, why: str) -> None:
    provider = Provider(Settings("soniox", None, Secret("k")))
    assert (provider.cannot("m", request_) or "").startswith(why)
    assert provider.cannot("m", TranscribeRequest(16_000, "hi-IN")) is None
    assert Provider(Settings("soniox")).asleep("m") == "its row has no key"
