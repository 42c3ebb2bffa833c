"""Front for WebSockets: uvicorn's protocol, with an end to connections whose client does not read, or is not there any more.

What uvicorn leaves to the kernel when an application is done (the rest of what was written, and the close) may wait for ever for
a client that never reads; here it gets GOODBYE seconds.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

LARGEST = 16 << 20
"""Bytes of a message from a client: OpenAI takes as much. Larger ones end the connection (1009)."""
PING = 20.0
"""Seconds between pings, and those in which something must come back: a vanished client is found within 40."""
GOODBYE = 3.0


class FrontSocket(WebSocketsSansIOProtocol):
    heard_at = 0.0

    def data_received(self, data: bytes) -> None:
        self.heard_at = self.loop.time()
        super().data_received(data)

    def keepalive_timeout(self) -> None:
        # Whoever sends is there, and while we do not read (it sends too fast) its answer waits in the socket.
        if self.read_paused or self.heard_at > self.ping_sent_at:
            self.pong_timer = self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()
        self.loop.call_later(GOODBYE, self._abort)

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "websocket.close":
            self.writable.set()  # it stands behind what was written; it need not wait for that to leave
        await super().send(message)

    def on_task_complete(self, task: asyncio.Task[Any]) -> None:
        super().on_task_complete(task)
        if not self.disconnected:
            self.loop.call_later(GOODBYE, self._abort)

    def _abort(self) -> None:
        if not self.disconnected:
            self.transport.abort()


SERVING: dict[str, Any] = {
    "ws": FrontSocket,
    "ws_max_size": LARGEST,
    "ws_ping_interval": PING,
    "ws_ping_timeout": PING,
    "ws_per_message_deflate": False,  # audio does not shrink, and what inflates is a bomb
}
"""For uvicorn.Config."""
