"""openai_compatible beyond what every provider must do (tests/conformance): what it sends, and OpenAI's own ways to end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from gateway.contract.errors import ContextTooLong, ProviderError, RateLimited, Refused, Unavailable
from gateway.contract.events import JOINT, Finished, ProviderEvent, TextDelta, ToolCallDelta, Usage
from gateway.contract.messages import Message
from gateway.contract.provider import Secret, Settings
from gateway.contract.requests import ChatRequest
from providers import _openai_upstream
from providers.openai_compatible import Provider
from tests.upstream_scripts import (
    DONE,
    broken_json,
    bytes_as_they_are,
    chunk,
    dies,
    error,
    error_in_stream,
    event,
    lingers,
    ok,
    role,
    status,
    text,
    whole,
)
from tests.upstreams import Exchange, Upstream

HELLO = ChatRequest((Message.of("user", "hello"),))
WHOLE = ChatRequest((Message.of("user", "hello"),), stream=False)
wire = pytest.mark.wire


@pytest.fixture
async def upstream() -> AsyncGenerator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncGenerator[Provider]:
    async with aclosing(Provider(Settings("acme", upstream.url, Secret("k")))) as provider:
        yield provider


async def read(provider: Provider, request: ChatRequest = HELLO) -> tuple[list[ProviderEvent], ProviderError | None]:
    """The events, and the error that ended them if one did."""
    events: list[ProviderEvent] = []
    async with aclosing(provider.chat("m-1", request)) as answer:
        try:
            async for each in answer:
                events.append(each)  # noqa: PERF401 - what came before an error counts
        except ProviderError as error:
            return events, error
    return events, None


def said(events: list[ProviderEvent]) -> str:
    return "".join(each.text for each in events if isinstance(each, TextDelta))


def raws(events: list[ProviderEvent]) -> list[Any]:
    told = [raw for each in events if (raw := getattr(each, "raw", None)) is not None]
    return [orjson.loads(chunk) for raw in told for chunk in raw.split(JOINT)]


@wire
async def test_a_stream_is_forwarded_chunk_by_chunk(upstream: Upstream, provider: Provider) -> None:
    upstream.play(ok(words=3))
    events, error = await read(provider)
    assert error is None
    assert said(events) == "w1 w2 w3"
    assert events[-2:] == [Usage(7, 3, raw=events[-2].raw), Finished("stop")]  # type: ignore[union-attr]
    assert [len(each["choices"]) for each in raws(events)] == [1, 1, 1, 1, 1, 0]


@wire
async def test_what_is_sent(upstream: Upstream, provider: Provider) -> None:
    await read(provider, ChatRequest((), body={"model": "route", "messages": [], "new_field": 1}))
    await read(provider, WHOLE)
    streamed, whole = upstream.received
    assert (streamed.method, streamed.path) == ("POST", "/v1/chat/completions")
    assert streamed.headers["authorization"] == "Bearer k"
    assert streamed.headers["content-type"] == "application/json"
    assert [each.headers["accept"] for each in upstream.received] == ["text/event-stream", "application/json"]
    assert (streamed.json["model"], streamed.json["new_field"]) == ("m-1", 1)
    assert streamed.json["stream_options"] == {"include_usage": True}
    assert "stream_options" not in whole.json


@wire
async def test_an_answer_in_one_piece(upstream: Upstream, provider: Provider) -> None:
    body = orjson.dumps(whole({"content": text(3)}, "length", 3), option=orjson.OPT_INDENT_2)
    upstream.play(bytes_as_they_are(body, content_type="application/json", piece=7))
    assert await read(provider, WHOLE) == ([TextDelta(text(3), raw=body), Usage(7, 3), Finished("length")], None)


@wire
async def test_tool_calls_in_parallel(upstream: Upstream, provider: Provider) -> None:
    upstream.play("tools")
    for request in (HELLO, WHOLE):
        events, _ = await read(provider, request)
        calls: dict[int, str] = {}
        for each in events:
            if isinstance(each, ToolCallDelta):
                calls[each.index] = calls.get(each.index, "") + (each.name or "") + each.arguments
        assert calls == {0: 'get_weather{"city":"Paris"}', 1: 'get_time{"zone":"CET"}'}
        assert events[-1] == Finished("tool_calls")


@wire
@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "text/event-stream"])
async def test_an_answer_in_one_piece_to_who_asked_for_a_stream(
    upstream: Upstream, provider: Provider, kind: str
) -> None:
    body = b"\r\n " + orjson.dumps(whole({"content": "hi"}, "stop", 1))
    upstream.play(bytes_as_they_are(body, content_type=kind, piece=2))
    assert await read(provider, HELLO) == ([TextDelta("hi"), Usage(7, 1), Finished("stop")], None)


@wire
async def test_a_stream_may_call_itself_json(upstream: Upstream, provider: Provider) -> None:
    stream = b"\n\n" + event(chunk({"content": "hi"}, "stop")) + DONE
    upstream.play(bytes_as_they_are(stream, content_type="application/json"))
    assert said((await read(provider))[0]) == "hi"


@wire
@pytest.mark.parametrize("piece", [1, 2, 3, 7, 100])
async def test_where_the_bytes_are_cut_makes_no_difference(upstream: Upstream, provider: Provider, piece: int) -> None:
    chunks = [role(), chunk({"content": "€uro"}), chunk({}, "stop")]
    stream = b": hello\r\n\r\n" + b"".join(map(event, chunks)).replace(b"\n", b"\r\n") + DONE
    upstream.play(bytes_as_they_are(stream, piece=piece))
    events, _ = await read(provider)
    assert (said(events), raws(events)) == ("€uro", chunks)


@wire
async def test_one_event_of_broken_json_is_recovered_in_place(upstream: Upstream, provider: Provider) -> None:
    upstream.play("broken-json")
    events, error = await read(provider)
    assert error is None
    assert (said(events), events[-1]) == (text(20), Finished("stop"))


@wire
async def test_what_came_before_a_fault_of_the_same_read_is_given(upstream: Upstream, provider: Provider) -> None:
    stream = event(role()) + event(chunk({"content": "a"})) + event(error("x", code="502")) + DONE
    upstream.play(bytes_as_they_are(stream), broken_json(at=2, events=9), dies(after=2))
    for words in ("a", "w1", "w1 w2"):
        events, fault = await read(provider)
        assert said(events) == words
        assert type(fault) is Unavailable


@wire
@pytest.mark.parametrize(("script", "how"), [("dies", "the connection broke in mid-answer"), ("ends-early", "cut off")])
async def test_a_stream_without_an_end_is_never_finished(
    upstream: Upstream, provider: Provider, script: str, how: str
) -> None:
    upstream.play(script)
    events, error = await read(provider)
    assert type(error) is Unavailable
    assert how in str(error)
    assert not any(isinstance(each, Finished) for each in events)
    assert said(events) == text(40)


@wire
async def test_no_done_is_needed_after_a_finish_reason(upstream: Upstream, provider: Provider) -> None:
    upstream.play("no-done")
    events, error = await read(provider)
    assert (error, events[-1], said(events)) == (None, Finished("stop"), text(20))
    assert any(isinstance(each, Usage) for each in events)


@wire
async def test_nor_that_the_upstream_hangs_up(
    upstream: Upstream, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_openai_upstream, "GRACE", 0.05)
    upstream.play(lingers(words=3))
    events, error = await read(provider)
    assert (error, events[-1], said(events)) == (None, Finished("stop"), text(3))
    await upstream.until_left()


@wire
async def test_comments_do_not_keep_a_finished_answer_open(
    upstream: Upstream, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_openai_upstream, "GRACE", 0.1)

    async def comments(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(event(chunk({"content": "a"}, "stop")))
        while True:
            await exchange.send(b": keep-alive\n\n")
            await asyncio.sleep(0.02)

    upstream.play(comments)
    assert (await read(provider))[0][-1] == Finished("stop")


@wire
async def test_a_reset_after_the_finish_reason_changes_nothing(upstream: Upstream, provider: Provider) -> None:
    async def resets(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(event(chunk({"content": "a"}, "stop")))
        exchange.hang_up()

    upstream.play(resets)
    assert (await read(provider))[0][-1] == Finished("stop")


@wire
async def test_connections_are_used_again(upstream: Upstream, provider: Provider) -> None:
    upstream.play("ok", "429", "ok", "tools")
    for request in (HELLO, HELLO, WHOLE, HELLO, WHOLE):
        await read(provider, request)
    assert upstream.opened == 1


@wire
async def test_an_error_in_a_stream_that_began_well(upstream: Upstream, provider: Provider) -> None:
    upstream.play(error_in_stream(), error_in_stream(error("slow down", code="429"), after=3))
    assert type((await read(provider))[1]) is Unavailable
    events, fault = await read(provider)
    assert (said(events), type(fault)) == (text(3), RateLimited)
    assert type((await read(provider, WHOLE))[1]) is RateLimited


@wire
async def test_an_upstreams_reason_to_refuse_reaches_the_caller(upstream: Upstream, provider: Provider) -> None:
    upstream.play("content-policy", "context-too-long")
    _, refused = await read(provider)
    assert isinstance(refused, Refused)
    assert (refused.detail, refused.code) == (
        "Your request was rejected by our safety system.",
        "content_policy_violation",
    )
    _, too_long = await read(provider)
    assert isinstance(too_long, ContextTooLong)
    assert too_long.detail == "This model's maximum context length is 8192 tokens."


@wire
async def test_an_errors_body_is_not_waited_for(
    upstream: Upstream, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_openai_upstream, "ERROR_SECONDS", 0.05)

    async def no_body(exchange: Exchange) -> None:
        await exchange.head(429, {"retry-after": "2"})
        await exchange.gone()

    upstream.play(no_body)
    _, fault = await read(provider)
    assert isinstance(fault, RateLimited)
    assert fault.retry_after == 2.0
    await upstream.until_left()


@wire
async def test_answers_without_end_are_bounded(
    upstream: Upstream, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_openai_upstream, "ANSWER_LIMIT", 1 << 20)
    monkeypatch.setattr(_openai_upstream, "ERROR_SECONDS", 60.0)

    async def floods(exchange: Exchange) -> None:
        await exchange.head(200 if exchange.request.wants_stream else 500 if len(upstream.received) > 2 else 200)
        while True:
            await exchange.send(b"x" * 65536)

    upstream.play(floods)
    for request, how in ((HELLO, "an event of more"), (WHOLE, "an answer of more than 1 MB"), (WHOLE, "500")):
        async with asyncio.timeout(5.0):
            error = (await read(provider, request))[1]
        assert type(error) is Unavailable
        assert how in str(error)
        await upstream.until_left()


@wire
async def test_a_redirect_is_not_followed(upstream: Upstream, provider: Provider) -> None:
    async with Upstream() as elsewhere:
        upstream.play(status(307, location=elsewhere.url))
        _, fault = await read(provider)
        assert type(fault) is Unavailable
        assert elsewhere.opened == 0


@wire
@pytest.mark.parametrize(
    ("base", "asked"),
    [
        ("/v1", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("", "/chat/completions"),
        ("/openai/deployments/d?api-version=1", "/openai/deployments/d/chat/completions?api-version=1"),
    ],
)
async def test_where_it_is_sent(upstream: Upstream, base: str, asked: str) -> None:
    async with aclosing(Provider(Settings("acme", upstream.origin + base))) as provider:
        await read(provider)
    assert upstream.received[0].path == asked
    assert "authorization" not in upstream.received[0].headers


@pytest.mark.parametrize(
    "base_url",
    ["api.acme.test", "ftp://x/v1", "http://", "http://user:canary@x/v1", "https://x/#canary", "http://x:1e/"],
)
def test_an_address_that_cannot_be_asked_is_a_mistake_told_at_start(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"base_url|[Pp]ort") as caught:
        Provider(Settings("acme", base_url))
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel", "tab\t"])
def test_so_is_a_key_that_no_header_can_carry(key: str) -> None:
    with pytest.raises(ValueError, match="key") as caught:
        Provider(Settings("acme", "https://x/v1", Secret(key)))
    assert not key or key not in str(caught.value)


def test_so_is_an_option_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="include_usge"):
        Provider(Settings("acme", "https://x/v1", options={"include_usge": False}))


def test_without_an_address_it_sleeps() -> None:
    assert Provider(Settings("acme")).asleep("m") == "its row has no base_url"
    assert Provider(Settings("acme", "https://x/v1")).asleep("m") is None


@wire
async def test_usage_is_not_asked_for_where_the_row_says_so(upstream: Upstream) -> None:
    settings = Settings("acme", upstream.url, options={"include_usage": False})
    async with aclosing(Provider(settings)) as provider:
        await read(provider)
    assert "stream_options" not in upstream.received[0].json
