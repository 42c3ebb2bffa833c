"""Embeddings through the official client."""

from __future__ import annotations

import math
from contextlib import aclosing

import openai
import pytest

from gateway.contract.events import Events
from gateway.contract.provider import Settings
from gateway.contract.requests import EmbedRequest
from providers.fake import Provider as Fake
from tests.api.stage import Gateway, stage

pytestmark = pytest.mark.wire


class Embeds:
    """The fake, whatever the model is called."""

    def __init__(self) -> None:
        self._fake = Fake(Settings("acme"))

    async def embed(self, model: str, request: EmbedRequest) -> Events:
        async with aclosing(self._fake.embed("ok", request)) as events:
            async for event in events:
                yield event


async def vectors(gateway: Gateway, **asked: object) -> list[list[float]]:
    answer = await gateway.openai.embeddings.create(model="embed", **asked)  # type: ignore[arg-type]  # as a test says it
    assert [each.index for each in answer.data] == list(range(len(answer.data)))
    return [each.embedding for each in answer.data]


async def test_every_text_gets_its_vector_in_order_and_the_same_text_the_same() -> None:
    async with stage(embed=Embeds()) as gateway:
        a, b, again = await vectors(gateway, input=["one", "two", "one"])
        assert a == again != b
        assert math.isclose(sum(each * each for each in a), 1.0, abs_tol=1e-5)
        assert await vectors(gateway, input="one", encoding_format="float") == [pytest.approx(a, abs=1e-6)]
        assert [len(each) for each in await vectors(gateway, input=[[1, 2], [3]], dimensions=3)] == [3, 3]


async def test_what_was_used_and_who_answered_is_told() -> None:
    async with stage(embed=Embeds()) as gateway:
        raw = await gateway.openai.embeddings.with_raw_response.create(model="embed", input="three little words")
    assert raw.parse().usage.prompt_tokens == 3
    assert raw.headers["x-trunkline-target"] == "embed-embeds/m"
    assert [(sample.kind, sample.outcome) for sample in gateway.samples] == [("embed", "ok")]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": ["x", ""]}, "input[1]"),
        ({"input": [1, "x"]}, "input[0]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": [-1]}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "x", "base_url": "http://127.0.0.1"}, "base_url"),
    ],
)
async def test_what_cannot_be_embedded_is_told_by_its_field(asked: dict[str, object], param: str) -> None:
    async with stage(embed=Embeds()) as gateway:
        answer = await gateway.http.post("/v1/embeddings", json={"model": "embed", **asked})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert gateway.samples == []


async def test_a_route_of_another_kind_embeds_nothing() -> None:
    async with stage(embed=Embeds()) as gateway:
        with pytest.raises(openai.BadRequestError, match="needs kind llm"):
            await gateway.openai.chat.completions.create(model="embed", messages=[{"role": "user", "content": "hi"}])
