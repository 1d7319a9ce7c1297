"""Says what kind of place an IP address is: public, private, or one that gives away the machine's own credentials."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from tongqu.kit.egress.place import Address

Network = IPv4Network | IPv6Network

METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal",
     "metadata.tencentyun.com", "metadata.platformequinix.com"}
)  # fmt: skip
"""Names under which clouds serve the credentials of the machine that asks."""

_METADATA = frozenset(
    IPv6Address(text) if ":" in text else IPv4Address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, OpenStack, Huawei and most others
        "169.254.170.2", "169.254.170.23", "fd00:ec2::23",  # AWS containers and pods
        "fd00:ec2::254", "fd20:ce::254", "fe80::a9fe:a9fe",  # the same service over IPv6: AWS, Google, OpenStack
        "100.100.100.200",  # Alibaba
        "169.254.0.23", "169.254.10.10",  # Tencent
        "168.63.129.16",  # Azure's host
        "192.0.0.192",  # Oracle classic
    )
)  # fmt: skip

# IANA's registries of special-purpose addresses (RFC 6890 and after), as of 2026-01; newer than Python 3.11's own list.
_CLOSED_4: tuple[IPv4Network, ...] = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_GLOBAL_6 = IPv6Network("2000::/3")
_CLOSED_6: tuple[IPv6Network, ...] = tuple(
    IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
_NAT64: tuple[IPv6Network, ...] = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_LOW = (1 << 32) - 1


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks from `10.2.0.0/16`, `fd00::/8` or single addresses; raises ValueError."""
    return tuple(ip_network(text) for text in texts)


def within(address: Address, among: Iterable[Network]) -> bool:
    """Whether the address is in one of the networks."""
    return any(address.version == network.version and address in network for network in among)


def meant(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 address that an IPv6 address stands for (mapped, compatible, NAT64, 6to4, Teredo)."""
    yield address
    if isinstance(address, IPv6Address):
        number = int(address)
        if address.ipv4_mapped:
            yield address.ipv4_mapped
        elif number > 1 and number >> 32 == 0:
            yield IPv4Address(number)
        if any(address in network for network in _NAT64):
            yield IPv4Address(number & _LOW)
        if address.sixtofour:
            yield address.sixtofour
        if address.teredo:
            yield from address.teredo


def is_metadata(address: Address) -> bool:
    """Whether it is where a cloud serves the machine's credentials, in whatever disguise."""
    return any(one in _METADATA for one in meant(address))


def is_public(address: Address) -> bool:
    """Whether it is reachable from everywhere and stands for itself: no private, local, shared, documentation,
    multicast or reserved address, and none that is translated into another one."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    return address in _GLOBAL_6 and not any(address in network for network in _CLOSED_6)


def is_here(address: Address) -> bool:
    """Whether it is an address of this machine."""
    for one in meant(address):
        if one.is_loopback or one.is_unspecified:
            return True
        family = socket.AF_INET6 if one.version == 6 else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.bind((str(one), 0))
        except OSError:  # not ours: only an own address can be bound
            continue
        return True
    return False
