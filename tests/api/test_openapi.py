"""Our own description of the API, and schemathesis against it: whatever is made of it, nothing fails on our side."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from tests.gateway_process import gateway_process

pytestmark = pytest.mark.wire
ROUTES = """
routes:
  chat: {kind: llm, targets: [fake/ok]}
  embed: {kind: embed, targets: [fake/ok]}
  say: {kind: tts, targets: [fake/ok]}
  listen: {kind: stt, targets: [fake/ok]}
  agent: {kind: call, start: cascaded, cascaded: {stt: listen, llm: chat, tts: say}}
"""
EXAMPLES = {GenerationMode.POSITIVE: 6, GenerationMode.NEGATIVE: 3}
ENDLESS = "/v1/telemetry"


async def test_nothing_that_the_description_allows_or_forbids_fails_here(tmp_path: Path) -> None:
    config = tmp_path / "routes.yaml"
    config.write_text(ROUTES)
    async with gateway_process(config) as gateway:
        asked = await asyncio.to_thread(ask_everything, gateway.url)
        assert gateway.process.returncode is None
        told = "".join(gateway.log)
    assert "Traceback" not in told
    assert {path for path, status in asked if status == 200} >= {
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/audio/speech",
        "/v1/models",
        "/v1/telemetry/decisions",
    }


def ask_everything(url: str) -> set[tuple[str, int]]:
    """(path, status) of every answer."""
    description = schemathesis.openapi.from_url(f"{url}/openapi.json")
    seen: set[tuple[str, int]] = set()
    for found in description.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # ours is valid, or this raises
        if operation.path == ENDLESS:
            continue
        for mode, examples in EXAMPLES.items():
            if mode is GenerationMode.POSITIVE or operation.body or operation.query:  # else nothing can be wrong
                ask(operation, mode, examples, url, seen)
    return seen


def ask(operation: Any, mode: GenerationMode, examples: int, url: str, seen: set[tuple[str, int]]) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        response = case.call(base_url=url, timeout=10)
        seen.add((operation.path, response.status_code))
        case.validate_response(
            response, checks=[not_a_server_error, status_code_conformance, response_schema_conformance]
        )

    one()


async def test_every_path_that_is_served_is_described() -> None:
    from gateway.app import create_app
    from gateway.config import parse
    from gateway.loader import load

    config = parse(ROUTES)
    app = create_app(config, load(config, {}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        described = (await http.get("/openapi.json")).json()["paths"]
    served = {route.path.replace(":path}", "}") for router in app.routes for route in router.original_router.routes}  # type: ignore[attr-defined]  # FastAPI's own class
    untold = {"/", "/console/{name}", "/openapi.json", "/v1/realtime"} | {
        path for path in served if path.startswith("/v1/responses/")
    }
    assert served - untold == set(described)
