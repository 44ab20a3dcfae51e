"""Where a call may lead.  In: the host that a URL names.  Out: a connection, or none where its address is not public.

What a name means is looked up once for each connection, every address is judged, and the one that was judged is the
one that is dialled: a name that means something else a moment later (DNS rebinding) changes nothing.
https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import httpcore
import httpx

from connectors.contract import NeedsHuman

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Served inside clouds from addresses that are not link-local: Azure's wire server and Alibaba's metadata.
# https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
# https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html (the second over IPv6)
_METADATA: Final = frozenset(map(ipaddress.ip_address, ("168.63.129.16", "100.100.100.200", "fd00:ec2::254")))
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052
_IDLE: Final = 5.0  # seconds that an unused connection is kept; httpx's own figure

SocketOption: TypeAlias = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


def loopback(host: str) -> bool:
    """Whether a host, as a URL names it, is this machine."""
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 6.3
        return True
    address = _literal(host)
    return address is not None and address.is_loopback


def refusal(host: str, *, internal: bool) -> str | None:
    """Why a host that a setting names may not be called, by what can be seen without asking anybody; None: it may.

    This machine, named as such, is what http is for in tests; a network of one's own needs ``internal``.
    """
    if loopback(host):
        return None
    address = _literal(host)
    return None if address is None else _why(address, internal=internal, here=False)


def own(url: str) -> str:
    """The URL under which others reach us, as it is.  ValueError for what would be another place than it looks like."""
    host = urlsplit(url).hostname
    if not host or "@" in url or " " in url or not url.isascii() or not url.isprintable():
        raise ValueError("not scheme and host alone; write it as https://tandem.example.com")
    why = refusal(host, internal=True)  # behind a proxy of one's own network it is as good as anywhere
    if why is not None:
        raise ValueError(f"{host} is {why}")
    return url


def transport(host: str, *, internal: bool, connections: int) -> httpx.BaseTransport | None:
    """What dials only where it may; None where a proxy of this machine's environment dials instead."""
    here = loopback(host)
    if not here and urllib.request.getproxies():
        return None
    return _Guarded(_Dialler(internal=internal, here=here), connections)


class _Guarded(httpx.HTTPTransport):
    """httpx's own, over a pool that dials by ours."""

    def __init__(self, dialler: httpcore.NetworkBackend, connections: int) -> None:
        certificates = httpx.create_ssl_context()
        super().__init__(verify=certificates)
        self._pool = httpcore.ConnectionPool(
            certificates, max_connections=connections, keepalive_expiry=_IDLE, network_backend=dialler
        )


class _Dialler(httpcore.SyncBackend):
    def __init__(self, *, internal: bool, here: bool) -> None:
        self._internal, self._here = internal, here

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        """As in the base class, to the first address that answers; NeedsHuman where one of them may not be called."""
        options = None if socket_options is None else list(socket_options)
        addresses = _addresses(host, port)
        for address in addresses:
            why = _why(address, internal=self._internal, here=self._here)
            if why is not None:
                raise NeedsHuman(f"{host} leads to {why}; nothing was sent")
        problem: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return super().connect_tcp(str(address), port, timeout, local_address, options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem


def _addresses(host: str, port: int) -> list[Address]:
    literal = _literal(host)
    if literal is not None:
        return [literal]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host}: {type(error).__name__}") from None
    return list(dict.fromkeys(ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found))


def _literal(host: str) -> Address | None:
    """The address that a host is written as.  Other spellings (``0x7f.1``, ``2130706433``) are looked up like names."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _within(address: Address) -> Iterator[Address]:
    """The address, and those that it carries inside: mapped, 6to4, Teredo, NAT64."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        carried = [address.ipv4_mapped, address.sixtofour, *(address.teredo if address.teredo is not None else ())]
        if address in _NAT64:
            carried.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        yield from (one for one in carried if one is not None)


def _why(address: Address, *, internal: bool, here: bool) -> str | None:
    whole = list(_within(address))
    if any(one.is_link_local or one in _METADATA for one in whole):  # where clouds hand out credentials
        return "a link-local or metadata address, which is never called"
    if any(one.is_multicast or one.is_unspecified for one in whole):
        return "an address of no single machine, which is never called"
    if any(one.is_loopback for one in whole):
        return None if here else "this machine; name it as localhost or 127.0.0.1 if that is meant"
    if internal:
        return None
    if any(not one.is_global for one in whole if one.version == 4 or len(whole) == 1):
        return "an address that is not public; set `internal: true` if the vendor runs in a network of yours"
    return None
