"""Errors of a WebSocket as OpenAI tells them: it is always accepted, then one `error` event and a close code say why not.

    3000    no key, or none that is good
    4000    the request is at fault: no such model, none named, ...
    1013    not now: too many requests or calls, nobody awake

The reason of the close is `type.code` of the error.
"""

from __future__ import annotations

import orjson
from starlette.types import Receive, Scope, Send

from gateway.api.errors import Failure, failure, request_id
from gateway.api.shown import subprotocols
from gateway.contract.errors import GatewayError, NoSuchRoute, WrongKind

SUBPROTOCOL = "realtime"


class MissingModel(GatewayError):
    def __init__(self) -> None:
        super().__init__("name a route in the address: /v1/realtime?model=...")


async def accept(scope: Scope, send: Send, *headers: tuple[bytes, bytes]) -> None:
    """Selects `realtime` where it is offered; what else is offered may be a key, and is not echoed."""
    chosen = SUBPROTOCOL if SUBPROTOCOL in subprotocols(scope) else None
    told = [(b"x-request-id", request_id(scope)), *headers]
    await send({"type": "websocket.accept", "subprotocol": chosen, "headers": told})


async def refuse(scope: Scope, receive: Receive, send: Send, error: GatewayError) -> None:
    """A connection that was not accepted yet."""
    await receive()
    await accept(scope, send)
    await say_why(scope, send, error)


async def say_why(scope: Scope, send: Send, error: GatewayError) -> None:
    told = failure(error, request_id(scope).decode())
    await say(send, told, _code(error, told))


async def say(send: Send, told: Failure, code: str) -> None:
    fields = {"type": told.type, "code": code, "message": told.message, "param": told.param, "event_id": None}
    event = {"type": "error", "event_id": "event_000001", "error": fields}
    try:
        await send({"type": "websocket.send", "text": orjson.dumps(event).decode()})
        await send({"type": "websocket.close", "code": _close(told.status), "reason": f"{told.type}.{code}"[:120]})
    except OSError:
        pass  # the client is gone


def _code(error: GatewayError, told: Failure) -> str:
    match error:
        case MissingModel():
            return "missing_model"
        case NoSuchRoute() | WrongKind():
            return "invalid_model"
    return told.code or "invalid_value"


def _close(status: int) -> int:
    if status == 401:
        return 3000
    return 1013 if status in (429, 503) else 4000
