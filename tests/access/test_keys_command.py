"""`trunkline keys`, and what `trunkline serve` makes of the file."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.__main__ import main
from gateway.access.key import Keyring
from gateway.access.key_file import KeyFile
from gateway.contract.errors import KeyRefused
from tests.access.stage import ROUTES, bearer
from tests.gateway_process import gateway_process
from tests.needs import ROOT
from tests.serving import plain_http


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUNKLINE_KEYS", str(tmp_path / "keys.json"))
    return tmp_path / "keys.json"


def keys(*words: str) -> int:
    return main(["keys", *words])


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return orjson.loads(capsys.readouterr().out)


def test_a_key_is_shown_once_and_only_its_hash_is_kept(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys("create", "ada") == 0
    said = capsys.readouterr()
    shown = said.out.strip()
    assert shown.startswith("tl_")
    assert "every route" in said.err
    secret = shown.rpartition("_")[2]
    assert len(secret) * 4 >= 128
    assert secret not in said.err
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Keyring(KeyFile(file).read() or ()).find(shown, 0.0).name == "ada"
    assert [each.name for each in file.parent.iterdir()] == ["keys.json"]
    assert keys("list") == 0
    listed = capsys.readouterr().out
    assert "ada: every route" in listed
    assert secret not in listed


def test_every_limit_is_kept_and_listed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = ("--routes", "chat, say*", "--requests", "60", "--tokens", "90000", "--streams", "4")
    assert keys("create", "bo", *limits, "--budget", "20.5/day", "--expires", "2030-01-31", "--json") == 0
    made = told(capsys)
    assert keys("list", "--json") == 0
    (listed,) = told(capsys)["keys"]
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert {name: value for name, value in listed.items() if name not in ("id", "created")} == {
        "name": "bo",
        "routes": ["chat", "say*"],
        "requests_per_minute": 60,
        "tokens_per_minute": 90000,
        "streams": 4,
        "budget": {"usd": 20.5, "per": "day"},
        "expires": "2030-01-31T00:00:00Z",
    }
    assert keys("list") == 0
    assert (
        "bo: routes chat, say*, 60 requests a minute, 90000 tokens a minute, 4 at once, 20.50 USD a day, "
        "until 2030-01-31T00:00:00Z" in capsys.readouterr().out
    )


def test_a_revoked_key_is_useless_and_still_listed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = [_create(capsys, name) for name in ("ada", "bo", "bo")]
    assert keys("revoke", "ada") == 0
    assert keys("revoke", "bo") == 2
    assert "2 keys are named 'bo'" in capsys.readouterr().err
    assert keys("revoke", shown[1].split("_")[1], "--json") == 0
    assert keys("revoke", "nobody") == 2
    ring = Keyring(KeyFile(file).read() or ())
    for key in shown[:2]:
        with pytest.raises(KeyRefused, match="revoked"):
            ring.find(key, 0.0)
    assert ring.find(shown[2], 0.0).name == "bo"
    capsys.readouterr()
    assert keys("list") == 0
    assert capsys.readouterr().out.count("revoked") == 2


@pytest.mark.parametrize(
    "words",
    [
        ("--requests", "0"),
        ("--requests", "many"),
        ("--budget", "20"),
        ("--budget", "0/day"),
        ("--budget", "20/week"),
        ("--expires", "soon"),
    ],
)
def test_what_is_no_limit_is_told(file: Path, words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        keys("create", "ada", *words)
    assert words[0] in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no valid JSON"),
        ("[]", "must be"),
        ('{"keys": [{}]}', "keys[0]: 'id' is missing"),
        ('{"keys": [{"id": "a", "name": "b", "sha256": "00", "created": "2030-01-01"}]}', "64 hex digits"),
        (
            '{"keys": [{"id": "a", "name": "b", "sha256": "00", "created": "2030-01-01", "rpm": 5}]}',
            "unknown field 'rpm'",
        ),
    ],
)
def test_a_file_at_fault_is_told_with_the_key_and_stops_the_start(
    file: Path, text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(text)
    assert keys("list") == 2
    assert says in capsys.readouterr().err
    assert main(["serve", "--port", "0"]) == 2
    assert says in capsys.readouterr().err


def test_without_keys_no_other_machine_is_let_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text(ROUTES)
    assert main(["serve", "--port", "0", "--host", "0.0.0.0", "--config", str(config)]) == 2
    assert "no key is configured, so 0.0.0.0 is not bound" in capsys.readouterr().err
    assert main(["serve", "--port", "0", "--keys", str(tmp_path / "none.json"), "--config", str(config)]) == 2
    assert "none.json: no such file" in capsys.readouterr().err


@pytest.mark.wire
async def test_it_serves_all_machines_to_those_with_a_key_and_logs_none(tmp_path: Path) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text(ROUTES.replace("agent:", "#"))
    shown = await _made_beside(config)
    async with gateway_process(config, "--host", "0.0.0.0", "--log-level", "debug") as gateway:
        url = gateway.url.replace("0.0.0.0", "127.0.0.1")
        async with plain_http(base_url=url, trust_env=False) as http:
            asked: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
            assert (await http.post("/v1/chat/completions", json=asked)).status_code == 401
            answer = await http.post("/v1/chat/completions", json=asked, headers=bearer(shown))
            assert answer.status_code == 200
            assert (await http.get("/v1/models", params={"key": shown})).status_code == 400
        assert "TRUNKLINE_KEY is where" in await _watched(url, "")
        assert "chat fake/words-5" in await _watched(url, shown)
    log = "".join(gateway.log)
    assert "keys.json was read: 1 keys" in log
    assert shown.rpartition("_")[2] not in log


@pytest.mark.wire
async def test_whoever_insists_is_served_without_keys_and_warned(tmp_path: Path) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text(ROUTES.replace("agent:", "#"))
    async with gateway_process(config, "--host", "0.0.0.0", "--insecure-no-keys") as gateway:
        url = gateway.url.replace("0.0.0.0", "127.0.0.1")
        async with plain_http(base_url=url, trust_env=False) as http:
            assert (await http.get("/v1/models")).status_code == 200
    assert "without keys: whoever reaches this port can use every route" in "".join(gateway.log)


def _create(capsys: pytest.CaptureFixture[str], name: str) -> str:
    assert keys("create", name) == 0
    return capsys.readouterr().out.strip()


async def _watched(url: str, key: str) -> str:
    """The first lines of `trunkline routes --live`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "routes", "--live", "--url", url),
        cwd=ROOT,
        env=os.environ | {"TRUNKLINE_KEY": key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            return (await process.stdout.readline()).decode()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _made_beside(config: Path) -> str:
    """A key in keys.json beside the configuration, made by the program."""
    command = (sys.executable, "-m", "gateway", "keys", "create", "ada", "--config", str(config))
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    assert (config.parent / "keys.json").exists()
    return out.decode().strip()
