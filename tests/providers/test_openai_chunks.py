"""The pure half of OpenAI's chat protocol: chunks and whole answers to events."""

import random
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import pytest

from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import JOINT, Finished, Passed, ProviderEvent, TextDelta, ToolCallDelta, Usage
from providers._openai_chunks import ChatChunks, whole
from tests.upstream_scripts import chunk, role


class Said(ProviderError):
    pass


def failed(error: object) -> ProviderError:
    return Said(str(error))


def read(*chunks: dict[str, Any] | bytes) -> list[ProviderEvent]:
    """The events of a stream of these chunks, to its end."""
    stream = ChatChunks("acme", failed)
    events = [
        event for data in chunks for event in stream.read(data if isinstance(data, bytes) else orjson.dumps(data))
    ]
    return events + stream.end()


def raws(events: list[ProviderEvent]) -> list[bytes]:
    return [raw for event in events if (raw := getattr(event, "raw", None)) is not None]


STOP = chunk({}, "stop")
USED = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}}
USAGE = {"choices": [], "usage": USED}


def test_a_stream_becomes_text_usage_and_its_end() -> None:
    chunks = [role(), chunk({"content": "Hel"}), chunk({"content": "lo"}), STOP, USAGE]
    raw = [orjson.dumps(each) for each in chunks]
    assert read(*chunks, b"[DONE]") == [
        Passed(raw[0]),
        TextDelta("Hel", raw=raw[1]),
        TextDelta("lo", raw=raw[2]),
        Passed(raw[3]),
        Usage(7, 2, 5, raw=raw[4]),
        Finished("stop"),
    ]


PLAIN = ["hi", " there", "é", "日本", "content"]
ODD = ["hi", "é", 'a"b', "\\", "\n", "", "content", "日本", "\x7f", "\u2028", "\t", "role", "index", " "]


@pytest.mark.parametrize("seed", range(200))
def test_chunks_are_read_together_as_they_are_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    sent = [
        orjson.dumps(chunk({"content": rng.choice(ODD if rng.random() < 0.1 else PLAIN)}))
        for _ in range(rng.randint(1, 40))
    ]
    spoilt = [rng.choice([b"\xff", b"\x01", b"}", sent[0][:-1]]) for _ in range(rng.randint(0, 3))]
    for piece in spoilt:  # a chunk that is no JSON, though it begins and ends as the others do
        sent.insert(rng.randrange(len(sent) + 1), sent[0].replace(b'"content":"', b'"content":"' + piece))
    heard = [orjson.loads(each) for each in sent if valid(each)]
    stream, events = ChatChunks("acme", failed), list[ProviderEvent]()
    with suppress(Unavailable):
        stream.take(sent, events)
        assert len(sent) - len(heard) <= 3
    said = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert said == "".join(each["choices"][0]["delta"]["content"] for each in heard)
    assert [raw for joint in raws(events) for raw in joint.split(JOINT)] == [each for each in sent if valid(each)]


def test_a_read_of_nothing_but_text_is_one_event() -> None:
    stream, events = ChatChunks("acme", failed), list[ProviderEvent]()
    first, *more = [orjson.dumps(chunk({"content": text})) for text in ("a", "b ", "ç")]
    stream.take([orjson.dumps(role()), first], events)
    assert stream.take_plain(b"data: %b\n\ndata: %b\n\n" % tuple(more), events)
    assert events[2:] == [TextDelta("b ç", raw=JOINT.join(more), pieces=2)]
    cut = orjson.dumps(chunk({"content": "ab"})).replace(b"ab", "é".encode()[:1])
    for other in (cut, orjson.dumps(chunk({"content": ""})), orjson.dumps(chunk({"content": "\n"})), more[0][:-1]):
        assert not stream.take_plain(b"data: %b\n\n" % other, events)
    assert len(events) == 3


def valid(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


@pytest.mark.parametrize(
    "quiet",
    [
        role(),
        {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
        chunk({"content": None, "tool_calls": None, "refusal": None, "reasoning": None}),
        chunk({"content": "", "reasoning_content": "", "refusal": "", "audio": {"id": "a", "transcript": ""}}),
        {"choices": [{"index": 0, "delta": {}, "logprobs": {"content": []}}]},
        {"choices": None, "object": "ping"},
        {"choices": [{"delta": None}, None, 3]},
    ],
)
def test_a_chunk_without_content_is_passed_on_and_is_nothing_else(quiet: dict[str, Any]) -> None:
    assert read(quiet, STOP, b"[DONE]")[0] == Passed(orjson.dumps(quiet))


@pytest.mark.parametrize(
    ("delta", "event"),
    [
        ({"content": " "}, TextDelta(" ")),
        ({"reasoning_content": "hm"}, TextDelta("hm", "reasoning")),
        ({"reasoning": "hm"}, TextDelta("hm", "reasoning")),
        ({"reasoning_content": "hm", "reasoning": "hm"}, TextDelta("hm", "reasoning")),
        ({"refusal": "no"}, TextDelta("no", "refusal")),
        ({"content": [{"type": "text", "text": "hi"}]}, TextDelta("hi")),
        ({"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}]}, TextDelta("hm", "reasoning")),
        ({"audio": {"transcript": "hi"}}, TextDelta("hi")),
        ({"tool_calls": [{"index": 2, "id": "c", "function": {"name": "f"}}]}, ToolCallDelta(2, "c", "f")),
        ({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}, ToolCallDelta(0, arguments="{")),
        (
            {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]},
            ToolCallDelta(0, "c", "f", '{"a":1}'),
        ),
        ({"tool_calls": [{"index": 0, "custom": {"name": "f", "input": "x"}}]}, ToolCallDelta(0, None, "f", "x")),
        ({"function_call": {"name": "f", "arguments": "{}"}}, ToolCallDelta(0, None, "f", "{}")),
    ],
)
def test_the_shapes_of_content(delta: dict[str, Any], event: TextDelta | ToolCallDelta) -> None:
    [first, *_] = read(chunk(delta), STOP, b"[DONE]")
    assert isinstance(first, TextDelta | ToolCallDelta)
    assert first.raw == orjson.dumps(chunk(delta))
    assert replace(first, raw=None) == event


def test_a_chunk_that_becomes_several_events_is_forwarded_once() -> None:
    calls = [{"index": n, "id": f"c{n}", "function": {"name": "f", "arguments": "{}"}} for n in range(2)]
    both = chunk({"reasoning": "hm", "content": "hi", "tool_calls": calls}, "tool_calls", usage=USED)
    events = read(both, b"[DONE]")
    assert raws(events) == [orjson.dumps(both)]
    assert [type(event) for event in events] == [TextDelta, TextDelta, ToolCallDelta, ToolCallDelta, Usage, Finished]
    assert events[-1] == Finished("tool_calls")


def test_nor_is_one_of_tool_calls_alone_forwarded_twice() -> None:
    calls = [{"index": n, "id": f"c{n}", "function": {"name": "f"}} for n in range(2)]
    both = chunk({"tool_calls": calls})
    assert raws(read(both, STOP)) == [orjson.dumps(both), orjson.dumps(STOP)]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("model_length", "length"),
        ("eos", "stop"),
        ("something new", "stop"),
    ],
)
def test_finish_reasons(said: str, reason: str) -> None:
    assert read(chunk({"content": "x"}, said))[-1] == Finished(reason)  # type: ignore[arg-type]


@pytest.mark.parametrize("said", ["error", "abort", "insufficient_system_resource"])
def test_an_interruption_is_no_end(said: str) -> None:
    with pytest.raises(Unavailable, match="interrupted") as caught:
        read(chunk({"content": "x"}), chunk({}, said), b"[DONE]")
    assert caught.value.code == said


def test_the_usage_groq_hides_comes_before_the_end() -> None:
    last = chunk({}, "stop", x_groq={"id": "r", "usage": USED})
    assert read(chunk({"content": "x"}), last, b"[DONE]")[1:] == [
        Passed(orjson.dumps(last)),
        Usage(7, 2, 5),
        Finished(),
    ]


def test_usage_counted_in_every_chunk_is_told_once_as_it_last_stood() -> None:
    events = read(*(chunk({"content": "x"}, usage={"prompt_tokens": 7, "completion_tokens": n}) for n in (1, 2)), STOP)
    assert [event for event in events if isinstance(event, Usage)] == [Usage(7, 2)]


def test_a_usage_chunk_of_its_own_stands_for_all() -> None:
    events = read(chunk({"content": "x"}, "stop", usage={"prompt_tokens": 1}), USAGE, b"[DONE]")
    assert [event for event in events if isinstance(event, Usage)] == [Usage(7, 2, 5, raw=orjson.dumps(USAGE))]


def test_reasoning_and_deepseeks_cached_tokens_are_counted() -> None:
    used = {"prompt_cache_hit_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 9}, "prompt_tokens": None}
    assert read(STOP, {"choices": [], "usage": used}, b"[DONE]")[1] == Usage(
        cached_tokens=3, reasoning_tokens=9, raw=orjson.dumps({"choices": [], "usage": used})
    )


@pytest.mark.parametrize("ending", [[b"[DONE]"], [STOP], [STOP, b"[DONE]"], [b" [DONE] "]])
def test_done_or_a_finish_reason_completes_a_stream(ending: list[Any]) -> None:
    assert read(chunk({"content": "x"}), *ending)[-1] == Finished("stop")


def test_neither_is_a_cut_off() -> None:
    with pytest.raises(Unavailable, match="cut off"):
        read(role(), chunk({"content": "x"}), USAGE)


def test_all_choices_must_finish_and_the_first_gives_the_reason() -> None:
    def second(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": 1, "delta": delta, "finish_reason": finish}]}

    two = [chunk({"content": "a"}), second({"content": "b"})]
    ends = [STOP, second({}, "length")]
    for one in ends:
        with pytest.raises(Unavailable, match="cut off"):
            read(*two, one)
    assert read(*two, *reversed(ends))[-1] == Finished("stop")
    events = read(*two, *ends)
    assert events[-1] == Finished("stop")
    assert raws(events) == [orjson.dumps(each) for each in [*two, *ends]]
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["a"]


def test_a_chunk_that_is_no_json_is_skipped() -> None:
    broken = b'{"choices":[{"delta":{"content":"BROK'
    events = read(chunk({"content": "a"}), broken, chunk({"content": "b"}), STOP, b"[DONE]")
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["a", "b"]
    assert broken not in raws(events)


def test_a_stream_full_of_holes_is_not_an_answer() -> None:
    with pytest.raises(Unavailable, match="garbage"):
        read(chunk({"content": "a"}), *[b"{"] * 4, STOP, b"[DONE]")


@pytest.mark.parametrize("nothing", [[], [b"\xff"], [b"{", b"<html>"]])
def test_a_stream_without_a_chunk_is_not_an_answer(nothing: list[bytes]) -> None:
    with pytest.raises(Unavailable, match=r"garbage|empty"):
        read(*nothing)


def test_a_chunk_on_several_lines_is_forwarded_on_one() -> None:
    pretty = orjson.dumps(chunk({"content": "a\nb"}), option=orjson.OPT_INDENT_2)
    assert raws(read(pretty, STOP)) == [orjson.dumps(chunk({"content": "a\nb"})), orjson.dumps(STOP)]


@pytest.mark.parametrize(
    "fault",
    [
        {"error": {"message": "x"}},
        {**chunk({"content": ""}, "error"), "error": {"code": 502, "message": "x"}},
        {"choices": [{"index": 0, "delta": {}, "error": {"code": 502}, "finish_reason": "error"}]},
        chunk({}, "stop", x_groq={"error": "over_capacity"}),
    ],
)
def test_an_error_inside_the_stream_is_raised(fault: dict[str, Any]) -> None:
    with pytest.raises(Said):
        read(chunk({"content": "a"}), fault, b"[DONE]")


def message(said: dict[str, Any], finish: str = "stop", **extra: Any) -> bytes:
    return orjson.dumps({"choices": [{"index": 0, "message": said, "finish_reason": finish}], **extra})


def test_a_whole_answer_is_given_by_its_first_event() -> None:
    calls = [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}, {"id": "c2", "function": {"name": "g"}}]
    body = message({"reasoning": "hm", "content": "hi", "tool_calls": calls}, "tool_calls", usage=USED)
    assert whole(body, "acme", failed) == [
        TextDelta("hm", "reasoning", body),
        TextDelta("hi"),
        ToolCallDelta(0, "c1", "f", "{}"),
        ToolCallDelta(1, "c2", "g"),
        Usage(7, 2, 5),
        Finished("tool_calls"),
    ]


def test_one_of_tool_calls_alone_and_one_of_nothing_too() -> None:
    called = message({"content": None, "tool_calls": [{"id": "c", "function": {"name": "f"}}]}, "tool_calls")
    assert whole(called, "acme", failed)[0] == ToolCallDelta(0, "c", "f", raw=called)
    empty = message({"content": ""}, "length")
    assert whole(empty, "acme", failed) == [Passed(empty), Finished("length")]


def test_a_body_that_nobody_can_forward_is_not_offered() -> None:
    assert raws(whole(message({"content": "hi"}), "acme", failed, forward=False)) == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"{}", b'{"choices":[]}', b'{"choices":[{"index":1}]}'])
def test_a_body_that_is_no_answer(body: bytes) -> None:
    with pytest.raises(Unavailable):
        whole(body, "acme", failed)


@pytest.mark.parametrize("body", [b'{"error":{"message":"x"}}', b'{"choices":[{"error":{"code":502}}]}'])
def test_an_error_with_status_200(body: bytes) -> None:
    with pytest.raises(Said):
        whole(body, "acme", failed)


def test_no_json_whatever_its_shape_raises_anything_but_a_provider_error() -> None:
    rng = random.Random(11)
    names = ["choices", "delta", "message", "index", "content", "tool_calls", "function", "arguments", "name", "id"]
    names += ["finish_reason", "usage", "prompt_tokens", "x_groq", "error", "audio", "transcript", "thinking", "text"]
    names += ["prompt_tokens_details", "cached_tokens", "reasoning", "refusal", "function_call", "custom"]
    plain: list[Any] = [None, True, 0, 1, -1, 2**63, 1.5, 1e308, "", "stop", "error", "x"]

    def any_json(depth: int) -> Any:
        if depth == 0 or rng.random() < 0.2:
            return rng.choice(plain)
        if rng.random() < 0.4:
            return [any_json(depth - 1) for _ in range(rng.randrange(3))]
        return {rng.choice(names): any_json(depth - 1) for _ in range(rng.randrange(1, 7))}

    def try_all(data: bytes) -> None:
        stream = ChatChunks("acme", failed)
        for attempt in (partial(stream.read, data), stream.end, partial(whole, data, "acme", failed)):
            with suppress(ProviderError):
                attempt()

    for _ in range(5000):
        choice = {name: any_json(4) for name in ("index", "delta", "message", "finish_reason")}
        try_all(orjson.dumps({"choices": [choice, any_json(3)], "usage": any_json(3), "x_groq": any_json(2)}))
