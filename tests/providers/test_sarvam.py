"""Sarvam, against its fake. The shapes rest on the vendor's SDK and a third party's probes: nothing of it was recorded."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import numpy as np
import pytest

from gateway.contract.audio import Audio
from gateway.contract.channel import Channel
from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Refused, Unauthorized, Unavailable
from gateway.contract.events import (
    AudioDelta,
    Finished,
    Flushed,
    ProviderEvent,
    Ready,
    SpeechEnded,
    SpeechStarted,
    Transcript,
    Usage,
)
from gateway.contract.provider import Secret, Settings
from gateway.contract.requests import Cancel, Clear, Commit, Input, SpeakRequest, TranscribeRequest
from providers.sarvam import Provider
from tests.conformance.speech import pieces, recorded, words
from tests.evidence import rests_on
from tests.fakes.base import Behaviour
from tests.fakes.sarvam import Sarvam
from tests.providers.speech_routes import asked, calling, channel, engine, every, said, say, sound, turns

pytestmark = [pytest.mark.wire, rests_on("sarvam")]
HEAR = TranscribeRequest(16_000)
UPLOAD = TranscribeRequest(16_000, partials=False)
ONE, TWO = "k01_kokoro_af_heart", "k02_kokoro_am_michael"
REALTIME, OLDER = "saaras:v3-realtime", "saaras:v3"
both = pytest.mark.parametrize("model", [REALTIME, OLDER])


@asynccontextmanager
async def sarvam(how: Behaviour | None = None, **options: object) -> AsyncIterator[tuple[Provider, Sarvam]]:
    fake = Sarvam(how)
    async with fake.running() as url:
        provider = Provider(Settings("sarvam", url, Secret("key-of-sarvam"), options))
        try:
            yield provider, fake
        finally:
            await provider.aclose()
        await fake.until_left()


async def test_a_turn_is_partials_and_one_final_in_the_language_it_found() -> None:
    async with sarvam() as (provider, fake):
        events = await every(provider.transcribe(REALTIME, HEAR, channel(*pieces(recorded()), Commit()).reader()))
    assert isinstance(events[0], Ready)
    partials = [event.text for event in events if isinstance(event, Transcript) and not event.final]
    assert len(partials) > 3
    (final,) = [event for event in events if isinstance(event, Transcript) and event.final]
    assert (final.text.split(), final.ends_turn, final.language) == (words(), True, "en-IN")
    assert isinstance(events[-1], Finished)
    (usage,) = [event for event in events if isinstance(event, Usage)]
    assert usage.seconds == pytest.approx(recorded().seconds, abs=0.1)
    (session,) = fake.sessions
    assert session.path == "/speech-to-text-realtime/ws"
    assert session.headers["api-subscription-key"] == "key-of-sarvam"
    assert session.query == {
        "language_code": "auto",
        "model": REALTIME,
        "stream_type": "balanced",
        "mode": "transcribe",
        "endpointing": "manual",
        "encoding": "linear16",
        "sample_rate": "16000",
        "return_timestamps": "true",
    }
    said_to_it = [message["event"] for message in session.said]
    assert [said_to_it[0], *said_to_it[-2:]] == ["speech_start", "speech_end", "end"]


@pytest.mark.parametrize(
    ("language", "realtime", "older", "speaks"),
    [("or-IN", "or-IN", "od-IN", "od-IN"), ("od", "or-IN", "od-IN", "od-IN"), ("hi", "hi-IN", "hi-IN", "hi-IN")],
)
async def test_odia_is_spelled_as_each_endpoint_spells_it(
    language: str, realtime: str, older: str, speaks: str
) -> None:
    async with sarvam() as (provider, fake):
        for model in (REALTIME, OLDER):
            await every(provider.transcribe(model, TranscribeRequest(16_000, language), channel().reader()))
        request = SpeakRequest(language=language)
        await every(provider.speak("bulbul:v3", request, channel("Hello.", Commit()).reader()))
        await every(provider.transcribe(OLDER, TranscribeRequest(16_000, language, partials=False), _upload().reader()))
    assert fake.sessions[0].query["language_code"] == realtime
    assert fake.sessions[1].query["language-code"] == older
    assert fake.sessions[2].said[0]["data"]["language_code"] == speaks
    assert fake.posted[0].form["language_code"].decode() == older


def _upload(name: str = TWO) -> Channel[Input]:
    return channel(*pieces(recorded(name)), Commit())


async def test_what_a_request_asks_for_is_in_the_address() -> None:
    request = TranscribeRequest(8_000, "ta-IN", "a bank", translate=True, keywords=("UPI", "Sarvam"))
    async with sarvam(stream_type="fast", mode="codemix") as (provider, fake):
        await every(provider.transcribe("saaras:v4", request, channel().reader()))
        await every(provider.transcribe("saaras:v4", TranscribeRequest(16_000, turns="server"), channel().reader()))
    query = fake.sessions[0].query
    assert (query["mode"], query["prompt"], query["sample_rate"]) == ("translate", "a bank", "8000")
    assert (query["keyterms"], query["stream_type"]) == ('["UPI","Sarvam"]', "fast")
    assert (fake.sessions[1].query["mode"], fake.sessions[1].query["endpointing"]) == ("codemix", "vad")


@both
async def test_every_commit_is_answered_once_and_what_was_cleared_is_not_heard(model: str) -> None:
    one, two = pieces(recorded(ONE, 0.3)), pieces(recorded(TWO, 0.3))
    inputs = channel(Commit(), *one, Clear(), Commit(), *two, Commit(), Commit(), *one, Commit())
    async with sarvam(Behaviour(latency=0.02)) as (provider, _):
        events = await every(provider.transcribe(model, HEAR, inputs.reader()))
    assert [text.split() for text in turns(events)] == [[], [], words(TWO), [], words(ONE)]
    assert said(events) == [*words(TWO), *words(ONE)]


@both
async def test_a_turn_in_which_nothing_was_said_is_answered_all_the_same(model: str) -> None:
    async with sarvam() as (provider, _):
        inputs = channel(Audio.silence(0.5, 16_000), Commit(), closed=False)
        async with aclosing(provider.transcribe(model, HEAR, inputs.reader())) as events:
            found = [event async for event in _until_turn(events)]
            assert turns(found) == [""]


async def _until_turn(events: AsyncIterator[object]) -> AsyncIterator[Transcript]:
    async for event in events:
        if isinstance(event, Transcript):
            yield event
            if event.ends_turn:
                return


@both
async def test_the_provider_ends_turns_where_it_is_asked_to(model: str) -> None:
    audio = [*pieces(recorded(ONE, 1.2)), *pieces(recorded(TWO, 1.2))]
    async with sarvam() as (provider, _):
        request = TranscribeRequest(16_000, turns="server")
        events = await every(provider.transcribe(model, request, channel(*audio).reader()))
    assert [text.split() for text in turns(events) if text] == [words(ONE), words(TWO)]
    order = [
        type(event) for event in events if isinstance(event, SpeechStarted | SpeechEnded) or event in _ends(events)
    ]
    assert order[:6] == [SpeechStarted, SpeechEnded, Transcript] * 2


def _ends(events: Sequence[object]) -> list[object]:
    return [event for event in events if isinstance(event, Transcript) and event.ends_turn]


async def test_sound_at_another_rate_is_sent_at_one_it_takes() -> None:
    seconds = 2.0
    noise = np.random.default_rng(3).normal(0, 4000, round(24_000 * seconds)).astype("<i2").tobytes()
    async with sarvam() as (provider, fake):
        inputs = channel(*pieces(Audio(noise, 24_000)), Commit())
        events = await every(provider.transcribe(REALTIME, TranscribeRequest(24_000), inputs.reader()))
    assert fake.sessions[0].query["sample_rate"] == "16000"
    (usage,) = [event for event in events if isinstance(event, Usage)]
    assert usage.seconds == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize("model", [OLDER, "saaras:v4"])
async def test_a_short_upload_is_one_request_with_the_times_of_its_sentences(model: str) -> None:
    async with sarvam() as (provider, fake):
        events = await every(provider.transcribe(model, UPLOAD, _upload().reader()))
    assert not fake.sessions
    (posted,) = fake.posted
    assert posted.path == "/speech-to-text"
    form = posted.form
    assert (form["model"], form["mode"], form["language_code"]) == (model.encode(), b"transcribe", b"unknown")
    with wave.open(io.BytesIO(form["file"])) as file:
        assert file.getnframes() == recorded().samples
    assert isinstance(events[0], Ready)
    assert said(events) == words()
    assert turns(events) == [""]
    started = [event.at for event in events if isinstance(event, SpeechStarted)]
    assert len(started) == 2
    assert started == sorted(filter(None, started))
    assert [type(event) for event in events[-2:]] == [Usage, Finished]


@pytest.mark.parametrize("model", [OLDER, "saaras:v4"])
async def test_a_long_upload_goes_over_a_socket_in_segments(model: str) -> None:
    gap = Audio.silence(1.0, 16_000)
    parts = [piece for _ in range(5) for name in (ONE, TWO) for piece in (*pieces(recorded(name)), gap)]
    assert sum(part.seconds for part in parts) > 30.0
    async with sarvam() as (provider, fake):
        events = await every(provider.transcribe(model, UPLOAD, channel(*parts, Commit()).reader()))
    assert not fake.posted
    assert said(events) == [*words(ONE), *words(TWO)] * 5
    assert len(turns(events)) == 1


REFUSED = [
    ("unauthorized", Unauthorized, 403),
    ("rate-limited", RateLimited, 429),
    ("no-quota", OutOfQuota, 429),
    ("server-error", Unavailable, 500),
]
LATER = [
    ("quota-later", OutOfQuota, 402),
    ("key-later", Unauthorized, 401),
    ("rate-later", RateLimited, 429),
    ("bad-language", Unavailable, 400),
]


@pytest.mark.parametrize(("trouble", "kind", "status"), [*REFUSED, *LATER])
async def test_each_signal_is_its_error_and_a_route_with_another_target_never_shows_it(
    trouble: str, kind: type[ProviderError], status: int
) -> None:
    items: list[Input] = [*pieces(recorded()), Commit()]
    async with sarvam(Behaviour(trouble=trouble)) as (bad, _), sarvam() as (good, _):
        with pytest.raises(kind) as error:
            await every(bad.transcribe(REALTIME, HEAR, channel(*items).reader()))
        assert (error.value.status, error.value.provider) == (status, "sarvam")
        assert "key-of-sarvam" not in f"{error.value} {error.value.detail} {error.value.code}"
        events, who = await asked(engine("stt", {"bad": bad, "good": good}, REALTIME), HEAR, *items)
        assert (who, said(events)) == ("good", words())


@pytest.mark.parametrize(("trouble", "kind", "status"), REFUSED)
async def test_uploads_and_speech_have_the_same_errors(trouble: str, kind: type[ProviderError], status: int) -> None:
    text: list[Input] = ["Hello there.", Commit()]
    async with sarvam(Behaviour(trouble=trouble)) as (bad, _), sarvam() as (good, _):
        with pytest.raises(kind) as error:
            await every(bad.transcribe(OLDER, UPLOAD, _upload().reader()))
        assert error.value.status == status
        assert error.value.retry_after == (2.0 if trouble == "rate-limited" else None)
        with pytest.raises(kind):
            await every(bad.speak("bulbul:v3", SpeakRequest(), channel(*text).reader()))
        events, who = await asked(engine("tts", {"bad": bad, "good": good}, "bulbul:v3"), SpeakRequest(), *text)
        assert (who, bool(sound(events))) == ("good", True)


@pytest.mark.parametrize("request_", [HEAR, UPLOAD])
@both
async def test_audio_that_cannot_be_read_is_refused_without_its_words(model: str, request_: TranscribeRequest) -> None:
    async with sarvam(Behaviour(trouble="bad-audio")) as (provider, _):
        with pytest.raises(Refused) as error:
            await every(provider.transcribe(model, request_, _upload().reader()))
    assert error.value.detail == "the audio cannot be read"


async def test_a_voice_that_it_does_not_have_is_the_configurations_fault() -> None:
    text: list[Input] = ["Hello.", Commit()]
    async with sarvam() as (provider, _):
        with pytest.raises(Unavailable):
            await every(provider.speak("bulbul:v3", SpeakRequest(voice="nobody"), channel(*text).reader()))


@both
async def test_killing_the_socket_in_mid_utterance_loses_and_doubles_no_word(model: str) -> None:
    how = Behaviour(times=1, drop_after=2.0)
    async with sarvam(how) as (first, fake), sarvam() as (second, _):
        async with calling(engine("stt", {"first": first, "second": second}, model)) as (transcriber, listener):
            await say(transcriber, pieces(recorded(ONE, 0.3)))
            await listener.heard.wait()
            listener.heard.clear()
            await say(transcriber, pieces(recorded(TWO, 0.3)))
            await listener.heard.wait()
        assert [text.split() for text in listener.texts] == [words(ONE), words(TWO)]
        assert fake.sessions[0].over
        assert len(listener.served) == 2


@both
async def test_a_socket_lost_in_a_later_turn_is_followed_by_another_of_the_same(model: str) -> None:
    one, two = pieces(recorded(ONE, 0.3)), pieces(recorded(TWO, 0.3))
    async with sarvam(Behaviour(times=1, drop_after=recorded(ONE, 0.3).seconds + 1.5)) as (provider, fake):
        inputs = channel(*one, Commit(), closed=False)
        heard: list[ProviderEvent] = []
        async with aclosing(provider.transcribe(model, HEAR, inputs.reader())) as events:
            async for event in events:
                heard.append(event)
                if turns(heard) and not inputs.closed:
                    later: list[Input] = [*two, Commit()]
                    for item in later:
                        inputs.put(item)
                    inputs.close()
    assert said(heard) == [*words(ONE), *words(TWO)]
    assert len(fake.sessions) == 2


async def test_clauses_are_spoken_in_their_order_each_with_its_flush() -> None:
    async with sarvam(Behaviour(latency=0.01)) as (provider, fake):
        inputs = channel(
            Commit(), "Is anybody ", "there?", Commit(), "...", Commit(), "This takes time.", Commit(), "Bye."
        )
        request = SpeakRequest(voice="ritu", speed=1.5, language="ta", rate=16_000)
        events = await every(provider.speak("bulbul:v3", request, inputs.reader()))
    order = "".join(
        "F" if isinstance(event, Flushed) else "a" if isinstance(event, AudioDelta) else "." for event in events
    )
    assert order == "FaaaFFaaaFa.."
    assert {event.audio.rate for event in events if isinstance(event, AudioDelta)} == {16_000}
    (usage,) = [event for event in events if isinstance(event, Usage)]
    assert usage.characters == len("Is anybody there?This takes time.Bye.")
    assert usage.seconds == pytest.approx(len(sound(events)) / 32_000)
    session = fake.sessions[0]
    assert session.query == {"model": "bulbul:v3", "send_completion_event": "true"}
    assert session.said[0] == {
        "type": "config",
        "data": {
            "language_code": "ta-IN",
            "speaker": "ritu",
            "speech_sample_rate": 16_000,
            "output_audio_codec": "linear16",
            "pace": 1.5,
        },
    }


async def test_headers_are_stripped_and_other_audio_is_a_failure() -> None:
    text: list[Input] = ["Hello there.", Commit()]
    async with sarvam() as (provider, fake):
        plain = sound(await every(provider.speak("bulbul:v3", SpeakRequest(), channel(*text).reader())))
        for trouble in ("headers", "mp3", "garbage"):
            fake.behaviour = Behaviour(trouble=trouble)
            asked_for = provider.speak("bulbul:v3", SpeakRequest(), channel(*text).reader())
            if trouble == "headers":
                assert sound(await every(asked_for)) == plain
            else:
                with pytest.raises(Unavailable):
                    await every(asked_for)


async def test_leaving_in_mid_clause_closes_the_socket_and_a_spare_stands_ready() -> None:
    async with sarvam(Behaviour(trouble="endless", times=1)) as (provider, fake):
        async with aclosing(
            provider.speak("bulbul:v3", SpeakRequest(), channel("Endless.", Commit(), closed=False).reader())
        ) as events:
            await anext(events)
        await fake.until(lambda: fake.sessions[0].over)
        await fake.until(lambda: fake.open == 1)
        spare = fake.sessions[1]
        assert not spare.frames
        assert sound(await every(provider.speak("bulbul:v3", SpeakRequest(), channel("Hello.", Commit()).reader())))
        assert spare.frames


async def test_after_a_cancel_nothing_of_the_old_clause_is_heard_in_the_next() -> None:
    async with sarvam() as (provider, _):
        inputs = channel("One two three four five six.", Commit(), closed=False)
        async with aclosing(provider.speak("bulbul:v3", SpeakRequest(), inputs.reader())) as events:
            assert isinstance(await anext(events), AudioDelta)
            for item in (Cancel(), "Hello.", Commit()):
                inputs.put(item)
            inputs.close()
            rest = [event async for event in events]
        alone = sound(await every(provider.speak("bulbul:v3", SpeakRequest(), channel("Hello.", Commit()).reader())))
    after = rest[next(at for at, event in enumerate(rest) if isinstance(event, Flushed)) :]
    assert sound(after) == alone
    assert sum(isinstance(event, Flushed) for event in rest) == 2


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (TranscribeRequest(16_000, "fr-FR"), "it does not know the language 'fr-FR'; it knows as-IN, bn-IN"),
        (TranscribeRequest(16_000, diarize=True), "it does not tell speakers apart"),
        (SpeakRequest(language="as-IN"), "it does not know the language 'as-IN'; it knows bn-IN, en-IN"),
        (SpeakRequest(speed=3.0), "it speaks at 0.5 to 2 of its speed"),
    ],
)
def test_what_it_cannot_do_is_said_before_it_is_asked(request_: TranscribeRequest | SpeakRequest, why: str) -> None:
    provider = Provider(Settings("sarvam", None, Secret("k")))
    assert (provider.cannot("m", request_) or "").startswith(why)
    for language in ("hi", "sat-IN", "en-US", "od-IN", None):
        assert provider.cannot("m", TranscribeRequest(16_000, language)) is None
    assert Provider(Settings("sarvam")).asleep("m") == "its row has no key"
