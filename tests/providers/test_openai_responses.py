"""The pure half of OpenAI's Responses: stream events and whole responses to events."""

from typing import Any

import orjson
import pytest

from gateway.contract.errors import ProviderError, Unavailable
from gateway.contract.events import Finished, Passed, ProviderEvent, TextDelta, ThoughtSealed, ToolCallDelta, Usage
from providers._openai_responses import ResponseReader, whole
from tests.responses_scripts import message, response, usage


class Said(ProviderError):
    pass


def failed(error: object) -> ProviderError:
    return Said(str(error))


def read(*said: dict[str, Any]) -> list[ProviderEvent]:
    """The events of a stream of these, to its end, without what carries nothing; and every one is forwarded once."""
    reader = ResponseReader("acme", failed)
    data = [orjson.dumps(each) for each in said]
    events = [event for each in data for event in reader.read(each)] + reader.end()
    assert [raw for event in events if (raw := getattr(event, "raw", None)) is not None] == data
    return [without(event) for event in events if not isinstance(event, Passed)]


def without(event: ProviderEvent) -> ProviderEvent:
    fields = {name: getattr(event, name) for name in type(event).__dataclass_fields__}
    return type(event)(**{**fields, "raw": None}) if "raw" in fields else event


def done(status: str = "completed", **extra: Any) -> dict[str, Any]:
    return {"type": f"response.{status}", "response": response(status, usage=usage(2), **extra)}


def delta(kind: str, said: str, index: int = 0) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "delta": said, "output_index": index}


def item(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.output_item.{kind}", "output_index": index, "item": fields}


USED = Usage(7, 2, 3, 1)


def test_text_refusals_and_reasoning_have_their_kinds() -> None:
    assert read(
        delta("reasoning_summary_text", "hm"),
        delta("reasoning_text", "hmm"),
        delta("output_text", "hi"),
        delta("refusal", "no"),
        done(),
    ) == [
        TextDelta("hm", "reasoning"),
        TextDelta("hmm", "reasoning"),
        TextDelta("hi"),
        TextDelta("no", "refusal"),
        USED,
        Finished(),
    ]


def test_a_function_call_is_one_by_its_place_in_the_output() -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": ""}
    assert read(
        item("added", 0, type="reasoning", id="rs_1", summary=[]),
        item("done", 0, type="reasoning", id="rs_1", summary=[], encrypted_content="seal"),
        item("added", 1, **call),
        delta("function_call_arguments", '{"a":', 1),
        delta("function_call_arguments", "1}", 1),
        done(output=[{**call, "arguments": '{"a":1}'}]),
    ) == [
        ThoughtSealed("seal", redacted=True),
        ToolCallDelta(1, "call_1", "f"),
        ToolCallDelta(1, arguments='{"a":'),
        ToolCallDelta(1, arguments="1}"),
        USED,
        Finished("tool_calls"),
    ]


def test_a_tool_that_the_upstream_runs_is_a_useful_event() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "in_progress"}
    assert read(item("added", 0, **search), delta("output_text", "found"), done()) == [
        ToolCallDelta(0, "ws_1", "web_search_call"),
        TextDelta("found"),
        USED,
        Finished(),
    ]


@pytest.mark.parametrize(
    ("details", "reason"), [("max_output_tokens", "length"), ("content_filter", "content_filter"), (None, "length")]
)
def test_an_incomplete_response_says_why(details: str | None, reason: Any) -> None:
    end = done("incomplete", incomplete_details={"reason": details} if details else None)
    assert read(delta("output_text", "hi"), end) == [TextDelta("hi"), USED, Finished(reason)]


def test_one_that_thought_until_its_limit_is_an_answer() -> None:
    end = done("incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert read(end) == [TextDelta(""), USED, Finished("length")]


NO = {"code": "server_error", "message": "no"}


@pytest.mark.parametrize(
    "said",
    [
        {"type": "error", "error": NO},
        {"type": "error", **NO},
        {"type": "response.failed", "response": response("failed", error=NO)},
        {"error": NO},
    ],
)
def test_a_failure_is_an_error_in_each_of_its_forms(said: dict[str, Any]) -> None:
    with pytest.raises(Said, match="server_error"):
        read(delta("output_text", "hi"), said)


@pytest.mark.parametrize("data", [[], [b'{"type":"response.created"}'], [b"[DONE]"], [b"nonsense"]])
def test_a_stream_without_its_last_event_was_cut(data: list[bytes]) -> None:
    reader = ResponseReader("acme", failed)
    for each in data:
        reader.read(each)
    with pytest.raises(Unavailable):
        reader.end()


def test_a_whole_response_is_forwarded_once() -> None:
    output = [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "s",
        },
        message("hi"),
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"},
    ]
    body = orjson.dumps(response("completed", output, usage=usage(2)))
    events = [
        TextDelta("hm", "reasoning"),
        ThoughtSealed("s"),
        TextDelta("hi"),
        ToolCallDelta(2, "call_1", "f", "{}"),
        USED,
        Finished("tool_calls"),
    ]
    assert whole(body, "acme", failed) == [Passed(body), *events]
    assert whole(body, "acme", failed, forward=False) == events


@pytest.mark.parametrize("body", [b"no", b"[]", b'{"object":"response"}'])
def test_what_is_no_response_is_a_failure(body: bytes) -> None:
    with pytest.raises(Unavailable):
        whole(body, "acme", failed)


def test_so_is_a_failed_one() -> None:
    with pytest.raises(Said, match="server_error"):
        whole(orjson.dumps(response("failed", error=NO)), "acme", failed)
