"""CORS: browsers on other origins may use what is wrapped in this, with a token and never with cookies."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ANY = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Location, X-Request-Id"),
)
_ALLOWED = b"authorization, content-type, if-match, x-openai-agents-sdk, x-request-id"
"""Request headers: those of OpenAI's and WHIP clients."""
_REMEMBERED = b"600"
"""Seconds for which a browser need not ask again."""


class Open:
    """An endpoint with the headers of CORS on every answer, errors included; answers the preflight itself."""

    def __init__(self, app: ASGIApp, methods: Sequence[str], accepts: str = "") -> None:
        """`accepts`: the type of body it takes, told to whoever asks (RFC 9725: Accept-Post)."""
        self._app = app
        allowed = ", ".join(methods).encode()
        self._preflight = [
            *_ANY,
            (b"access-control-allow-methods", allowed),
            (b"access-control-allow-headers", _ALLOWED),
            (b"access-control-max-age", _REMEMBERED),
            (b"allow", allowed),
            *([(b"accept-post", accepts.encode())] if accepts else []),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": self._preflight})
            await send({"type": "http.response.body", "body": b""})
            return

        async def opened(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_ANY]
            await send(message)

        await self._app(scope, receive, opened)
