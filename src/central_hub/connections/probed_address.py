"""Which addresses the hub sends no requests to: none where nobody's service is, and webhooks not into the private
network either, unless that was asked for. Pure.

Whoever may register an instance decides where the hub sends a request to. What only answers to the machine that the
hub runs on, such as the metadata service of a cloud with its credentials, must not be among it.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

_METADATA: Final = frozenset(
    map(ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"))
)
"""Metadata services that are not link-local: of AWS, Google, Alibaba, Azure and Oracle."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_OWN_NAT64: Final = IPv6Network("64:ff9b:1::/48")
"""RFC 8215: of one's own network, so private, and it leads to IPv4 all the same."""
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")


def why_refused(address: IPv4Address | IPv6Address) -> str | None:
    """The kind of address that is refused; None for one that may be asked."""
    inner = _inner(address)
    if inner is None and isinstance(address, IPv6Address) and address in _OWN_NAT64:
        inner = IPv4Address(address.packed[12:])
    if inner is not None:
        return why_refused(inner)
    if address.is_unspecified or (isinstance(address, IPv4Address) and address.packed[0] == 0):
        return "an unspecified address"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast or address == IPv4Address("255.255.255.255"):
        return "a multicast address"
    return "a metadata service" if address in _METADATA else None


def why_private(address: IPv4Address | IPv6Address) -> str | None:
    """The kind of address that only answers within this machine or network; None for one that anybody could reach."""
    inner = _inner(address)
    if inner is not None:
        return why_private(inner)
    if address.is_loopback:
        return "a loopback address"
    is_public = address.is_global and (isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST)
    return None if is_public else "a private address"


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(address.packed[12:])
    return address.ipv4_mapped or address.sixtofour
