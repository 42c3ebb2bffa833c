"""`ek_` secrets: made with a key, bound to it, to a route and a session, and good for realtime sessions alone, for a while."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openai.types.realtime import ClientSecretCreateResponse

from tests.access.stage import Guarded, bearer, guarded
from tests.access.test_gate import until
from tests.access.test_realtime_keys import browser, dialled, first
from tests.transports.offers import OPENAI

pytestmark = pytest.mark.wire
PATH = "/v1/realtime/client_secrets"
SESSION = {"type": "realtime", "model": "agent", "instructions": "Be brief.", "output_modalities": ["text"]}


async def made(gateway: Guarded, session: Any = SESSION, seconds: int = 60) -> dict[str, Any]:
    body = {"expires_after": {"anchor": "created_at", "seconds": seconds}, "session": session}
    response = await gateway.http.post(PATH, json=body, headers=bearer(gateway.key))
    assert response.status_code == 200, response.text
    ClientSecretCreateResponse.model_validate(response.json())
    return dict(response.json())


async def test_a_secret_opens_its_own_session_as_often_as_wanted(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        told = await made(gateway)
        assert told["value"].startswith("ek_")
        assert (told["session"]["model"], told["session"]["instructions"]) == ("agent", "Be brief.")
        for query in ("", "model=agent"):
            async with dialled(gateway, query, **browser(told["value"])) as socket:
                session = (await first(socket))["session"]
                assert (session["instructions"], session["output_modalities"]) == ("Be brief.", ["text"])
                assert gateway.access.open_of(gateway.key) >= 1
        offer = {**bearer(told["value"]), "content-type": "application/sdp"}
        assert (await gateway.http.post("/v1/realtime/calls", content=OPENAI, headers=offer)).status_code == 201


async def test_one_of_a_transcription_session(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        told = await made(gateway, {"type": "transcription"})
        assert told["session"]["type"] == "transcription"
        async with dialled(gateway, "intent=transcription&model=whisper-1", **browser(told["value"])) as socket:
            assert (await first(socket))["session"]["object"] == "realtime.transcription_session"


async def test_it_is_good_for_nothing_else(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        secret = (await made(gateway))["value"]
        assert (await gateway.ask(key=secret)).status_code == 401
        again = await gateway.http.post(PATH, json={}, headers=bearer(secret))
        assert again.status_code == 401
        async with dialled(gateway, "model=other", **browser(secret)) as socket:
            assert (await first(socket))["error"]["code"] == "route_not_allowed"
        async with dialled(gateway, **browser("ek_" + "0" * 48)) as socket:
            assert (await first(socket))["error"]["code"] == "invalid_api_key"


async def test_it_ends_with_its_time_and_with_its_key(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        short, long = (await made(gateway, seconds=10))["value"], (await made(gateway, seconds=7200))["value"]
        gateway.clock.unix += 10
        for secret, code in ((short, "invalid_api_key"), (long, None)):
            async with dialled(gateway, **browser(secret)) as socket:
                assert (await first(socket)).get("error", {}).get("code") == code
        gateway.file.change(lambda _: [])
        await until(lambda: gateway.access.keys == 0)
        async with dialled(gateway, **browser(long)) as socket:
            assert (await first(socket))["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"session": {"type": "realtime", "model": "nobody"}}, "model"),
        ({"session": {"type": "realtime", "model": "chat"}}, "model"),
        ({"session": {"type": "realtime", "speed": 2}}, "session.speed"),
        ({"session": {"type": "transcription", "instructions": "x"}}, "session.instructions"),
        ({"expires_after": {"anchor": "created_at", "seconds": 9}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "created_at", "seconds": 7201}}, "expires_after.seconds"),
        ({"session": []}, "session"),
    ],
)
async def test_what_could_not_be_opened_is_not_made(tmp_path: Path, body: dict[str, Any], param: str) -> None:
    async with guarded(tmp_path) as gateway:
        response = await gateway.http.post(PATH, json=body, headers=bearer(gateway.key))
        assert 400 <= response.status_code < 500
        assert response.json()["error"]["param"] == param
