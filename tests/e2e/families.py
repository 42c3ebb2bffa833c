"""The whole gateway with a route per provider family, on an upstream that answers what it is asked; and what it must say.

Each family has the routes `F`, `F-cut`, and `F-busy-SURFACE` (see tests/answering.py).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

from gateway.app import create_app
from gateway.config import parse
from gateway.loader import load
from tests.answering import Answering
from tests.serving import Served, serving
from tests.upstreams import Upstream

FAMILIES = {"openai": "/v1", "openai_compatible": "/v1", "anthropic": "", "gemini": ""}
"""Provider = the path of its base_url."""
SURFACES = ("chat", "responses", "messages", "compatible")
WEATHER = {"Oslo": "-3", "Bergen": "4"}
PICTURE = "iVBORw0KGgo="

TOLD = {
    "text": "Good day",
    "stream": "Good day (stop, 7 + 2)",
    "tools": "It is -3",
    "parallel": "weather(Oslo) weather(Bergen) It is -3 and 4",
    "object": "Oslo",
    "picture": f"A picture: {PICTURE}",
    "error": "400 Too odd.",
    "error of a stream": "400 Too odd.",
    "cut": "true",
    "retry": "Good day",
}
"""Check = what a client must print of it."""

Told = dict[tuple[str, str, str], str]
"""(route, surface, check) = what was told."""


def expected(*surfaces: str, **more: str) -> Told:
    """`more`: checks of one client's own."""
    checks = TOLD | more
    return {(f, surface, check): told for f in FAMILIES for surface in surfaces for check, told in checks.items()}


def busy(family: str, surface: str) -> tuple[str, str]:
    """The route and the words to be refused once."""
    return f"{family}-busy-{surface}", f"Again, {family}"


def refused_once(surfaces: Iterable[str]) -> set[tuple[str, str]]:
    """What the upstream must have refused, for every family to have been asked again."""
    return {(f"busy-{surface}", busy(family, surface)[1]) for family in FAMILIES for surface in surfaces}


@asynccontextmanager
async def gateway() -> AsyncGenerator[tuple[Served, Answering]]:
    answering = Answering()
    async with Upstream(answering) as upstream:
        config = parse(_routes(upstream.origin))
        async with serving(create_app(config, load(config, {}))) as served:
            yield served, answering


def _routes(origin: str) -> str:
    models = {"": "usual", "-cut": "cut"} | {f"-busy-{surface}": f"busy-{surface}" for surface in SURFACES}
    lines = ["policies:", "  once: {retries: 0, mid_stream: error}", "providers:"]
    lines += [f'  {family}: {{base_url: "{origin}{path}", key: key}}' for family, path in FAMILIES.items()]
    lines += ["routes:"]
    for family in FAMILIES:
        for end, model in models.items():
            lines.append(f"  {family}{end}: {{kind: llm, policy: once, targets: [{family}/{model}]}}")
    return "\n".join(lines)
