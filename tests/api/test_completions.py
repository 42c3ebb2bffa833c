"""The protocol before chats, through the official client, on targets that speak chat."""

from __future__ import annotations

import openai
import pytest

from gateway.contract.events import Finished, TextDelta, Usage
from tests.api.stage import Chats, stage

pytestmark = pytest.mark.wire
SAYS = (TextDelta("hm", "reasoning"), TextDelta("Good "), TextDelta("day"), Usage(3, 2), Finished("length"))


async def test_a_prompt_is_answered_with_a_text() -> None:
    chats = Chats(*SAYS)
    async with stage(chat=chats) as gateway:
        raw = await gateway.openai.completions.with_raw_response.create(model="chat", prompt="hello", stop=["x"])
        answer = raw.parse()
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("Good day", "length")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 5
    assert answer.object == "text_completion"
    assert raw.headers["x-trunkline-target"] == "chat-chats/m"
    [asked] = chats.asked
    assert (asked.messages[0].text, asked.max_tokens, asked.stop) == ("hello", 16, ("x",))


async def test_a_stream_arrives_piece_by_piece_with_usage_last() -> None:
    async with stage(chat=Chats(*SAYS)) as gateway:
        stream = await gateway.openai.completions.create(
            model="chat", prompt=["hello"], stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert [chunk.choices[0].text for chunk in chunks[:-1]] == ["Good ", "day", ""]
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage is not None
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"prompt": "x", "suffix": "y"}, "suffix"),
        ({"prompt": "x", "echo": True}, "echo"),
        ({"prompt": ["x", "y"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({}, "prompt"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens"),
    ],
)
async def test_what_no_chat_can_say_is_refused_before_it_is_sent(asked: dict[str, object], param: str) -> None:
    chats = Chats(*SAYS)
    async with stage(chat=chats) as gateway:
        answer = await gateway.http.post("/v1/completions", json={"model": "chat", **asked})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert chats.asked == []


async def test_an_unknown_route_is_no_model() -> None:
    async with stage(chat=Chats(*SAYS)) as gateway:
        with pytest.raises(openai.NotFoundError):
            await gateway.openai.completions.create(model="nobody", prompt="x")
