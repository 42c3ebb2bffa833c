"""Clients of Node run their ordinary programs on routes of every family: OpenAI's, Anthropic's, and Vercel's `ai` with each of its
providers that a gateway can stand behind. The programs are in tests/clients; `make test` installs what they import."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.e2e.families import FAMILIES, expected, gateway, refused_once
from tests.needs import CLIENTS
from tests.serving import Served

pytestmark = [pytest.mark.wire, pytest.mark.needs("node")]
WITHIN = 60.0


@pytest.mark.parametrize(
    ("program", "surfaces", "more"),
    [
        ("openai", ("chat", "responses"), {}),
        ("anthropic", ("messages",), {"count": "true"}),
        ("ai", ("chat", "responses", "compatible", "messages"), {}),
    ],
    ids=["openai", "anthropic", "ai"],
)
async def test_a_client_of_node(program: str, surfaces: tuple[str, ...], more: dict[str, str]) -> None:
    async with gateway() as (served, answering):
        lines = await run(program, served)
    told = {(line["route"], line["surface"], line["check"]): line["told"] for line in lines}
    assert told == expected(*surfaces, **more)
    assert answering.busy == refused_once(surfaces)


async def run(program: str, served: Served) -> list[dict[str, str]]:
    piped = asyncio.subprocess.PIPE
    node = await asyncio.create_subprocess_exec(
        "node", CLIENTS / f"{program}.mjs", served.url, *FAMILIES, stdout=piped, stderr=piped
    )
    try:
        async with asyncio.timeout(WITHIN):
            out, errors = await node.communicate()
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
    assert (node.returncode, errors) == (0, b"")
    return [json.loads(line) for line in out.splitlines()]
