"""What upstreams say when they fail, and what it means here."""

from typing import Any

import orjson
import pytest

from gateway.contract.errors import (
    ContextTooLong,
    OutOfQuota,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from gateway.contract.provider import Secret
from providers._openai_errors import of_object, of_response, retry_after

KEY = Secret("sk-canary-123")


def error(status: int, body: object = b"", **headers: str) -> ProviderError:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return of_response("acme", KEY, status, {n.replace("_", "-"): v for n, v in headers.items()}, data)


def openai(message: str = "words", kind: str | None = None, code: Any = None, **extra: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **extra}}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (401, Unauthorized),
        (402, OutOfQuota),
        (403, Unauthorized),
        (404, Unavailable),
        (408, Unavailable),
        (409, Unavailable),
        (413, ContextTooLong),
        (422, Refused),
        (429, RateLimited),
        (498, Unavailable),
        (500, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
        (529, Unavailable),
        (301, Unavailable),
        (204, Unavailable),
    ],
)
def test_a_status_alone(status: int, kind: type[ProviderError]) -> None:
    for body in (b"", b"<html>no</html>", b"[]", b"{}", b"null", b'"no"', openai("no")):
        found = error(status, body)
        assert type(found) is kind, body
        assert (found.provider, found.status) == ("acme", status)
        assert str(status) in str(found)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, openai("quota", "insufficient_quota", "insufficient_quota"), OutOfQuota),
        (429, openai("Rate limit", "requests", "rate_limit_exceeded"), RateLimited),
        (400, openai("long", "invalid_request_error", "context_length_exceeded"), ContextTooLong),
        (413, openai("Limit 6000, Requested 9000", "tokens", "rate_limit_exceeded"), ContextTooLong),  # Groq
        (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens", "code": 400}, ContextTooLong),  # vLLM
        (400, {"object": "error", "message": "9 tokens, too large for model", "code": "3051"}, ContextTooLong),  # Mistral
        (400, openai("the request exceeds the available context size", "exceed_context_size_error", 400), ContextTooLong),  # llama.cpp
        (400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***."}, Unauthorized),  # xAI
        (400, [openai("API key not valid. Please pass a valid API key.", code=400)], Unauthorized),  # Gemini
        (400, openai("Failed to call a function", "invalid_request_error", "tool_use_failed"), Unavailable),  # Groq
        (400, openai("gone", "invalid_request_error", "model_decommissioned"), Unavailable),  # Groq
        (403, openai("flagged", code=403, metadata={"reasons": ["violence"], "flagged_input": "x"}), Refused),  # OpenRouter
        (403, openai("no", code=403), Unauthorized),
        (400, openai("filtered", None, "content_filter"), Refused),  # Azure
        (404, {"detail": "Not Found"}, Unavailable),
        (422, {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "x"]}]}}, Refused),
    ],
)  # fmt: skip
def test_what_providers_say(status: int, body: object, kind: type[ProviderError]) -> None:
    assert type(error(status, body)) is kind


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"message": "m", "type": "invalid_request_error", "code": "tool_use_failed", "status_code": 400}, Unavailable),
        ({"message": "m", "code": 429, "metadata": {"provider_name": "x"}}, RateLimited),
        ({"message": "m", "code": 502}, Unavailable),
        ({"message": "m", "code": "429"}, RateLimited),
        ({"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}, OutOfQuota),
        ({"message": "m", "code": "rate_limit_exceeded"}, RateLimited),
        ({"message": "m", "code": "context_length_exceeded"}, ContextTooLong),
        ({"message": "m", "type": "authentication_error"}, Unauthorized),
        ({"message": "m", "type": "invalid_request_error"}, Refused),
        ({"message": "m", "type": "server_error"}, Unavailable),
        ({"message": "m"}, Unavailable),
        ("over capacity", Unavailable),
        (True, Unavailable),
        ({"message": {"x": [1]}, "code": [1], "type": {}, "metadata": 3}, Unavailable),
    ],
)
def test_an_error_inside_an_answer(said: object, kind: type[ProviderError]) -> None:
    assert type(of_object("acme", KEY, said)) is kind


def test_a_caller_cannot_make_a_key_look_wrong_or_a_quota_spent() -> None:
    for quoted in ("Invalid 'x': 'incorrect api key provided'", "bad value: invalid_api_key", "insufficient_quota"):
        assert type(error(400, openai(quoted, "invalid_request_error", "invalid_value"))) is Refused


def test_the_reason_of_a_refusal_is_kept_for_the_caller_and_shown_nowhere_else() -> None:
    found = error(
        400, openai("You said: my secret plan", "invalid_request_error", "content_policy_violation", param="messages")
    )
    assert isinstance(found, Refused)
    assert (found.detail, found.code, found.param) == (
        "You said: my secret plan",
        "content_policy_violation",
        "messages",
    )
    assert "secret" not in f"{found} {found!r}"
    assert str(found) == "400 (content_policy_violation)"


def test_openrouters_reason_is_its_providers() -> None:
    found = error(400, openai("Provider returned error", code=400, metadata={"raw": "the image is too small"}))
    assert found.detail == "Provider returned error: the image is too small"


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_what_an_upstream_says_of_itself_is_not_passed_on(status: int) -> None:
    found = error(status, openai("Incorrect API key provided: sk-ca****123", "invalid_request_error", "some_code"))
    assert (found.detail, found.param, found.code) == (None, None, "some_code")


def test_no_key_comes_out_of_an_error_that_quotes_it() -> None:
    found = error(
        400, openai("bad header: Bearer sk-canary-123", "sk-canary-123", "sk-canary-123", param="sk-canary-123")
    )
    assert found.detail == "bad header: Bearer ***"
    assert "canary" not in f"{found} {found!r} {vars(found)}"


def test_a_code_that_is_a_sentence_is_no_code() -> None:
    found = error(400, {"code": "You said: my secret plan", "error": "x"})
    assert found.code is None
    assert error(400, openai("x", "invalid_request_error", "You said so")).code == "invalid_request_error"


def test_a_reason_is_bounded() -> None:
    assert len(error(400, openai("x" * 50_000)).detail or "") == 2000


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT", "date": "Sun, 22 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:00 GMT", "date": "Sun, 22 Nov 2026 10:00:30 GMT"}, 0.0),
        ({"retry-after": "Sun, 22 Nov 2020 10:00:00 GMT"}, 0.0),
        ({"retry-after": "Sun, 99 Nov 2020 10:00:00 GMT"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_a_rate_limit_says_how_long() -> None:
    assert error(429, retry_after="2").retry_after == 2.0
    assert error(503, retry_after="7").retry_after == 7.0


def test_a_local_servers_dummy_key_is_a_word_like_others() -> None:
    assert of_response("acme", Secret("none"), 400, {}, orjson.dumps(openai("none of it"))).detail == "none of it"
