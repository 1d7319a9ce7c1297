"""Which addresses may call: allow and deny lists of networks, kept so that one look costs about a microsecond."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from pydantic import field_validator

from tongqu.core.settings import Names, Settings

KEPT = 4096
"""Decisions that each list remembers; beyond it all are forgotten at once."""


class AddressEntry(Settings):
    """Networks that may call, and networks that may not."""

    allow: Names = ()
    """Only these networks may call: `10.0.0.0/8`, `2001:db8::/32` (empty: all)."""
    deny: Names = ()
    """These may not, whatever `allow` says."""

    @field_validator("allow", "deny")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return checked(value)


class Networks:
    """A set of IPv4 and IPv6 networks. IPv4 in IPv6 (`::ffff:10.0.0.1`) counts as IPv4. Raises ValueError for text that
    is no network, or that has bits behind its mask."""

    def __init__(self, networks: Iterable[str]):
        parsed = [ip_network(text.strip()) for text in networks]
        self._masked: list[tuple[int, int, int]] = [
            (network.version, int(network.netmask), int(network.network_address)) for network in parsed
        ]
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._masked)

    def holds(self, address: str) -> bool:
        """Whether the address lies in one of them; what is no address lies in none."""
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= KEPT:
                self._known.clear()
            known = self._known[address] = self._find(address)
        return known

    def _find(self, address: str) -> bool:
        parsed = canonical(address)
        if parsed is None:
            return False
        number = int(parsed)
        return any(parsed.version == version and number & mask == start for version, mask, start in self._masked)


class AddressList:
    """Allow and deny lists as one question. What is no address is allowed only where there are no lists at all."""

    def __init__(self, entry: AddressEntry):
        self._allow = Networks(entry.allow)
        self._deny = Networks(entry.deny)
        self.empty = not (self._allow or self._deny)

    def allows(self, address: str) -> bool:
        """Whether a call from there may go on."""
        if self.empty:
            return True
        if canonical(address) is None or self._deny.holds(address):
            return False
        return not self._allow or self._allow.holds(address)


def canonical(address: str) -> IPv4Address | IPv6Address | None:
    """The address without brackets, zone or port, IPv4 where it is one in disguise; None for anything else."""
    text = address.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def block(address: str) -> str:
    """What one caller of that address is counted as: an IPv4 address, or the /64 of an IPv6 one, since a host has all
    of it; text that is no address stays as it is."""
    if ":" not in address:
        return address
    parsed = canonical(address)
    if parsed is None:
        return address
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"


def checked(networks: tuple[str, ...]) -> tuple[str, ...]:
    """The same; raises ValueError naming the first that is no network."""
    for text in networks:
        try:
            ip_network(text.strip())
        except ValueError as error:
            raise ValueError(f"{text!r} is no network: {error}") from None
    return networks
