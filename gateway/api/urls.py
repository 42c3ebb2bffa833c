"""Addresses that a caller supplies: what may be handed to a model server, which will fetch it from where it stands."""

from __future__ import annotations

import socket
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import urlsplit

_INNER_NAMES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


def why_not(url: str) -> str | None:
    """Why `url` is refused; None for data URLs and http(s) to what may be a public host.

    Names are not resolved here: nothing in the gateway connects to them, and the server that does has to look again.
    """
    if url.startswith("data:"):
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return "is no URL"
    if parts.scheme not in ("http", "https") or not host:
        return "must be an http, https or data URL"
    name = host.rstrip(".").lower()
    address = _address(name)
    if address is not None:
        return None if address.is_global and not address.is_multicast else "must not point into a private network"
    if name == "localhost" or name.endswith(_INNER_NAMES) or "." not in name:
        return "must not point into a private network"
    return None


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The address a host is written as, in any spelling that C libraries take (decimal, octal, hexadecimal, mapped)."""
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        pass
    try:
        address = IPv6Address(host.partition("%")[0])
    except AddressValueError:
        return None
    return address.ipv4_mapped or address.sixtofour or address
