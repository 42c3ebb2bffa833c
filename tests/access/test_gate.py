"""Keys on a real socket: who gets in, where, and what everybody else is told."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.routing import Route

from gateway.access.access import Access
from gateway.access.key import Budget, Limits
from gateway.access.key_file import KeyFile
from gateway.api import errors
from gateway.app import create_app
from gateway.config import parse
from gateway.loader import load
from tests.access.stage import ROUTES, bearer, guarded, made
from tests.serving import client, plain_http, serving
from tests.transports.offers import CHROMIUM

pytestmark = pytest.mark.wire


def error_of(answer: Any) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    return error


async def test_without_keys_nothing_is_asked_for(tmp_path: Path) -> None:
    config = parse(ROUTES, "routes.yaml")
    async with serving(create_app(config, load(config, {}))) as server, client(server) as openai:
        assert (await openai.chat.completions.create(model="chat", messages=[{"role": "user", "content": "hi"}])).id


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
async def test_a_key_is_taken_as_each_kind_of_client_sends_it(tmp_path: Path, header: str) -> None:
    async with guarded(tmp_path) as gateway:
        value = f"Bearer {gateway.key}" if header == "authorization" else gateway.key
        assert (await gateway.http.get("/v1/models", headers={header: value})).status_code == 200
        both = {"authorization": "Bearer sk-of-another-service", header: value}
        assert (await gateway.http.get("/v1/models", headers=both)).status_code == 200


async def test_every_endpoint_needs_a_key_but_the_page_health_and_metrics(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        open_to_all = {"/": 200, "/console/console.js": 200, "/healthz": 200, "/readyz": 200, "/metrics": 200}
        for path, status in open_to_all.items():
            assert (await gateway.http.get(path)).status_code == status
        config = parse(ROUTES, "routes.yaml")
        app = create_app(config, load(config, {}))
        found = [(route.path, method) for route in routes_of(app) for method in route.methods or ()]
        paths = [(path, method) for path, method in found if method != "OPTIONS"]
        asked = 0
        for path, method in [*paths, ("/v1/nothing", "GET"), ("/v1/messages", "POST"), ("//v1/models", "GET")]:
            if path in open_to_all or path == "/console/{name}":
                continue
            answer = await gateway.http.request(method, path.replace("{", "").replace("}", "").replace(":path", ""))
            assert answer.status_code == 401, (method, path)
            asked += 1
        assert asked >= 12


def routes_of(app: FastAPI) -> list[Route]:
    routers = [getattr(each, "original_router", None) for each in app.routes]
    return [
        each for router in (app, *routers) if router is not None for each in router.routes if isinstance(each, Route)
    ]


async def test_what_is_no_good_is_refused_in_the_form_of_openai_and_quoted_nowhere(tmp_path: Path) -> None:
    late, expired = made(name="late", expires=1_899_999_999.0)
    gone, revoked = made(name="gone", revoked=1_850_000_000.0)
    async with guarded(tmp_path, more=[expired, revoked]) as gateway:
        forged = gateway.key[:-1] + ("0" if gateway.key[-1] != "0" else "1")
        for shown, told in (
            (None, "asks for a key"),
            ("sk-canary", "none that the gateway knows"),
            (forged, "none that the gateway knows"),
            ("tl_" + "x" * 5000, "none that the gateway knows"),
            (late, "expired"),
            (gone, "revoked"),
        ):
            answer = await gateway.http.get("/v1/models", headers=bearer(shown) if shown else {})
            assert answer.status_code == 401
            assert error_of(answer)["code"] == "invalid_api_key"
            assert told in error_of(answer)["message"]
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["access-control-allow-origin"] == "*"
            assert shown is None or shown not in answer.text


@pytest.mark.parametrize("name", ["api_key", "api-key", "key", "token", "access_token", "x"])
async def test_a_key_in_the_address_is_refused(tmp_path: Path, name: str) -> None:
    async with guarded(tmp_path) as gateway:
        answer = await gateway.http.get("/v1/models", params={name: gateway.key}, headers=bearer(gateway.key))
    assert answer.status_code == 400
    assert "must not stand in the address" in error_of(answer)["message"]


async def test_a_key_reaches_its_routes_and_learns_of_no_other(tmp_path: Path) -> None:
    async with guarded(tmp_path, routes=["chat", "sa*"]) as gateway:
        assert (await gateway.ask("chat")).status_code == 200
        for name in ("secret", "no-such-route"):
            answer = await gateway.ask(name)
            assert answer.status_code == 403
            assert error_of(answer) == {
                "message": f"this key may not use {name!r}; it may use: chat",
                "type": "invalid_request_error",
                "param": "model",
                "code": "route_not_allowed",
            }
        headers = bearer(gateway.key)
        assert [each["id"] for each in (await gateway.http.get("/v1/models", headers=headers)).json()["data"]] == [
            "chat",
            "say",
        ]
        assert (await gateway.http.get("/v1/models/secret", headers=headers)).status_code == 403
        file = {"file": ("a.wav", b"")}
        heard = await gateway.http.post(
            "/v1/audio/transcriptions", headers=headers, data={"model": "listen"}, files=file
        )
        assert heard.status_code == 403
        offer = {"content-type": "application/sdp", **headers}
        called = await gateway.http.post("/v1/realtime/calls?model=agent", headers=offer, content=CHROMIUM)
        assert called.status_code == 403
        for path in ("/v1/telemetry", "/v1/telemetry/decisions"):
            assert (await gateway.http.get(path, headers=headers)).status_code == 403


async def test_keys_are_followed_as_their_file_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shown, key = made(name="later")
    async with guarded(tmp_path) as gateway:
        assert (await gateway.ask(key=shown)).status_code == 401
        gateway.file.change(lambda keys: [*keys, key])
        await until(lambda: gateway.access.keys == 2)
        assert (await gateway.ask(key=shown)).status_code == 200
        (tmp_path / "keys.json").write_text("{not json")
        await until(lambda: "the new keys are not used" in caplog.text)
        assert (await gateway.ask(key=shown)).status_code == 200
        (tmp_path / "keys.json").unlink()
        await until(lambda: "is gone" in caplog.text)
        assert (await gateway.ask(key=shown)).status_code == 200
        assert (await gateway.http.get("/v1/models")).status_code == 401
        gateway.file.change(lambda _: [])
        await until(lambda: gateway.access.keys == 0)
        assert (await gateway.ask(key=shown)).status_code == 401


async def test_a_first_key_closes_a_gateway_that_was_open(tmp_path: Path) -> None:
    file, config = KeyFile(tmp_path / "keys.json"), parse(ROUTES, "routes.yaml")
    access = Access(file)
    async with serving(create_app(config, load(config, {}), access=access)) as server:
        async with plain_http(base_url=server.url, trust_env=False) as http:
            assert (await http.get("/v1/models")).status_code == 200
            file.change(lambda keys: [*keys, made()[1]])
            await until(lambda: access.guarded)
            assert (await http.get("/v1/models")).status_code == 401


async def until(holds: Any) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


async def test_two_hundred_at_once_are_as_many_as_the_limit_allows(tmp_path: Path) -> None:
    async with guarded(tmp_path, Limits(requests=50)) as gateway:
        answers = await asyncio.gather(*(gateway.ask() for _ in range(200)))
        assert sorted(answer.status_code for answer in answers) == [200] * 50 + [429] * 150
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert error_of(refused)["code"] == "rate_limit_exceeded"
        assert error_of(refused)["type"] == "rate_limit_error"
        assert int(refused.headers["retry-after"]) == 61
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        gateway.clock.now += 60.9
        assert (await gateway.ask()).status_code == 429
        gateway.clock.now += 0.1
        answer = await gateway.ask()
        assert answer.status_code == 200
        told = {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit")}
        assert told == {
            "x-ratelimit-limit-requests": "50",
            "x-ratelimit-remaining-requests": "49",
            "x-ratelimit-reset-requests": "61s",
        }


async def test_tokens_are_counted_as_used_and_held_back_as_asked_for(tmp_path: Path) -> None:
    async with guarded(tmp_path, Limits(tokens=100)) as gateway:
        first = await gateway.ask()
        usage = first.json()["usage"]["total_tokens"]
        assert usage > 0
        second = await gateway.ask(max_tokens=100 - usage)
        assert second.status_code == 200
        assert second.headers["x-ratelimit-remaining-tokens"] == str(100 - usage)
        refused = await gateway.ask(max_tokens=100 - usage)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        never = await gateway.ask(max_tokens=101)
        assert never.status_code == 429
        assert never.headers["x-should-retry"] == "false"
        gateway.clock.now += 61
        assert (await gateway.ask(max_tokens=100)).status_code == 200


async def test_requests_at_once_are_held_to_their_number_and_one_that_leaves_makes_place(tmp_path: Path) -> None:
    async with guarded(tmp_path, Limits(streams=2)) as gateway:
        slow = [asyncio.create_task(gateway.ask("slow", stream=True)) for _ in range(2)]
        try:
            await until(lambda: gateway.access.open_of(gateway.key) == 2)
            refused = await gateway.ask()
            assert refused.status_code == 429
            assert "2 requests at once" in error_of(refused)["message"]
            assert (await gateway.http.get("/v1/models", headers=bearer(gateway.key))).status_code == 200
            slow[0].cancel()
            await until(lambda: gateway.access.open_of(gateway.key) == 1)
            assert (await gateway.ask()).status_code == 200
        finally:
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)


async def test_a_budget_that_is_spent_is_told_with_402_until_the_next_day(tmp_path: Path) -> None:
    async with guarded(tmp_path, Limits(budget=Budget(0.02, "day"))) as gateway:
        assert (await gateway.ask()).status_code == 200
        grant = await gateway.access.admit(gateway.access.find(gateway.key))
        grant.charge(0.02)
        grant.end()
        refused = await gateway.ask()
        assert refused.status_code == 402
        assert error_of(refused)["code"] == "insufficient_quota"
        assert refused.headers["x-should-retry"] == "false"
        gateway.clock.unix += int(refused.headers["retry-after"]) - 2
        assert (await gateway.ask()).status_code == 402
        gateway.clock.unix += 2
        assert (await gateway.ask()).status_code == 200


async def test_a_refusal_keeps_the_connection(tmp_path: Path) -> None:
    async with guarded(tmp_path, Limits(requests=1)) as gateway:
        for status in (200, 429, 429):
            answer = await gateway.ask()
            assert answer.status_code == status
            assert "connection" not in answer.headers


async def test_refusals_are_counted_by_status(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        await gateway.http.get("/v1/models")
        assert 'trunkline_requests_total{endpoint="gate",status="401"} 1.0' in (await gateway.http.get("/metrics")).text


async def test_no_key_is_in_a_log_line_or_a_repr(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with caplog.at_level(logging.DEBUG):
        async with guarded(tmp_path, Limits(requests=1)) as gateway:
            for key in (gateway.key, gateway.key, "tl_00000000_" + "ab" * 24):
                await gateway.ask(key=key)
            await gateway.http.get("/v1/models", params={"key": gateway.key})
            found = gateway.access.find(gateway.key)
            said = "".join((caplog.text, repr(found), repr(gateway.access), repr(errors)))
            assert gateway.key.rpartition("_")[2] not in said
            assert found.digest.hex() not in said
            assert "ab" * 24 not in said


async def test_a_call_is_there_for_its_own_key_alone_and_counts_until_it_is_over(tmp_path: Path) -> None:
    other, key = made(name="other")
    async with guarded(tmp_path, Limits(streams=1), more=[key]) as gateway:
        mine, theirs = bearer(gateway.key), bearer(other)
        offer = {"content-type": "application/sdp", **mine}
        called = await gateway.http.post("/v1/realtime/calls?model=agent", headers=offer, content=CHROMIUM)
        assert called.status_code == 201, called.text
        at = called.headers["location"]
        call = at.rpartition("/")[2]
        assert gateway.access.open_of(gateway.key) == 1
        assert (await gateway.ask()).status_code == 429
        assert (await gateway.http.get(f"/v1/calls/{call}", headers=mine)).status_code == 200
        for method, path in (("GET", f"/v1/calls/{call}"), ("DELETE", at), ("POST", f"{at}/hangup")):
            assert (await gateway.http.request(method, path, headers=theirs)).status_code == 404
        assert (await gateway.http.post(f"{at}/hangup", headers=mine)).status_code == 200
        await until(lambda: gateway.access.open_of(gateway.key) == 0)
        assert (await gateway.ask()).status_code == 200


async def test_callers_of_messages_are_refused_in_the_words_of_their_protocol(tmp_path: Path) -> None:
    async with guarded(tmp_path, Limits(requests=1)) as gateway:
        body = {"model": "chat", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        keys = ("tl_no_key", gateway.key, gateway.key)
        answers = [await gateway.http.post("/v1/messages", json=body, headers={"x-api-key": key}) for key in keys]
    assert [each.status_code for each in answers] == [401, 200, 429]
    assert answers[0].json()["error"]["type"] == "authentication_error"
    assert answers[1].json()["type"] == "message"
    assert answers[2].json()["error"]["type"] == "rate_limit_error"
