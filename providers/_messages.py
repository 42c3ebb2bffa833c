"""Messages of vendors' WebSockets: each frame one JSON object."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.contract.errors import Unavailable
from gateway.contract.websocket import Frame


def read(provider: str, frame: Frame) -> dict[str, Any]:
    """A message of `provider`'s. Raises Unavailable for what is none."""
    try:
        message = orjson.loads(frame)
    except orjson.JSONDecodeError:
        message = None
    if not isinstance(message, dict):
        raise Unavailable("garbage instead of a message", provider)
    return message
