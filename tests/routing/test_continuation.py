"""Continuation: what two targets say is one answer, or an error; never two beginnings."""

import pytest

from gateway.contract.messages import Message
from gateway.contract.requests import ChatRequest
from gateway.routing.continuation import GO_ON, Diverged, Splice, going_on, may_go_on

WHOLE = "The quick brown fox jumps over the lazy dog, and then it goes home to sleep."


@pytest.mark.parametrize(
    ("delivered", "continuation", "whole"),
    [
        pytest.param(WHOLE[:30], WHOLE[30:], WHOLE, id="it goes on"),
        pytest.param(WHOLE[:30], WHOLE, WHOLE, id="it says everything again"),
        pytest.param(WHOLE[:30], WHOLE[20:], WHOLE, id="it repeats the tail"),
        pytest.param(WHOLE[:43], " " + WHOLE[35:], WHOLE, id="it repeats the tail after a space"),
        pytest.param(
            "One two", "three four five six seven.", "One two three four five six seven.", id="a space is lost"
        ),
        pytest.param(
            "It is done.", "Now we can leave, I think.", "It is done.Now we can leave, I think.", id="sentence"
        ),
        pytest.param(WHOLE[:31], WHOLE[31:], WHOLE, id="a space was the last"),
        pytest.param(WHOLE, WHOLE, WHOLE, id="nothing was left to say"),
        pytest.param(WHOLE[:30], "r", WHOLE[:30] + "r", id="it is short"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_parts_make_one_answer(delivered: str, continuation: str, whole: str, size: int) -> None:
    splice = Splice(delivered)
    pieces = [continuation[at : at + size] for at in range(0, len(continuation), size)]
    said = delivered + "".join(splice.feed(piece) for piece in pieces) + splice.end()
    assert said.replace(" ", "") == whole.replace(" ", "")


@pytest.mark.parametrize(
    ("delivered", "second"),
    [
        ("The quick brown fox jumps over the la", "Certainly! Here is the story of a fox that jumps."),
        ("The quick brown fox jumps over the ", "Certainly! Here is the story of a fox that jumps."),
        ("one by one, they are", "one by one, the others came."),
        ("Here is the whole list you asked for:\n", "Here is the whole list you wanted:\n- one"),
    ],
)
def test_a_second_beginning_is_refused(delivered: str, second: str) -> None:
    splice = Splice(delivered)
    with pytest.raises(Diverged):
        splice.feed(second)


def test_lines_that_begin_alike_are_no_second_beginning() -> None:
    splice = Splice("- the first one\n")
    assert splice.feed("- the second one\n- the third one") == "- the second one\n- the third one"


def test_the_next_target_is_handed_what_was_delivered_as_its_own_turn() -> None:
    hello = {"role": "user", "content": "hello"}
    request = ChatRequest(
        (Message.of("user", "hello"),), max_tokens=50, body={"messages": [hello], "max_tokens": 50, "x": 1}
    )
    asked = going_on(request, "Hi the", 2)
    assert [(m.role, m.text) for m in asked.messages] == [("user", "hello"), ("assistant", "Hi the"), ("user", GO_ON)]
    assert asked.body == {
        "messages": [hello, {"role": "assistant", "content": "Hi the"}, {"role": "user", "content": GO_ON}],
        "max_tokens": 48,
        "x": 1,
    }
    assert asked.max_tokens == 48


@pytest.mark.parametrize("field", [{"n": 2}, {"logprobs": True}, {"response_format": {"type": "json_object"}}])
def test_answers_that_cannot_be_spliced_are_not(field: dict[str, object]) -> None:
    assert not may_go_on(ChatRequest((), body={"messages": [], **field}))
    assert may_go_on(ChatRequest((), body={"messages": []}))
