"""Proxies: those that the environment names (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY), as most programs read it.

What is on this machine is never reached through one.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


class BadProxy(ValueError):
    """The environment names a proxy that is none for us; says which kind there is."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Speaks HTTP. `authorization`: the value of its Proxy-Authorization, from the user and password in its address."""

    host: str
    port: int
    authorization: str | None = None


def proxy_for(scheme: str, host: str, port: int) -> Proxy | None:
    """The one that requests to this origin go through. Raises BadProxy."""
    if not any(name.lower().endswith("_proxy") for name in os.environ) or _is_here(host):
        return None
    from urllib.request import getproxies_environment, proxy_bypass  # half a megabyte, and rarely of use

    named = getproxies_environment()
    address = named.get(scheme) or named.get("all")
    if not address or proxy_bypass(host) or proxy_bypass(f"{host}:{port}"):
        return None
    return _read(address)


def _read(address: str) -> Proxy:
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadProxy("the proxy that the environment names has no readable address") from None
    if parts.scheme != "http" or not host:
        raise BadProxy("the proxy that the environment names is no http:// address")
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Proxy(host, port or 80, authorization)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
