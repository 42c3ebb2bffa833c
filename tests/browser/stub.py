"""A gateway in name only: the console's files, and canned answers that a test changes as it goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from time import monotonic, sleep
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api import console
from tests.browser.telling import Telling

ROUTES: list[dict[str, Any]] = [
    {"id": "chat", "trunkline": {"kind": "llm", "targets": ["local_llm/smollm2"], "asleep": None}},
    {"id": "cloud", "trunkline": {"kind": "llm", "targets": [], "asleep": "openai/gpt: OPENAI_API_KEY is not set"}},
    {"id": "listen", "trunkline": {"kind": "stt", "targets": ["local_stt/moonshine"], "asleep": None}},
    {
        "id": "agent",
        "trunkline": {
            "kind": "call",
            "targets": ["local_stt/moonshine", "local_llm/smollm2", "local_tts/joe"],
            "asleep": None,
        },
    },
    {
        "id": "desk",
        "trunkline": {"kind": "call", "targets": [], "asleep": "cloud: openai/gpt: OPENAI_API_KEY is not set"},
    },
]
WARM = {"local_stt/moonshine": "warm", "local_llm/smollm2": "warm", "local_tts/joe": "warm"}


@dataclass
class Stub:
    """What the gateway would say, and what it was asked. `key`: what it asks for; `pieces`: the words of a chat's answer,
    `pause` seconds apart."""

    warm: dict[str, str] = field(default_factory=lambda: dict(WARM))
    pieces: list[str] = field(default_factory=lambda: ["Calls ", "take ", "turns."])
    pause: float = 0.0
    chat_error: tuple[int, str] | None = None
    cut: bool = False
    call_error: tuple[int, str] | None = None
    ice_servers: list[dict[str, Any]] = field(default_factory=lambda: [{"urls": ["stun:stun.example.org"]}])
    chats: list[dict[str, Any]] = field(default_factory=list)
    left: int = 0
    offers: list[str] = field(default_factory=list)
    hung_up: list[str] = field(default_factory=list)
    key: str = ""
    telling: Telling = field(default_factory=Telling)
    address: str = ""

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


def build(stub: Stub) -> FastAPI:
    app = FastAPI()
    app.add_middleware(Keyed, stub=stub)
    app.include_router(console.router())
    app.include_router(stub.telling.router())

    @app.get("/readyz")
    async def readyz() -> dict[str, Any]:
        return {"ready": True, "warm": stub.warm}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"object": "model", **route} for route in ROUTES]}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        stub.chats.append(await request.json())
        if stub.chat_error:
            return refusal(*stub.chat_error)
        headers = {"x-trunkline-target": "local_llm/smollm2"}
        return StreamingResponse(answer(stub), media_type="text/event-stream", headers=headers)

    @app.get("/v1/realtime/ice_servers")
    async def ice_servers() -> Response:
        return JSONResponse({"ice_servers": stub.ice_servers})

    @app.post("/v1/realtime/calls")
    async def call(request: Request) -> Response:
        stub.offers.append((await request.body()).decode())
        if stub.call_error:
            return refusal(*stub.call_error)
        return Response("v=0\r\n", 201, {"Location": "/v1/realtime/calls/rtc_1"}, "text/plain")

    @app.delete("/v1/realtime/calls/{call_id}")
    async def hang_up(call_id: str) -> Response:
        stub.hung_up.append(call_id)
        return Response(status_code=200)

    return app


class Keyed:
    """Refuses as the gate does, where the stub asks for a key."""

    def __init__(self, app: ASGIApp, stub: Stub) -> None:
        self._app, self._stub = app, stub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        good = headers.get(b"authorization") == f"Bearer {self._stub.key}".encode()
        if self._stub.key and scope["type"] == "http" and scope["path"].startswith("/v1/") and not good:
            await refusal(401, "this gateway asks for a key")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def refusal(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "server_error", "code": None, "param": None}}, status)


async def answer(stub: Stub) -> AsyncIterator[bytes]:
    try:
        yield b": kept alive\r\n\r\n" + chunk({"role": "assistant", "content": ""})
        for piece in stub.pieces:
            await asyncio.sleep(stub.pause)
            yield chunk({"content": piece})
    except asyncio.CancelledError:
        stub.left += 1
        raise
    if not stub.cut:
        yield b"data: [DONE]\n\n"


def chunk(delta: dict[str, str]) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"


@contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    """`stub` on a free loopback port, in a thread, since the browser's driver owns this one's event loop."""
    server = uvicorn.Server(uvicorn.Config(build(stub), port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = Thread(target=server.run)
    thread.start()
    try:
        give_up = monotonic() + 10
        while not server.started:
            assert thread.is_alive(), "the stub did not start"
            assert monotonic() < give_up, "the stub did not start in time"
            sleep(0.01)
        stub.address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield stub
    finally:
        stub.telling.close()
        server.should_exit = True
        thread.join()
