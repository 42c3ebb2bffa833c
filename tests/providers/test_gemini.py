"""Gemini: what is sent for a request, field by field, and what comes of an answer, on a socket."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from gateway.contract.audio import Audio
from gateway.contract.errors import (
    ContextTooLong,
    OutOfQuota,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from gateway.contract.events import (
    Embedded,
    Finished,
    ProviderEvent,
    TextDelta,
    ThoughtSealed,
    ToolCallDelta,
    Usage,
)
from gateway.contract.messages import File, Image, Message, Part, Sound, Text, Thought, Tool, ToolCall
from gateway.contract.provider import CountsTokens, Secret, Settings
from gateway.contract.requests import AnswerFormat, ChatRequest, EmbedRequest, Thinking, ToolChoice
from providers.gemini import Provider
from tests import gemini_scripts as says
from tests.upstream_scripts import bytes_as_they_are, event
from tests.upstreams import Script, Upstream

pytestmark = pytest.mark.wire
PIXEL = base64.b64encode(b"\x89PNG not really").decode()
HELLO = (Message.of("user", "hello"),)
CALL = {"functionCall": {"name": "get_weather", "args": {"city": "Paris"}}, "thoughtSignature": "c2VhbA=="}


@pytest.fixture
async def upstream() -> AsyncGenerator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


async def chat(
    upstream: Upstream,
    script: Script | str,
    request: ChatRequest,
    model: str = "gemini-3-flash",
    **options: object,
) -> tuple[list[ProviderEvent], ProviderError | None]:
    upstream.play(says.SCRIPTS[script] if isinstance(script, str) else script)
    events: list[ProviderEvent] = []
    async with aclosing(Provider(Settings("acme", upstream.origin, Secret("canary-0123456789"), options))) as provider:
        assert provider.cannot(model, request) is None
        async with aclosing(provider.chat(model, request)) as answer:
            try:
                async for each in answer:
                    events.append(each)  # noqa: PERF401 - what came before an error counts
            except ProviderError as error:
                return events, error
    return events, None


async def sent(upstream: Upstream, request: ChatRequest, model: str = "gemini-3-flash", **options: object) -> Any:
    _, error = await chat(upstream, "ok", request, model, **options)
    assert error is None
    return upstream.received[-1].json


async def came(upstream: Upstream, *chunks: Mapping[str, Any], **asked: Any) -> list[ProviderEvent]:
    events, error = await chat(upstream, says.says(*chunks), ChatRequest(HELLO, **asked))
    assert error is None
    return events


async def fails(upstream: Upstream, script: Script, stream: bool = True) -> ProviderError:
    _, error = await chat(upstream, script, ChatRequest(HELLO, stream=stream))
    assert error is not None
    return error


async def test_system_is_apart_and_neighbours_of_one_role_are_one_turn(upstream: Upstream) -> None:
    messages = (
        Message.of("system", "Be brief."),
        Message.of("user", "one"),
        Message("user", (Text("two"), Text(""), Text("three"))),
        Message.of("developer", "Be kind."),
        Message.of("assistant", "four"),
        Message.of("user", "five"),
    )
    body = await sent(upstream, ChatRequest(messages))
    assert body == {
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "one"}, {"text": "two"}, {"text": "three"}]},
            {"role": "model", "parts": [{"text": "four"}]},
            {"role": "user", "parts": [{"text": "five"}]},
        ],
    }
    alone = await sent(upstream, ChatRequest((Message.of("system", "Say hello."),)))
    assert alone == {"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]}


async def test_media(upstream: Upstream) -> None:
    parts = (
        Text("look"),
        Image(f"data:image/png;base64,{PIXEL}"),
        Image("https://example.org/cat.webp?w=1"),
        Image("https://example.org/cat", "high"),
        Sound(Audio(b"\x01\x00" * 8, 16_000)),
        File(f"data:application/pdf;base64,{PIXEL}", "a.pdf"),
        File("data:text/plain,a%20b"),
    )
    [turn] = (await sent(upstream, ChatRequest((Message("user", parts),))))["contents"]
    sound = turn["parts"].pop(4)["inlineData"]
    assert sound["mimeType"] == "audio/wav"
    assert base64.b64decode(sound["data"]).endswith(b"\x01\x00" * 8)
    assert turn["parts"] == [
        {"text": "look"},
        {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://example.org/cat.webp?w=1"}},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.org/cat"}},
        {"inlineData": {"mimeType": "application/pdf", "data": PIXEL}},
        {"inlineData": {"mimeType": "text/plain", "data": base64.b64encode(b"a b").decode()}},
    ]
    _, error = await chat(upstream, "ok", ChatRequest((Message("user", (Image("data:image/png;base64,?!"),)),)))
    assert type(error) is Refused


async def test_options_of_the_request(upstream: Upstream) -> None:
    request = ChatRequest(
        HELLO,
        max_tokens=10,
        temperature=0.0,
        top_p=0.5,
        stop=("a", "b"),
        seed=(1 << 31) + 5,
        top_k=3,
        presence_penalty=0.1,
        frequency_penalty=-0.2,
        user="somebody",
        format=AnswerFormat('{"type":"object","properties":{"a":{"type":"integer"}}}', strict=True),
    )
    assert (await sent(upstream, request))["generationConfig"] == {
        "maxOutputTokens": 10,
        "temperature": 0.0,
        "topP": 0.5,
        "stopSequences": ["a", "b"],
        "seed": 5,
        "topK": 3,
        "presencePenalty": 0.1,
        "frequencyPenalty": -0.2,
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object", "properties": {"a": {"type": "integer"}}},
    }
    plain = await sent(upstream, ChatRequest(HELLO, format=AnswerFormat()))
    assert plain["generationConfig"] == {"responseMimeType": "application/json"}


async def test_options_of_the_configuration(upstream: Upstream) -> None:
    safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    tool = Tool("f")
    body = await sent(
        upstream,
        ChatRequest(HELLO, tools=(tool,), temperature=0.3),
        safety_settings=safety,
        version="v1",
        generation={"temperature": 1.0, "mediaResolution": "MEDIA_RESOLUTION_LOW"},
        body={"serviceTier": "flex", "tools": [{"googleSearch": {}}]},
    )
    assert upstream.received[-1].path == "/v1/models/gemini-3-flash:streamGenerateContent?alt=sse"
    assert body["safetySettings"] == safety
    assert body["serviceTier"] == "flex"
    assert body["generationConfig"] == {"temperature": 0.3, "mediaResolution": "MEDIA_RESOLUTION_LOW"}
    assert body["tools"] == [{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}]


@pytest.mark.parametrize(
    ("choice", "mode"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("function", "f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
async def test_tools_and_their_choice(upstream: Upstream, choice: ToolChoice, mode: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}
    tools = (Tool("f", "does", orjson.dumps(schema).decode(), strict=True), Tool("g", "", '{"type":"object"}'))
    body = await sent(upstream, ChatRequest(HELLO, tools=tools, tool_choice=choice))
    assert body["tools"] == [
        {"functionDeclarations": [{"name": "f", "description": "does", "parametersJsonSchema": schema}, {"name": "g"}]}
    ]
    assert body["toolConfig"] == {"functionCallingConfig": mode}


def round_of_tools(*calls: ToolCall, picture: bool = False) -> tuple[Message, ...]:
    """A question, the calls, and a result for each."""
    said = Text("I look.")
    told: list[Part] = [Text('{"sky":"blue"}'), *([Image(f"data:image/png;base64,{PIXEL}")] if picture else [])]
    results = (Message("tool", tuple(told), tool_call_id=call.id) for call in calls)
    return (*HELLO, Message("assistant", (said,), calls), *results, Message.of("user", "and?"))


async def test_results_are_matched_to_calls_by_name_and_id(upstream: Upstream) -> None:
    calls = ToolCall("1", "sky", '{"at":"noon"}', "c2VhbA=="), ToolCall("2", "sea", "")
    _, model, results, user = (await sent(upstream, ChatRequest(round_of_tools(*calls))))["contents"]
    assert model == {
        "role": "model",
        "parts": [
            {"text": "I look."},
            {"functionCall": {"id": "1", "name": "sky", "args": {"at": "noon"}}, "thoughtSignature": "c2VhbA=="},
            {"functionCall": {"id": "2", "name": "sea", "args": {}}},
        ],
    }
    answers = [{"id": "1", "name": "sky"}, {"id": "2", "name": "sea"}]
    told = [{"functionResponse": {**answer, "response": {"output": {"sky": "blue"}}}} for answer in answers]
    assert results == {"role": "user", "parts": told}
    assert user == {"role": "user", "parts": [{"text": "and?"}]}


async def test_a_tool_that_failed_and_one_that_nobody_called(upstream: Upstream) -> None:
    call = Message("assistant", (), (ToolCall("1", "sky", "{}"),))
    failed = Message("tool", (Text("it rains"),), tool_call_id="1", failed=True)
    body = await sent(upstream, ChatRequest((*HELLO, call, failed)))
    [result] = body["contents"][-1]["parts"]
    assert result["functionResponse"]["response"] == {"error": "it rains"}
    _, error = await chat(upstream, "ok", ChatRequest((*HELLO, failed)))
    assert type(error) is Refused
    assert error.param == "messages"


async def test_a_result_with_a_picture(upstream: Upstream) -> None:
    request = ChatRequest(round_of_tools(ToolCall("1", "sky", "{}"), picture=True))
    picture = {"inlineData": {"mimeType": "image/png", "data": PIXEL}}
    [inside] = (await sent(upstream, request))["contents"][2]["parts"]
    assert inside["functionResponse"]["parts"] == [picture]
    _, beside = (await sent(upstream, request, "gemini-2.5-flash"))["contents"][2]["parts"]
    assert beside == picture


async def test_seals_are_handed_back(upstream: Upstream) -> None:
    """Where a client dropped a call's, the newer models get the documented stand-in, which older ones were never told of."""
    skip = base64.b64encode(b"skip_thought_signature_validator").decode()
    lost = ChatRequest(round_of_tools(ToolCall("1", "sky", "{}"), ToolCall("2", "sky", "{}")))
    for model, seals in {"gemini-3-pro": [skip, None], "gemini-2.5-pro": [None, None]}.items():
        _, *calls = (await sent(upstream, lost, model))["contents"][1]["parts"]
        assert [call.get("thoughtSignature") for call in calls] == seals
    ours, theirs = Thought("hm", "gemini:c2VhbA=="), Thought("hm", "another's")
    for thought, seal in ((ours, "c2VhbA=="), (theirs, None)):
        request = ChatRequest((*HELLO, Message("assistant", (thought, Text("Yes."))), *HELLO))
        [said] = (await sent(upstream, request))["contents"][1]["parts"]
        assert (said["text"], said.get("thoughtSignature")) == ("Yes.", seal)


@pytest.mark.parametrize(
    ("model", "thinking", "config"),
    [
        ("gemini-3-flash", Thinking("low"), {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-3-flash", Thinking("none"), {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.1-pro", Thinking("minimal"), {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-flash-latest", Thinking("xhigh"), {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-3-flash", Thinking(budget=99, shown=False), {"thinkingBudget": 99}),
        ("gemini-3-flash", Thinking(adaptive=True), {"includeThoughts": True}),
        ("gemini-2.5-flash", Thinking("medium"), {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-2.5-flash", Thinking("none"), {"thinkingBudget": 0}),
        ("gemini-2.5-pro", Thinking("none"), {"thinkingBudget": 128}),
        ("gemini-2.5-pro", Thinking(adaptive=True, shown=True), {"thinkingBudget": -1, "includeThoughts": True}),
        ("gemini-2.0-flash", Thinking("none"), None),
    ],
)
async def test_thinking(upstream: Upstream, model: str, thinking: Thinking, config: dict[str, Any] | None) -> None:
    body = await sent(upstream, ChatRequest(HELLO, thinking=thinking), model)
    assert body.get("generationConfig", {}).get("thinkingConfig") == config


@pytest.mark.parametrize("stream", [True, False])
async def test_thoughts_are_never_text(upstream: Upstream, stream: bool) -> None:
    parts = [{"text": "hm", "thought": True}], [{"text": "Yes.", "thoughtSignature": "c2VhbA=="}]
    used = {"promptTokenCount": 9, "candidatesTokenCount": 2, "thoughtsTokenCount": 5, "cachedContentTokenCount": 4}
    last = says.chunk(parts[1], "STOP", usageMetadata={**used, "toolUsePromptTokenCount": 1})
    events = await came(upstream, says.chunk(parts[0]), last, stream=stream)
    assert events == [
        TextDelta("hm", "reasoning"),
        TextDelta("Yes."),
        ThoughtSealed("gemini:c2VhbA=="),
        Usage(10, 7, cached_tokens=4, reasoning_tokens=5),
        Finished("stop"),
    ]


async def test_usage_by_modality(upstream: Upstream) -> None:
    details = [{"modality": "TEXT", "tokenCount": 1}, {"modality": "IMAGE", "tokenCount": 258}]
    details += [{"modality": "AUDIO", "tokenCount": 32}]
    spoken = [{"modality": "AUDIO", "tokenCount": 8}]
    used = {"promptTokenCount": 291, "promptTokensDetails": details, "candidatesTokenCount": 8}
    last = says.chunk([{"text": "a"}], "STOP", usageMetadata={**used, "candidatesTokensDetails": spoken})
    [_, counted, _] = await came(upstream, last)
    assert counted == Usage(291, 8, audio_input_tokens=32, audio_output_tokens=8, image_input_tokens=258)


@pytest.mark.parametrize("stream", [True, False])
async def test_calls_come_whole_and_in_parallel(upstream: Upstream, stream: bool) -> None:
    second = {"functionCall": {"id": "theirs", "name": "get_time"}}
    events = await came(upstream, says.chunk([CALL]), says.chunk([second], "STOP", 9), stream=stream)
    first, then, used, finished = events
    assert isinstance(first, ToolCallDelta)
    assert first.id
    assert first.id.startswith("call_")
    assert (first.index, first.name, first.arguments) == (0, "get_weather", '{"city":"Paris"}')
    assert first.signature == "c2VhbA=="
    assert then == ToolCallDelta(1, "theirs", "get_time", "{}")
    assert used == Usage(7, 9)
    assert finished == Finished("tool_calls")
    one = await came(upstream, says.chunk([CALL, second], "STOP"), stream=stream, parallel_tool_calls=False)
    assert sum(isinstance(each, ToolCallDelta) for each in one) == 1


@pytest.mark.parametrize(
    ("reason", "told"),
    [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("RECITATION", "content_filter")],
)
async def test_how_an_answer_ends(upstream: Upstream, reason: str, told: str) -> None:
    events = await came(upstream, says.chunk([{"text": "a"}]), says.chunk([], reason))
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == told


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("MALFORMED_FUNCTION_CALL", Unavailable),
        ("UNEXPECTED_TOOL_CALL", Unavailable),
        ("OTHER", Unavailable),
        ("A_NEW_REASON", Unavailable),
        ("PUP_LIMITED_DISABLED", Unauthorized),
    ],
)
async def test_ends_that_are_none(upstream: Upstream, reason: str, kind: type[ProviderError]) -> None:
    for stream in (True, False):
        error = await fails(upstream, says.says(says.chunk([{"text": "a"}]), says.chunk([], reason)), stream)
        assert type(error) is kind
        assert error.code == reason


@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_blocked_before_any_content_is_refused(upstream: Upstream, stream: bool) -> None:
    for script in (says.says(says.blocked("SAFETY")), says.says(says.chunk([], "PROHIBITED_CONTENT"))):
        error = await fails(upstream, script, stream)
        assert type(error) is Refused
        assert error.code == "content_policy_violation"
        assert error.detail


_KEY = "API key not valid. Please pass a valid API key."
_QUOTA = "You exceeded your current quota, please check your plan and billing details."
_MINUTE, _DAY = "GenerateContentInputTokensPerModelPerMinute-FreeTier", "GenerateRequestsPerDayPerProjectPerModel"
_TOO_LONG = "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576)."
FAILURES: dict[str, tuple[dict[str, Any], type[ProviderError], float | None]] = {
    "key": (says.error(400, _KEY, "INVALID_ARGUMENT", says.reason("API_KEY_INVALID")), Unauthorized, None),
    "key, no reason": (says.error(400, "API key expired. Please renew it.", "INVALID_ARGUMENT"), Unauthorized, None),
    "not allowed": (says.error(403, "Permission denied.", "PERMISSION_DENIED"), Unauthorized, None),
    "a caller's file": (
        says.error(403, "You do not have permission to access the File x or it may not exist.", "PERMISSION_DENIED"),
        Refused,
        None,
    ),
    "rate": (
        says.error(429, _QUOTA, "RESOURCE_EXHAUSTED", says.quota(_MINUTE), says.retry("12.5s")),
        RateLimited,
        12.5,
    ),
    "rate, no details": (
        says.error(429, "Resource has been exhausted (e.g. check quota).", "RESOURCE_EXHAUSTED"),
        RateLimited,
        None,
    ),
    "quota": (says.error(429, _QUOTA, "RESOURCE_EXHAUSTED", says.quota(_MINUTE, _DAY)), OutOfQuota, None),
    "spent": (says.error(429, "Your prepayment credits are depleted.", "RESOURCE_EXHAUSTED"), OutOfQuota, None),
    "too long": (says.error(400, _TOO_LONG, "INVALID_ARGUMENT"), ContextTooLong, None),
    "the country": (
        says.error(400, "User location is not supported for the API use.", "FAILED_PRECONDITION"),
        Unavailable,
        None,
    ),
    "at fault": (says.error(400, "Invalid value at 'contents'.", "INVALID_ARGUMENT"), Refused, None),
    "quoting": (says.error(400, f"Cannot read 'x {_KEY}'.", "INVALID_ARGUMENT"), Refused, None),
    "no such model": (says.error(404, "models/x is not found.", "NOT_FOUND"), Unavailable, None),
    "overloaded": (says.error(503, "The model is overloaded.", "UNAVAILABLE"), Unavailable, None),
    "internal": (says.error(500, "An internal error has occurred.", "INTERNAL"), Unavailable, None),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_errors(upstream: Upstream, name: str) -> None:
    """Before the stream, as an object and in a list, and inside a 200."""
    said, kind, retry_after = FAILURES[name]
    body, code = orjson.dumps(said), said["error"]["code"]
    forms = [
        bytes_as_they_are(body, code, content_type="application/json"),
        bytes_as_they_are(b"[" + body + b"]", code, content_type="application/json"),
        bytes_as_they_are(event(says.chunk([{"text": "a"}])) + event(said)),
        bytes_as_they_are(event(said)),
        bytes_as_they_are(body),
    ]
    for script in forms:
        error = await fails(upstream, script)
        assert type(error) is kind
        assert (error.status, error.retry_after) == (code, retry_after)
        assert bool(error.detail) == (kind in (Refused, ContextTooLong))
        assert said["error"]["message"] not in str(error)


async def test_an_answer_that_lingers_is_over(upstream: Upstream) -> None:
    async def lingers(exchange: Any) -> None:
        await exchange.head()
        await exchange.send(event(says.chunk([{"text": "a"}], "STOP")))
        await exchange.gone()

    events, error = await chat(upstream, lingers, ChatRequest(HELLO))
    assert error is None
    assert isinstance(events[-1], Finished)


@pytest.mark.parametrize(
    ("model", "request_", "why"),
    [
        ("gemini-3-flash", ChatRequest(HELLO, n=2), "one answer"),
        ("gemini-3-flash", ChatRequest(HELLO, logprobs=True), "logprobs"),
        ("gemini-3-flash", ChatRequest(HELLO, untyped=("audio",)), "'audio'"),
        ("gemini-3-flash", ChatRequest(HELLO, stop=tuple("abcdef")), "5 sequences"),
        ("gemini-2.0-flash", ChatRequest(HELLO, thinking=Thinking("high")), "does not reason"),
        ("gemini-2.5-pro", ChatRequest(HELLO, tools=(Tool("f"),), format=AnswerFormat()), "either"),
        ("gemini-3-pro", ChatRequest(HELLO, tools=(Tool("f"),), format=AnswerFormat()), None),
        ("gemini-3-pro", ChatRequest((Message("user", (Image("http://x.org/a.png"),)),)), "https"),
        ("gemini-2.0-flash", ChatRequest((Message("user", (Image("https://x.org/a.png"),)),)), "data URLs"),
        ("gemini-embedding-001", EmbedRequest(((1, 2),)), "not tokens"),
        ("gemini-embedding-001", EmbedRequest(("a",)), None),
    ],
)
def test_what_it_cannot(model: str, request_: ChatRequest | EmbedRequest, why: str | None) -> None:
    said = Provider(Settings("acme", key=Secret("k"))).cannot(model, request_)
    assert (said is None) == (why is None)
    assert (why or "") in (said or "")


async def test_embeddings(upstream: Upstream) -> None:
    made = {"embeddings": [{"values": [0.1, 0.2]}, {"values": [0.3, 0.4]}], "usageMetadata": {"promptTokenCount": 6}}

    async def embeds(exchange: Any) -> None:
        await exchange.answer(200, made)

    upstream.play(embeds)
    async with aclosing(Provider(Settings("acme", upstream.origin, Secret("k")))) as provider:
        request = EmbedRequest(("a", "b"), dimensions=2)
        async with aclosing(provider.embed("gemini-embedding-001", request)) as answer:
            events = [each async for each in answer]
        assert events == [Embedded(((0.1, 0.2), (0.3, 0.4))), Usage(6), Finished()]
        with pytest.raises(Unavailable):
            await anext(provider.embed("gemini-embedding-001", EmbedRequest(("a", "b", "c"))))
    received = upstream.received[0]
    assert received.path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    each = {"model": "models/gemini-embedding-001", "outputDimensionality": 2}
    assert received.json == {"requests": [{**each, "content": {"parts": [{"text": text}]}} for text in ("a", "b")]}


async def test_tokens_are_counted_of_the_whole_request(upstream: Upstream) -> None:
    answers: list[dict[str, Any]] = [{"totalTokens": 31}, {"total": 31}]

    async def counts(exchange: Any) -> None:
        await exchange.answer(200, answers.pop(0))

    upstream.play(counts)
    request = ChatRequest((Message.of("system", "Be brief."), *HELLO), tools=(Tool("f"),))
    async with aclosing(Provider(Settings("acme", upstream.origin, Secret("k")))) as provider:
        assert isinstance(provider, CountsTokens)
        assert await provider.count("gemini-3-flash", request) == 31
        with pytest.raises(Unavailable):
            await provider.count("gemini-3-flash", request)
    received = upstream.received[0]
    assert received.path == "/v1beta/models/gemini-3-flash:countTokens"
    assert received.json == {
        "generateContentRequest": {
            "model": "models/gemini-3-flash",
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
            "tools": [{"functionDeclarations": [{"name": "f"}]}],
        }
    }


def test_settings() -> None:
    assert Provider(Settings("gemini")).asleep("m") == "its row has no key"
    assert Provider(Settings("gemini", key=Secret("k"))).asleep("m") is None
    assert Provider(Settings("gemini", "http://127.0.0.1:1/v1alpha")).asleep("m") is None
    wrong: list[tuple[str | None, dict[str, object]]] = [
        ("ftp://x", {}),
        ("https://x?key=secret", {}),
        (None, {"safety": []}),
        (None, {"generation": []}),
        (None, {"version": "../v1"}),
    ]
    for base_url, options in wrong:
        with pytest.raises(ValueError):
            Provider(Settings("gemini", base_url, Secret("k"), options))
