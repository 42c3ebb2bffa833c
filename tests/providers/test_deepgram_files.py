"""Deepgram by file (shapes: the vendor's SDK; its answer is held to the SDK's own types)."""

from __future__ import annotations

import io
import wave

import pytest
from deepgram.types.listen_v1response import ListenV1Response

from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Refused, Unauthorized, Unavailable
from gateway.contract.events import Finished, Ready, Usage
from gateway.contract.requests import Commit, TranscribeRequest
from providers.deepgram import Provider
from tests.evidence import rests_on
from tests.fakes.hearing import Hearing
from tests.fakes.routes import (
    KEY,
    RATE,
    UTTERANCES,
    answered,
    closing,
    finals,
    heard,
    pieces,
    route,
    said,
    settings,
    turns,
)
from tests.upstreams import Exchange, Script, Upstream

pytestmark = [pytest.mark.wire, rests_on("deepgram")]
K01, K02 = UTTERANCES[:2]
UPLOAD = TranscribeRequest(RATE, partials=False)


async def listens(exchange: Exchange) -> None:
    """Answers as Deepgram does, with an utterance for each sentence."""
    with wave.open(io.BytesIO(exchange.request.body)) as file:
        pcm = file.readframes(file.getnframes())
        hearing = Hearing(file.getframerate())
    words = [
        {
            "word": each.text.lower(),
            "punctuated_word": each.text,
            "start": each.start,
            "end": each.end,
            "confidence": 1.0,
        }
        for each in hearing.hear(pcm) + hearing.rest()
    ]
    text = " ".join(str(word["punctuated_word"]) for word in words)
    ends = [n for n, word in enumerate(words, 1) if str(word["punctuated_word"])[-1] in ".?!"]
    utterances = [
        {
            "start": words[first]["start"],
            "end": words[last - 1]["end"],
            "confidence": 1.0,
            "channel": 0,
            "transcript": " ".join(str(word["punctuated_word"]) for word in words[first:last]),
            "words": words[first:last],
            "id": "u",
        }
        for first, last in zip([0, *ends], ends)
    ]
    alternative = {"transcript": text, "confidence": 1.0, "words": words}
    body = {
        "metadata": {
            "request_id": "r",
            "sha256": "0",
            "created": "2026-11-26T00:00:00Z",
            "duration": hearing.seconds,
            "channels": 1,
            "models": ["m"],
            "model_info": {},
        },
        "results": {"channels": [{"alternatives": [alternative], "detected_language": "en"}], "utterances": utterances},
    }
    ListenV1Response.model_validate(body)
    await exchange.answer(200, body)


async def test_a_file_is_heard_whole_in_utterances() -> None:
    async with Upstream(listens) as upstream, closing(Provider(settings(upstream.url))) as provider:
        events = await heard(
            provider, "nova-3", *pieces(K01), *pieces(K02), Commit(), *pieces(K01), Commit(), request=UPLOAD
        )
    assert turns(events) == [f"{said(K01)} {said(K02)}", said(K01)]
    assert {final.language for final in finals(events)} == {"en"}
    words = [word for final in finals(events) for word in final.words]
    seconds = sum(piece.seconds for piece in pieces(K01) + pieces(K02))
    assert words[-1].start > seconds
    assert len(finals(events)) >= 3
    assert events[0] == Ready()
    used, last = events[-2:]
    assert isinstance(used, Usage)
    assert used.seconds == pytest.approx(seconds + sum(piece.seconds for piece in pieces(K01)), abs=0.1)
    assert last == Finished()
    first = upstream.received[0]
    assert first.headers["authorization"] == f"Token {KEY.reveal()}"
    assert "detect_language=true" in first.path
    assert "encoding" not in first.path


def fails(status: int, code: str, words: str) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(status, {"err_code": code, "err_msg": words, "request_id": "r"}, {"retry-after": "3"})

    return script


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (401, "Invalid credentials.", Unauthorized),
        (402, "Project does not have enough credits", OutOfQuota),
        (429, "Too many requests.", RateLimited),
        (400, "Bad Request: failed to process audio: corrupt or unsupported data", Refused),
        (400, "Bad Request: No such model/language/tier combination found.", Unavailable),
        (500, "Internal", Unavailable),
    ],
)
async def test_what_deepgram_refuses_is_the_right_error(status: int, words: str, kind: type[ProviderError]) -> None:
    script = fails(status, "CODE", words)
    async with (
        Upstream(script, script) as sick,
        Upstream(listens) as well,
        closing(Provider(settings(sick.url))) as one,
        closing(Provider(settings(well.url))) as two,
    ):
        with pytest.raises(kind) as error:
            await heard(one, "nova-3", *pieces(K01), Commit(), request=UPLOAD)
        assert type(error.value) is kind
        assert (error.value.status, error.value.code) == (status, "CODE")
        assert error.value.retry_after == (3.0 if status == 429 else None)
        assert error.value.detail == (words if kind is Refused else None)
        if kind is not Refused:
            events = await answered(route("stt", "nova-3", one, two), UPLOAD, *pieces(K01), Commit())
            assert turns(events) == [said(K01)]
