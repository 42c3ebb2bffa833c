"""A whole gateway with keys, on a real socket, with the fake provider behind it.

async with guarded(tmp_path, Limits(requests=3)) as gateway:
    await gateway.ask()                             # with its key: the answer, whatever its status
    gateway.clock.unix += 60
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from gateway.access.access import Access
from gateway.access.key import Key, Limits, new_key
from gateway.access.key_file import KeyFile
from gateway.api.front_socket import SERVING
from gateway.app import create_app
from gateway.config import parse
from gateway.loader import load
from tests.serving import plain_http, serving

ROUTES = """
routes:
  chat: {kind: llm, targets: [fake/words-5]}
  slow: {kind: llm, targets: [fake/slow-30s]}
  secret: {kind: llm, targets: [fake/ok]}
  say: {kind: tts, targets: [fake/ok]}
  listen: {kind: stt, targets: [fake/ok]}
  agent: {kind: call, cascaded: {stt: listen, llm: chat, tts: say}}
"""


UNLIMITED = Limits()


@dataclass
class Clock:
    now: float = 1_000.0
    unix: float = 1_900_000_000.0


@dataclass
class Guarded:
    url: str
    http: httpx.AsyncClient
    key: str
    file: KeyFile
    clock: Clock
    access: Access
    headers: dict[str, str] = field(default_factory=dict)

    async def ask(self, model: str = "chat", key: str | None = None, **more: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
        return await self.http.post("/v1/chat/completions", json=body, headers=bearer(key or self.key))


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def made(limits: Limits = UNLIMITED, routes: Sequence[str] = ("*",), name: str = "ada", **more: Any) -> tuple[str, Key]:
    """What the client shows, and the key."""
    shown, key_id, digest = new_key()
    return shown, Key(key_id, name, digest, 1_800_000_000.0, tuple(routes), limits, **more)


@asynccontextmanager
async def guarded(
    folder: Path,
    limits: Limits = UNLIMITED,
    routes: Sequence[str] = ("*",),
    more: Sequence[Key] = (),
    written: str = ROUTES,
    env: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Guarded]:
    """`more`: other keys than the first; `written`: routes.yaml."""
    shown, key = made(limits, routes)
    file, clock = KeyFile(folder / "keys.json"), Clock()
    file.change(lambda _: [key, *more])
    access = Access(file, now=lambda: clock.now, unix=lambda: clock.unix)
    config = parse(written, "routes.yaml")
    app = create_app(config, load(config, env), access=access)
    async with serving(app, **SERVING) as server, plain_http(base_url=server.url, trust_env=False, timeout=30) as http:
        yield Guarded(server.url, http, shown, file, clock, access)
