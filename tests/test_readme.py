"""What the README tells people to type works as it stands."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

import providers
from gateway.app import create_app
from gateway.config import parse
from gateway.loader import load
from tests.needs import ROOT
from tests.serving import client, serving

README = (ROOT / "README.md").read_text()
FAKE = "routes: {chat: {kind: llm, targets: [fake/says-A-line-of-many-calls.]}}"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def one(language: str, containing: str) -> str:
    (found,) = [block for block in blocks(language) if containing in block]
    return found


def app_of(text: str) -> FastAPI:
    config = parse(text, "README.md")
    return create_app(config, load(config, {}))


@pytest.mark.wire
async def test_the_openai_client_streams_as_shown() -> None:
    code = one("python", "from openai import OpenAI")
    async with serving(app_of(FAKE)) as server:
        said, scope = io.StringIO(), dict[str, Any]()
        ported = compile(code.replace("http://127.0.0.1:8080", server.url), "README.md", "exec")
        try:
            with contextlib.redirect_stdout(said):
                await asyncio.to_thread(exec, ported, scope)
        finally:
            scope["client"].close()
    assert "line" in said.getvalue()


async def ollama(lines: list[object]) -> AsyncIterator[bytes]:
    for line in lines:
        yield orjson.dumps(line) + b"\n"


@pytest.mark.wire
async def test_the_providers_file_works_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ollama.py").write_text(one("python", "class Provider"))
    monkeypatch.setattr(providers, "__path__", [*providers.__path__, str(tmp_path)])
    upstream, asked = FastAPI(), []

    @upstream.post("/api/chat")
    async def chat(request: Request) -> StreamingResponse:
        asked.append(await request.json())
        pieces = [{"message": {"content": text}, "done": text == ""} for text in ("One ", "line.", "")]
        return StreamingResponse(ollama([*pieces]), media_type="application/x-ndjson")

    async with serving(upstream) as other:
        row = one("yaml", "ollama:").replace("http://localhost:11434", other.url)
        async with serving(app_of(row)) as server, client(server) as openai:
            stream = await openai.chat.completions.create(
                model="chat", messages=[{"role": "user", "content": "Say something"}], stream=True
            )
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert text == "One line."
    assert asked == [{"model": "llama3.2", "messages": [{"role": "user", "content": "Say something"}]}]


def test_the_routes_shown_hold_no_mistake() -> None:
    loaded = load(parse(one("yaml", "policies:"), "README.md"), {})
    assert [str(target) for target in loaded.routes["chat"].targets] == ["local_llm/smollm2"]
    assert loaded.routes["chat"].asleep == {"groq/llama-3.3-70b-versatile": "GROQ_API_KEY is not set"}
    assert loaded.calls["agent"].tts == "say"


def test_the_provider_shown_is_as_short_as_it_claims() -> None:
    body = one("python", "class Provider").partition("class Provider")[2]
    assert body.strip().count("\n") <= 20


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_what_it_links_to_is_there(link: str) -> None:
    assert (ROOT / link).exists()
