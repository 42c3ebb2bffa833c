"""The command line: check, routes, serve; what it says and how it exits."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import sys
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.__main__ import main
from tests.gateway_process import gateway_process
from tests.needs import ROOT

FAKES = """\
providers:
  up: {module: openai_compatible, base_url: "http://127.0.0.1:9/v1", key: $A_KEY_THAT_IS_NOT_SET}
routes:
  chat: {kind: llm, targets: [up/one, fake/ok]}
  dark: {kind: llm, targets: [up/one]}
  agent: {kind: call, cascaded: {stt: ears, llm: chat, tts: mouth}}
  ears: {kind: stt, targets: [fake/ok]}
  mouth: {kind: tts, targets: [fake/ok]}
"""


@pytest.fixture
def fakes(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(FAKES)
    return path


def test_check_finds_no_mistake_and_warns_of_a_route_that_cannot_answer(
    fakes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--config", str(fakes)]) == 0
    told = capsys.readouterr().out
    assert "route dark has no target awake: it will answer 503" in told
    assert "4 routes and 1 call routes, no mistakes" in told


def test_check_names_every_mistake_with_its_line_and_exits_with_two(
    fakes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.write_text(FAKES.replace("fake/ok", "fakee/ok").replace("kind: stt", "kind: tts"))
    assert main(["check", "--config", str(fakes)]) == 2
    assert f"{fakes}:6: routes.agent.cascaded.stt: route 'ears' is of kind tts, not stt" in capsys.readouterr().err
    fakes.write_text(FAKES.replace("fake/ok", "fakee/ok"))
    assert main(["check", "--config", str(fakes)]) == 2
    assert f"{fakes}:4: routes.chat.targets[1]: no provider is named 'fakee'" in capsys.readouterr().err
    far = FAKES.replace("providers:\n", "providers:\n  far: {module: anthropic}\n")
    fakes.write_text(far + "  talk: {kind: s2s, targets: [far/ok]}\n")
    assert main(["check", "--config", str(fakes)]) == 2
    assert "routes.talk.targets[0]: far does not serve s2s; it serves llm" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routes", "--config", str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'none.yaml'}: no such file\n"


def test_routes_shows_who_is_awake_and_why_others_are_not(fakes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routes", "--config", str(fakes)]) == 0
    told = capsys.readouterr().out
    assert "chat  (llm)\n  awake   fake/ok\n  asleep  up/one: A_KEY_THAT_IS_NOT_SET is not set\n" in told
    assert "agent  (call)\n  cascaded: stt ears, llm chat, tts mouth\n" in told


def test_the_shipped_routes_have_no_mistake() -> None:
    assert main(["check", "--config", str(ROOT / "routes.yaml")]) == 0


@pytest.mark.wire
async def test_a_port_that_is_taken_is_told_and_the_exit_status_says_so(fakes: Path) -> None:
    async with gateway_process(fakes) as gateway:
        port = gateway.url.rpartition(":")[2]
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve", "--config", str(fakes), "--port", port),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await asyncio.wait_for(second.communicate(), 30)
    assert second.returncode != 0
    assert b"address already in use" in told.lower()


@pytest.mark.wire
async def test_it_serves_https_with_a_certificate(fakes: Path, tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    more = ("--tls-cert", str(cert), "--tls-key", str(key))
    context = ssl.create_default_context(cafile=str(cert))
    async with gateway_process(fakes, *more, verify=context) as gateway:
        assert gateway.url.startswith("https://127.0.0.1:")
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            assert (await client.get(f"{gateway.url}/healthz")).json() == {"ok": True}


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"
