"""What a caller did wrong gets a clear error in OpenAI's form, and costs nobody else anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import openai
import orjson
import pytest

from gateway.api.exchange import JSON_LIMIT
from gateway.contract.audio import Audio
from gateway.contract.errors import ContextTooLong, ProviderError, RateLimited, Refused, Unauthorized, Unavailable
from gateway.contract.events import AudioDelta, Finished, TextDelta
from tests.api.stage import Chats, Gateway, Hears, Speaks, stage

pytestmark = pytest.mark.wire

CHAT = "/v1/chat/completions"
HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    says = Chats(TextDelta("hi"), Finished())
    speaks = Speaks(AudioDelta(Audio.silence(0.1, 24_000)))
    sleeps = {"sleepy": {"cloud/big": "CLOUD_KEY is not set"}}
    async with stage(asleep=sleeps, chat=says, say=speaks, listen=Hears()) as made:
        yield made


def asking(**fields: object) -> bytes:
    return orjson.dumps({"model": "chat", "messages": HELLO, **fields})


def saying(part: object) -> bytes:
    return asking(messages=[{"role": "user", "content": [part]}])


BODIES: list[tuple[str, bytes, int, str | None]] = [
    ("no JSON", b"{nope", 400, None),
    ("half of it", b'{"model":', 400, None),
    ("nothing", b"", 400, None),
    ("an array", b"[1]", 400, None),
    ("a number that is none", b'{"a":NaN}', 400, None),
    ("broken UTF-8", b'{"model":"\xff"}', 400, None),
    ("a lone surrogate", b'{"model":"\\ud800"}', 400, None),
    ("too deep for any parser", b'{"a":' * 10_000, 400, None),
    ("too deep to be sent on", b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", 400, None),
    ("no model", b'{"messages":[]}', 400, "model"),
    ("a model that is no string", asking(model=7), 400, "model"),
    ("an endless model", asking(model="m" * 10_000), 400, "model"),
    ("an unknown model", asking(model="nope"), 404, "model"),
    ("a model with line breaks", asking(model="a\r\nx-evil: 1"), 404, "model"),
    ("a model of another kind", asking(model="say"), 400, "model"),
    ("a route that sleeps", asking(model="sleepy"), 503, "model"),
    ("no messages", asking(messages=[]), 400, "messages"),
    ("messages that are none", asking(messages="hi"), 400, "messages"),
    ("a message that is none", asking(messages=["hi"]), 400, "messages[0]"),
    ("an unknown role", asking(messages=[{"role": "god", "content": "x"}]), 400, "messages[0].role"),
    ("no content", asking(messages=[{"role": "user"}]), 400, "messages[0].content"),
    ("an unknown part", saying({"type": "smell"}), 400, "messages[0].content[0].type"),
    ("a part without its text", saying({"type": "text"}), 400, "messages[0].content[0].text"),
    (
        "a file as a picture",
        saying({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}),
        400,
        "messages[0].content[0].image_url.url",
    ),
    (
        "a picture from inside",
        saying({"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}),
        400,
        "messages[0].content[0].image_url.url",
    ),
    (
        "sound that is none",
        saying({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
        400,
        "messages[0].content[0].input_audio.data",
    ),
    (
        "sound that is no base64",
        saying({"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}}),
        400,
        "messages[0].content[0].input_audio.data",
    ),
    ("a tool without a name", asking(tools=[{"type": "function", "function": {}}]), 400, "tools[0].function.name"),
    ("an unknown tool", asking(tools=[{"type": "magic"}]), 400, "tools[0].type"),
    ("too warm", asking(temperature=9), 400, "temperature"),
    ("warm in words", asking(temperature="hot"), 400, "temperature"),
    ("no tokens", asking(max_tokens=0), 400, "max_tokens"),
    ("true tokens", asking(max_tokens=True), 400, "max_tokens"),
    ("stream in words", asking(stream="yes"), 400, "stream"),
    ("options that are none", asking(stream=True, stream_options=[]), 400, "stream_options"),
    ("stops that are none", asking(stop=[1]), 400, "stop[0]"),
    ("another upstream", asking(api_base="http://127.0.0.1:1"), 400, "api_base"),
    ("another upstream, again", asking(base_url="http://127.0.0.1:1"), 400, "base_url"),
]


@pytest.mark.parametrize(("body", "status", "param"), [each[1:] for each in BODIES], ids=[each[0] for each in BODIES])
async def test_a_body_that_will_not_do(gateway: Gateway, body: bytes, status: int, param: str | None) -> None:
    response = await gateway.http.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error.keys() >= {"message", "type", "param", "code"}
    assert error["param"] == param
    assert "x-evil" not in response.headers
    await still_serves(gateway)


async def still_serves(gateway: Gateway) -> None:
    answer = await gateway.openai.chat.completions.create(model="chat", messages=HELLO)
    assert answer.choices[0].message.content == "hi"


async def test_an_unknown_route_is_told_the_known_ones(gateway: Gateway) -> None:
    with pytest.raises(openai.NotFoundError, match="chat, listen, say, sleepy") as caught:
        await gateway.openai.chat.completions.create(model="nope", messages=HELLO)
    assert caught.value.code == "model_not_found"


async def test_a_route_that_sleeps_says_why(gateway: Gateway) -> None:
    with pytest.raises(openai.InternalServerError, match="CLOUD_KEY is not set") as caught:
        await gateway.openai.chat.completions.create(model="sleepy", messages=HELLO)
    assert caught.value.status_code == 503


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_a_body_that_does_not_call_itself_json(gateway: Gateway, kind: str) -> None:
    response = await gateway.http.post(CHAT, content=asking(), headers={"content-type": kind})
    assert response.status_code == 415
    assert response.json()["error"]["code"] == "unsupported_media_type"


@pytest.mark.alone
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"model":"chat","messages":"' + b"x" * JSON_LIMIT + b'"}', 413),
        (b'{"messages":[' + b",".join([b'{"role":"user","content":"x"}'] * 400_000) + b"]}", 413),
        (b'{"messages":[' + b",".join([b'{"role":"user","content":"x"}'] * 20_000) + b"]}", 400),
        (b"[" * 5_000_000, 413),
        (b'{"a":[' + b"0," * 7_000_000 + b"0]}", 413),
    ],
    ids=["17 MB", "400,000 messages", "20,000 messages", "5,000,000 deep", "7,000,000 numbers"],
)
async def test_a_huge_body_is_refused_without_holding_up_others(gateway: Gateway, body: bytes, status: int) -> None:
    longest = asyncio.create_task(longest_pause())
    response = await gateway.http.post(CHAT, content=body, headers={"content-type": "application/json"})
    longest.cancel()
    pause = await longest
    assert response.status_code == status, response.text[:200]
    assert pause < 0.4, (
        f"the loop stood for {pause} s"
    )  # four times what is promised: client and server share the thread
    await still_serves(gateway)


async def longest_pause() -> float:
    """Seconds that this thread worked without a pause: of its own time, for others work on this machine too."""
    clock, longest = time.thread_time, 0.0
    last = clock()
    try:
        while True:
            await asyncio.sleep(0)
            longest, last = max(longest, clock() - last), clock()
    except asyncio.CancelledError:
        return longest


async def test_a_body_that_does_not_end_is_cut_at_the_limit(gateway: Gateway) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 4 * JSON_LIMIT:
            sent += 1 << 20
            yield b" " * (1 << 20)

    response = await gateway.http.post(CHAT, content=endless(), headers={"content-type": "application/json"})
    assert response.status_code == 413


async def test_unknown_paths_and_methods(gateway: Gateway) -> None:
    missing = await gateway.http.get("/v1/nothing")
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "invalid_request_error")
    assert missing.json()["error"]["message"] == "Invalid URL (GET /v1/nothing)"
    wrong = await gateway.http.get(CHAT)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"


async def test_whatever_breaks_is_told_by_its_request_alone(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    response = await gateway.http.get("/breaks", headers={"x-request-id": "mine-7"})
    assert response.status_code == 500
    assert response.headers["x-request-id"] == "mine-7"
    assert "mine-7" in response.json()["error"]["message"]
    assert "canary" not in response.text
    assert "RuntimeError" in caplog.text
    assert "canary" not in caplog.text


async def test_a_request_id_that_could_do_harm_is_replaced(gateway: Gateway) -> None:
    response = await gateway.http.get("/v1/nothing", headers={"x-request-id": "<script>"})
    assert response.headers["x-request-id"].startswith("req_")


def failing(*errors: ProviderError) -> Any:
    return stage(chat=tuple(Chats(error) for error in errors))


async def test_when_all_fail_each_is_named_and_clients_do_not_retry() -> None:
    async with failing(Unavailable("503", "a", 503), Unauthorized("401", "b", 401)) as gateway:
        with pytest.raises(openai.InternalServerError, match=r"chat-chats/m: 503; chat-chats1/m: 401") as caught:
            await gateway.openai.with_options(max_retries=3).chat.completions.create(model="chat", messages=HELLO)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(gateway.samples) == 2
    attempts = caught.value.response.json()["error"]["attempts"]
    assert [(each["target"], each["status"]) for each in attempts] == [("chat-chats/m", 503), ("chat-chats1/m", 401)]


async def test_when_all_are_rate_limited_it_says_until_when() -> None:
    async with failing(RateLimited("429", "a", 429, 12.0), RateLimited("429", "b", 429, 2.5)) as gateway:
        with pytest.raises(openai.RateLimitError) as caught:
            await gateway.openai.chat.completions.create(model="chat", messages=HELLO)
    assert caught.value.response.headers["retry-after"] == "3"


async def test_when_it_is_too_long_for_all_the_caller_is_told_so() -> None:
    async with failing(ContextTooLong("too long", "a", 400), ContextTooLong("too long", "b", 400)) as gateway:
        with pytest.raises(openai.BadRequestError) as caught:
            await gateway.openai.chat.completions.create(model="chat", messages=HELLO)
    assert caught.value.code == "context_length_exceeded"


async def test_a_request_at_fault_is_refused_with_the_upstreams_reason() -> None:
    refused = Refused("refused (422)", "a", 422, code="bad_tool", detail="tools[0] is odd", param="tools[0]")
    async with failing(refused, Unavailable("never asked", "b")) as gateway:
        with pytest.raises(openai.UnprocessableEntityError, match=r"tools\[0\] is odd") as caught:
            await gateway.openai.chat.completions.create(model="chat", messages=HELLO, stream=True)
    assert (caught.value.code, caught.value.param) == ("bad_tool", "tools[0]")
    assert len(gateway.samples) == 1


SPEECH: list[tuple[str, dict[str, object], int, str | None]] = [
    ("nothing to say", {"input": " "}, 400, "input"),
    ("no input", {}, 400, "input"),
    ("too much to say", {"input": "x" * 70_000}, 400, "input"),
    ("an unknown format", {"input": "x", "response_format": "cassette"}, 400, "response_format"),
    ("too fast", {"input": "x", "speed": 9}, 400, "speed"),
    ("a voice that is none", {"input": "x", "voice": {"name": "x"}}, 400, "voice.id"),
    ("a route of another kind", {"input": "x", "model": "chat"}, 400, "model"),
    ("an unknown route", {"input": "x", "model": "nope"}, 404, "model"),
]


@pytest.mark.parametrize(("fields", "status", "param"), [each[1:] for each in SPEECH], ids=[each[0] for each in SPEECH])
async def test_speech_that_cannot_be(gateway: Gateway, fields: dict[str, object], status: int, param: str) -> None:
    response = await gateway.http.post("/v1/audio/speech", json={"model": "say", **fields})
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)


WAV = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\4\0\0\0\1\0\2\0"
UPLOADS: list[tuple[str, bytes, dict[str, str], int, str | None]] = [
    ("words", b"This is not audio, whatever its name says.", {}, 400, "file"),
    ("nothing", b"", {}, 400, "file"),
    ("half a header", WAV[:20], {}, 400, "file"),
    ("no samples", WAV[:40] + b"\0\0\0\0", {}, 400, "file"),
    ("a playlist", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n", {}, 400, "file"),
    ("a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, {}, 400, "file"),
    ("noise called mp3", b"\xff\xfb" + bytes(range(256)) * 4, {}, 400, "file"),
    ("noise called ogg", b"OggS" + bytes(range(256)) * 4, {}, 400, "file"),
    ("one sample a second", WAV.replace(b"\x80\x3e\0\0", b"\1\0\0\0"), {}, 400, "file"),
    ("a byte over 25 MB", bytes((25 << 20) + 1), {}, 413, "file"),
    ("30 MB", b"RIFF" + bytes(30 << 20), {}, 413, None),
    ("an unknown format", WAV, {"response_format": "telegram"}, 400, "response_format"),
    ("a warm one", WAV, {"temperature": "warm"}, 400, "temperature"),
    ("another upstream", WAV, {"base_url": "http://127.0.0.1:1"}, 400, "base_url"),
    ("a route of another kind", WAV, {"model": "chat"}, 400, "model"),
    ("an unknown route", WAV, {"model": "nope"}, 404, "model"),
]


@pytest.mark.parametrize(
    ("file", "fields", "status", "param"), [each[1:] for each in UPLOADS], ids=[each[0] for each in UPLOADS]
)
async def test_an_upload_that_cannot_be_transcribed(
    gateway: Gateway, file: bytes, fields: dict[str, str], status: int, param: str | None
) -> None:
    response = await gateway.http.post(
        "/v1/audio/transcriptions", data={"model": "listen", **fields}, files={"file": ("a.wav", file)}
    )
    assert (response.status_code, response.json()["error"]["param"]) == (status, param), response.text
    await still_serves(gateway)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=b", b"nothing of a form", 400),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nlis', 400),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' * 99, 400),
    ],
    ids=["no form", "no boundary", "no parts", "cut off", "too many parts"],
)
async def test_an_upload_that_is_no_form(gateway: Gateway, kind: str, body: bytes, status: int) -> None:
    response = await gateway.http.post("/v1/audio/transcriptions", content=body, headers={"content-type": kind})
    assert response.status_code == status, response.text
    assert response.json()["error"]["type"] == "invalid_request_error"
