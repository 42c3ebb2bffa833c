"""Reach: the addresses media is offered on, and those it may be sent to.

A caller names the addresses it wants to be reached at, and could name our own network's. So an address is answered only
if it lies in a scope that one of ours lies in: a gateway offered at a public address sends nothing to 10.0.0.7.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import ifaddr

Scope = Literal["loopback", "link", "private", "global"]
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_SHARED = ipaddress.ip_network("100.64.0.0/10")  # RFC 6598: between a carrier's customers and itself
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


@dataclass(frozen=True, slots=True)
class Media:
    """The `media` section of routes.yaml.

    `addresses`: bound for media; empty: see `bound`. `announce`: told to callers instead of them (NAT 1:1). `ports`: UDP
    ports to bind, first and last; None lets the system choose.
    """

    addresses: tuple[str, ...] = ()
    announce: str | None = None
    ports: tuple[int, int] | None = None


def bound(media: Media, host: str) -> tuple[str, ...]:
    """Addresses to bind: those configured, else `host` (the HTTP side's) when it is a loopback address, else the interfaces'."""
    if media.addresses:
        return media.addresses
    if host == "localhost":
        return ("127.0.0.1",)
    return (host,) if scope(host) == "loopback" else tuple(interfaces()) or ("127.0.0.1",)


def interfaces() -> list[str]:
    """Addresses of this machine's interfaces that a caller may reach: neither loopback nor link-local."""
    found = (ip.ip if isinstance(ip.ip, str) else ip.ip[0] for adapter in ifaddr.get_adapters() for ip in adapter.ips)
    return [address for address in found if scope(address) in ("private", "global")]


@lru_cache(maxsize=4096)
def scope(address: str) -> Scope | None:
    """None: a name, or no address that one peer can have (multicast, unspecified, reserved)."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and _hides_another(ip):
        return None
    if ip.is_loopback:
        return "loopback"
    if ip.is_multicast or ip.is_unspecified or ip.is_reserved:
        return None
    if ip.is_link_local:
        return "link"
    if ip in _SHARED:
        return "private"
    if ip in _THIS_NETWORK:
        return None
    return "private" if ip.is_private else "global"


def _hides_another(ip: ipaddress.IPv6Address) -> bool:
    """Mapped, 6to4, Teredo and NAT64 addresses: no ICE agent needs them, and they lead to an IPv4 address unseen."""
    return any((ip.ipv4_mapped, ip.sixtofour, ip.teredo)) or any(ip in network for network in _NAT64)


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom media may be sent to, and let in from. `scopes`: those of our own offered addresses."""

    scopes: frozenset[Scope] = field(default_factory=frozenset)

    @staticmethod
    def of(media: Media, addresses: Sequence[str]) -> Reach:
        """`announce` counts instead of the addresses: it is what callers see, and what they can be near to."""
        offered: Iterable[str] = (media.announce,) if media.announce else addresses
        return Reach(frozenset(found for each in offered if (found := scope(each)) is not None))

    def admits(self, address: str) -> bool:
        where = scope(address)
        if where == "global":
            return bool(self.scopes & {"private", "global"})  # from a private address too: there is a NAT in between
        return where in self.scopes
