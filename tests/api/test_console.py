"""The console's files over HTTP: types, caching, and headers that keep everything foreign out."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from gateway.api import console

TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
FILES = sorted(path for path in console.FOLDER.iterdir() if path.suffix in TYPES)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(console.router())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://trunkline") as opened:
        yield opened


@pytest.mark.parametrize("name", ["", *(f"console/{path.name}" for path in FILES)])
async def test_a_file_has_its_type_and_the_policy(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/{name}")
    assert answer.status_code == 200
    suffix = "." + (name or "index.html").rpartition(".")[2]
    assert answer.headers["content-type"].startswith(TYPES[suffix])
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_file_seen_before_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/")
    again = await client.get("/", headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.js", "..%2fapp.py", "%2e%2e/app.py", "console.py"])
async def test_only_the_consoles_own_files_are_served(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/console/{name}")).status_code == 404


async def test_the_head_of_a_file_has_no_body(client: httpx.AsyncClient) -> None:
    answer = await client.head("/")
    assert (answer.status_code, answer.content) == (200, b"")


def test_the_page_holds_nothing_that_the_policy_forbids() -> None:
    page = (console.FOLDER / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    for path in FILES:
        foreign = re.sub(r"http://www\.w3\.org/2000/svg|http://localhost", "", path.read_text())
        assert "://" not in foreign, f"{path.name} names another host"
        assert "innerHTML" not in foreign


@pytest.mark.parametrize("path", [each for each in FILES if each.suffix == ".js"], ids=lambda each: each.name)
def test_every_module_that_is_imported_is_there_and_short(path: Path) -> None:
    text = path.read_text()
    for name in re.findall(r'from "\./([\w.]+)"', text):
        assert (console.FOLDER / name).is_file()
    assert text.count("\n") <= 400
