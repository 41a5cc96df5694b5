"""Callers behind a reverse proxy: their address is what X-Forwarded-For says, believed of our own proxies alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.door.endpoints import Said
from pipelines.door.httpproto import AtOnce

Network = IPv4Network | IPv6Network
_FORWARDED = b"x-forwarded-for"


def behind(app: ASGIApp, trusted: Sequence[str]) -> ASGIApp:
    """The application, told the caller's own address where the call comes from one of the trusted proxies."""
    networks = [ip_network(one, strict=False) for one in trusted]

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            _tell_caller(scope, networks)
        await app(scope, receive, send)

    return wrapped


def behind_at_once(at_once: AtOnce, trusted: Sequence[str]) -> AtOnce:
    """The same for what answers without a task."""
    networks = [ip_network(one, strict=False) for one in trusted]

    def wrapped(scope: Scope, body: bytes, said: Said) -> bool:
        _tell_caller(scope, networks)
        return at_once(scope, body, said)

    return wrapped


def _tell_caller(scope: Scope, trusted: Sequence[Network]) -> None:
    if scope.get("client"):
        named = [value for name, value in scope["headers"] if name == _FORWARDED]
        scope["client"] = caller(scope["client"][0], named, trusted), 0


def caller(peer: str, forwarded: Iterable[bytes], trusted: Sequence[Network]) -> str:
    """Who calls: walking from our side outwards, the first one that is no proxy of ours.

    What stands further left was written by the caller itself, and is believed by nobody.

    >>> caller("10.0.0.1", [b"6.6.6.6, 203.0.113.7, 10.0.0.2"], [ip_network("10.0.0.0/8")])
    '203.0.113.7'
    """
    found = peer
    hops = [hop for line in forwarded for hop in line.decode("latin-1").split(",")]
    for hop in reversed([*hops, peer]):
        address = _address(hop)
        if address is None:  # a proxy of ours does not know: then it stands for its caller
            return found
        found = str(address)
        if not any(address in network for network in trusted):
            return found
    return found


def _address(hop: str) -> IPv4Address | IPv6Address | None:
    """The address of `203.0.113.7`, `203.0.113.7:4711`, `2001:db8::1` or `[2001:db8::1]:4711`."""
    text = hop.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
