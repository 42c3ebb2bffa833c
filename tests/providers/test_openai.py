"""OpenAI's provider on sockets: which path a request takes, what is sent, and what an in-stream failure becomes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Refused, Unavailable
from gateway.contract.events import Embedded, Events, Finished, ProviderEvent, TextDelta, Usage
from gateway.contract.messages import File, Image, Message, Text
from gateway.contract.provider import Secret, Settings
from gateway.contract.requests import ChatRequest, EmbedRequest
from providers.openai import Provider
from tests import responses_scripts as responses
from tests.upstream_scripts import text
from tests.upstreams import Exchange, Upstream

pytestmark = pytest.mark.wire
HELLO = (Message.of("user", "hello"),)
OWN = {"model": "our-route", "input": "hello", "max_output_tokens": 9, "odd": {"field": [1]}, "store": True}


def response(stream: bool = True, **fields: Any) -> ChatRequest:
    return ChatRequest(HELLO, stream=stream, dialect="responses", body={**OWN, **fields})


@pytest.fixture
async def upstream() -> AsyncGenerator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncGenerator[Provider]:
    settings = Settings("acme", upstream.url, Secret("k"), {"organization": "org-1", "project": "proj-1"})
    async with aclosing(Provider(settings)) as provider:
        yield provider


async def read(events: Events) -> tuple[list[ProviderEvent], ProviderError | None]:
    read: list[ProviderEvent] = []
    async with aclosing(events) as answer:
        try:
            async for each in answer:
                read.append(each)  # noqa: PERF401 - what came before an error counts
        except ProviderError as error:
            return read, error
    return read, None


@pytest.mark.parametrize("stream", [True, False])
async def test_a_response_is_sent_in_the_callers_own_words(
    upstream: Upstream, provider: Provider, stream: bool
) -> None:
    upstream.play(responses.ok(3))
    events, error = await read(provider.chat("gpt-5", response(stream)))
    [received] = upstream.received
    assert error is None
    assert received.path == "/v1/responses"
    assert received.json == {**OWN, "model": "gpt-5", "stream": stream}
    sent = {name: received.headers.get(name) for name in ("authorization", "openai-organization", "openai-project")}
    assert list(sent.values()) == ["Bearer k", "org-1", "proj-1"]
    assert "".join(each.text for each in events if isinstance(each, TextDelta)) == text(3)
    assert next(event for event in events if isinstance(event, Usage)).cached_tokens == 3
    assert events[-1] == Finished()


async def test_a_response_without_a_body_is_a_chat(upstream: Upstream, provider: Provider) -> None:
    asked = ChatRequest(HELLO, dialect="responses", max_tokens=5)
    events, _ = await read(provider.chat("m", asked))
    assert upstream.received[0].path == "/v1/chat/completions"
    assert not any(getattr(event, "raw", None) for event in events)


@pytest.mark.parametrize("dialect", ["responses", "messages", "completions"])
async def test_limits_have_the_name_that_every_model_takes(
    upstream: Upstream, provider: Provider, dialect: Any
) -> None:
    await read(provider.chat("m", ChatRequest(HELLO, dialect=dialect, max_tokens=5)))
    assert upstream.received[0].json["max_completion_tokens"] == 5
    assert "max_tokens" not in upstream.received[0].json


@pytest.mark.parametrize(
    ("model", "named"),
    [("gpt-4o", "max_tokens"), ("o3-mini", "max_completion_tokens"), ("gpt-5.1", "max_completion_tokens")],
)
async def test_a_callers_own_limit_is_renamed_only_where_it_would_be_refused(
    upstream: Upstream, provider: Provider, model: str, named: str
) -> None:
    body = {"model": "r", "messages": [], "max_tokens": 5}
    await read(provider.chat(model, ChatRequest(HELLO, body=body)))
    sent = {name: value for name, value in upstream.received[0].json.items() if name.startswith("max_")}
    assert sent == {named: 5}


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("insufficient_quota", OutOfQuota),
        ("rate_limit_exceeded", RateLimited),
        ("server_error", Unavailable),
        ("invalid_prompt", Refused),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_failure_inside_a_200_is_what_it_says(
    upstream: Upstream, provider: Provider, flat: bool, code: str, kind: type[ProviderError], stream: bool
) -> None:
    upstream.play(responses.fails({"code": code, "message": "You did something.", "param": None}, flat=flat))
    events, error = await read(provider.chat("m", response(stream)))
    assert type(error) is kind
    assert error.code == code
    assert not any(isinstance(event, TextDelta | Finished) for event in events)


async def test_a_stream_without_a_last_event_is_cut_off(upstream: Upstream, provider: Provider) -> None:
    upstream.play(responses.dies(5))
    events, error = await read(provider.chat("m", response()))
    assert type(error) is Unavailable
    assert len([event for event in events if isinstance(event, TextDelta)]) == 5


async def test_a_response_in_one_piece_to_who_asked_for_a_stream(upstream: Upstream, provider: Provider) -> None:
    async def play(exchange: Exchange) -> None:
        await exchange.answer(200, responses.response("completed", [responses.message("hi")]))

    upstream.play(play)
    assert await read(provider.chat("m", response())) == ([TextDelta("hi"), Finished()], None)


async def test_embeddings_are_asked_for_and_forwarded(upstream: Upstream, provider: Provider) -> None:
    told = {"object": "list", "data": [{"embedding": [0.5], "index": 0}], "usage": {"prompt_tokens": 2}}

    async def play(exchange: Exchange) -> None:
        await exchange.answer(200, told)

    upstream.play(play)
    own = {"model": "our-route", "input": ["a"], "encoding_format": "base64"}
    for asked in (EmbedRequest(("a",), body=own), EmbedRequest(("a", (1, 2)), dimensions=4)):
        events, error = await read(provider.embed("e-1", asked))
        assert error is None
        assert events == [Embedded(raw=orjson.dumps(told)), Usage(2), Finished()]
    assert [each.path for each in upstream.received] == ["/v1/embeddings"] * 2
    assert [each.json for each in upstream.received] == [
        {**own, "model": "e-1"},
        {"model": "e-1", "input": ["a", [1, 2]], "dimensions": 4},
    ]


@pytest.mark.parametrize("body", [b"no", b"{}", b'{"data":[]}', b'{"error":{"message":"no"}}'])
async def test_an_answer_without_a_vector_is_none(upstream: Upstream, provider: Provider, body: bytes) -> None:
    async def play(exchange: Exchange) -> None:
        await exchange.answer(200, body)

    upstream.play(play)
    events, error = await read(provider.embed("e-1", EmbedRequest(("a",))))
    assert events == []
    assert type(error) is Unavailable


def test_what_a_chat_has_no_words_for_is_told_before_it_is_asked() -> None:
    provider = Provider(Settings("acme", key=Secret("k")))
    by_address = Message("user", (File("https://x.test/a.pdf"),))
    picture = Message("tool", (Text("see"), Image("https://x.test/a.png")), tool_call_id="c")
    for asked, why in (
        (ChatRequest(HELLO, dialect="messages", untyped=("tools[0].type",)), "it cannot be told 'tools[0].type'"),
        (ChatRequest((by_address,), dialect="messages"), "it takes documents as data, not by their address"),
        (ChatRequest((picture,), dialect="messages"), "it takes nothing but text as a tool's result"),
        (ChatRequest((by_address, picture), dialect="responses", body=OWN, untyped=("background",)), None),
        (ChatRequest(HELLO, body={}, untyped=("modalities",)), None),
        (EmbedRequest(("a",)), None),
    ):
        assert provider.cannot("m", asked) == why


def test_without_a_key_or_an_address_of_its_own_it_sleeps() -> None:
    assert Provider(Settings("acme")).asleep("m") == "its row has no key"
    assert Provider(Settings("acme", "http://x/v1")).asleep("m") is None
    assert Provider(Settings("acme", key=Secret("k"))).asleep("m") is None
