"""Anthropic's protocol on a socket: what it says beyond the recordings, in typed form and forwarded, and how it fails."""

from __future__ import annotations

from contextlib import aclosing
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
from gateway.contract.events import Finished, ProviderEvent, TextDelta, ThoughtSealed, ToolCallDelta, Usage
from gateway.contract.messages import Message
from gateway.contract.provider import Secret, Settings
from gateway.contract.requests import ChatRequest
from providers.anthropic import Provider
from tests import anthropic_scripts as says
from tests.upstream_scripts import bytes_as_they_are, text
from tests.upstreams import Script, Upstream

pytestmark = pytest.mark.wire
HELLO = ChatRequest((Message.of("user", "hello"),))
WHOLE = ChatRequest((Message.of("user", "hello"),), stream=False)
BODY = {"model": "route", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}


def own(stream: bool, **headers: str) -> ChatRequest:
    return ChatRequest((), stream=stream, body=BODY, dialect="messages", headers=headers)


async def ask(script: Script | str, request: ChatRequest = HELLO, **options: Any) -> list[ProviderEvent]:
    async with Upstream(script) as upstream:
        return await ask_at(upstream, request, **options)


async def ask_at(upstream: Upstream, request: ChatRequest = HELLO, **options: Any) -> list[ProviderEvent]:
    async with aclosing(Provider(Settings("acme", upstream.url, Secret("key-0123456789"), options))) as provider:
        async with aclosing(provider.chat("model-1", request)) as events:
            return [event async for event in events]


def joined(events: list[ProviderEvent]) -> list[ProviderEvent]:
    """With neighbouring deltas of one thing made one."""
    made: list[ProviderEvent] = []
    for event in events:
        match made[-1:], event:
            case [TextDelta(before, kind)], TextDelta(after, same) if kind == same:
                made[-1] = TextDelta(before + after, kind)
            case [ToolCallDelta(index, call, name, before)], ToolCallDelta(same, None, None, after) if index == same:
                made[-1] = ToolCallDelta(index, call, name, before + after)
            case _:
                made.append(event)
    return made


CONTENT: tuple[dict[str, Any], ...] = (
    {"type": "thinking", "thinking": "Let me see.", "signature": "seal-1"},
    {"type": "redacted_thinking", "data": "dark"},
    {"type": "text", "text": "I look it up."},
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
    says.tool_use("weather", {"city": "Oslo"}, "toolu_1"),
    {"type": "never_heard_of", "odd": 1},
    says.tool_use("now", {}, "toolu_2"),
)


@pytest.mark.parametrize("request_", [HELLO, WHOLE], ids=["streamed", "whole"])
async def test_thoughts_text_and_calls_and_nothing_of_blocks_without_a_word(request_: ChatRequest) -> None:
    assert joined(await ask(says.blocks(*CONTENT, reason="tool_use"), request_)) == [
        TextDelta("Let me see.", "reasoning"),
        ThoughtSealed("seal-1"),
        ThoughtSealed("dark", redacted=True),
        TextDelta("I look it up."),
        ToolCallDelta(0, "toolu_1", "weather", '{"city":"Oslo"}'),
        ToolCallDelta(1, "toolu_2", "now", "{}"),
        Usage(7, 9),
        Finished("tool_calls"),
    ]


async def test_a_stream_is_forwarded_event_by_event_to_who_speaks_it() -> None:
    told = says.begins() + b"".join(says.block(0, each) for each in CONTENT) + says.closes() + says.STOP
    events = await ask(bytes_as_they_are(told), own(stream=True))
    lines = [line.removeprefix(b"data: ") for line in told.splitlines() if line.startswith(b"data: ")]
    assert [getattr(event, "raw") for event in events] == lines  # noqa: B009


async def test_a_whole_answer_is_forwarded_as_it_came() -> None:
    body = orjson.dumps({**says.message([*CONTENT], "tool_use", 9), "odd": {"b": 1, "a": 2}})
    events = await ask(bytes_as_they_are(body), own(stream=False))
    assert [raw for event in events if (raw := getattr(event, "raw", None)) is not None] == [body]


async def test_what_is_told_of_the_caller_and_of_the_row() -> None:
    async with Upstream(says.ok()) as upstream:
        await ask_at(upstream, own(True, **{"anthropic-beta": "c"}), betas=["a", "b"], version="2099-01-01")
        await ask_at(upstream, HELLO)
        await ask_at(upstream, own(True, **{"anthropic-version": "2100-01-01"}), version="2099-01-01")
    first, second, third = upstream.received
    assert first.path == second.path == "/v1/messages"
    assert (first.headers["anthropic-beta"], first.headers["anthropic-version"]) == ("a,b,c", "2099-01-01")
    assert first.headers["x-api-key"] == "key-0123456789"
    assert "anthropic-beta" not in second.headers
    assert third.headers["anthropic-version"] == "2100-01-01"
    assert first.json == {**BODY, "model": "model-1", "stream": True}


async def test_counts_are_totals_and_caches_are_added_up() -> None:
    start = {"input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 1}
    begun = says.event({"type": "message_start", "message": says.message([], None, 0, usage=start)})
    last = {"input_tokens": None, "output_tokens": 50, "output_tokens_details": {"thinking_tokens": 30}}
    ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last}
    told = begun + says.block(0, {"type": "text", "text": "hi"}) + says.event(ended) + says.STOP
    used = next(event for event in await ask(bytes_as_they_are(told)) if isinstance(event, Usage))
    assert used == Usage(130, 50, cached_tokens=100, cache_write_tokens=20, reasoning_tokens=30)


@pytest.mark.parametrize("request_", [HELLO, WHOLE], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
async def test_why_it_ended(said: str, reason: str, request_: ChatRequest) -> None:
    events = await ask(says.ok(3, reason=said), request_)
    assert events[-1] == Finished(reason)  # type: ignore[arg-type]
    refusals = [event.text for event in events if isinstance(event, TextDelta) and event.kind == "refusal"]
    assert refusals == (["The provider stopped this answer."] if said == "refusal" else [])


async def test_without_message_stop_a_stream_with_a_reason_is_complete() -> None:
    assert (await ask(says.ok(3, stop=False)))[-1] == Finished()


@pytest.mark.parametrize("after", [0, 5])
@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("overloaded_error", Unavailable),
        ("api_error", Unavailable),
        ("timeout_error", Unavailable),
        ("rate_limit_error", RateLimited),
        ("authentication_error", Unauthorized),
        ("billing_error", OutOfQuota),
        ("invalid_request_error", Refused),
    ],
)
async def test_an_error_inside_a_stream(word: str, kind: type[ProviderError], after: int) -> None:
    with pytest.raises(kind) as caught:
        await ask(says.error_in_stream(says.error("It broke.", word), after))
    assert (caught.value.code, str(caught.value)) == (word, f"an error ({word})")


async def test_one_broken_event_costs_a_word_and_more_end_the_stream() -> None:
    broken = b"event: content_block_delta\ndata: {broken\n\n"
    begun, ended = says.begins() + says.text_begins() + says.says("hello"), says.closes() + says.STOP
    assert joined(await ask(bytes_as_they_are(begun + broken + ended)))[0] == TextDelta("hello")
    with pytest.raises(Unavailable):
        await ask(bytes_as_they_are(begun + broken * 4 + ended))


TOO_MANY = {"error_code": "contract_spend_limit_reached"}


@pytest.mark.parametrize(
    ("code", "word", "message", "extra", "kind"),
    [
        (400, "invalid_request_error", "Your credit balance is too low to access the API.", {}, OutOfQuota),
        (400, "invalid_request_error", "prompt is too long: 3 tokens > 2 maximum", {}, ContextTooLong),
        (400, "invalid_request_error", "max_tokens: 90000 > 8192, which is the maximum", {}, ContextTooLong),
        (400, "invalid_request_error", "input length and `max_tokens` exceed context limit", {}, ContextTooLong),
        (400, "invalid_request_error", "messages: one said 'prompt is too long'", {}, Refused),
        (402, "billing_error", "Pay.", {}, OutOfQuota),
        (403, "permission_error", "No.", {}, Unauthorized),
        (413, "request_too_large", "Too large.", {}, ContextTooLong),
        (429, "rate_limit_error", "Slow down.", {}, RateLimited),
        (429, "rate_limit_error", "You have spent it.", {"details": TOO_MANY}, OutOfQuota),
        (500, "api_error", "Internal server error", {}, Unavailable),
        (504, "timeout_error", "Timeout", {}, Unavailable),
        (529, "overloaded_error", "Overloaded", {}, Unavailable),
    ],
)
async def test_statuses(code: int, word: str, message: str, extra: dict[str, Any], kind: type[ProviderError]) -> None:
    with pytest.raises(ProviderError) as caught:
        await ask(says.status(code, message, word, extra))
    assert type(caught.value) is kind
    assert caught.value.status == code
    assert (caught.value.detail == message) is (kind in (Refused, ContextTooLong))


async def test_a_used_up_limit_says_when_it_is_full_again() -> None:
    until = {
        "date": "Wed, 12 Jun 2024 15:50:35 GMT",
        "anthropic_ratelimit_requests_remaining": "5",
        "anthropic_ratelimit_requests_reset": "2024-06-12T16:50:35Z",
        "anthropic_ratelimit_input_tokens_remaining": "0",
        "anthropic_ratelimit_input_tokens_reset": "2024-06-12T15:50:47Z",
    }
    with pytest.raises(RateLimited) as caught:
        await ask(says.status(429, "Slow down.", "rate_limit_error", None, **until))
    assert caught.value.retry_after == 12.0


@pytest.mark.parametrize("url", ["ftp://x", "http://user:pw@x", "http://x?y=1", "no address"])
def test_an_address_that_can_never_work(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        Provider(Settings("acme", url))


@pytest.mark.parametrize("options", [{"thinking": "hard"}, {"max_tokens": 0}, {"odd": 1}, {"sampling": "yes"}])
def test_an_option_that_is_none(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="option"):
        Provider(Settings("acme", options=options))


def test_without_a_key_it_sleeps() -> None:
    assert Provider(Settings("anthropic")).asleep("m") == "its row has no key"
    assert Provider(Settings("anthropic", "http://127.0.0.1:1")).asleep("m") is None
    assert Provider(Settings("anthropic", key=Secret("k"))).asleep("m") is None


async def test_text_comes_word_by_word() -> None:
    events = await ask(says.ok(20))
    assert [event.text for event in events if isinstance(event, TextDelta)][:2] == ["w1", " w2"]
    assert joined(events)[0] == TextDelta(text(20))


COUNTED = bytes_as_they_are(b'{"input_tokens": 41}')


@pytest.mark.parametrize("request_", [HELLO, own(stream=False, **{"anthropic-beta": "b"})], ids=["typed", "own"])
async def test_it_counts_what_a_prompt_would_be(request_: ChatRequest) -> None:
    async with Upstream(COUNTED) as upstream:
        async with aclosing(Provider(Settings("acme", upstream.url, Secret("key")))) as provider:
            assert await provider.count("model-1", request_) == 41
    [asked] = upstream.received
    assert asked.path == "/v1/messages/count_tokens"
    assert asked.json == {"model": "model-1", "messages": [{"role": "user", "content": "hello"}]}
    assert asked.headers.get("anthropic-beta") == request_.headers.get("anthropic-beta")


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"input_tokens": "41"}'])
async def test_a_count_that_is_none(body: bytes) -> None:
    async with Upstream(bytes_as_they_are(body)) as upstream:
        async with aclosing(Provider(Settings("acme", upstream.url))) as provider:
            with pytest.raises(Unavailable):
                await provider.count("model-1", HELLO)
