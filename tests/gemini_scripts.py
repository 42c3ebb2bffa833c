"""What an upstream of tests/upstreams.py does with a request: Gemini's generateContent, well and badly spoken.

As tests/upstream_scripts.py, whose texts it says. Shapes: ../shared/recordings/llm/gemini_*, and google-genai's types for what
was never recorded (calls, thoughts, blocks, details of errors).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson

from tests.upstream_scripts import bytes_as_they_are, event, named, text
from tests.upstreams import Exchange, Received, Script

Parts = Sequence[Mapping[str, Any]]


def streams(request: Received) -> bool:
    return ":streamGenerateContent" in request.path


def model(request: Received) -> str:
    return request.path.rpartition("/models/")[2].partition(":")[0]


def chunk(parts: Parts, finish: str | None = None, words: int = 0, **extra: Any) -> dict[str, Any]:
    """A GenerateContentResponse with one candidate, and what was used until now."""
    candidate: dict[str, Any] = {"index": 0}
    if parts:
        candidate["content"] = {"parts": parts, "role": "model"}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": usage(words), **_ENVELOPE, **extra}


def usage(words: int) -> dict[str, Any]:
    details = [{"modality": "TEXT", "tokenCount": 7}]
    return {
        "promptTokenCount": 7,
        "candidatesTokenCount": words,
        "totalTokenCount": 7 + words,
        "promptTokensDetails": details,
    }


def error(code: int, message: str, status: str, *details: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"code": code, "message": message, "status": status}
    return {"error": {**said, "details": details} if details else said}


def reason(word: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": word, "domain": "googleapis.com"}


def quota(*quotas: str) -> dict[str, Any]:
    violations = [{"quotaMetric": "generativelanguage.googleapis.com/requests", "quotaId": each} for each in quotas]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


def retry(delay: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def blocked(why: str, message: str | None = None) -> dict[str, Any]:
    told = {"blockReasonMessage": message} if message else {}
    return {"promptFeedback": {"blockReason": why, **told}, "usageMetadata": {"promptTokenCount": 7}, **_ENVELOPE}


def says(*chunks: Mapping[str, Any], tick: float = 0.0) -> Script:
    """Those chunks; not streaming: their parts together, with the end of the last."""

    async def play(exchange: Exchange) -> None:
        if not streams(exchange.request):
            return await exchange.answer(200, _together(chunks))
        await exchange.head()
        for each in chunks:
            await exchange.send(event(dict(each)))
            await asyncio.sleep(tick)
        await exchange.end()

    return play


def ok(words: int = 20) -> Script:
    said = [chunk([{"text": _word(n)}], "STOP" if n == words else None, n) for n in range(1, words + 1)]
    return says(*said)


def status(code: int, message: str, word: str, *details: Mapping[str, Any]) -> Script:
    async def play(exchange: Exchange) -> None:
        await exchange.answer(code, error(code, message, word, *details))

    return play


def stops_after(words: int, goes: bool = False) -> Script:
    """So many words, and then silence; `goes`: and then it hangs up."""

    async def play(exchange: Exchange) -> None:
        if streams(exchange.request):
            await _begin(exchange, words)
        else:
            body = orjson.dumps(_together([chunk([{"text": text(words)}], "STOP", words)]))
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            await exchange.raw(head + body[: len(body) // 2])
        exchange.hang_up() if goes else await exchange.gone()

    return play


async def _endless(exchange: Exchange) -> None:
    if not streams(exchange.request):
        return await exchange.gone()
    await exchange.head()
    n = 0
    while True:
        n += 1
        await exchange.send(event(chunk([{"text": _word(n)}], None, n)))
        await asyncio.sleep(0.01)


async def _echoes_key(exchange: Exchange) -> None:
    key = exchange.request.headers["x-goog-api-key"]
    said = error(400, f"I cannot read {key}", key, reason(key))
    await exchange.answer(400, said, {"x-echo": key, "set-cookie": f"session={key}"})


async def _begin(exchange: Exchange, words: int) -> None:
    await exchange.head()
    for n in range(1, words + 1):
        await exchange.send(event(chunk([{"text": _word(n)}], None, n)))


def _word(n: int) -> str:
    return f"w{n}" if n == 1 else f" w{n}"


def _together(chunks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    candidates = [candidate for each in chunks for candidate in each.get("candidates", [])]
    if not candidates:
        return dict(chunks[-1])
    parts = [part for each in candidates for part in each.get("content", {}).get("parts", [])]
    return {**chunks[-1], "candidates": [{**candidates[-1], "content": {"parts": parts, "role": "model"}}]}


_ENVELOPE = {"modelVersion": "upstream-model-1", "responseId": "response-1"}
_MINUTE, _DAY = (
    "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
    "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
)
_QUOTA = "You exceeded your current quota, please check your plan and billing details."

SCRIPTS: Mapping[str, Script] = MappingProxyType(
    {
        "ok": ok(),
        "endless": _endless,
        "silent": named("silent"),
        "headers-only": named("headers-only"),
        "stalls": stops_after(20),
        "dies": stops_after(40, goes=True),
        "hang-up": named("hang-up"),
        "garbage": bytes_as_they_are(b"data: \x00\xff{[not json\n\n" * 50),
        "echoes-key": _echoes_key,
        "bad-key": status(
            400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", reason("API_KEY_INVALID")
        ),
        "429": status(429, _QUOTA, "RESOURCE_EXHAUSTED", quota(_MINUTE), retry("2s")),
        "no-quota": status(429, _QUOTA, "RESOURCE_EXHAUSTED", quota(_MINUTE, _DAY)),
        "too-long": status(
            400, "The input token count (9000) exceeds the maximum number of tokens allowed (8192).", "INVALID_ARGUMENT"
        ),
        "blocked": says(blocked("PROHIBITED_CONTENT", "It speaks of purple elephants.")),
        "503": status(503, "The model is overloaded. Please try again later.", "UNAVAILABLE"),
    }
)
