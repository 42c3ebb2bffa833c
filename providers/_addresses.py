"""Where a provider of speech is reached, and with what key."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from gateway.contract.provider import Secret

_SOCKETS = {"ws": "ws", "http": "ws", "wss": "wss", "https": "wss"}
_REQUESTS = {"ws": "http", "http": "http", "wss": "https", "https": "https"}


def socket_url(base: str, path: str, **query: str | None) -> str:
    """`path` after what `base` has of its own, as ws:// or wss://. Queries that are None are left out. Raises ValueError."""
    asked = urlencode({name: value for name, value in query.items() if value is not None})
    return _url(base, path, _SOCKETS) + (f"?{asked}" if asked else "")


def request_url(base: str, path: str) -> str:
    """The same as http:// or https://."""
    return _url(base, path, _REQUESTS)


def bearer(key: Secret | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {sendable(key)}"}


def sendable(key: Secret) -> str:
    """The key, if a header can carry it. Raises ValueError, without its words."""
    revealed = key.reveal()
    if not revealed or not revealed.isascii() or not revealed.isprintable() or " " in revealed:
        raise ValueError("its key is empty or holds spaces or other characters that no header can carry")
    return revealed


def _url(base: str, path: str, schemes: dict[str, str]) -> str:
    parts = urlsplit(base)
    if parts.scheme not in schemes or not parts.hostname or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(
            "base_url must be a ws://, wss://, http:// or https:// address without user, query or fragment"
        )
    return parts._replace(scheme=schemes[parts.scheme], path=parts.path.rstrip("/") + path).geturl()
