"""Requests beside WebSockets on one port, for fakes of APIs that have both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from http import HTTPStatus

import orjson
from websockets.asyncio.server import ServerConnection


@dataclass(frozen=True, slots=True)
class Posted:
    """A POST. `headers`: names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, bytes]:
        """The parts of a multipart body."""
        head = f"content-type: {self.headers.get('content-type', '')}\r\n\r\n".encode()
        parts = BytesParser(policy=HTTP).parsebytes(head + self.body)
        found: dict[str, bytes] = {}
        for part in parts.iter_parts():
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            found[str(part.get_param("name", header="content-disposition"))] = content
        return found


Answer = tuple[int, object, dict[str, str]]
"""Status, body (JSON), headers."""


def posts(answer: Callable[[Posted], Answer]) -> type[ServerConnection]:
    """For `create_connection` of websockets' `serve`: a connection that begins with POST is answered by `answer`, and closed."""

    class Posting(ServerConnection):
        _held: bytes | None = b""

        def data_received(self, data: bytes) -> None:
            if self._held is None:
                return super().data_received(data)
            self._held += data
            if not self._held.startswith(b"POST"[: len(self._held)]):
                held, self._held = self._held, None
                return super().data_received(held)
            head, complete, body = self._held.partition(b"\r\n\r\n")
            if not complete:
                return
            lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            if len(body) < int(headers.get("content-length", "0")):
                return
            status, said, more = answer(Posted(lines[0].split()[1], headers, body))
            written = said if isinstance(said, bytes) else orjson.dumps(said)
            fields = {"content-type": "application/json", **more, "content-length": str(len(written))}
            told = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            self.transport.write(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{told}\r\n".encode() + written)
            self.transport.close()

    return Posting
