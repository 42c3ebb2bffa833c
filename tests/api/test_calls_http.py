"""Calls over HTTP, by real clients: aiortc, the official openai client, and plain requests for what goes wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import httpx
import psutil
import pytest

from gateway.state.memory import MemoryStore
from gateway.state.store import Held
from tests.api.call_gateway import HERTZ, CallGateway, call_gateway
from tests.caller import RATE, Caller
from tests.serving import Served, client
from tests.sounds import pitch, tone
from tests.transports.offers import BAD, CHROMIUM, FIREFOX, OPENAI, TOO_LARGE

pytestmark = pytest.mark.wire

SDP = {"content-type": "application/sdp"}
PATH = "/v1/realtime/calls"


@pytest.fixture
async def gateway() -> AsyncGenerator[CallGateway]:
    async with call_gateway(stt=["hello there"], llm=["Hi, how are you?"]) as gateway:
        yield gateway


@pytest.fixture
async def http(gateway: CallGateway) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        yield http


def udp_sockets() -> int:
    return len(psutil.Process().net_connections("udp"))


def form(sdp: str, session: object | None = None) -> dict[str, tuple[None, str, str]]:
    parts = {"sdp": (None, sdp, "application/sdp")}
    if session is not None:
        parts["session"] = (None, session if isinstance(session, str) else json.dumps(session), "application/json")
    return parts


def error_of(response: httpx.Response) -> dict[str, object]:
    body = response.json()
    assert set(body) == {"error"}
    assert {"message", "type", "param", "code"} <= set(body["error"])
    assert response.headers["access-control-allow-origin"] == "*"
    return dict(body["error"])


async def test_a_turn_of_a_call(gateway: CallGateway, http: httpx.AsyncClient) -> None:
    async with Caller(gateway.url) as caller:
        assert caller.location.startswith("/v1/realtime/calls/rtc_")
        identity = caller.location.rpartition("/")[2]
        assert (await caller.until("session.created")).body["session"]["model"] == "agent"
        told = (await caller.until("call", "gateway")).body
        assert (told["call_id"], told["route"], told["mode"]) == (identity, "agent", "cascaded")

        said = caller.say(tone(300, 1.0, 48_000))
        done = await caller.until("conversation.item.input_audio_transcription.completed")
        assert done.body["transcript"] == "hello there"
        await caller.until("output_audio_buffer.stopped")
        began = caller.heard.voice_after(said.ended)
        sung = caller.heard.between(began + 0.1, began + 0.7)
        assert abs(pitch(sung, RATE) - HERTZ) < 3

        state = (await http.get(f"/v1/calls/{identity}")).json()
        assert (state["id"], state["route"], state["mode"], state["state"]) == (identity, "agent", "cascaded", "live")
        assert state["turns"][0]["targets"] == {"stt": "ear/one", "llm": "mind/one", "tts": "voice/one"}
        assert 0 < state["turns"][0]["e2e_latency"] < 3


async def test_an_answer_looks_as_openais_does(http: httpx.AsyncClient) -> None:
    session = {"type": "realtime", "model": "other", "instructions": "Answer in two words."}
    response = await http.post(PATH, files=form(OPENAI, session))
    assert response.status_code == 201
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-expose-headers"] == "Location, X-Request-Id"
    assert response.headers["location"].startswith("/v1/realtime/calls/rtc_")
    assert response.headers["x-request-id"]
    assert "a=fmtp:96 minptime=10;useinbandfec=1" in response.text
    state = (await http.get(response.headers["location"].replace("/realtime", ""))).json()
    assert (state["route"], state["state"], state["turns"]) == ("other", "connecting", [])


async def test_the_official_client_makes_and_ends_a_call(gateway: CallGateway) -> None:
    port = int(gateway.url.rpartition(":")[2])
    async with client(Served(port)) as openai:
        made = await openai.realtime.calls.create(sdp=OPENAI, session={"type": "realtime", "model": "agent"})
        assert made.response.status_code == 201
        assert made.text.startswith("v=0")
        identity = made.response.headers["location"].rpartition("/")[2]
        await openai.realtime.calls.hangup(identity)
        assert gateway.registry.get(identity) is None


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/sdp", "application/sdp"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/plain, application/sdp;q=0.5", "application/sdp"),
        ("*/*", "application/sdp"),
    ],
)
async def test_accept_chooses_the_answers_type(http: httpx.AsyncClient, accept: str, expected: str) -> None:
    response = await http.post(PATH, content=FIREFOX, headers={**SDP, "accept": accept})
    assert response.status_code == 201
    assert response.headers["content-type"] == expected


async def test_the_route_is_the_urls_then_the_sessions_then_the_first(http: httpx.AsyncClient) -> None:
    async def route(response: httpx.Response) -> str:
        assert response.status_code == 201, response.text
        return str((await http.get(response.headers["location"].replace("/realtime", ""))).json()["route"])

    assert await route(await http.post(PATH, content=OPENAI, headers=SDP)) == "agent"
    assert await route(await http.post(f"{PATH}?model=other", content=OPENAI, headers=SDP)) == "other"
    assert await route(await http.post(PATH, files=form(OPENAI))) == "agent"
    assert await route(await http.post(PATH, files=form(OPENAI, {"type": "realtime"}))) == "agent"
    session = {"type": "realtime", "model": "gpt-realtime"}
    assert await route(await http.post(f"{PATH}?model=other", files=form(OPENAI, session))) == "other"


@pytest.mark.parametrize(
    ("model", "status", "code", "says"),
    [
        ("nobody", 404, "model_not_found", "agent, drowsy, omni, other"),
        ("chat", 400, "wrong_kind", "kind llm"),
        ("drowsy", 503, "no_target_awake", "no key"),
        ("x" * 300, 400, None, "256"),
    ],
)
async def test_a_model_that_is_no_call_route_is_told(
    http: httpx.AsyncClient, model: str, status: int, code: str | None, says: str
) -> None:
    by_url = await http.post(PATH, params={"model": model}, content=OPENAI, headers=SDP)
    by_session = await http.post(PATH, files=form(OPENAI, {"type": "realtime", "model": model}))
    for response in (by_url, by_session):
        assert response.status_code == status
        error = error_of(response)
        assert error["param"] == "model"
        assert error["code"] == code
        assert says in str(error["message"])


async def test_bad_sdp_is_answered_400_or_413(http: httpx.AsyncClient, gateway: CallGateway) -> None:
    before = udp_sockets()
    for name, offer in (BAD | TOO_LARGE).items():
        response = await http.post(PATH, content=offer, headers=SDP)
        assert response.status_code == (413 if name in TOO_LARGE else 400), name
        assert error_of(response)["type"] == "invalid_request_error"
    assert udp_sockets() == before
    assert len(gateway.registry) == 0


@pytest.mark.parametrize(
    ("request_", "status", "param"),
    [
        ({"content": CHROMIUM, "headers": {"content-type": "text/plain"}}, 415, None),
        ({"json": {"sdp": OPENAI}}, 415, None),
        ({"content": b"\xff\xfe", "headers": SDP}, 400, "sdp"),
        ({"files": {"session": (None, "{}")}}, 400, "sdp"),
        ({"files": form(OPENAI, "{not json")}, 400, "session"),
        ({"files": form(OPENAI, "[]")}, 400, "session"),
        (
            {"files": form(OPENAI, {"type": "realtime", "audio": {"output": {"speed": 99}}})},
            400,
            "session.audio.output.speed",
        ),
        ({"files": form(OPENAI, {"type": "realtime", "nonsense": 1})}, 400, "session.nonsense"),
        ({"content": "x", "headers": {"content-type": "multipart/form-data"}}, 400, None),
        ({"content": OPENAI, "headers": SDP, "params": {str(n): "1" for n in range(100)}}, 400, None),
    ],
)
async def test_bad_bodies_are_told(
    http: httpx.AsyncClient, gateway: CallGateway, request_: dict[str, object], status: int, param: str | None
) -> None:
    before = udp_sockets()
    response = await http.post(PATH, **request_)  # type: ignore[arg-type]
    assert response.status_code == status, response.text
    assert error_of(response)["param"] == param
    assert udp_sockets() == before
    assert len(gateway.registry) == 0


@pytest.mark.parametrize("path", [PATH, f"{PATH}/rtc_x", f"{PATH}/rtc_x/hangup", "/v1/calls/rtc_x"])
async def test_browsers_may_ask_from_anywhere(http: httpx.AsyncClient, path: str) -> None:
    asked = "authorization,content-type,x-openai-agents-sdk"
    headers = {"origin": "https://example.com", "access-control-request-method": "POST"}
    response = await http.options(path, headers={**headers, "access-control-request-headers": asked})
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "*"
    allowed = response.headers["access-control-allow-headers"].replace(" ", "").split(",")
    assert set(asked.split(",")) <= set(allowed)
    assert "access-control-allow-credentials" not in response.headers
    assert "OPTIONS" in response.headers["access-control-allow-methods"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", f"{PATH}/{{}}"), ("POST", f"{PATH}/{{}}/hangup"), ("DELETE", "/v1/calls/{}")],
)
async def test_hanging_up_closes_everything_within_a_second(
    gateway: CallGateway, http: httpx.AsyncClient, method: str, path: str
) -> None:
    before = udp_sockets()
    async with Caller(gateway.url) as caller:
        identity = caller.location.rpartition("/")[2]
        caller.say(tone(300, 0.6, 48_000))
        await caller.until("output_audio_buffer.started")
        assert gateway.streams > 0
        assert udp_sockets() > before + 1
        async with asyncio.timeout(1.0):
            response = await http.request(method, path.format(identity))
            assert response.status_code == 200
            await caller.until("ended", "gateway")
            await caller.until_true(lambda: gateway.streams == 0 and caller.peer.connectionState == "closed")
        again = await http.request(method, path.format(identity))
        assert again.status_code == 404
        assert error_of(again)["code"] == "not_found"
    assert udp_sockets() == before


async def test_a_caller_who_leaves_takes_everything_along(gateway: CallGateway, http: httpx.AsyncClient) -> None:
    async with Caller(gateway.url) as caller:
        caller.say(tone(300, 0.6, 48_000))
        await caller.until("output_audio_buffer.started")
    await caller.until_true(lambda: gateway.streams == len(gateway.registry) == 0, within=1.0)
    assert (await http.get(caller.location.replace("/realtime", ""))).status_code == 404


async def test_a_caller_who_vanishes_is_missed_soon(gateway: CallGateway) -> None:
    async with Caller(gateway.url) as caller:
        await caller.until("session.created")
        caller.vanish()
        await caller.until_true(lambda: len(gateway.registry) == 0, within=4)
    assert gateway.streams == 0


async def test_candidates_may_come_later(gateway: CallGateway, http: httpx.AsyncClient) -> None:
    location = (await http.post(PATH, content=FIREFOX, headers=SDP)).headers["location"]
    fragment = {"content-type": "application/trickle-ice-sdpfrag"}
    head = "a=ice-ufrag:c4f5c4e2\r\na=ice-pwd:0b66f472495ef0ccac7bda653ab6be49\r\nm=audio 9 UDP/TLS/RTP/SAVPF 109\r\na=mid:0\r\n"
    good = head + "a=candidate:0 1 UDP 2122252543 127.0.0.1 50000 typ host\r\na=end-of-candidates\r\n"
    response = await http.patch(location, content=good, headers=fragment)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["access-control-allow-origin"] == "*"
    for content, headers, status in [
        ("nonsense", fragment, 400),
        (good, SDP, 415),
        (good.replace("c4f5c4e2", "other"), fragment, 422),
        ("a=x\r\n" * 60_000, fragment, 413),
        (head + "a=candidate:0 1 UDP 2122252543 127.0.0.1 50000 typ host\r\n" * 200, fragment, 400),
    ]:
        assert (await http.patch(location, content=content, headers=headers)).status_code == status
    assert (await http.patch(f"{PATH}/rtc_nobody", content=good, headers=fragment)).status_code == 404
    await http.delete(location)


async def test_a_full_gateway_says_when_to_try_again() -> None:
    async with call_gateway(most=1) as gateway, httpx.AsyncClient(base_url=gateway.url) as http:
        assert (await http.post(PATH, content=OPENAI, headers=SDP)).status_code == 201
        before = udp_sockets()
        refused = await http.post(PATH, content=OPENAI, headers=SDP)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert error_of(refused)["code"] == "calls_full"
        assert udp_sockets() == before


async def test_the_caller_is_greeted() -> None:
    async with call_gateway(greeting="Welcome.") as gateway, Caller(gateway.url) as caller:
        await caller.until("output_audio_buffer.started")
        await caller.heard.until(lambda: caller.heard.voice_after(0))


class Elsewhere(MemoryStore):
    """A directory in which every call is another replica's, for a caller with that key."""

    def __init__(self, owner: str | None) -> None:
        self._owner = owner

    async def find(self, call_id: str) -> Held:
        return Held("00000000000000aa", self._owner, "http://10.0.0.9:8080")


@pytest.mark.parametrize(("owner", "status"), [(None, 421), ("1a2b3c4d", 404)])
async def test_where_a_call_is_held_is_told_to_nobody_but_its_owner(owner: str | None, status: int) -> None:
    async with call_gateway(directory=Elsewhere(owner)) as gateway, httpx.AsyncClient(base_url=gateway.url) as http:
        for method, path in (("GET", "/v1/calls/rtc_9"), ("DELETE", "/v1/calls/rtc_9"), ("DELETE", f"{PATH}/rtc_9")):
            answer = await http.request(method, path)
            assert answer.status_code == status
            assert ("10.0.0.9" in answer.text) == (status == 421)
