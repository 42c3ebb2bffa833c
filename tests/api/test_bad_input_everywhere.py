"""Bad bodies at every endpoint that takes JSON: refused in the surface's own form, within the moment, and nobody else notices.

What is peculiar to chats, speech and uploads is in test_bad_input.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from gateway.api.exchange import JSON_LIMIT
from gateway.contract.audio import Audio
from gateway.contract.events import AudioDelta, Embedded, Events, Finished, TextDelta, Usage
from gateway.contract.requests import EmbedRequest
from tests.api.stage import Chats, Gateway, Plays, Speaks, stage
from tests.api.test_bad_input import longest_pause

pytestmark = pytest.mark.wire
JSON = {"content-type": "application/json"}
TURNS = [{"role": "user", "content": "x"}]
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "chat", "messages": TURNS},
    "/v1/responses": {"model": "chat", "input": "x"},
    "/v1/messages": {"model": "chat", "max_tokens": 9, "messages": TURNS},
    "/v1/messages/count_tokens": {"model": "chat", "messages": TURNS},
    "/v1/completions": {"model": "chat", "prompt": "x"},
    "/v1/embeddings": {"model": "embed", "input": "x"},
    "/v1/audio/speech": {"model": "say", "input": "x"},
}
every = pytest.mark.parametrize("path", GOOD)


class Embeds(Plays):
    async def embed(self, model: str, request: EmbedRequest) -> Events:
        yield Embedded(((0.5,),))
        yield Usage(1)
        yield Finished()


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    speaks = Speaks(AudioDelta(Audio(b"\0\x10" * 2400, 24_000)))
    async with stage(chat=Chats(TextDelta("hi"), Finished()), say=speaks, embed=Embeds()) as made:
        yield made


def bodies(good: dict[str, Any]) -> dict[str, tuple[bytes, int]]:
    """Name = body and status."""
    long = b'{"model":"' + good["model"].encode() + b'","x":'
    return {
        "no JSON": (b"{nope", 400),
        "nothing": (b"", 400),
        "an array": (b"[1]", 400),
        "a number that is none": (b'{"a":NaN}', 400),
        "broken UTF-8": (b'{"model":"\xff"}', 400),
        "a lone surrogate": (b'{"model":"\\ud800"}', 400),
        "10,000 deep": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400),
        "too deep to be sent on": (long + b"[" * 300 + b"]" * 300 + b"}", 400),
        "no model": (b"{}", 400),
        "a model that is no string": (orjson.dumps(good | {"model": 7}), 400),
        "an endless model": (orjson.dumps(good | {"model": "m" * 10_000}), 400),
        "an unknown model": (orjson.dumps(good | {"model": "nope"}), 404),
        "a model with line breaks": (orjson.dumps(good | {"model": "a\r\nx-evil: 1"}), 404),
        "another upstream": (orjson.dumps(good | {"api_base": "http://127.0.0.1:1"}), 400),
        "another upstream, again": (orjson.dumps(good | {"base_url": "http://127.0.0.1:1"}), 400),
        "another key": (orjson.dumps(good | {"api_key": "sk-mine"}), 400),
        "17 MB": (long + b'"' + b"x" * JSON_LIMIT + b'"}', 413),
        "a million messages": (long + b"[" + b",".join([b'{"role":"user","content":"x"}'] * 300_000) + b"]}", 413),
        "5,000,000 deep": (b"[" * 5_000_000, 413),
    }


@every
async def test_bad_bodies(gateway: Gateway, path: str) -> None:
    for name, (body, status) in bodies(GOOD[path]).items():
        longest = asyncio.create_task(longest_pause())
        response = await gateway.http.post(path, content=body, headers=JSON)
        longest.cancel()
        assert response.status_code == status, (name, response.text[:200])
        assert response.json()["error"]["message"], name
        assert "x-evil" not in response.headers
        assert "sk-mine" not in response.text
        pause = await longest
        assert pause < 0.4, (name, pause)  # see test_bad_input.py
    assert not gateway.samples
    good = await gateway.http.post(path, json=GOOD[path])
    assert good.status_code == 200, good.text


@every
async def test_bodies_that_do_not_call_themselves_json(gateway: Gateway, path: str) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        response = await gateway.http.post(path, content=orjson.dumps(GOOD[path]), headers={"content-type": kind})
        assert response.status_code == 415, kind


MANY = [{"role": "user", "content": "x"}] * 20_000
INSIDE = "http://169.254.169.254/latest"
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/responses", {"input": MANY}, "input"),
    ("/v1/messages", {"messages": MANY}, "messages"),
    ("/v1/embeddings", {"input": ["x"] * 3000}, "input"),
    ("/v1/embeddings", {"input": []}, "input"),
    ("/v1/embeddings", {"input": [-1]}, "input"),
    ("/v1/embeddings", {"encoding_format": "gif"}, "encoding_format"),
    ("/v1/completions", {"prompt": {}}, "prompt"),
    ("/v1/completions", {"prompt": [None]}, "prompt"),
    ("/v1/completions", {"temperature": "hot"}, "temperature"),
    ("/v1/responses", {"temperature": "hot"}, "temperature"),
    (
        "/v1/responses",
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": INSIDE}]}]},
        "input[0].content[0].image_url",
    ),
    (
        "/v1/messages",
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": INSIDE}}]}]},
        "messages[0].content[0].source.url",
    ),
]


@pytest.mark.parametrize(("path", "changed", "param"), BAD, ids=[f"{n}-{each[2]}" for n, each in enumerate(BAD)])
async def test_what_is_wrong_is_named(gateway: Gateway, path: str, changed: dict[str, Any], param: str) -> None:
    response = await gateway.http.post(path, json=GOOD[path] | changed)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text[:300]


@pytest.mark.parametrize("version", ["2023-06-01\tx", "latest", "9" * 500])
async def test_a_version_that_is_none(gateway: Gateway, version: str) -> None:
    headers = {"anthropic-version": version}
    response = await gateway.http.post("/v1/messages", json=GOOD["/v1/messages"], headers=headers)
    assert (response.status_code, response.json()["type"]) == (400, "error")
