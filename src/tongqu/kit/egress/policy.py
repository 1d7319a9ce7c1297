"""Decides which addresses may be contacted: the operator vouches for her connections, data vouches for nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from tongqu.core.errors import EgressRefusedError
from tongqu.kit.egress.networks import METADATA_NAMES, Network, is_here, is_metadata, is_public, meant, within
from tongqu.kit.egress.own_ports import own_ports
from tongqu.kit.egress.place import Address, Place

_DATA_PORTS = (80, 443)
_FIRST_FREE_PORT = 1024


class Grant(StrEnum):
    """Who vouches for an address (design §12, Egress)."""

    OPERATOR = "operator"
    """It stands in a connection that the operator wrote."""
    DATA = "data"
    """It came from data: a next-page link, a redirect, a URL in a document. The SSRF rules bind it, and credentials go
    along only to the connection's own host."""


@dataclass(frozen=True)
class Policy:
    """The rules of one connection. `granted` are the places it names, `allow` networks that its data may lead to."""

    granted: frozenset[Place] = frozenset()
    allow: tuple[Network, ...] = ()
    own: Callable[[], frozenset[int]] = own_ports

    def vouched(self, place: Place, grant: Grant) -> bool:
        """Whether the operator answers for the place; then it may be private."""
        return grant is Grant.OPERATOR or place in self.granted

    def check(self, place: Place, grant: Grant) -> None:
        """Refuse a place by its name and port alone; raises EgressRefusedError."""
        if place.host in METADATA_NAMES:
            raise refused(f"{place} is a cloud's metadata service")
        address = place.address
        if address is not None:
            self.check_address(place, address, grant)
        if not self.vouched(place, grant) and place.port < _FIRST_FREE_PORT and place.port not in _DATA_PORTS:
            raise refused(f"{place} came from data, and its port is a well-known one other than 80 and 443")

    def check_address(self, place: Place, address: Address, grant: Grant) -> None:
        """Refuse one address that the place has; raises EgressRefusedError."""
        said = f"{place} is" if place.address == address else f"{place} is {address}, which is"
        if is_metadata(address):
            raise refused(f"{said} a cloud's metadata service")
        if place.port in self.own() and is_here(address):
            raise refused(f"{said} a port that Tongqu itself listens on")
        if self.vouched(place, grant) or within(address, self.allow):
            return
        if not all(is_public(one) for one in meant(address)):
            raise refused(
                f"{said} no public address, and it came from data; to let it through, name it in a connection of its"
                " own or its network in `allow`"
            )


def refused(why: str) -> EgressRefusedError:
    """The error: its message is fit for anybody, its hint tells the operator why."""
    return EgressRefusedError("this address may not be contacted", hint=why)
