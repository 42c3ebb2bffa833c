"""Fields that nobody here knows reach an upstream of OpenAI's shape byte for byte; everything else by value."""

from __future__ import annotations

import pytest

from gateway.app import create_app
from gateway.config import parse
from gateway.contract.provider import Settings
from gateway.loader import load
from providers import openai_compatible
from tests.answering import Answering, answers
from tests.api.stage import stage
from tests.serving import plain_http, serving
from tests.upstreams import Upstream

pytestmark = pytest.mark.wire
STRANGE = [
    b'"big":123456789012345678901234567890',
    b'"price":1.10',
    b'"exact":3.141592653589793238462643',
    b'"tiny":1E-7',
    b'"minus":-0',
    b'"escaped":"\\u00e9\\/\\uD83D\\uDE00"',
    '"plain":"é😀"'.encode(),
    b'"deep":{ "b" : [1.0e5, {"z":1, "a":2}],\t"a":null }',
    b'"empty":{}',
    b'"model_":"\\"model\\":\\"x\\",}"',
    b'"k\\u00e9y":[1,  2]',
    b'"off":false',
]
CHAT = b'"model":"chat","messages":[{"role":"user","content":"hello","odd":{"b":1,"a":2}}]'


@pytest.mark.parametrize("blank", [b"", b" \r\n\t"], ids=["tight", "spaced"])
@pytest.mark.parametrize("stream", [b"false", b"true"])
async def test_strangers_fields_arrive_as_the_bytes_that_came(blank: bytes, stream: bytes) -> None:
    join = blank + b"," + blank
    body = blank + b"{" + blank + join.join([*STRANGE[:5], CHAT, b'"stream":' + stream, *STRANGE[5:]]) + blank + b"}"
    async with Upstream(Answering()) as upstream:
        async with stage(chat=openai_compatible.Provider(Settings("up", upstream.url))) as gateway:
            told = await gateway.http.post(
                "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
            )
    assert told.status_code == 200, told.text
    sent = upstream.received[0]
    for field in STRANGE:
        name, _, value = field.partition(b":")
        name = b'"k\xc3\xa9y"' if b"\\u00e9y" in name else name  # names are kept by value
        assert name + b":" + value in sent.body, field
    assert sent.json["model"] == "m"
    assert sent.json["messages"] == [{"role": "user", "content": "hello", "odd": {"b": 1, "a": 2}}]
    assert list(sent.json)[:5] == ["big", "price", "exact", "tiny", "minus"]


async def test_of_a_name_said_twice_the_last_counts() -> None:
    body = b'{"x":1.10,' + CHAT + b',"x":2.20}'
    async with Upstream(*answers("hi")) as upstream:
        async with stage(chat=openai_compatible.Provider(Settings("up", upstream.url))) as gateway:
            headers = {"content-type": "application/json"}
            await gateway.http.post("/v1/chat/completions", content=body, headers=headers)
    assert upstream.received[0].body.count(b'"x":') == 1
    assert b'"x":2.20' in upstream.received[0].body


async def test_a_large_body_keeps_every_value() -> None:
    body = b'{"x":1.10,"padding":"' + b"x" * (1 << 18) + b'",' + CHAT + b"}"
    async with Upstream(*answers("hi")) as upstream:
        async with stage(chat=openai_compatible.Provider(Settings("up", upstream.url))) as gateway:
            headers = {"content-type": "application/json"}
            await gateway.http.post("/v1/chat/completions", content=body, headers=headers)
    assert upstream.received[0].json["x"] == 1.1


ROUTES = """
providers:
  openai: {base_url: "URL", key: key}
policies:
  once: {retries: 0}
routes:
  chat: {kind: llm, policy: once, targets: [openai/small]}
  embed: {kind: embed, policy: once, targets: [openai/vectors]}
"""


@pytest.mark.parametrize(
    ("path", "body"),
    [("/responses", b'"model":"chat","input":"hello"'), ("/embeddings", b'"model":"embed","input":"hello"')],
    ids=["responses", "embeddings"],
)
async def test_the_other_dialects_keep_them_too(path: str, body: bytes) -> None:
    async with Upstream("500") as upstream:
        config = parse(ROUTES.replace("URL", upstream.url))
        async with serving(create_app(config, load(config, {}))) as served, plain_http(base_url=served.url) as http:
            content = b'{"x":1.10,' + body + b"}"
            await http.post(f"/v1{path}", content=content, headers={"content-type": "application/json"})
    assert upstream.received[0].path == f"/v1{path}"
    assert b'"x":1.10' in upstream.received[0].body
